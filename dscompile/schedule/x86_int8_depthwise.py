"""Int8 depthwise convolutions for x86: VPMADDWD sums two taps at once, one above the other.

Two rows of pixels become one row of pairs: the bytes of a channel side by side, widened to int16. Outputs that lie
above each other share pairs, since weights are paired to suit them: [w0, w1], or [0, w0] where an output begins in the
middle of a pair. So do outputs beside each other, for every tap of a row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm import tirx

from dscompile import compute
from dscompile.plan.int8_kernels import Int8DepthwiseKernel
from dscompile.plan.knobs import DepthwiseKnobs
from dscompile.plan.tiles import cut
from dscompile.schedule import x86_vectors as x86
from dscompile.schedule.vector_code import Code, load
from dscompile.schedule.x86_requantization import narrowed, scaled
from dscompile.target import Target

Expr = Any
Buffer = Any
PrimFunc = Any
Taps = tuple[int | None, int | None]


@dataclass(frozen=True)
class _Pair:
    """Two lines of the input, and the taps of one output that meet them; None where none does."""

    lines: tuple[int, int | None]
    taps: Taps


@dataclass(frozen=True)
class _Vector:
    """Channels `lane` .. of a block: constants of their requantization, and where their weights lie as pairs of taps.

    `memory` has a vector for each pair and column of taps.
    """

    block: Expr
    lane: Expr
    lanes: int
    factors: list[Expr]
    memory: Buffer
    places: dict[tuple[Taps, int], int]

    def pixels(self, x: Buffer, start: tuple[Expr, Expr], lines: tuple[int, int | None]) -> Expr:
        """Two pixels above each other as pairs of int16, from the lines `lines` below `start`."""
        row, column = start
        return self._pairs(x, [None if line is None else [self.block, row + line, column] for line in lines])

    def weights(self, weights: Buffer, taps: Taps, q: int) -> Expr:
        """Two weights above each other as pairs of int16, 0 where there is none."""
        return self._pairs(weights, [None if r is None else [self.block, r, q] for r in taps])

    def tap(self, taps: Taps, q: int) -> Expr:
        """Those weights, once they lie in memory."""
        return tirx.BufferLoad(self.memory, [self.places[taps, q]])

    def _pairs(self, buffer: Buffer, places: list[list[Expr] | None]) -> Expr:
        zeros = x86.splat(0, "int8", self.lanes)
        both = [zeros if at is None else load(buffer, [*at, self.lane], self.lanes) for at in places]
        order = [half * self.lanes + channel for channel in range(self.lanes) for half in (0, 1)]
        return x86.widened(x86.shuffle(both, order), "int16")


def depthwise_by_vpmaddwd(kernel: Int8DepthwiseKernel, knobs: DepthwiseKnobs, target: Target) -> PrimFunc:
    """A tile of `rows` x `columns` sums of one vector of channels; tiles at the edges may be smaller."""
    function = compute.define(kernel)
    x, weights, *constants, y = function.params
    lanes, per_block, taps_w = target.lanes, kernel.lanes // target.lanes, kernel.kernel[1]
    wanted = [(taps, q) for taps in _wanted(kernel, knobs.rows) for q in range(taps_w)]
    places = {which: place for place, which in enumerate(wanted)}
    code = Code()
    memory = code.vectors(len(wanted), "int16", 2 * lanes, "taps")
    with code.loop(-(-(kernel.used or kernel.blocks * kernel.lanes) // lanes), "vector") as index:
        factors = [code.value(load(c, [index * lanes], lanes), c.name) for c in constants]
        vector = _Vector(index // per_block, index % per_block * lanes, lanes, factors, memory, places)
        for which, place in places.items():
            code.keep(memory, place, vector.weights(weights, *which))

        def tile(row: Expr, column: Expr, rows: int, columns: int) -> None:
            code.read_anew(memory)
            sums = _sums(code, kernel, target, vector, (x, row, column), (rows, columns))
            _store(code, kernel, target, vector, (y, row, column), sums)

        _for_each_tile(code, kernel, knobs, tile)
    return code.body_of(function)


def _sums(
    code: Code,
    kernel: Int8DepthwiseKernel,
    target: Target,
    vector: _Vector,
    image: tuple[Buffer, Expr, Expr],
    size: tuple[int, int],
) -> list[list[Expr]]:
    """The sums of a tile, row by row. `image` is the input, and the row and column of the tile's first output."""
    (x, row, column), (rows, columns) = image, size
    (stride_h, stride_w), gap, taps_w = kernel.stride, kernel.dilation[1], kernel.kernel[1]
    sums: list[list[Expr]] = [[None] * columns for _ in range(rows)]
    by_row = [_pairs(kernel, h, rows) for h in range(rows)]
    seen = sorted({w * stride_w + q * gap for w in range(columns) for q in range(taps_w)})
    for lines in sorted({pair.lines for pairs in by_row for pair in pairs}, key=lambda lines: lines[0]):
        meeting = [(h, pair.taps) for h, pairs in enumerate(by_row) for pair in pairs if pair.lines == lines]
        for at in seen:
            pixels = code.value(vector.pixels(x, (row * stride_h, column * stride_w + at), lines), "x")
            outputs = [(w, q) for w in range(columns) for q in range(taps_w) if w * stride_w + q * gap == at]
            for h, taps in meeting:
                for w, q in outputs:
                    product = x86.vpmaddwd(pixels, vector.tap(taps, q), target)
                    before = sums[h][w]
                    total = product if before is None else x86.in_order(before + product)
                    sums[h][w] = code.value(total, "sum")
    return sums


