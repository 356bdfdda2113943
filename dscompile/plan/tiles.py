"""Tiles: how the work of a kernel is cut so that every piece divides evenly, and which knobs each piece gets.

A layer becomes a few kernels over sub-views: full tiles, and what is left over at the right edge or in the last
channels. A choice says how wide the tiles are; the rule for it is analytical, the cheapest by the target's model
(plan/costs.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from dscompile.ir.tensor import DTYPE_BYTES
from dscompile.plan.choices import ConvChoice, DenseChoice, DepthwiseChoice
from dscompile.plan.costs import ConvTile, costs_of
from dscompile.plan.knobs import DenseKnobs, DepthwiseKnobs, TileKnobs
from dscompile.plan.workloads import ConvWorkload, DenseWorkload, DepthwiseWorkload
from dscompile.target import Target

MAX_PANEL_BLOCKS = 4
FAR_IMAGE = 4  # second-level caches; smaller images are read fast enough from the third
MIN_PASSES = 3  # over an image, from which on reading it from near pays
MAX_TILE_PIXELS = 28
MAX_DEPTHWISE_ROWS = 4


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
    unroll_channels: int = 1
    panel_outer: bool = True
    prefetch: bool = False

    def knobs(self, columns: Span) -> TileKnobs:
        """Knobs of the kernel that covers `columns`."""
        return TileKnobs(columns.tile, self.unroll_channels, self.panel_outer, self.prefetch)


def cut(size: int, tile: int) -> tuple[Span, ...]:
    """`size` as full tiles and one smaller rest."""
    count, rest = divmod(size, tile)
    spans = [Span(0, count, tile)] if count else []
    return (*spans, Span(count * tile, 1, rest)) if rest else tuple(spans)


def even_cut(size: int, tile: int) -> tuple[Span, ...]:
    """`size` as the fewest tiles of at most `tile`, as even as can be: some of one size, then some of one less."""
    count = -(-size // tile)
    less, larger = divmod(size, count)
    spans = [Span(0, larger, less + 1)] if larger else []
    return (*spans, Span(larger * (less + 1), count - larger, less))


def conv_tiling(workload: ConvWorkload, choice: ConvChoice) -> ConvTiling:
    """The cut that a choice stands for."""
    columns, blocks = cut(workload.width, choice.pixels), cut(workload.blocks, choice.panel)
    return ConvTiling(columns, blocks, choice.unroll_channels, choice.panel_outer, choice.prefetch)


@dataclass(frozen=True)
class Piece:
    """Pixels that all panels of a convolution pass over before the next piece: `rows` from `row`, runs of columns."""

    row: int
    rows: int
    columns: tuple[Span, ...]


def conv_pieces(workload: ConvWorkload, choice: ConvChoice, target: Target) -> Iterator[Piece]:
    """The whole image; one far larger than the second-level cache in pieces that stay there, if its weights do too."""
    rows, width = _near_pixels(workload, choice, target)
    for band in cut(workload.height, rows):
        for row in range(band.start, band.start + band.size, band.tile):
            for run in cut(workload.width, width):
                for start in range(run.start, run.start + run.size, run.tile):
                    spans = cut(run.tile, choice.pixels)
                    yield Piece(row, band.tile, tuple(Span(start + s.start, s.count, s.tile) for s in spans))


def _near_pixels(workload: ConvWorkload, choice: ConvChoice, target: Target) -> tuple[int, int]:
    """Rows and columns of a piece."""
    height, width, near = workload.height, workload.width, target.caches.l2_bytes
    pixel_bytes = workload.channels * DTYPE_BYTES["float32"]
    passes = -(-workload.blocks // choice.panel) if choice.panel_outer else 1
    is_far = height * width * pixel_bytes >= FAR_IMAGE * near > 0
    if workload.kernel != (1, 1) or passes < MIN_PASSES or not is_far:
        return height, width
    if _weight_bytes(workload, target) > near // 4:
        return height, width
    room = near // 2 // pixel_bytes
    if height > 1:
        return max(1, room // width), width
    return 1, max(1, room // choice.pixels) * choice.pixels


def conv_tiles(workload: ConvWorkload, choice: ConvChoice) -> list[tuple[int, ConvTile]]:
    """The register tiles of one row of a choice, and how many there are of each."""
    tiling, depth, blocked = conv_tiling(workload, choice), workload.channels, workload.blocked
    return [
        (columns.count * panels.count, ConvTile(columns.tile, panels.tile, depth, blocked))
        for columns in tiling.columns
        for panels in tiling.blocks
    ]


def conv_cost(workload: ConvWorkload, choice: ConvChoice, target: Target) -> float:
    """What a choice costs by the target's model, for one tap. Of it, only the tile counts."""
    costs = costs_of(target)
    passes = len(cut(workload.width, choice.pixels))
    tiles = sum(count * costs.conv(tile) for count, tile in conv_tiles(workload, choice))
    return passes * costs.conv_pass(_weight_bytes(workload, target)) + workload.height * tiles


def _weight_bytes(workload: ConvWorkload, target: Target) -> int:
    """Of one tap."""
    return workload.channels * workload.blocks * target.vector_bytes


