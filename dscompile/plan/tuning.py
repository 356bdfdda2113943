"""Tuning: choices that were measured, for layers of equal or similar shape; and the rule for all others."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from dscompile.plan.choices import Choice, DepthwiseChoice, Source
from dscompile.plan.spaces import allows, rule
from dscompile.plan.workloads import DenseWorkload, Workload
from dscompile.target import Target

_BETWEEN_NAMES = ", "


@dataclass(frozen=True)
class Learning:
    """What is learned from records of other workloads.

    `farthest` is how different they may be, in doublings of a size (see `distance_of`). `least_gain` is the cost of the
    rule's choice over that of the best one from where on a neighbor is followed: below, the rule did as well as
    measuring, and is trusted here too. `other_widths`: also from images of other widths, if tiles divide both.
    """

    farthest: float = 1.0
    least_gain: float = 1.02
    other_widths: bool = False


@dataclass(frozen=True)
class Decision:
    """A choice and where it comes from.

    `near` is the similar workload whose record decided, also where it says that the rule does well; `distance` is how
    far it is.
    """

    choice: Choice
    source: Source
    near: Workload | None = None
    distance: float = 0.0


@dataclass(frozen=True)
class Tuning:
    """Choices that were measured to be best, by workload; `name` is the id of the records they come from.

    `gains` are costs of the rule's choices over those of the best ones; a workload without one is taken to have gained.
    All are of one target: which one, whoever reads the records has checked.
    """

    best: Mapping[Workload, Choice] = field(default_factory=dict)
    name: str = ""
    gains: Mapping[Workload, float] = field(default_factory=dict)
    learning: Learning = Learning()

    def __post_init__(self) -> None:
        for name in ("best", "gains"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    @property
    def names(self) -> tuple[str, ...]:
        """The ids of all records, those in front first."""
        return names_of(self.name)

    def choose(self, workload: Workload, target: Target) -> tuple[Choice, Source]:
        """The choice for a workload, and where it comes from: a record, that of a similar workload, or the rule."""
        decision = self.decide(workload, target)
        return decision.choice, decision.source

    def decide(self, workload: Workload, target: Target) -> Decision:
        """As `choose`, with the record that decided."""
        known = self.best.get(workload)
        if known is not None:
            return Decision(known, "record")
        for distance, near in self._near(workload):
            if self.gains.get(near, math.inf) < self.learning.least_gain:
                return Decision(rule(workload, target), "rule", near, distance)
            choice = self.best[near]
            if allows(workload, choice, target) and _fits_rows(choice, workload, near):
                return Decision(choice, "neighbor", near, distance)
        return Decision(rule(workload, target), "rule")

    def merged(self, other: Tuning) -> Tuning:
        """These records, and those of `other` in front of them."""
        name = _BETWEEN_NAMES.join(dict.fromkeys((*other.names, *self.names)))
        gains = {workload: gain for workload, gain in self.gains.items() if workload not in other.best}
        return Tuning({**self.best, **other.best}, name, {**gains, **other.gains}, self.learning)

    def _near(self, workload: Workload) -> Iterator[tuple[float, Workload]]:
        """Workloads that are near enough to learn from, the most similar first, of equals the one recorded first."""
        widths = self.learning.other_widths
        distances = ((distance_of(workload, other, other_widths=widths), other) for other in self.best)
        near = [found for found in distances if found[0] <= self.learning.farthest]
        yield from sorted(near, key=lambda found: found[0])


UNTUNED = Tuning()


def names_of(name: str) -> tuple[str, ...]:
    """The ids in the name of a tuning."""
    return tuple(name.split(_BETWEEN_NAMES)) if name else ()


def distance_of(one: Workload, other: Workload, *, other_widths: bool = False) -> float:
    """How different two workloads are: doublings of their sizes, summed; infinite if one says nothing of the other.

    Rows of another width say nothing, unless `other_widths`: tiles respect the width of a row.
    """
    if isinstance(one, DenseWorkload) or isinstance(other, DenseWorkload):
        if not (isinstance(one, DenseWorkload) and isinstance(other, DenseWorkload)):
            return math.inf
        return _doublings((one.channels, one.units), (other.channels, other.units))
    if type(one) is not type(other) or _window(one) != _window(other):
        return math.inf
    if not other_widths and _row(one) != _row(other):
        return math.inf
    return _doublings(_sizes(one), _sizes(other))


def _window(workload: Workload) -> tuple[object, ...]:
    """What must be equal."""
    assert not isinstance(workload, DenseWorkload)
    is_flat = _row(workload) == 0
    return is_flat, workload.kernel, workload.stride, workload.dilation, getattr(workload, "blocked", True)


def _row(workload: Workload) -> int:
    """The width of a row; 0 where all pixels lie in one, of any width."""
    if isinstance(workload, DenseWorkload) or (workload.height == 1 and workload.kernel == (1, 1)):
        return 0
    return workload.width


def _fits_rows(choice: Choice, workload: Workload, near: Workload) -> bool:
    """Whether tiles cut the rows of a workload as well as those that they were measured on."""
    rows = _row(workload), _row(near)
    if rows[0] == rows[1]:
        return True
    tile = choice.columns if isinstance(choice, DepthwiseChoice) else getattr(choice, "pixels", 1)
    return all(row % tile == 0 for row in rows)


def _sizes(workload: Workload) -> tuple[int, ...]:
    assert not isinstance(workload, DenseWorkload)
    return workload.height * workload.width, workload.blocks, getattr(workload, "channels", 1)


def _doublings(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    return sum(abs(math.log2(a / b)) for a, b in zip(one, other, strict=True))
