"""What is known of a task while it is tuned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from dscompile.plan.choices import Choice
from dscompile.plan.workloads import Workload
from dscompile.tuner.search import Memory
from dscompile.tuner.tasks import Task


@dataclass
class TaskState:
    """What was measured of one task. Costs are seconds or instructions."""

    task: Task
    costs: dict[Choice, float] = field(default_factory=dict)
    failures: int = 0
    last_error: str = ""

    @property
    def trials(self) -> int:
        """Candidates that were measured or failed."""
        return len(self.costs) + self.failures

    @property
    def rule_cost(self) -> float | None:
        """Cost of the rule's choice; None before it is measured."""
        return self.costs.get(self.task.rule)

    @property
    def best(self) -> tuple[Choice, float] | None:
        """The cheapest choice so far; the rule's if it is as cheap."""
        if not self.costs:
            return None
        least = min(self.costs.values())
        rule_cost = self.rule_cost
        if rule_cost is not None and rule_cost <= least:
            return self.task.rule, rule_cost
        return next((choice, cost) for choice, cost in self.costs.items() if cost == least)

    @property
    def gained(self) -> bool:
        """Whether something is cheaper than the rule's choice."""
        best = self.best
        return best is not None and best[0] != self.task.rule

    def note(self, choice: Choice, cost: float | None) -> None:
        """What a choice costs; None if it failed."""
        if cost is None:
            self.failures += 1
        else:
            self.costs[choice] = cost

    def ranked(self) -> tuple[Choice, ...]:
        """All measured choices, the cheapest first."""
        return tuple(sorted(self.costs, key=lambda choice: self.costs[choice]))


class Remembers(Memory, Protocol):
    """Where measurements are kept, and why there is none."""

    def failures(self, workload: Workload) -> Mapping[Choice, str]:
        """Why choices failed, the latest last."""


def remembered(task: Task, journal: Remembers) -> TaskState:
    """The state of a task as the journal has it."""
    state = TaskState(task)
    for choice, cost in journal.known(task.workload).items():
        state.note(choice, cost)
    state.last_error = next(reversed([*journal.failures(task.workload).values()]), "")
    return state
