"""Tuning: choices that were measured, for layers of equal or similar shape; and the rule for all others."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from dscompile.plan.choices import Choice, Source
from dscompile.plan.spaces import rule, space
from dscompile.plan.workloads import DenseWorkload, Workload
from dscompile.target import Target

# In doublings of a size: further away nothing is learned from a record.
FARTHEST = 1.0


@dataclass(frozen=True)
class Tuning:
    """Choices that were measured to be best, by workload; `name` is the id of the records they come from.

    All are of one target: which one, whoever reads the records has checked.
    """

    best: Mapping[Workload, Choice] = field(default_factory=dict)
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "best", MappingProxyType(dict(self.best)))

    def choose(self, workload: Workload, target: Target) -> tuple[Choice, Source]:
        """The choice for a workload, and where it comes from: a record, that of a similar workload, or the rule."""
        known = self.best.get(workload)
        if known is not None:
            return known, "record"
        near = self._nearest(workload, target)
        return (near, "neighbor") if near is not None else (rule(workload, target), "rule")

    def merged(self, other: Tuning) -> Tuning:
        """These records, and those of `other` in front of them."""
        name = ", ".join(dict.fromkeys(filter(None, (other.name, self.name))))
        return Tuning({**self.best, **other.best}, name)

    def _nearest(self, workload: Workload, target: Target) -> Choice | None:
        """The choice of the most similar workload, if one is near and its choice is in the space of this one."""
        near = sorted(
            (
                (distance, index, choice)
                for index, (other, choice) in enumerate(self.best.items())
                if (distance := distance_of(workload, other)) <= FARTHEST
            ),
            key=lambda found: found[:2],
        )
        if not near:
            return None
        allowed = space(workload, target)
        return next((choice for _, _, choice in near if choice in allowed), None)


UNTUNED = Tuning()


def distance_of(one: Workload, other: Workload) -> float:
    """How different two workloads are: doublings of their sizes, summed; infinite if one says nothing of the other."""
    if isinstance(one, DenseWorkload) or isinstance(other, DenseWorkload):
        if not (isinstance(one, DenseWorkload) and isinstance(other, DenseWorkload)):
            return math.inf
        return _doublings((one.channels, one.units), (other.channels, other.units))
    if type(one) is not type(other) or _window(one) != _window(other):
        return math.inf
    return _doublings(_sizes(one), _sizes(other))


def _window(workload: Workload) -> tuple[object, ...]:
    """What must be equal. Tiles respect the width of a row, unless all pixels lie in one."""
    assert not isinstance(workload, DenseWorkload)
    flat = workload.height == 1
    width = 0 if flat else workload.width
    return flat, width, workload.kernel, workload.stride, workload.dilation, getattr(workload, "blocked", True)


def _sizes(workload: Workload) -> tuple[int, ...]:
    assert not isinstance(workload, DenseWorkload)
    return workload.height * workload.width, workload.blocks, getattr(workload, "channels", 1)


def _doublings(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    return sum(abs(math.log2(a / b)) for a, b in zip(one, other, strict=True))
