"""Tiles of int8 kernels: the spill rule of plan/tiles.py for int32 sums, several registers to a block of channels."""

from __future__ import annotations

from functools import lru_cache

from dscompile.plan.knobs import DepthwiseKnobs
from dscompile.plan.tiles import ConvTiling, DepthwiseTile, Span, cut
from dscompile.target import Target

_MAX_PANEL_BLOCKS = 4
_MAX_PIXELS = 28
_TILE_OVERHEAD = 24  # issue slots for addresses, accumulators zeroed, and the loop itself
_REQUANTIZATION = 8  # instructions for a vector of sums


def registers_per_block(target: Target) -> int:
    """Vector registers that the int32 sums of a block of int8 channels take."""
    return -(-target.int8_lanes * 4 // target.vector_bytes)


@lru_cache(maxsize=4096)
def int8_conv_tiling(target: Target, height: int, width: int, blocks: int, words: int) -> ConvTiling:
    """The cheapest cut of height x width pixels and `blocks` blocks of channels with `words` words per sum.

    Counted in instructions: each word takes one for every register of sums, its weights and its pixels one load each.
    """
    per_block = registers_per_block(target)
    best: tuple[float, ConvTiling] | None = None
    for panel in range(1, min(_MAX_PANEL_BLOCKS, blocks) + 1):
        for pixels in range(1, min(_MAX_PIXELS, width) + 1):
            weights = panel * per_block
            if pixels * weights + weights + 1 > target.registers and (panel, pixels) != (1, 1):
                break
            columns, panels = cut(width, pixels), cut(blocks, panel)
            instructions = height * sum(
                c.count * p.count * _tile_instructions(c.tile, p.tile * per_block, words)
                for c in columns
                for p in panels
            )
            if best is None or instructions < best[0]:
                best = (instructions, ConvTiling(columns, panels))
    assert best is not None
    return best[1]


def _tile_instructions(pixels: int, registers: int, words: int) -> float:
    return words * (pixels * registers + pixels + registers) + pixels * registers * _REQUANTIZATION + _TILE_OVERHEAD


@lru_cache(maxsize=4096)
def int8_depthwise_tiling(target: Target, height: int, width: int) -> tuple[DepthwiseTile, ...]:
    """Runs of columns that cover height x width outputs: as wide as half the registers hold sums for, evenly."""
    most = max(1, target.registers // 2 // registers_per_block(target))
    tiles = -(-width // most)
    rows = Span(0, height, 1)
    return tuple(DepthwiseTile(rows, c, DepthwiseKnobs(c.tile)) for c in cut(width, -(-width // tiles)))


def dense_panel_blocks(blocks: int) -> int:
    """Blocks of units that a dense layer sums at once: as many as divide its blocks."""
    return next(panel for panel in range(min(_MAX_PANEL_BLOCKS, blocks), 0, -1) if blocks % panel == 0)
