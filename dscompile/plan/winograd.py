"""3x3 convolutions by Winograd's F(4 x 4, 3 x 3): which ones, how they are cut, and their weights.

A tile of 4 x 4 outputs takes 36 multiplications for each channel and filter in place of 144
(dscompile/compute/winograd.py). Tiles that do not fill the image begin earlier and write only what is left, so nothing
outside of the image is read, and each output belongs to one tile.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dscompile.ir.network import Array, Layer, Network
from dscompile.ir.ops import Conv2D
from dscompile.ir.tensor import DTYPE_BYTES
from dscompile.plan.kernels import ELEMENT_BYTES, WINOGRAD_OUTPUTS, WINOGRAD_POSITIONS
from dscompile.plan.tiles import Span, even_cut
from dscompile.target import Target

# The points of the transforms are 0, these and their negatives, and infinity.
SMALL, LARGE = 0.5**0.5, 2.0**0.5

REGISTERS = 16  # of the targets that it was measured on: 1.6 to 3.2 times as fast there, within these bounds
PANEL_BLOCKS = 2  # of filters
MOST_TILES, FEWEST_TILES = 6, 4  # at a time: what registers hold beside a panel, what hides a multiply-add's latency
MIN_CHANNELS, MIN_FILTERS, MIN_PIXELS = 16, 16, 8
MAX_WEIGHT_BYTES = 640 * 1024  # they are read anew for every few tiles
SCRATCH_BYTES = 64 * 1024  # on the stack: transformed inputs and products of the tiles at work


def takes_winograd(network: Network, target: Target, layer: Layer) -> bool:
    """Whether a layer is a float32 convolution that is faster so, on a target where that was measured."""
    op = layer.op
    if target.multiply != "broadcast" or target.registers != REGISTERS:
        return False
    if not isinstance(op, Conv2D) or network.is_quantized_layer(layer):
        return False
    if (op.kernel, op.stride, op.dilation, op.groups) != ((3, 3), (1, 1), (1, 1), 1):
        return False
    channels, (_, height, width, filters) = network.shape(layer.inputs[0])[3], network.shape(layer.output)
    weight_bytes = WINOGRAD_POSITIONS**2 * channels * filters * DTYPE_BYTES["float32"]
    return (
        channels >= MIN_CHANNELS
        and filters >= MIN_FILTERS
        and min(height, width) >= MIN_PIXELS
        and weight_bytes <= MAX_WEIGHT_BYTES
        and tiles_at_once(channels, target.lanes) >= FEWEST_TILES
    )


def tiles_at_once(channels: int, lanes: int) -> int:
    """How many tiles are at work, so that what is kept of them has room: at most MOST_TILES."""
    blocks = -(-channels // lanes) + PANEL_BLOCKS
    tile_bytes = WINOGRAD_POSITIONS**2 * blocks * lanes * ELEMENT_BYTES
    return min(MOST_TILES, SCRATCH_BYTES // tile_bytes)


@dataclass(frozen=True)
class Tiles:
    """Tiles of a rectangle of outputs: the first begins at `row` and `column`.

    Of each, the last `rows` x `columns` outputs are wanted. `down` and `across` are the tiles, and how many of them are
    at work at a time.
    """

    row: int
    column: int
    rows: int
    columns: int
    down: Span
    across: Span


def winograd_tiles(height: int, width: int, most: int) -> Iterator[Tiles]:
    """Covers `height` x `width` outputs, 4 x 4 at least, with at most `most` tiles at a time."""
    for top, down, rows in _runs(height):
        for left, across, columns in _runs(width):
            for wide in even_cut(across, min(most, across)):
                for high in even_cut(down, min(most // wide.tile, down)):
                    row, column = top + WINOGRAD_OUTPUTS * high.start, left + WINOGRAD_OUTPUTS * wide.start
                    yield Tiles(row, column, rows, columns, high, wide)


def _runs(size: int) -> Iterator[tuple[int, int, int]]:
    """An axis as runs of tiles: where the first begins, how many they are, how many of their outputs are wanted."""
    count, rest = divmod(size, WINOGRAD_OUTPUTS)
    yield 0, count, WINOGRAD_OUTPUTS
    if rest:
        yield size - WINOGRAD_OUTPUTS, 1, rest


def transformed_weights(kernel: Array) -> Array:
    """G g G^T: [3, 3, C, N] -> [6, 6, C, N], computed in float64 and rounded once."""
    points = (0.0, SMALL, -SMALL, LARGE, -LARGE)
    matrix = np.zeros((WINOGRAD_POSITIONS, 3))
    for row, point in enumerate(points):
        scale = np.prod([point - other for other in points if other != point])
        matrix[row] = np.array([1.0, point, point * point]) / scale
    matrix[-1, -1] = 1.0
    transformed: Array = np.einsum("ir,jq,rqcn->ijcn", matrix, matrix, kernel.astype(np.float64)).astype(np.float32)
    return transformed
