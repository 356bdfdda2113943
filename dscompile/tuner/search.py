"""Searches: which choices of a workload are measured next, given what was measured so far.

A small space is swept; in a large one MetaSchedule's evolutionary search goes by a model that learns from each answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from dscompile.plan.choices import Choice
from dscompile.plan.spaces import rule, space
from dscompile.plan.workloads import Workload
from dscompile.target import Target
from dscompile.tuner.packages import require_packages
from dscompile.tuner.spreading import spread


class Search(Protocol):
    """A search in the space of one workload. The same seed and the same answers give the same proposals."""

    @property
    def exhausted(self) -> bool:
        """Whether every choice was proposed or told."""

    def propose(self, count: int) -> list[Choice]:
        """Up to `count` choices, none that was proposed or told before; empty when there is nothing left."""

    def tell(self, choice: Choice, cost: float | None) -> None:
        """What a choice cost, in any unit that stays the same; None if it failed."""


class Memory(Protocol):
    """What was measured before: a `Journal`."""

    def known(self, workload: Workload) -> Mapping[Choice, float | None]:
        """Costs of choices, None for those that failed."""


class Sweep:
    """All choices: that of the rule, then each as different as can be from those before it."""

    def __init__(self, workload: Workload, target: Target) -> None:
        self._left = dict.fromkeys(spread(space(workload, target), rule(workload, target)))

    @property
    def exhausted(self) -> bool:
        """Whether every choice was proposed or told."""
        return not self._left

    def propose(self, count: int) -> list[Choice]:
        """The next ones."""
        chosen = list(self._left)[:count]
        for choice in chosen:
            del self._left[choice]
        return chosen

    def tell(self, choice: Choice, cost: float | None) -> None:
        """Only that it need not be proposed; whatever it cost, the sweep goes on."""
        self._left.pop(choice, None)


def make_search(workload: Workload, target: Target, *, trials: int, journal: Memory, seed: int) -> Search:
    """A sweep if `trials` are enough for the whole space, else an evolution; what is known is not proposed again.

    A search does not stop after `trials`: the caller does. Raises ToolError if a package is missing.
    """
    allowed = space(workload, target)
    search: Search
    if len(allowed) <= trials:
        search = Sweep(workload, target)
    else:
        require_packages()
        from dscompile.tuner.evolution import Evolution  # TVM

        search = Evolution(workload, target, seed=seed)
    for choice, cost in journal.known(workload).items():
        if choice in allowed:  # of another version, it may not be
            search.tell(choice, cost)
    return search
