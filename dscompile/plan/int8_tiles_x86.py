"""Int8 tiles for x86: counted in cycles, by the units that each instruction takes (docs/decisions/x86-int8.md).

A kernel covers all columns and cuts off its edges itself: what it makes of its pixels serves all tiles and panels.
"""

from __future__ import annotations

from collections.abc import Iterator

from dscompile.ir.ops import Pair
from dscompile.plan.choices import DepthwiseChoice, Int8ConvChoice
from dscompile.plan.int8_kernels import Int8ConvKernel
from dscompile.plan.tiles import MAX_DEPTHWISE_ROWS, cut
from dscompile.plan.workloads import Int8ConvWorkload, Int8DepthwiseWorkload
from dscompile.target import Target

RUN_BYTES = 6 << 10  # of pixels made ready: longer runs are as fast, and share worse among threads
STACK_BYTES = 64 << 10
BYTES_OF_WORD = 4  # as it is broadcast
MAX_PIXELS, MAX_PANEL_VECTORS = 14, 4
DEPTHWISE_COLUMNS = 7
DENSE_VECTORS = (8, 4, 2, 1)
# Instructions at the edges of a tile: addresses and loops; requantization and a share of packing for one vector.
TILE, FINISH = 12.0, 5.0
VECTOR_ISSUE, MULTIPLIES, LOADS = 3.2, 2.0, 1.6  # each cycle, measured on Zen 3


def int8_word(target: Target) -> int:
    """Input channels that are multiplied and summed by one instruction: VPDPBUSD takes 4, VPMADDWD 2."""
    return 4 if target.has("avx512_vnni") else 2


def run_of_tiles(kernel: Int8ConvKernel, pixels: int) -> int:
    """Outputs of a row whose pixels are made ready at once: whole tiles, as many as fit."""
    return max(1, RUN_BYTES // (_column_bytes(kernel) * kernel.stride[1] * pixels)) * pixels


def fits_stack(kernel: Int8ConvKernel, pixels: int) -> bool:
    """Whether the pixels that a tile sees, made ready, are little enough for the stack of any thread."""
    columns = (pixels - 1) * kernel.stride[1] + (kernel.kernel[1] - 1) * kernel.dilation[1] + 1
    return columns * _column_bytes(kernel) <= STACK_BYTES


def _column_bytes(kernel: Int8ConvKernel) -> int:
    """Of one pixel for each row of taps."""
    channels = -(-kernel.in_channels // kernel.lanes) * kernel.lanes
    return kernel.kernel[0] * channels // kernel.word * BYTES_OF_WORD


def is_by_pixels(kernel: Pair, stride: Pair) -> bool:
    """Whether outputs see one pixel each and follow each other as pixels do, so that tiles need not respect rows."""
    return kernel == stride == (1, 1)


def _rows(workload: Int8ConvWorkload) -> tuple[int, int]:
    """Rows that are cut into tiles, and their width."""
    if is_by_pixels(workload.kernel, workload.stride):
        return 1, workload.height * workload.width
    return workload.height, workload.width


def conv_choices(workload: Int8ConvWorkload, target: Target) -> Iterator[Int8ConvChoice]:
    """Tiles whose sums stay in registers beside the weights of a word, a pixel, and a product."""
    per_block = target.int8_lanes // target.lanes
    word = int8_word(target)
    spare = 1 if word == 4 else 2
    for panel in range(1, min(workload.blocks, MAX_PANEL_VECTORS // per_block) + 1):
        for pixels in range(1, min(_rows(workload)[1], MAX_PIXELS) + 1):
            vectors = panel * per_block
            if pixels * vectors + vectors + spare <= target.registers:
                yield Int8ConvChoice(pixels, panel, word)


def conv_cycles(workload: Int8ConvWorkload, choice: Int8ConvChoice, target: Target) -> float:
    """What the tiles of a choice take."""
    words = -(-workload.channels // choice.word) * workload.kernel[0] * workload.kernel[1]
    per_block = target.int8_lanes // target.lanes
    total, (height, width) = 0.0, _rows(workload)
    for columns in cut(width, choice.pixels):
        for panels in cut(workload.blocks, choice.panel):
            pixels, vectors = columns.tile, panels.tile * per_block
            sums = pixels * vectors
            issued = sums if choice.word == 4 else 2 * sums + vectors
            word = max(sums / MULTIPLIES, issued / VECTOR_ISSUE, (pixels + vectors) / LOADS)
            finish = (sums * FINISH + TILE) / VECTOR_ISSUE
            total += columns.count * panels.count * (words * word + finish)
    return height * total


def depthwise_rule(workload: Int8DepthwiseWorkload) -> DepthwiseChoice:
    """As wide as was found to pay; two rows share what pairs of rows become."""
    tiles = -(-workload.width // DEPTHWISE_COLUMNS)
    return DepthwiseChoice(-(-workload.width // tiles), min(2, workload.height))


def depthwise_fits(rows: int, columns: int) -> bool:
    """Whether the sums of a tile stay in registers, or nearly: weights come from memory."""
    return rows <= MAX_DEPTHWISE_ROWS and rows * columns <= 2 * DEPTHWISE_COLUMNS