@lru_cache(maxsize=4096)
def conv_rule(workload: ConvWorkload, target: Target) -> ConvChoice:
    """The cheapest cut by the target's model. Raises ValueError if the target has no registers for any."""
    costs = costs_of(target)
    step = costs.channel_step(workload.channels, blocked=workload.blocked)
    prefetch = costs.prefetches(_weight_bytes(workload, target))
    best: tuple[float, ConvChoice] | None = None
    for panel in range(1, min(MAX_PANEL_BLOCKS, workload.blocks) + 1):
        for pixels in range(1, min(MAX_TILE_PIXELS, workload.width) + 1):
            choice = ConvChoice(pixels, panel, step, prefetch=prefetch)
            if not all(costs.fits(tile) for _, tile in conv_tiles(workload, choice)):
                continue
            cost = conv_cost(workload, choice, target)
            if best is None or cost < best[0]:
                best = (cost, choice)
    if best is None:
        raise ValueError(f"target {target.name} has no registers for a tile")
    return best[1]


@dataclass(frozen=True)
class DepthwiseTile:
    """A rectangle of outputs and the knobs that tile it."""

    rows: Span
    columns: Span
    knobs: DepthwiseKnobs


def depthwise_tiling(workload: DepthwiseWorkload, choice: DepthwiseChoice, target: Target) -> tuple[DepthwiseTile, ...]:
    """Rectangles that cover all outputs, each with knobs that divide it; smaller ones at the edges go by the model."""
    costs = costs_of(target)
    return tuple(
        DepthwiseTile(rows, columns, choice)
        if (rows.tile, columns.tile) == (choice.rows, choice.columns)
        else DepthwiseTile(
            rows, columns, costs.depthwise_knobs(rows.tile, columns.tile, workload.kernel, workload.stride)
        )
        for rows in cut(workload.height, choice.rows)
        for columns in cut(workload.width, choice.columns)
    )


def depthwise_cost(workload: DepthwiseWorkload, choice: DepthwiseChoice, target: Target) -> float:
    """What a choice costs by the target's model. Of it, only the tile counts."""
    costs, kernel, stride = costs_of(target), workload.kernel, workload.stride
    return sum(
        tile.rows.count * tile.columns.count * costs.depthwise(tile.rows.tile, tile.columns.tile, kernel, stride)
        for tile in depthwise_tiling(workload, choice, target)
    )


@lru_cache(maxsize=4096)
def depthwise_rule(workload: DepthwiseWorkload, target: Target) -> DepthwiseChoice:
    """The cheapest set of rectangles by the target's model."""
    costs = costs_of(target)
    kernel, stride = workload.kernel, workload.stride
    best: tuple[float, DepthwiseChoice] | None = None
    for rows in range(1, min(MAX_DEPTHWISE_ROWS, workload.height) + 1):
        for columns in range(1, min(MAX_TILE_PIXELS, workload.width) + 1):
            choice = costs.depthwise_knobs(rows, columns, kernel, stride)
            tiles = depthwise_tiling(workload, choice, target)
            if not all(costs.depthwise_fits(t.rows.tile, t.columns.tile, kernel, stride) for t in tiles):
                continue
            cost = depthwise_cost(workload, choice, target)
            if best is None or cost < best[0]:
                best = (cost, choice)
    assert best is not None
    return best[1]


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
# Weights that come from memory come faster from three places at once, measured on Zen 3: from one, two, four and eight,
# with 8 accumulators in all, they took 1.3, 1.07, 1.11 and 1.1 times as long.
STREAMED_VECTORS, STREAMED_ACCUMULATORS = 4, 12


def dense_rule(workload: DenseWorkload, target: Target) -> DenseChoice:
    """Enough sums to hide the latency of a multiply-add."""
    if _streams_panels(target):
        return DenseChoice(STREAMED_VECTORS, STREAMED_ACCUMULATORS)
    return DenseChoice(MAX_DENSE_VECTORS, DENSE_ACCUMULATORS)


def _streams_panels(target: Target) -> bool:
    """Whether dense layers of the target go through several panels at once."""
    return target.multiply == "broadcast"


def dense_panels(workload: DenseWorkload, choice: DenseChoice, target: Target) -> tuple[DensePanels, ...]:
    """Panels of a matrix-vector product: wide ones, then narrower vectors for the rest; nothing is padded."""
    most_streams = choice.accumulators if _streams_panels(target) else 1
    return tuple(_dense_panels(target.lanes, workload, choice, most_streams))


def _dense_panels(lanes: int, workload: DenseWorkload, choice: DenseChoice, most_streams: int) -> Iterator[DensePanels]:
    start, units = 0, workload.units
    while lanes >= 1 and start < units:
        vectors = (units - start) // lanes
        for width in _powers_below(min(choice.vectors, vectors)):
            count, sums = (units - start) // (width * lanes), max(1, choice.accumulators // width)
            while count:
                streams = min(count, sums, most_streams)
                whole = count // streams * streams
                parts = 1 if streams > 1 else _partial_sums(workload.channels, sums)
                yield DensePanels(start, whole * width * lanes, width * lanes, lanes, DenseKnobs(parts, streams))
                start += whole * width * lanes
                count -= whole
        lanes //= 2


def _powers_below(limit: int) -> Iterator[int]:
    power = 1 << max(0, limit.bit_length() - 1)
    while power >= 1 and limit:
        yield power
        power //= 2


def _partial_sums(channels: int, wanted: int) -> int:
    """The largest number of interleaved sums up to `wanted` that divides `channels`."""
    return next((n for n in range(min(wanted, channels), 1, -1) if channels % n == 0), 1)
