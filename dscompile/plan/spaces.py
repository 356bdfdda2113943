"""Spaces: every choice that a layer's schedules take. What a tuner samples, and what a record may say.

No point of a space is invalid: knobs divide what they tile, and the sums of a tile stay in registers.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from dscompile.plan.choices import Choice, ConvChoice, DenseChoice, DepthwiseChoice
from dscompile.plan.costs import ConvTile, costs_of
from dscompile.plan.int8_tiles import int8_conv_choices, int8_conv_rule, int8_depthwise_choices, int8_depthwise_rule
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
DENSE_SUMS = (1, 2, 4, 8, 16)


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
def space(workload: Workload, target: Target) -> tuple[Choice, ...]:
    """All choices, that of the rule first, each once and always in the same order."""
    first = rule(workload, target)
    return tuple(dict.fromkeys((first, *_all(workload, target))))


def _all(workload: Workload, target: Target) -> Iterator[Choice]:
    match workload:
        case ConvWorkload():
            yield from _conv(workload, target)
        case DepthwiseWorkload():
            yield from _depthwise(workload, target)
        case DenseWorkload():
            yield from _dense(workload, target)
        case Int8ConvWorkload():
            yield from int8_conv_choices(workload, target)
        case Int8DepthwiseWorkload():
            yield from int8_depthwise_choices(workload, target)


def _conv(workload: ConvWorkload, target: Target) -> Iterator[ConvChoice]:
    costs = costs_of(target)
    orders = [(True, False), (False, False), *([(True, True)] if costs.can_prefetch() else [])]
    steps = costs.channel_steps(workload.channels, blocked=workload.blocked)
    for panel in range(1, min(MAX_PANEL_BLOCKS, workload.blocks) + 1):
        for pixels in range(1, min(MAX_TILE_PIXELS, workload.width) + 1):
            tiling = conv_tiling(workload, ConvChoice(pixels, panel))
            tiles = {
                ConvTile(c.tile, p.tile, workload.channels, workload.blocked)
                for c in tiling.columns
                for p in tiling.blocks
            }
            if all(costs.fits(tile) for tile in tiles):
                for step in steps:
                    for panel_outer, prefetch in orders:
                        yield ConvChoice(pixels, panel, step, panel_outer, prefetch)


def _depthwise(workload: DepthwiseWorkload, target: Target) -> Iterator[DepthwiseChoice]:
    costs = costs_of(target)
    for rows in range(1, min(MAX_DEPTHWISE_ROWS, workload.height) + 1):
        for columns in range(1, min(MAX_TILE_PIXELS, workload.width) + 1):
            yield from costs.depthwise_space(rows, columns)


def _dense(workload: DenseWorkload, target: Target) -> Iterator[DenseChoice]:
    for vectors in DENSE_VECTORS:
        for sums in DENSE_SUMS:
            if vectors <= max(1, workload.units // target.lanes) and vectors * sums + vectors < target.registers:
                yield DenseChoice(vectors, vectors * sums)
