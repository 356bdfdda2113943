"""Images between a depthwise layer and the pointwise one that reads them: rows cut into tiles of pixels.

A pointwise layer reads all channels of a few pixels before it goes on. In a blocked image these are one vector from
each of many planes, far from each other: every one is another page, and no prefetcher sees a pattern. Here all channels
of a tile lie together, [H][tiles][C / lanes][pixels][lanes]. The depthwise layer writes them so; a pass of its own
would take as long as is won (docs/x86-speed.md).
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field, replace

from dscompile.ir.network import Network
from dscompile.ir.ops import Conv2D, Pads, Pair
from dscompile.plan.bands import BAND_SHARE, Segment, rows_that_divide, weight_bytes
from dscompile.plan.choices import ConvChoice
from dscompile.plan.costs import costs_of
from dscompile.plan.fusion import Work
from dscompile.plan.layout import TileStrides
from dscompile.plan.program import Operand
from dscompile.plan.storage import Halos, RowOrigin, Store
from dscompile.plan.tiles import FAR_IMAGE, ConvTiling, DepthwiseTile, Piece, Span, conv_pieces, cut, even_cut
from dscompile.plan.workloads import ConvWorkload
from dscompile.target import Target

REGISTERS = 16  # of the targets that this was measured on
PANELS = {4: 3, 5: 2}  # pixels of a tile -> blocks of filters that fill the registers beside them
# How fast tiles of so many pixels and blocks are, measured on Zen 3: those of three pixels where weights come from far
# away, panels of two blocks with what their passes over the image cost.
RATES = {(4, 3): 1.0, (3, 3): 0.93, (5, 2): 0.985, (4, 2): 0.97, (3, 2): 0.76}
# Below, nothing is won: an image that few panels read is read from far away few times, and rows of 7 are half rest.
MIN_FILTERS, MIN_CHANNELS, MIN_PIXELS = 128, 32, 8


@dataclass(frozen=True)
class RowTiles:
    """The layout of an image in tiles of `pixels`; the last ones of a row are of one less, in equal room.

    Rows are of MIN_PIXELS or more.
    """

    height: int
    width: int
    blocks: int
    lanes: int
    pixels: int

    @classmethod
    def of(cls, height: int, width: int, blocks: int, lanes: int) -> RowTiles:
        """With the tiles that are fastest for such rows."""
        return cls(height, width, blocks, lanes, min(PANELS, key=lambda pixels: _cost(width, pixels)))

    @property
    def columns(self) -> tuple[Span, ...]:
        """The tiles of a row."""
        return even_cut(self.width, self.pixels)

    @property
    def elements(self) -> int:
        """Elements of the buffer."""
        return self.height * self.strides(self.pixels).row

    def strides(self, pixels: int) -> TileStrides:
        """Of its tiles of so many pixels."""
        block = self.pixels * self.lanes
        tile = self.blocks * block
        return TileStrides(block, -(-self.width // self.pixels) * tile, tile, self.lanes, pixels)

    def offset(self, row: int, span: Span) -> int:
        """Elements from the start of the buffer to the first of a run of tiles."""
        strides = self.strides(span.tile)
        before = sum(other.count for other in self.columns if other.start < span.start)
        return row * strides.row + before * strides.tile


def _cost(width: int, pixels: int) -> float:
    """Of a row."""
    return sum(span.size / RATES[span.tile, PANELS[pixels]] for span in even_cut(width, pixels))


@dataclass(frozen=True)
class TiledView:
    """An image in tiles, or those of its rows from `origin.row` on that the layout has, alone in a store."""

    store: Store
    layout: RowTiles
    origin: RowOrigin = field(default_factory=RowOrigin)

    def at(self, row: int, span: Span) -> Operand:
        """Pointer to the first of a run of tiles in a row of the image."""
        elements = self.layout.offset(row - self.origin.row, span)
        return Operand("arena", self.store.name, elements * self.store.element_bytes)


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


def tiled_in_bands(
    network: Network, target: Target, segments: Sequence[Segment], tiled: Container[str]
) -> tuple[Segment, ...]:
    """The segments, with the two layers around a far image in tiles in one: some rows at a time, while they are near.

    Not where the pointwise layer's weights are as large, which every band reads again.
    """
    joined: list[Segment] = []
    for segment in segments:
        last = joined[-1].work[-1].result if joined else ""
        rows = 0
        if last in tiled and last in segment.work[0].layer.inputs:
            rows = _rows_at_a_time(network, target, last, segment.work[0])
        if rows:
            joined[-1] = Segment((*joined[-1].work, *segment.work), rows)
        else:
            joined.append(segment)
    return tuple(joined)


def _rows_at_a_time(network: Network, target: Target, name: str, reader: Work) -> int:
    """Rows of an image in tiles that are made and read before the next ones; 0: all."""
    image, near = network.tensor(name), target.caches.l2_bytes
    height = image.shape[1]
    if not weight_bytes(network, reader) <= FAR_IMAGE * near <= image.size_bytes:
        return 0
    return rows_that_divide(height, int(BAND_SHARE * near * height) // image.size_bytes)


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
        and min(height, width) >= MIN_PIXELS
        and name not in network.outputs
        and halos.get(name) == Pads()
    )


def _reads_tiles(network: Network, work: Work | None, name: str) -> bool:
    if work is None or work.scale is not None or work.layer.inputs != (name,):
        return False
    op = work.layer.op
    return isinstance(op, Conv2D) and op.is_pointwise and op.out_channels >= MIN_FILTERS


def tiled_conv(workload: ConvWorkload, layout: RowTiles, target: Target) -> tuple[ConvTiling, Iterator[Piece]]:
    """How a pointwise layer that reads tiles is cut, and the pieces that all its panels pass over."""
    panel, columns = PANELS[layout.pixels], layout.columns
    prefetch = costs_of(target).prefetches(workload.channels * workload.blocks * target.vector_bytes)
    tiling = ConvTiling(columns, even_cut(workload.blocks, panel), prefetch=prefetch)
    pieces = conv_pieces(workload, ConvChoice(layout.pixels, panel), target)
    return tiling, (replace(piece, columns=columns) for piece in pieces)


def tiled_depthwise(layout: RowTiles, rows: int, kernel: Pair, stride: Pair, target: Target) -> Iterator[DepthwiseTile]:
    """Rectangles that cover `rows` rows of an image in tiles: as many rows at a time as the model takes."""
    costs = costs_of(target)
    pixels = layout.pixels
    fitting = [high for high in range(1, rows + 1) if costs.depthwise_fits(high, pixels, kernel, stride)]
    best = min(fitting, key=lambda high: costs.depthwise(high, pixels, kernel, stride) / high)
    for run in cut(rows, best):
        for columns in layout.columns:
            yield DepthwiseTile(run, columns, costs.depthwise_knobs(run.tile, columns.tile, kernel, stride))
