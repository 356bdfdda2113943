"""Images between a depthwise layer and the pointwise one that reads them: rows cut into tiles of pixels.

A pointwise layer reads all channels of a few pixels before it goes on. In a blocked image these are one vector from
each of many planes, far from each other: every one is another page, and no prefetcher sees a pattern. Here all channels
of a tile lie together, [H][tiles][C / lanes][TILE_PIXELS][lanes]. The depthwise layer writes them so, at no cost; a
pass of its own would take as long as is won.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from dscompile.ir.network import Network
from dscompile.ir.ops import Conv2D, Pads, Pair
from dscompile.plan.bands import Segment
from dscompile.plan.choices import ConvChoice
from dscompile.plan.costs import costs_of
from dscompile.plan.fusion import Work
from dscompile.plan.layout import TileStrides
from dscompile.plan.program import Operand
from dscompile.plan.storage import Halos, Store
from dscompile.plan.tiles import ConvTiling, DepthwiseTile, Piece, Span, conv_pieces, cut, even_cut
from dscompile.plan.workloads import ConvWorkload
from dscompile.target import Target

TILE_PIXELS, PANEL_BLOCKS = 4, 3  # 12 sums, 3 vectors of weights and a pixel: 16 registers
REGISTERS = 16  # of the targets that this was measured on
MIN_CHANNELS = 128  # with fewer, planes are few, and read as fast


@dataclass(frozen=True)
class RowTiles:
    """The layout of an image in tiles. Those of a row are of TILE_PIXELS, the last ones of one less, in equal room."""

    height: int
    width: int
    blocks: int
    lanes: int

    @property
    def columns(self) -> tuple[Span, ...]:
        """The tiles of a row."""
        return even_cut(self.width, TILE_PIXELS)

    @property
    def elements(self) -> int:
        """Elements of the buffer."""
        return self.height * self.strides(TILE_PIXELS).row

    def strides(self, pixels: int) -> TileStrides:
        """Of its tiles of so many pixels."""
        block = TILE_PIXELS * self.lanes
        tile = self.blocks * block
        return TileStrides(block, -(-self.width // TILE_PIXELS) * tile, tile, self.lanes, pixels)

    def offset(self, row: int, span: Span) -> int:
        """Elements from the start of the buffer to the first of a run of tiles."""
        strides = self.strides(span.tile)
        before = sum(other.count for other in self.columns if other.start < span.start)
        return row * strides.row + before * strides.tile


@dataclass(frozen=True)
class TiledView:
    """An image in tiles, alone in a store."""

    store: Store
    layout: RowTiles

    def at(self, row: int, span: Span) -> Operand:
        """Pointer to the first of a run of tiles in a row."""
        return Operand("arena", self.store.name, self.layout.offset(row, span) * self.store.element_bytes)


def tiled_images(network: Network, target: Target, segments: Sequence[Segment], halos: Halos) -> frozenset[str]:
    """Results of float32 depthwise layers of which a pointwise one is the only reader, where tiles pay.

    Of both, all rows are computed at once: in bands, images are near anyway.
    """
    if target.multiply != "broadcast" or target.registers != REGISTERS:
        return frozenset()
    alone = {segment.work[0].layer.name: segment.work[0] for segment in segments if len(segment.work) == 1}
    return frozenset(
        work.result
        for work in alone.values()
        if _writes_tiles(network, target, work, halos)
        and len(network.consumers[work.result]) == 1
        and _reads_tiles(network, alone.get(network.consumers[work.result][0].name), work.result)
    )


def _writes_tiles(network: Network, target: Target, work: Work, halos: Halos) -> bool:
    op, name = work.layer.op, work.result
    if not isinstance(op, Conv2D) or network.is_quantized_layer(work.layer) or work.residual is not None:
        return False
    channels = network.shape(work.layer.inputs[0])[3]
    _, height, width, made = network.shape(name)
    return (
        op.is_depthwise(channels)
        and made == channels >= MIN_CHANNELS
        and channels % target.lanes == 0
        and min(height, width) >= TILE_PIXELS
        and name not in network.outputs
        and halos.get(name) == Pads()
    )


def _reads_tiles(network: Network, work: Work | None, name: str) -> bool:
    if work is None or work.scale is not None or work.layer.inputs != (name,):
        return False
    op = work.layer.op
    return isinstance(op, Conv2D) and op.is_pointwise and op.groups == 1 and not op.pads


def tiled_conv(workload: ConvWorkload, target: Target) -> tuple[ConvTiling, Iterator[Piece]]:
    """How a pointwise layer that reads tiles is cut, and the pieces that all its panels pass over."""
    choice = ConvChoice(TILE_PIXELS, PANEL_BLOCKS)
    columns = even_cut(workload.width, TILE_PIXELS)
    prefetch = costs_of(target).prefetches(workload.channels * workload.blocks * target.vector_bytes)
    tiling = ConvTiling(columns, even_cut(workload.blocks, PANEL_BLOCKS), prefetch=prefetch)
    return tiling, (replace(piece, columns=columns) for piece in conv_pieces(workload, choice, target))


def tiled_depthwise(layout: RowTiles, rows: int, kernel: Pair, stride: Pair, target: Target) -> Iterator[DepthwiseTile]:
    """Rectangles that cover `rows` rows of an image in tiles: as many rows at a time as the model takes."""
    costs = costs_of(target)
    fitting = [high for high in range(1, rows + 1) if costs.depthwise_fits(high, TILE_PIXELS, kernel, stride)]
    best = min(fitting, key=lambda high: costs.depthwise(high, TILE_PIXELS, kernel, stride) / high)
    for run in cut(rows, best):
        for columns in layout.columns:
            yield DepthwiseTile(run, columns, costs.depthwise_knobs(run.tile, columns.tile, kernel, stride))
