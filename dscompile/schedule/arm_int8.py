"""Int8 convolutions for 64-bit Arm, one function per instruction that multiplies: SDOT, SMMLA, and SMULL of plain NEON.

All of them go over panels of weights, so that each streams once, then over tiles of pixels, whose sums stay in
registers while input channels pass by in blocks of 8: one pixel's block is a d register, two neighbours' a q register.
`kernel.word` says which instruction the weights were packed for (plan/int8_tiles.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from dscompile import compute
from dscompile.plan.int8_kernels import Int8ConvKernel, Int8Kernel
from dscompile.plan.knobs import Knobs, TileKnobs
from dscompile.schedule import neon
from dscompile.schedule.neon_requantization import clamped, narrowed, scaled
from dscompile.schedule.vector_code import Code, Sums, load
from dscompile.target import Target

Expr = Any
PrimFunc = Any

LANES = 8  # channels of a block
WORDS = 2  # int32 words of a block of a pixel


@dataclass(frozen=True)
class _Tile:
    """Loop variables: the panel of weights, the row of outputs, and the first of the tile's pixels in it."""

    panel: Expr
    row: Expr
    first: Expr


@contextmanager
def _tiles(code: Code, kernel: Int8ConvKernel, pixels: int) -> Iterator[_Tile]:
    """What is written inside runs for every panel and, within it, for every tile of `pixels` outputs of a row."""
    if kernel.width % pixels:
        raise ValueError(f"knob pixels = {pixels} does not divide {kernel.width}")
    with (
        code.loop(kernel.out_channels // kernel.panel, "panel") as panel,
        code.loop(kernel.height, "row") as row,
        code.loop(kernel.width // pixels, "tile") as tile,
    ):
        yield _Tile(panel, row, tile * pixels)


def conv_by_sdot(kernel: Int8ConvKernel, knobs: TileKnobs) -> PrimFunc:
    """A tile of `pixels` x panel sums; per word of four input channels, a vector of weights for every four outputs.

    Pixels are loaded two to a register, from which SDOT takes its word; along a row of taps each is loaded once.
    """
    function = compute.define(kernel)
    x, weights, *_ = function.params
    pixels, vectors = knobs.pixels, kernel.panel // 4
    (taps_h, taps_w), (stride_h, stride_w), (gap_h, gap_w) = kernel.kernel, kernel.stride, kernel.dilation
    columns = sorted({p * stride_w + q * gap_w for p in range(pixels) for q in range(taps_w)})
    code = Code()

    def add_products(tile: _Tile, sums: Sums, r: Expr, block: Expr, words: int) -> None:
        """Of `words` words of a block of input channels, for all taps of row `r`."""
        row, first = tile.row * stride_h + r * gap_h, tile.first * stride_w
        seen = _Pixels(code, x, (block, row, first), columns)
        for q in range(taps_w):
            for word in range(words):
                for v in range(vectors):
                    w = code.value(load(weights, [tile.panel, r, q, block * WORDS + word, 0, 4 * v], 4), "w")
                    for p in range(pixels):
                        total = p * vectors + v
                        sums[total] = neon.sdot(sums[total], w, seen.word(p * stride_w + q * gap_w, word))

    with _tiles(code, kernel, pixels) as tile:
        sums = code.sums(pixels * vectors)
        with code.loop(taps_h, "r") as r:
            full, rest = divmod(-(-kernel.in_channels // 4), WORDS)
            code.unrolled_loop(full, knobs.unroll_channels // LANES, lambda k: add_products(tile, sums, r, k, WORDS))
            if rest:
                add_products(tile, sums, r, full, rest)
        _store(code, kernel, function, tile, pixels, lambda p, v: sums[p * vectors + v])
    return code.body_of(function)


class _Pixels:
    """Pixels of a row, two neighbours to a register where both are wanted; each register is loaded at its first use."""

    def __init__(self, code: Code, x: Any, start: tuple[Expr, Expr, Expr], columns: Sequence[int]) -> None:
        """`start` is the block, row and column that `columns` count from."""
        self._code, self._x, self._start = code, x, start
        self._columns = set(columns)
        self._loaded: dict[int, Expr] = {}

    def word(self, column: int, word: int) -> Expr:
        """One word of a pixel in all four lanes."""
        pair = column - column % 2
        whole = {pair, pair + 1} <= self._columns
        begin = pair if whole else column
        if begin not in self._loaded:
            block, row, first = self._start
            pixels = load(self._x, [block, row, first + begin, 0], 2 * WORDS if whole else WORDS)
            self._loaded[begin] = self._code.value(pixels, "x")
        return neon.element(self._loaded[begin], (column - begin) * WORDS + word, 4)


def _store(
    code: Code, kernel: Int8ConvKernel, function: PrimFunc, tile: _Tile, pixels: int, total: Callable[[int, int], Expr]
) -> None:
    """Requantizes and stores the sums of a tile: total(p, v) are those of pixel p, channels 4 v .. 4 v + 3."""
    _, _, *constants, y = function.params
    form = kernel.requantization
    for block in range(kernel.panel // LANES):
        channel = tile.panel * kernel.panel + block * LANES
        factors = [[code.value(load(c, [channel + 4 * v], 4), c.name) for c in constants] for v in (0, 1)]

        def narrow(p: int, block: int = block, factors: Any = factors) -> Expr:
            halves = [scaled(code, total(p, 2 * block + v), factors[v], form) for v in (0, 1)]
            return narrowed(*halves, form)

        at = tile.panel * (kernel.panel // LANES) + block
        for p in range(0, pixels - 1, 2):
            code.store(y, [at, tile.row, tile.first + p, 0], clamped(neon.join(narrow(p), narrow(p + 1), 8), form))
        if pixels % 2:
            code.store(y, [at, tile.row, tile.first + pixels - 1, 0], clamped(narrow(pixels - 1), form))


def scheduled(kernel: Int8Kernel, knobs: Knobs | None, target: Target) -> PrimFunc | None:
    """The fast kernel, or None if there is none for what `kernel` asks for."""
    if (
        isinstance(kernel, Int8ConvKernel)
        and isinstance(knobs, TileKnobs)
        and kernel.word == 4
        and target.has("asimddp")
    ):
        return conv_by_sdot(kernel, knobs)
    return None
