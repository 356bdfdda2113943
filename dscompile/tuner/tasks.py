"""Tasks: the distinct workloads of a network that have something to choose, and how often each is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from dscompile.plan.choices import Choice
from dscompile.plan.program import Program
from dscompile.plan.spaces import rule, space
from dscompile.plan.workloads import Workload
from dscompile.target import Target


@dataclass(frozen=True)
class Task:
    """A workload to tune. `layers` have it, in the order of the network; an inference computes it `times` times."""

    workload: Workload
    layers: tuple[str, ...]
    times: int
    rule: Choice
    points: int

    @property
    def label(self) -> str:
        """What people call it: its first layer, and how many more there are."""
        more = len(self.layers) - 1
        return self.layers[0] if not more else f"{self.layers[0]} and {more} more"


@dataclass
class _Found:
    layers: list[str] = field(default_factory=list)
    times: int = 0


def tasks_of(programs: Sequence[Program], target: Target) -> tuple[Task, ...]:
    """The tasks of one or more networks planned for `target`, in their order; none for what has but one choice."""
    found: dict[Workload, _Found] = {}
    for program in programs:
        for chosen in program.chosen:
            entry = found.setdefault(chosen.workload, _Found())
            entry.layers.append(chosen.layer)
            entry.times += chosen.times
    return tuple(
        Task(workload, tuple(dict.fromkeys(entry.layers)), entry.times, rule(workload, target), points)
        for workload, entry in found.items()
        if (points := len(space(workload, target))) > 1
    )
