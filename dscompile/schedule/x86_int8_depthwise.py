"""Int8 depthwise convolutions for x86: VPMADDWD sums two taps at once, one above the other.

Two rows of pixels become one row of pairs: the bytes of a channel side by side, widened to int16. Outputs that lie above each
other share pairs, since weights are paired to suit them: [w0, w1], or [0, w0] where an output begins in the middle of
a pair. So do outputs beside each other, for every tap of a row.
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
from dscompile.schedule.x86_requantization import clamped, scaled
from dscompile.target import Target

Expr = Any
Buffer = Any
PrimFunc = Any


@dataclass(frozen=True)
class _Pair:
    """Two lines of the input, and the taps of one output that meet them; None where none does."""

    lines: tuple[int, int | None]
    taps: tuple[int | None, int | None]


def depthwise_by_vpmaddwd(kernel: Int8DepthwiseKernel, knobs: DepthwiseKnobs, target: Target) -> PrimFunc:
    """A tile of `rows` x `columns` sums of one vector of channels; tiles at the edges may be smaller."""
    function = compute.define(kernel)
    x, weights, *constants, y = function.params
    lanes, form = target.lanes, kernel.requantization
    (_, taps_w), (stride_h, stride_w), gap_w = kernel.kernel, kernel.stride, kernel.dilation[1]
    code = Code()

    def tile(vector: _Vector, row: Expr, column: Expr, rows: int, columns: int) -> None:
        code.read_anew(memory)
        sums: dict[tuple[int, int], Expr] = {}
        by_row = [_pairs(kernel, h, rows) for h in range(rows)]
        for lines in sorted({pair.lines for pairs in by_row for pair in pairs}, key=lambda lines: lines[0]):
            for at in sorted({w * stride_w + q * gap_w for w in range(columns) for q in range(taps_w)}):
                start = row * stride_h, column * stride_w + at
                pixels = code.value(vector.pixels(x, start, lines), "x")
                for h, pairs in enumerate(by_row):
                    for taps in (pair.taps for pair in pairs if pair.lines == lines):
                        for w in range(columns):
                            q, between = divmod(at - w * stride_w, gap_w)
                            if between or not 0 <= q < taps_w:
                                continue
                            product = x86.vpmaddwd(pixels, vector.tap(taps, q), target)
                            before = sums.get((h, w))
                            total = product if before is None else x86.in_order(before + product)
                            sums[h, w] = code.value(total, "sum")
        for h in range(rows):
            together = x86.narrowed_together(lanes)
            for first in range(0, columns, together):
                some = range(first, min(first + together, columns))
                values = x86.saturated_bytes([scaled(sums[h, w], vector.factors, form, target) for w in some], target)
                for index, w in enumerate(some):
                    part = values if len(some) == 1 else x86.shuffle([values], range(lanes * index, lanes * (index + 1)))
                    code.store(y, [vector.block, row + h, column + w, vector.lane], clamped(part, form))

    wanted = sorted(_wanted(kernel, knobs.rows), key=str)
    per_block = kernel.lanes // lanes
    memory = code.vectors(len(wanted) * taps_w, "int16", 2 * lanes, "taps")
    with code.loop(-(-(kernel.used or kernel.blocks * kernel.lanes) // lanes), "vector") as index:
        block, lane = index // per_block, index % per_block * lanes
        factors = [code.value(load(c, [index * lanes], lanes), c.name) for c in constants]
        places = {(taps, q): n * taps_w + q for n, taps in enumerate(wanted) for q in range(taps_w)}
        vector = _Vector(block, lane, lanes, factors, memory, places)
        for (taps, q), place in places.items():
            code.keep(memory, place, vector.weights(weights, taps, q))
        _for_each_tile(code, kernel, knobs, lambda *where: tile(vector, *where))
    return code.body_of(function)


Taps = tuple[int | None, int | None]


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

    def _pairs(self, buffer: Buffer, both: list[list[Expr] | None]) -> Expr:
        given = [
            x86.splat(0, "int8", self.lanes) if at is None else load(buffer, [*at, self.lane], self.lanes) for at in both
        ]
        order = [half * self.lanes + channel for channel in range(self.lanes) for half in (0, 1)]
        return x86.widened(x86.shuffle(given, order), "int16")


def _pairs(kernel: Int8DepthwiseKernel, h: int, rows: int) -> list[_Pair]:
    """The pairs of lines that row `h` of a tile of `rows` meets, lines counted from the tile's first.

    Lines without gaps pair up alike for all rows of the tile; a line that no output needs is not read.
    """
    taps, stride, gap = kernel.kernel[0], kernel.stride[0], kernel.dilation[0]
    if gap > 1:
        lines = [(h * stride + r * gap, r) for r in range(taps)]
        return [
            _Pair((line, line + gap if r + 1 < taps else None), (r, r + 1 if r + 1 < taps else None))
            for line, r in lines[::2]
        ]
    needed = {g * stride + r for g in range(rows) for r in range(taps)}
    pairs = []
    for line in range(h * stride // 2 * 2, h * stride + taps, 2):
        tap = [at - h * stride if 0 <= at - h * stride < taps else None for at in (line, line + 1)]
        first, second = (at if at in needed else None for at in (line, line + 1))
        if first is None:
            first, second, tap = line + 1, None, [tap[1], None]
        pairs.append(_Pair((first, second), (tap[0], tap[1])))
    return pairs


def _wanted(kernel: Int8DepthwiseKernel, most: int) -> set[tuple[int | None, int | None]]:
    """Pairs of taps that any tile of the kernel needs."""
    heights = {rows.tile for rows in cut(kernel.height, min(most, kernel.height))}
    return {pair.taps for rows in heights for h in range(rows) for pair in _pairs(kernel, h, rows)}


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
