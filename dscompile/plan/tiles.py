"""Tiles: how the work of a kernel is cut so that every piece divides evenly, and which knobs each piece gets.

A layer becomes a few kernels over sub-views: full tiles, and what is left over at the right edge or in the last
channels. The choice is analytical: cycles of the inner loop by its multiply-adds, loads and latency.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from dscompile.plan.knobs import DenseKnobs, DepthwiseKnobs, TileKnobs
from dscompile.target import Target

LOADS_PER_CYCLE = 1.5  # of two ports; broadcasts that cross with vector loads lose a quarter, measured
ISSUE_PER_CYCLE = 4
L2_BYTES_PER_CYCLE = 24  # sustained, measured on Skylake-SP with a neighbouring core at work
MEMORY_BYTES_PER_CYCLE = 6  # weights from the last-level cache, measured there too
# Shares of these transfers that out-of-order execution does not hide behind multiply-adds (fitted to MobileNetV1/V2
# layers of 7x7 and 14x14 on Skylake-SP, tiles of 7 to 25 pixels and 1 to 3 vectors).
PREFETCHED_WEIGHT_BYTES = 96 * 1024  # from here on fetching the next panel early pays, measured
EXPOSED_L2 = 0.2
EXPOSED_MEMORY = 0.3
TILE_OVERHEAD_CYCLES = 24  # addresses, accumulators zeroed and stored
MAX_PANEL_BLOCKS = 4
MAX_TILE_PIXELS = 28
MAX_DEPTHWISE_TILE = 14  # 16 accumulators and the hoisted taps spill, even of 32 registers


@dataclass(frozen=True)
class Span:
    """A run of equal tiles along an axis: `count` tiles of `tile` from `start`."""

    start: int
    count: int
    tile: int

    @property
    def size(self) -> int:
        """Elements covered."""
        return self.count * self.tile


@dataclass(frozen=True)
class ConvTiling:
    """How a convolution is cut: runs of tiles of pixels, runs of panels of channel blocks."""

    columns: tuple[Span, ...]
    blocks: tuple[Span, ...]
    panel_outer: bool = True
    prefetch: bool = False

    def knobs(self, columns: Span) -> TileKnobs:
        """Knobs of the kernel that covers `columns`."""
        return TileKnobs(columns.tile, panel_outer=self.panel_outer, prefetch=self.prefetch)


def cut(size: int, tile: int) -> tuple[Span, ...]:
    """`size` as full tiles and one smaller rest."""
    count, rest = divmod(size, tile)
    spans = [Span(0, count, tile)] if count else []
    return (*spans, Span(count * tile, 1, rest)) if rest else tuple(spans)


@lru_cache(maxsize=4096)
def conv_tiling(target: Target, height: int, width: int, blocks: int, depth: int) -> ConvTiling:
    """The cheapest cut of height x width pixels and `blocks` output blocks at `depth` products per output."""
    best: tuple[float, ConvTiling] | None = None
    for panel in range(1, min(MAX_PANEL_BLOCKS, blocks) + 1):
        for pixels in range(1, min(MAX_TILE_PIXELS, width) + 1):
            if not _fits(target, pixels, panel):
                break
            columns, panels = cut(width, pixels), cut(blocks, panel)
            weights = depth * blocks * target.vector_bytes
            cycles = len(columns) * EXPOSED_MEMORY * weights / MEMORY_BYTES_PER_CYCLE + height * sum(
                c.count * p.count * _tile_cycles(target, c.tile, p.tile, depth) for c in columns for p in panels
            )
            if best is None or cycles < best[0]:
                best = (cycles, ConvTiling(columns, panels, prefetch=weights >= PREFETCHED_WEIGHT_BYTES))
    if best is None:
        raise ValueError(f"target {target.name} has no registers for a tile")
    return best[1]


def _fits(target: Target, pixels: int, panel: int) -> bool:
    """The spill rule: accumulators, one register per weight vector and one broadcast."""
    return pixels * panel + panel + 1 <= target.registers


def _tile_cycles(target: Target, pixels: int, panel: int, depth: int) -> float:
    """Cycles of one register tile over `depth` input channels."""
    products = pixels * panel
    chains = target.fma_latency * target.fma_per_cycle / products  # above 1, the adds wait for each other
    multiply = products / target.fma_per_cycle + chains
    loads = (pixels + panel) / LOADS_PER_CYCLE
    broadcasts = pixels if panel > 1 else 0
    issue = (products + panel + broadcasts) / ISSUE_PER_CYCLE
    footprint = depth * (
        panel * target.vector_bytes + pixels * 4
    )  # bytes of weights and inputs that a tile passes over
    stream = footprint / depth / L2_BYTES_PER_CYCLE if footprint > target.caches.l1d_bytes else 0.0
    bound = max(multiply, loads, issue, stream)
    return depth * (bound + EXPOSED_L2 * stream) + TILE_OVERHEAD_CYCLES + products


@lru_cache(maxsize=4096)
def depthwise_tiling(target: Target, height: int, width: int, kernel: tuple[int, int]) -> tuple[DepthwiseTile, ...]:
    """Rectangles that cover height x width outputs, each with knobs that divide it; the cheapest set of them."""
    taps = kernel[0] * kernel[1]
    limit = min(MAX_DEPTHWISE_TILE, target.registers // 2)
    best: tuple[float, tuple[DepthwiseTile, ...]] | None = None
    for rows in (1, 2, 3, 4):
        for columns in range(1, min(width, limit // rows) + 1):
            if rows > height:
                continue
            tiles = tuple(
                DepthwiseTile(r, c, DepthwiseKnobs(c.tile, r.tile))
                for r in cut(height, rows)
                for c in cut(width, columns)
            )
            cycles = sum(t.rows.count * t.columns.count * _depthwise_cycles(target, t, kernel, taps) for t in tiles)
            if best is None or cycles < best[0]:
                best = (cycles, tiles)
    assert best is not None
    return best[1]


@dataclass(frozen=True)
class DepthwiseTile:
    """A rectangle of outputs and the knobs that tile it."""

    rows: Span
    columns: Span
    knobs: DepthwiseKnobs


def _depthwise_cycles(target: Target, tile: DepthwiseTile, kernel: tuple[int, int], taps: int) -> float:
    """Cycles of one tile: its multiply-adds against its loads (inputs once per row of taps, weights once)."""
    rows, columns = tile.rows.tile, tile.columns.tile
    outputs = rows * columns
    multiply = max(outputs / target.fma_per_cycle, float(target.fma_latency)) * taps
    loads = ((rows + kernel[0] - 1) * columns * kernel[1] + taps) / LOADS_PER_CYCLE
    return max(multiply, loads) + outputs + TILE_OVERHEAD_CYCLES / 2


@dataclass(frozen=True)
class DensePanels:
    """A run of panels of a dense layer: `units` from `start`, `panel` wide, in vectors of `lanes`."""

    start: int
    units: int
    panel: int
    lanes: int
    knobs: DenseKnobs


MAX_DENSE_VECTORS = 8
DENSE_ACCUMULATORS = 8  # enough to hide the latency of two multiply-adds a cycle


def dense_panels(target: Target, channels: int, units: int) -> tuple[DensePanels, ...]:
    """Panels of a matrix-vector product: wide ones, then narrower vectors for the rest; nothing is padded."""
    return tuple(_dense_panels(target.lanes, channels, units))


def _dense_panels(lanes: int, channels: int, units: int) -> Iterator[DensePanels]:
    start = 0
    while lanes >= 1 and start < units:
        vectors = (units - start) // lanes
        for width in _powers_below(min(MAX_DENSE_VECTORS, vectors)):
            count = (units - start) // (width * lanes)
            if count:
                sums = _partial_sums(channels, DENSE_ACCUMULATORS // width)
                yield DensePanels(start, count * width * lanes, width * lanes, lanes, DenseKnobs(sums))
                start += count * width * lanes
        lanes //= 2


def _powers_below(limit: int) -> Iterator[int]:
    power = 1 << max(0, limit.bit_length() - 1)
    while power >= 1 and limit:
        yield power
        power //= 2


def _partial_sums(channels: int, wanted: int) -> int:
    """The largest number of interleaved sums up to `wanted` that divides `channels`."""
    return next((n for n in range(min(wanted, channels), 1, -1) if channels % n == 0), 1)
