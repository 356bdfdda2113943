"""Int8 tiles: which instruction computes a layer, how its weights are packed for it, how its work is cut.

What a planner asks for, and does with the answer:

- `int8_conv_tiling(workload, choice, target)`: one `Int8ConvKernel` for each run of panels (`blocks`) and each run of
  tiles (`columns`), with `panel = run.tile * lanes`, `word = tiling.word` and `knobs = tiling.knobs(columns)`; weights
  are packed [N / panel][kh][kw][ceil(C / word)][panel][word] for each run of panels.
- `int8_depthwise_tiling(workload, choice, target)`: one `Int8DepthwiseKernel` for each tile, with
  `word = int8_depthwise_word(...)`.
- `int8_dense_panels(...)`: one `Int8DenseKernel` without knobs for each run of panels, weights
  [units / panel][ceil(K / word)][panel][word].

Rules count instructions: on small cores they are the time, and QEMU measures them (docs/decisions/arm64-int8.md).
Input channels beyond the last word or block meet weights of 0, so that any number of channels fits any word.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from dscompile.ir.ops import Pair
from dscompile.plan import int8_tiles_x86
from dscompile.plan.choices import DepthwiseChoice, Int8ConvChoice
from dscompile.plan.knobs import DepthwiseKnobs, PixelKnobs
from dscompile.plan.tiles import DepthwiseTile, Span, cut
from dscompile.plan.workloads import Int8ConvWorkload, Int8DepthwiseWorkload
from dscompile.target import Target

BLOCK = 8  # channels of a block on arm64: a pixel's block is half a register
MAX_PIXELS, MAX_PANEL_BLOCKS = 14, 4
# Instructions that requantize and store eight outputs, and those around a tile and around its inner loop: counted.
FINISH, TILE, LOOP = 12.0, 8.0, 3.0
MAX_SUMS = 24  # registers of sums; the other 8 hold pixels and weights
MAX_WINDOW_SUMS = 16  # of SMMLA, which needs registers for pixels of every tap
MAX_PRODUCT_SUMS = 16  # SMULL needs registers for products too
STRAIGHT_WINDOW = 28  # registers of a tile whose pixels serve several taps; more, and what has no loop spills
DENSE_PANELS = (32, 16, 8)  # eight sums hide the latency of SDOT


@dataclass(frozen=True)
class Int8ConvTiling:
    """Runs of tiles of at most `pixels`, runs of panels of channel blocks; `word` input channels are summed at once.

    `reread_weights` is a knob of all kernels. `unsigned` is as in `Int8ConvKernel`. `is_whole`: a kernel covers all
    columns, and cuts them into tiles itself.
    """

    columns: tuple[Span, ...]
    blocks: tuple[Span, ...]
    word: int
    pixels: int
    reread_weights: bool = False
    unsigned: bool = False
    is_whole: bool = False

    def knobs(self, columns: Span) -> PixelKnobs:
        """Knobs of the kernel that covers `columns`."""
        return PixelKnobs(self.pixels if self.is_whole else columns.tile, self.reread_weights)


@dataclass(frozen=True)
class Int8DensePanels:
    """A run of panels of a dense layer: `units` from `start`, `panel` wide, packed in words of `word`."""

    start: int
    units: int
    panel: int
    word: int


@dataclass(frozen=True)
class _Work:
    """What a row of tiles computes: taps, stride, gap between taps along the row, input channels."""

    kernel: Pair
    stride: Pair
    dilation: Pair
    channels: int

    def columns(self, pixels: int) -> int:
        """Different pixels of a row that a tile sees."""
        _, taps = self.kernel
        return len({p * self.stride[1] + q * self.dilation[1] for p in range(pixels) for q in range(taps)})


def int8_conv_tiling(workload: Int8ConvWorkload, choice: Int8ConvChoice, target: Target) -> Int8ConvTiling:
    """The cut that a choice stands for; on x86 a kernel covers all columns and cuts off its edges itself."""
    blocks = cut(workload.blocks, choice.panel)
    if target.has("avx2"):
        columns = (Span(0, 1, workload.width),)
        return Int8ConvTiling(columns, blocks, choice.word, choice.pixels, unsigned=choice.word == 4, is_whole=True)
    return Int8ConvTiling(cut(workload.width, choice.pixels), blocks, choice.word, choice.pixels, choice.reread_weights)


@lru_cache(maxsize=4096)
def int8_conv_rule(workload: Int8ConvWorkload, target: Target) -> Int8ConvChoice:
    """The cut that takes fewest instructions.

    A pointwise convolution over pixels that lie in one run is one of height 1.
    """
    choices = int8_conv_choices(workload, target)
    if len(choices) == 1:
        return choices[0]
    return min(choices, key=lambda choice: int8_conv_cost(workload, choice, target))


def int8_conv_cost(workload: Int8ConvWorkload, choice: Int8ConvChoice, target: Target) -> float:
    """What a choice takes: instructions on arm64, cycles on x86, counted."""
    if target.has("avx2"):
        return int8_tiles_x86.conv_cycles(workload, choice, target)
    work = _Work(workload.kernel, workload.stride, workload.dilation, workload.channels)
    way = next(way for way in _ways(target) if way.word == choice.word)
    tiling = int8_conv_tiling(workload, choice, target)
    return _instructions(way, work, workload.height, tiling.columns, tiling.blocks)


def int8_conv_choices(workload: Int8ConvWorkload, target: Target) -> tuple[Int8ConvChoice, ...]:
    """All cuts whose sums stay in registers, by every instruction that the target has."""
    if target.has("avx2"):
        return tuple(int8_tiles_x86.conv_choices(workload, target))
    if not target.has("asimd"):
        return (Int8ConvChoice(min(4, workload.width), 1, 4),)
    work = _Work(workload.kernel, workload.stride, workload.dilation, workload.channels)
    return tuple(
        Int8ConvChoice(pixels, panel, way.word, _is_straight(way, work, pixels, panel))
        for way in _ways(target)
        for panel in range(1, min(MAX_PANEL_BLOCKS, workload.blocks) + 1)
        for pixels in range(1, min(MAX_PIXELS, workload.width) + 1)
        if way.fits(work, pixels, panel)
    )


def int8_depthwise_tiling(
    workload: Int8DepthwiseWorkload, choice: DepthwiseChoice, target: Target
) -> tuple[DepthwiseTile, ...]:
    """Rectangles that cover all outputs; one where the kernel cuts off its edges itself."""
    height, width = workload.height, workload.width
    if not (target.has("asimd") or target.has("avx2")):
        return tuple(
            DepthwiseTile(Span(0, height, 1), columns, DepthwiseKnobs(columns.tile))
            for columns in cut(width, choice.columns)
        )
    return (DepthwiseTile(Span(0, 1, height), Span(0, 1, width), choice),)


def int8_depthwise_rule(workload: Int8DepthwiseWorkload, target: Target) -> DepthwiseChoice:
    """What was found to take fewest instructions without spilling."""
    height, width, kernel, stride = workload.height, workload.width, workload.kernel, workload.stride
    if target.has("avx2"):
        return int8_tiles_x86.depthwise_rule(workload)
    if not target.has("asimd"):
        return DepthwiseChoice(min(4, width))
    if int8_depthwise_word(target, kernel, stride, workload.dilation) > 1:
        return _depthwise_by_words(height, width, kernel, stride)
    return _depthwise_by_products(height, width, kernel, stride)


# What spills was found in the code that LLVM 22 makes (docs/decisions/arm64-int8.md).
DEPTHWISE_COLUMNS = 7  # 14 registers of sums


MAX_DEPTHWISE_SUMS = 24  # registers: two of four sums for each output of a block


def int8_depthwise_sums_fit(target: Target, rows: int, columns: int) -> bool:
    """Whether the sums of a tile stay in registers; four pixels of a row where no schedule is a family's own."""
    if target.has("avx2"):
        return int8_tiles_x86.depthwise_fits(rows, columns)
    if not target.has("asimd"):
        return rows == 1 and columns <= 4
    return 2 * rows * columns <= MAX_DEPTHWISE_SUMS


