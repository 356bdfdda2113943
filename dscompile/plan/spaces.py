"""Spaces: every choice that a layer's schedules take. What a tuner samples, and what a record may say.

A space is a product of axes: any combination of their values is a choice. No point of a space is invalid: knobs divide
what they tile, and the sums of a tile stay in registers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

from dscompile.plan.choices import CHOICES, Choice, ConvChoice
from dscompile.plan.costs import costs_of
from dscompile.plan.int8_tiles import int8_conv_choices, int8_conv_rule, int8_depthwise_rule, int8_depthwise_sums_fit
from dscompile.plan.tiles import (
    MAX_DEPTHWISE_ROWS,
    MAX_PANEL_BLOCKS,
    MAX_TILE_PIXELS,
    conv_rule,
    conv_tiles,
    dense_rule,
    depthwise_rule,
)
from dscompile.plan.workloads import (
    ConvWorkload,
    DenseWorkload,
    DepthwiseWorkload,
    Int8ConvWorkload,
    Int8DepthwiseWorkload,
    Workload,
)
from dscompile.target import Target

DENSE_VECTORS = (1, 2, 4, 8)
DENSE_ACCUMULATORS = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class Axis:
    """Fields of a choice that are chosen together, and the values that they can have. `name` is for people."""

    name: str
    fields: tuple[str, ...]
    values: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Space:
    """All choices of one workload: every combination of a value of each axis."""

    kind: str
    axes: tuple[Axis, ...]

    def __len__(self) -> int:
        return math.prod(len(axis.values) for axis in self.axes)

    def __iter__(self) -> Iterator[Choice]:
        for indices in product(*(range(len(axis.values)) for axis in self.axes)):
            yield self.choice(indices)

    def __contains__(self, choice: object) -> bool:
        return isinstance(choice, CHOICES[self.kind]) and self._find(choice) is not None

    def choice(self, indices: Iterable[int]) -> Choice:
        """The choice at one index per axis."""
        fields: dict[str, int] = {}
        for axis, index in zip(self.axes, indices, strict=True):
            fields.update(zip(axis.fields, axis.values[index], strict=True))
        kind: Callable[..., Choice] = CHOICES[self.kind]
        return kind(**fields)

    def indices(self, choice: Choice) -> tuple[int, ...]:
        """Where a choice lies. Raises ValueError if it is none of these."""
        found = self._find(choice)
        if found is None:
            raise ValueError(f"{choice} is not in the space of this {self.kind}")
        return found

    def _find(self, choice: Choice) -> tuple[int, ...] | None:
        found = []
        for axis in self.axes:
            values = tuple(getattr(choice, field) for field in axis.fields)
            if values not in axis.values:
                return None
            found.append(axis.values.index(values))
        return tuple(found)


def rule(workload: Workload, target: Target) -> Choice:
    """What the target's model takes; the choice of a build without tuning records."""
    match workload:
        case ConvWorkload():
            return conv_rule(workload, target)
        case DepthwiseWorkload():
            return depthwise_rule(workload, target)
        case DenseWorkload():
            return dense_rule(workload, target)
        case Int8ConvWorkload():
            return int8_conv_rule(workload, target)
        case Int8DepthwiseWorkload():
            return int8_depthwise_rule(workload, target)


@lru_cache(maxsize=1024)
def space(workload: Workload, target: Target) -> Space:
    """All choices, that of the rule among them."""
    return Space(workload.kind, tuple(_with_rule(_axes(workload, target), rule(workload, target))))


def allows(workload: Workload, choice: Choice, target: Target) -> bool:
    """Whether a choice is in the space of a workload: as `choice in space(...)`, without making all of it."""
    if not isinstance(choice, CHOICES[workload.kind]):
        return False
    axes = _axes(workload, target, choice)
    return choice in Space(workload.kind, axes) or choice in Space(
        workload.kind, tuple(_with_rule(axes, rule(workload, target)))
    )


def has_alternatives(workload: Workload, target: Target) -> bool:
    """Whether there is more than one choice: as `len(space(...)) > 1`, mostly without making all of it."""
    few = Space(workload.kind, _axes(workload, target, rule(workload, target)))
    return len(few) > 1 or len(space(workload, target)) > 1


