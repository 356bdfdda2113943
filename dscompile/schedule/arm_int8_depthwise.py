"""Int8 depthwise convolutions for 64-bit Arm: by SDOT along rows of taps, or by SMULL, tap by tap.

Both keep the sums of a tile of `rows` x `columns` pixels of a block of 8 channels in registers. Tiles at the lower and
right edges may be smaller.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from tvm import tirx

from dscompile import compute
from dscompile.plan.int8_kernels import Int8DepthwiseKernel
from dscompile.plan.knobs import DepthwiseKnobs
from dscompile.plan.tiles import cut
from dscompile.schedule import neon
from dscompile.schedule.neon_requantization import clamped, narrowed, scaled
from dscompile.schedule.vector_code import Code, load

Expr = Any
PrimFunc = Any

LANES = 8  # channels of a block
WIDE = 7  # taps of a row whose words and windows LLVM 22 spills if it mixes those of two chunks
COLUMNS = 4  # bytes of a word: neighbouring pixels of a channel


@dataclass(frozen=True)
class _Tile:
    """`rows` x `columns` outputs of a block of channels, from a row and a column on.

    `innermost` is the variable of the innermost loop over tiles that has several rounds, and their number.
    """

    block: Expr
    row: Expr
    column: Expr
    rows: int
    columns: int
    innermost: tuple[Expr, int]


def depthwise_by_sdot(kernel: Int8DepthwiseKernel, knobs: DepthwiseKnobs) -> PrimFunc:
    """Four neighbouring pixels of a channel make a word, by a table lookup; SDOT weighs four channels of them at once.

    A window of four pixels begins at every second one. An output in the middle of a window meets weights that are
    moved by one, so two neighbours share their windows, as do outputs above each other. Taps of a row must not have
    gaps between them.
    """
    function = compute.define(kernel)
    x, weights, *_ = function.params
    (taps_h, taps_w), (stride_h, stride_w), gap_h = kernel.kernel, kernel.stride, kernel.dilation[0]
    code = Code()

    def word_pair(block: Expr, r: int, phase: int, chunk: int) -> tuple[Expr, Expr]:
        """What the window number `chunk` meets `phase` columns into the first: two registers of four channels each."""
        low, high = (load(weights, [block, r, phase, chunk, channel, 0], LANES // 2 * COLUMNS) for channel in (0, 4))
        return tirx.reinterpret("int32x4", low), tirx.reinterpret("int32x4", high)

    def add(tile: _Tile) -> None:
        sums = code.sums(2 * tile.rows * tile.columns)
        seen_by = [(h * stride_h + r * gap_h, r, h) for h in range(tile.rows) for r in range(taps_h)]
        # By chunks, so that only one of weights is in registers: those of a row serve outputs above each other.
        starts = [divmod(column * stride_w, 2) for column in range(tile.columns)]
        last = (tile.columns - 1) * stride_w + taps_w - 1
        loop, rounds = tile.innermost
        is_apart = taps_w >= WIDE and rounds > 1
        for chunk in range(-(-(max(phase for _, phase in starts) + taps_w) // COLUMNS)):
            with code.apart(loop, rounds + chunk) if chunk and is_apart else nullcontext():
                for line in sorted({line for line, _, _ in seen_by}):
                    windows = _Windows(code, x, tile, (tile.row * stride_h + line, tile.column * stride_w), last)
                    for column, (start, phase) in enumerate(starts):
                        if COLUMNS * chunk >= phase + taps_w:
                            continue
                        seen = windows.at(2 * start + COLUMNS * chunk)
                        for r, h in ((r, h) for at, r, h in seen_by if at == line):
                            for half, w in enumerate(word_pair(tile.block, r, phase, chunk)):
                                total = 2 * (h * tile.columns + column) + half
                                sums[total] = neon.sdot(sums[total], w, seen[half])
        _store(code, kernel, function, tile, lambda pixel, half: sums[2 * pixel + half])

    with code.loop(kernel.blocks, "block") as block:
        _for_each_tile(code, kernel, knobs, block, add)
    return code.body_of(function)


def depthwise_by_products(kernel: Int8DepthwiseKernel, knobs: DepthwiseKnobs) -> PrimFunc:
    """SMULL, eight channels at once: products of two taps fit 16 bits together if no weight is -128."""
    function = compute.define(kernel)
    x, weights, *_ = function.params
    (taps_h, taps_w), (stride_h, stride_w), (gap_h, gap_w) = kernel.kernel, kernel.stride, kernel.dilation
    together = 2 if kernel.smallest_weight > -128 else 1
    taps = [(r, q) for r in range(taps_h) for q in range(taps_w)]
    code = Code()

    def add(tile: _Tile) -> None:
        seen: dict[tuple[int, int], Expr] = {}

        def pixel(row: int, column: int) -> Expr:
            if (row, column) not in seen:
                at = [tile.block, tile.row * stride_h + row, tile.column * stride_w + column, 0]
                seen[row, column] = code.value(load(x, at, LANES), "x")
            return seen[row, column]

        sums: dict[tuple[int, int], Expr] = {}
        for first in range(0, len(taps), together):
            group = taps[first : first + together]
            factors = [code.value(load(weights, [tile.block, r, q, 0], LANES), "w") for r, q in group]
            for output in range(tile.rows * tile.columns):
                h, w = divmod(output, tile.columns)
                products = [
                    neon.smull_bytes(pixel(h * stride_h + r * gap_h, w * stride_w + q * gap_w), factor)
                    for (r, q), factor in zip(group, factors, strict=True)
                ]
                both = code.value(products[0] if len(products) == 1 else products[0] + products[1], "products")
                for half in (0, 1):
                    wide = tirx.Cast("int32x4", neon.shuffle([both], range(4 * half, 4 * half + 4)))
                    before = sums.get((output, half))
                    sums[output, half] = code.value(wide if before is None else before + wide, "sum")
        _store(code, kernel, function, tile, lambda pixel, half: sums[pixel, half])

    with code.loop(kernel.blocks, "block") as block:
        _for_each_tile(code, kernel, knobs, block, add)
    return code.body_of(function)


def _for_each_tile(
    code: Code, kernel: Int8DepthwiseKernel, knobs: DepthwiseKnobs, block: Expr, body: Callable[[_Tile], None]
) -> None:
    """Writes `body` for all tiles of a block: whole ones in loops, and what is left over below and to the right."""
    for rows in cut(kernel.height, min(knobs.rows, kernel.height)):
        with code.loop(rows.count, "row") as row:
            for columns in cut(kernel.width, min(knobs.columns, kernel.width)):
                with code.loop(columns.count, "column", read_anew=knobs.reread_taps) as column:
                    at = (rows.start + row * rows.tile, columns.start + column * columns.tile)
                    innermost = (column, columns.count) if columns.count > 1 else (row, rows.count)
                    body(_Tile(block, *at, rows.tile, columns.tile, innermost))


class _Windows:
    """Windows of four pixels of a row as words of a channel: two registers of four channels each."""

    def __init__(self, code: Code, x: Any, tile: _Tile, start: tuple[Expr, Expr], last: int) -> None:
        """`start` is the row and the column that windows count from; nothing beyond column `last` is loaded."""
        self._code, self._x, self._tile, self._start, self._last = code, x, tile, start, last
        self._loaded: dict[int, Expr] = {}
        self._made: dict[int, tuple[Expr, Expr]] = {}

    def at(self, column: int) -> tuple[Expr, Expr]:
        """The window from `column` on; pixels that no tap sees are anything."""
        if column not in self._made:
            if column + 2 > self._last:
                self._made[column] = self._half_empty(column)
                return self._made[column]
            pairs = [self._pair(column), self._pair(column + 2)]
            halves = []
            for first in (0, 4):
                order = [LANES * pixel + channel for channel in range(first, first + 4) for pixel in range(COLUMNS)]
                words = tirx.reinterpret("int32x4", neon.shuffle(pairs, order))
                halves.append(self._code.value(words, "window"))
            self._made[column] = (halves[0], halves[1])
        return self._made[column]

    def _half_empty(self, column: int) -> tuple[Expr, Expr]:
        """The window of two pixels, or of one, and zeros; a lookup would take another two registers for its indices."""
        left, right = (self._pixel(min(at, self._last)) for at in (column, column + 1))
        order = [index for channel in range(LANES) for index in (channel, LANES + channel)]
        twos = self._code.value(tirx.reinterpret("uint16x8", neon.shuffle([left, right], order)), "twos")
        low, high = (
            tirx.reinterpret("int32x4", tirx.Cast("uint32x4", neon.shuffle([twos], range(half, half + 4))))
            for half in (0, 4)
        )
        return self._code.value(low, "window"), self._code.value(high, "window")

    def _pixel(self, column: int) -> Expr:
        return load(self._x, [self._tile.block, self._start[0], self._start[1] + column, 0], LANES)

    def _pair(self, column: int) -> Expr:
        """Two pixels, or one twice."""
        if column not in self._loaded:
            at = [self._tile.block, self._start[0], self._start[1] + column, 0]
            if column < self._last:
                pixels = load(self._x, at, 2 * LANES)
            else:
                pixels = neon.shuffle([load(self._x, at, LANES)], [*range(LANES), *range(LANES)])
            self._loaded[column] = self._code.value(pixels, "x")
        return self._loaded[column]


def _store(
    code: Code,
    kernel: Int8DepthwiseKernel,
    function: PrimFunc,
    tile: _Tile,
    total: Callable[[int, int], Expr],
) -> None:
    """Requantizes and stores the sums of a tile: total(pixel, half) are those of four channels."""
    _, _, *constants, y = function.params
    form = kernel.requantization
    factors = [[code.value(load(c, [tile.block * LANES + 4 * half], 4), c.name) for c in constants] for half in (0, 1)]

    def narrow(pixel: int) -> Expr:
        low, high = (scaled(code, total(pixel, half), factors[half], form) for half in (0, 1))
        return narrowed(low, high, form)

    for h in range(tile.rows):
        for w in range(0, tile.columns, 2):
            pixel, at = h * tile.columns + w, [tile.block, tile.row + h, tile.column + w, 0]
            both = w + 1 < tile.columns
            values = neon.join(narrow(pixel), narrow(pixel + 1), LANES) if both else narrow(pixel)
            code.store(y, at, clamped(values, form))