def _store(
    code: Code,
    kernel: Int8DepthwiseKernel,
    target: Target,
    vector: _Vector,
    image: tuple[Buffer, Expr, Expr],
    sums: list[list[Expr]],
) -> None:
    """Requantizes and stores the sums of a tile, a few neighbors at once."""
    (y, row, column), form, lanes = image, kernel.requantization, target.lanes
    together = x86.narrowed_together(lanes)
    for h, neighbors in enumerate(sums):
        for first in range(0, len(neighbors), together):
            numbers = [scaled(total, vector.factors, form, target) for total in neighbors[first : first + together]]
            values = narrowed(numbers, form, target)
            for index in range(len(numbers)):
                at = [vector.block, row + h, column + first + index, vector.lane]
                code.store(y, at, x86.part(values, lanes * index, lanes))


def _pairs(kernel: Int8DepthwiseKernel, h: int, rows: int) -> list[_Pair]:
    """The pairs of lines that row `h` of a tile of `rows` meets, lines counted from the tile's first.

    Lines without gaps pair up alike for all rows of the tile; a line that no output needs is not read.
    """
    taps, stride, gap = kernel.kernel[0], kernel.stride[0], kernel.dilation[0]
    if gap > 1:
        both = [(r, r + 1 if r + 1 < taps else None) for r in range(0, taps, 2)]
        return [
            _Pair((h * stride + r * gap, None if below is None else h * stride + below * gap), (r, below))
            for r, below in both
        ]
    needed = {g * stride + r for g in range(rows) for r in range(taps)}
    own = range(h * stride, h * stride + taps)
    pairs = []
    for line in range(own.start // 2 * 2, own.stop, 2):
        first, second = (at - own.start if at in own else None for at in (line, line + 1))
        if line not in needed:
            pairs.append(_Pair((line + 1, None), (second, None)))
        else:
            pairs.append(_Pair((line, line + 1 if line + 1 in needed else None), (first, second)))
    return pairs


def _wanted(kernel: Int8DepthwiseKernel, most: int) -> list[Taps]:
    """Pairs of taps that tiles of at most `most` rows need."""
    heights = [rows.tile for rows in cut(kernel.height, min(most, kernel.height))]
    return list(dict.fromkeys(pair.taps for rows in heights for h in range(rows) for pair in _pairs(kernel, h, rows)))


def _for_each_tile(
    code: Code, kernel: Int8DepthwiseKernel, knobs: DepthwiseKnobs, body: Callable[[Expr, Expr, int, int], None]
) -> None:
    """Writes `body` for all tiles: whole ones in loops, and what is left over below and to the right."""
    for rows in cut(kernel.height, min(knobs.rows, kernel.height)):
        with code.loop(rows.count, "row") as row:
            for columns in cut(kernel.width, min(knobs.columns, kernel.width)):
                with code.loop(columns.count, "column") as column:
                    at = (rows.start + row * rows.tile, columns.start + column * columns.tile)
                    body(*at, rows.tile, columns.tile)