def _with_rule(axes: Iterable[Axis], choice: Choice) -> Iterator[Axis]:
    """The axes, with what the rule takes among the values of each."""
    for axis in axes:
        values = tuple(getattr(choice, field) for field in axis.fields)
        yield Axis(axis.name, axis.fields, tuple(dict.fromkeys((*axis.values, values))))


def _axes(workload: Workload, target: Target, only: Choice | None = None) -> tuple[Axis, ...]:
    """The axes without what only the rule takes; with `only`, of large axes just the value that this choice has."""
    match workload:
        case ConvWorkload():
            return _conv(workload, target, only)
        case DepthwiseWorkload():
            return _depthwise(workload, target, only)
        case DenseWorkload():
            return (_dense(workload, target),)
        case Int8ConvWorkload():
            choices = int8_conv_choices(workload, target)
            tiles = tuple((choice.pixels, choice.panel, choice.word) for choice in choices)
            return Axis("tile", ("pixels", "panel", "word"), tiles), _rereads("weights", target)
        case Int8DepthwiseWorkload():
            return _int8_depthwise(workload, target, only)


def _sizes(limit: int, name: str, only: Choice | None) -> Iterable[int]:
    """1 to `limit`; with a choice, just its value if that is one of them."""
    sizes = range(1, limit + 1)
    return sizes if only is None else [size for size in (getattr(only, name),) if size in sizes]


def _conv(workload: ConvWorkload, target: Target, only: Choice | None) -> tuple[Axis, ...]:
    costs = costs_of(target)
    orders = ((True, False), (False, False), *(((True, True),) if costs.can_prefetch() else ()))
    steps = costs.channel_steps(workload.channels, blocked=workload.blocked)
    tiles = tuple(
        (pixels, panel)
        for panel in _sizes(min(MAX_PANEL_BLOCKS, workload.blocks), "panel", only)
        for pixels in _sizes(min(MAX_TILE_PIXELS, workload.width), "pixels", only)
        if all(costs.fits(tile) for _, tile in conv_tiles(workload, ConvChoice(pixels, panel)))
    )
    return (
        Axis("tile", ("pixels", "panel"), tiles),
        Axis("step", ("unroll_channels",), tuple((step,) for step in steps)),
        Axis("order", ("panel_outer", "prefetch"), orders),
    )


def _depthwise(workload: DepthwiseWorkload, target: Target, only: Choice | None) -> tuple[Axis, ...]:
    costs = costs_of(target)
    tiles = tuple(
        (columns, rows)
        for rows in _sizes(min(MAX_DEPTHWISE_ROWS, workload.height), "rows", only)
        for columns in _sizes(min(MAX_TILE_PIXELS, workload.width), "columns", only)
        if costs.depthwise_sums_fit(rows * columns)
    )
    reread = ((False,), (True,)) if costs.can_reread_taps() else ((False,),)
    return Axis("tile", ("columns", "rows"), tiles), Axis("taps", ("reread_taps",), reread)


def _int8_depthwise(workload: Int8DepthwiseWorkload, target: Target, only: Choice | None) -> tuple[Axis, ...]:
    tiles = tuple(
        (columns, rows)
        for rows in _sizes(min(MAX_DEPTHWISE_ROWS, workload.height), "rows", only)
        for columns in _sizes(min(MAX_TILE_PIXELS, workload.width), "columns", only)
        if int8_depthwise_sums_fit(target, rows, columns)
    )
    return Axis("tile", ("columns", "rows"), tiles), _rereads("taps", target)


def _rereads(what: str, target: Target) -> Axis:
    """Whether they are read for every tile, where the schedule can say so."""
    return Axis(what, (f"reread_{what}",), ((False,), (True,)) if target.has("asimd") else ((False,),))


def _dense(workload: DenseWorkload, target: Target) -> Axis:
    values = tuple(
        (vectors, vectors * sums)
        for vectors in DENSE_VECTORS
        for sums in DENSE_ACCUMULATORS
        if vectors <= max(1, workload.units // target.lanes) and vectors * sums + vectors < target.registers
    )
    return Axis("sums", ("vectors", "accumulators"), values)