def _depthwise_by_words(height: int, width: int, kernel: Pair, stride: Pair) -> DepthwiseKnobs:
    """Outputs above each other share windows and weights, two beside each other windows where the stride is 1."""
    if kernel[1] <= 3:
        if max(height, width) <= 3:  # tiles of different sizes, of which LLVM makes straight code
            return DepthwiseKnobs(2, 3, reread_taps=True)
        return DepthwiseKnobs(2, 2)
    if stride[1] > 1:
        return DepthwiseKnobs(1, 2, reread_taps=True)
    if kernel[1] < 7 and height % 2:  # the last row has loops of its own, and what they share with the others spills
        return DepthwiseKnobs(1, 3, reread_taps=True)
    return DepthwiseKnobs(2, 2, reread_taps=True)


def _depthwise_by_products(height: int, width: int, kernel: Pair, stride: Pair) -> DepthwiseKnobs:
    """Taps of a 3x3 stay in registers, unless a row is so short that it has no loop, and its tiles mix."""
    is_even = height % 2 == width % 2 == 0
    if kernel[1] <= 3:
        if is_even and stride == (1, 1):
            return DepthwiseKnobs(2, 2)
        return DepthwiseKnobs(width, reread_taps=True) if 4 < width <= DEPTHWISE_COLUMNS else DepthwiseKnobs(4)
    if max(stride) > 1:
        return DepthwiseKnobs(2, 2, reread_taps=True) if is_even else DepthwiseKnobs(4, reread_taps=True)
    if width % DEPTHWISE_COLUMNS == 0:
        return DepthwiseKnobs(DEPTHWISE_COLUMNS, reread_taps=True)
    tiles = -(-width // (DEPTHWISE_COLUMNS - 1))  # whose rest leaves less room
    return DepthwiseKnobs(-(-width // tiles), reread_taps=True)


def int8_depthwise_word(target: Target, kernel: Pair, stride: Pair, dilation: Pair = (1, 1)) -> int:
    """Taps of a row that are multiplied at once.

    A window of four pixels holds one output of stride 2 and three taps, which is not worth the table lookups.
    """
    worth = stride[1] == 1 or kernel[1] > 3
    return 4 if target.has("asimddp") and dilation[1] == 1 and worth else 1


def int8_dense_panels(target: Target, units: int) -> tuple[Int8DensePanels, ...]:
    """Panels of a matrix-vector product: wide ones, then narrower ones, then what is left; nothing is padded."""
    if target.has("avx2"):
        return tuple(_dense_panels(2, [target.lanes * n for n in int8_tiles_x86.DENSE_VECTORS], units))
    if target.has("asimd") and not target.has("asimddp"):
        return tuple(_dense_panels(8, DENSE_PANELS[1:], units))
    return tuple(_dense_panels(4, DENSE_PANELS, units))


def _dense_panels(word: int, panels: Sequence[int], units: int) -> Iterator[Int8DensePanels]:
    start = 0
    for panel in panels:
        count = (units - start) // panel * panel
        if count:
            yield Int8DensePanels(start, count, panel, word)
            start += count
    if start < units:
        yield Int8DensePanels(start, units - start, units - start, word)


# Instructions of a convolution on arm64, by what multiplies


class _Sdot:
    """Four outputs of a pixel times a word of four input channels."""

    word = 4
    straight_line = 275  # instructions for all taps and channels, counted

    def fits(self, work: _Work, pixels: int, panel: int) -> bool:
        sums = pixels * panel * 2
        most = STRAIGHT_WINDOW if work.kernel[1] > 1 and _is_straight(self, work, pixels, panel) else 32
        return sums <= MAX_SUMS and sums + -(-work.columns(pixels) // 2) + 2 <= most

    def inner(self, work: _Work, pixels: int, panel: int) -> float:
        """For a row of taps and all input channels; two registers are loaded at once."""
        words, taps = -(-work.channels // 4), work.kernel[1]
        weights = taps * words * panel * 2
        pairs = -(-work.columns(pixels) // 2) * -(-words // 2)
        return weights * (pixels + 0.5) + pairs / 2 + LOOP * max(1, words // 2)


class _Smmla:
    """Two outputs of two pixels times a block of eight input channels."""

    word = 8
    straight_line = 250  # instructions for all taps and channels, counted

    def fits(self, work: _Work, pixels: int, panel: int) -> bool:
        most = MAX_WINDOW_SUMS if work.kernel[1] > 1 else MAX_SUMS
        return -(-pixels // 2) * panel * 4 <= most and pixels > 1

    def inner(self, work: _Work, pixels: int, panel: int) -> float:
        """Pixels that do not lie side by side are put together."""
        blocks, pairs = -(-work.channels // 8), -(-pixels // 2)
        load = 0.5 if work.stride[1] == 1 else 2
        return blocks * work.kernel[1] * (panel * 4 * (pairs + 0.5) + pairs * load) + LOOP * blocks


class _Products:
    """An output of a pixel times one or two blocks of eight input channels."""

    word = 8
    straight_line = 275  # instructions for all taps and channels, counted

    def fits(self, work: _Work, pixels: int, panel: int) -> bool:
        return pixels * panel * 8 <= MAX_PRODUCT_SUMS

    def inner(self, work: _Work, pixels: int, panel: int) -> float:
        blocks, outputs = -(-work.channels // 8), panel * 8
        return work.kernel[1] * blocks * (outputs * (1.5 * pixels + 0.5) + pixels + LOOP / 2)


_Way = _Sdot | _Smmla | _Products


def _ways(target: Target) -> tuple[_Way, ...]:
    """Instructions that the target has, and that are worth a thought."""
    if target.has("i8mm"):
        return (_Smmla(), _Sdot())
    return (_Sdot(),) if target.has("asimddp") else (_Products(),)


def _is_straight(way: _Way, work: _Work, pixels: int, panel: int) -> bool:
    """Whether so little is summed that LLVM 22 makes straight code of it, and reading weights anew pays."""
    return work.kernel[0] * way.inner(work, pixels, panel) <= way.straight_line


def _instructions(way: _Way, work: _Work, height: int, columns: tuple[Span, ...], panels: tuple[Span, ...]) -> float:
    """Of all tiles of a layer."""
    return height * sum(
        c.count * p.count * (work.kernel[0] * way.inner(work, c.tile, p.tile) + c.tile * p.tile * FINISH + TILE)
        for c in columns
        for p in panels
    )
