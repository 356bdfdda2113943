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
from dscompile.plan.costs import ConvTile, costs_of
from dscompile.plan.int8_tiles import int8_conv_choices, int8_conv_rule, int8_depthwise_rule, int8_depthwise_sums_fit
from dscompile.plan.tiles import (
    MAX_DEPTHWISE_ROWS,
    MAX_PANEL_BLOCKS,
    MAX_TILE_PIXELS,
    conv_rule,
    conv_tiling,
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


def _with_rule(axes: Iterable[Axis], choice: Choice) -> Iterator[Axis]:
    """The axes, with what the rule takes among the values of each."""
    for axis in axes:
        values = tuple(getattr(choice, field) for field in axis.fields)
        yield Axis(axis.name, axis.fields, tuple(dict.fromkeys((*axis.values, values))))


def _axes(workload: Workload, target: Target) -> tuple[Axis, ...]:
    match workload:
        case ConvWorkload():
            return _conv(workload, target)
        case DepthwiseWorkload():
            return _depthwise(workload, target)
        case DenseWorkload():
            return (_dense(workload, target),)
        case Int8ConvWorkload():
            choices = int8_conv_choices(workload, target)
            tiles = tuple((choice.pixels, choice.panel, choice.word) for choice in choices)
            return (Axis("tile", ("pixels", "panel", "word"), tiles),)
        case Int8DepthwiseWorkload():
            return _int8_depthwise(workload, target)


def _conv(workload: ConvWorkload, target: Target) -> tuple[Axis, ...]:
    costs = costs_of(target)
    orders = ((True, False), (False, False), *(((True, True),) if costs.can_prefetch() else ()))
    steps = costs.channel_steps(workload.channels, blocked=workload.blocked)
    tiles = tuple(
        (pixels, panel)
        for panel in range(1, min(MAX_PANEL_BLOCKS, workload.blocks) + 1)
        for pixels in range(1, min(MAX_TILE_PIXELS, workload.width) + 1)
        if all(costs.fits(tile) for tile in _conv_tiles(workload, pixels, panel))
    )
    return (
        Axis("tile", ("pixels", "panel"), tiles),
        Axis("step", ("unroll_channels",), tuple((step,) for step in steps)),
        Axis("order", ("panel_outer", "prefetch"), orders),
    )


def _conv_tiles(workload: ConvWorkload, pixels: int, panel: int) -> set[ConvTile]:
    tiling = conv_tiling(workload, ConvChoice(pixels, panel))
    return {
        ConvTile(columns.tile, panels.tile, workload.channels, workload.blocked)
        for columns in tiling.columns
        for panels in tiling.blocks
    }


def _depthwise(workload: DepthwiseWorkload, target: Target) -> tuple[Axis, ...]:
    costs = costs_of(target)
    tiles = tuple(
        (columns, rows)
        for rows in range(1, min(MAX_DEPTHWISE_ROWS, workload.height) + 1)
        for columns in range(1, min(MAX_TILE_PIXELS, workload.width) + 1)
        if costs.depthwise_sums_fit(rows * columns)
    )
    reread = ((False,), (True,)) if costs.can_reread_taps() else ((False,),)
    return Axis("tile", ("columns", "rows"), tiles), Axis("taps", ("reread_taps",), reread)


def _int8_depthwise(workload: Int8DepthwiseWorkload, target: Target) -> tuple[Axis, ...]:
    tiles = tuple(
        (columns, rows)
        for rows in range(1, min(MAX_DEPTHWISE_ROWS, workload.height) + 1)
        for columns in range(1, min(MAX_TILE_PIXELS, workload.width) + 1)
        if int8_depthwise_sums_fit(target, rows, columns)
    )
    reread = ((False,), (True,)) if target.has("asimd") else ((False,),)
    return Axis("tile", ("columns", "rows"), tiles), Axis("taps", ("reread_taps",), reread)


def _dense(workload: DenseWorkload, target: Target) -> Axis:
    values = tuple(
        (vectors, vectors * sums)
        for vectors in DENSE_VECTORS
        for sums in DENSE_ACCUMULATORS
        if vectors <= max(1, workload.units // target.lanes) and vectors * sums + vectors < target.registers
    )
    return Axis("sums", ("vectors", "accumulators"), values)
