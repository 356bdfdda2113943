"""Int8 convolutions for 64-bit Arm, one function per instruction that multiplies: SDOT, SMMLA, SMULL of plain NEON.

All of them go over panels of weights, so that each streams once, then over tiles of pixels, whose sums stay in
registers while input channels pass by in blocks of 8: one pixel's block is a d register, two neighbours' a q register.
`kernel.word` says which instruction the weights were packed for (plan/int8_tiles.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from tvm import tirx

from dscompile import compute
from dscompile.plan.int8_kernels import Int8ConvKernel
from dscompile.plan.int8_tiles import MAX_SUMS
from dscompile.plan.knobs import PixelKnobs
from dscompile.schedule import neon
from dscompile.schedule.neon_requantization import clamped, narrowed, scaled
from dscompile.schedule.vector_code import Code, Sums, load

Expr = Any
PrimFunc = Any

LANES = 8  # channels of a block
WORDS = 2  # int32 words of a block of a pixel


@dataclass(frozen=True)
class _Tile:
    """Loop variables: the panel of weights, the row of outputs, and the first of the tile's pixels in it.

    `innermost` is the variable of the innermost loop over tiles that has several rounds, and their number.
    """

    panel: Expr
    row: Expr
    first: Expr
    innermost: tuple[Expr, int]


@contextmanager
def _tiles(code: Code, kernel: Int8ConvKernel, knobs: PixelKnobs) -> Iterator[_Tile]:
    """What is written inside runs for every panel and, within it, for every tile of `pixels` outputs of a row."""
    pixels = knobs.pixels
    if kernel.width % pixels:
        raise ValueError(f"knob pixels = {pixels} does not divide {kernel.width}")
    panels, tiles = kernel.out_channels // kernel.panel, kernel.width // pixels
    with (
        code.loop(panels, "panel") as panel,
        code.loop(kernel.height, "row") as row,
        code.loop(tiles, "tile", read_anew=knobs.reread_weights) as tile,
    ):
        loops = ((tile, tiles), (row, kernel.height), (panel, panels))
        innermost = next((loop for loop in loops if loop[1] > 1), loops[0])
        yield _Tile(panel, row, tile * pixels, innermost)


@contextmanager
def _tap_rows(code: Code, taps_h: int, rounds: int, *, kept: bool) -> Iterator[Expr]:
    """A loop over rows of taps, around one over input channels of `rounds` rounds.

    `kept`, LLVM does not unroll the outermost of the two that has several rounds (for channels: `_keeps_channels`); if
    none has, the sum stays apart from what finishes it.
    """
    alone = taps_h == 1 and rounds <= 1
    with code.loop(taps_h, "r", read_anew=kept and alone, kept=kept and (taps_h > 1 or alone)) as r:
        yield r


def _keeps_channels(taps_h: int, rounds: int) -> bool:
    return taps_h == 1 and rounds > 1


def conv_by_sdot(kernel: Int8ConvKernel, knobs: PixelKnobs) -> PrimFunc:
    """A tile of `pixels` x panel sums; per word of four input channels, a vector of weights for every four outputs.

    Pixels are loaded two to a register, from which SDOT takes its word; along a row of taps each is loaded once.
    """
    function = compute.define(kernel)
    x, weights, *_ = function.params
    pixels, vectors = knobs.pixels, kernel.panel // 4
    (taps_h, taps_w), (stride_h, stride_w), (gap_h, gap_w) = kernel.kernel, kernel.stride, kernel.dilation
    columns = sorted({p * stride_w + q * gap_w for p in range(pixels) for q in range(taps_w)})
    full, rest = divmod(-(-kernel.in_channels // 4), WORDS)
    kept = not knobs.reread_weights or 2 * pixels * kernel.panel // LANES >= MAX_SUMS
    code = Code()

    def add_products(tile: _Tile, sums: Sums, r: Expr, block: Expr, words: int) -> None:
        """Of `words` words of a block of input channels, for all taps of row `r`."""
        row, first = tile.row * stride_h + r * gap_h, tile.first * stride_w
        seen = _Pixels(code, x, (block, row, first), columns)

        def weight(q: int, word: int, v: int) -> Expr:
            return code.value(load(weights, [tile.panel, r, q, block * WORDS + word, 0, 4 * v], 4), "w")

        def add(p: int, q: int, word: int, v: int, w: Expr) -> None:
            total = p * vectors + v
            sums[total] = neon.sdot(sums[total], w, seen.word(p * stride_w + q * gap_w, word))

        # Of weights and pixels, the fewer ones stay in registers while the others come one by one.
        order = [(q, word, v) for q in range(taps_w) for word in range(words) for v in range(vectors)]
        if len(order) < -(-len(columns) // 2):
            held = [weight(*at) for at in order]
            for p in range(pixels):
                for at, w in zip(order, held, strict=True):
                    add(p, *at, w)
        else:
            for at in order:
                w = weight(*at)
                for p in range(pixels):
                    add(p, *at, w)

    with _tiles(code, kernel, knobs) as tile:
        sums = code.sums(pixels * vectors)
        with _tap_rows(code, taps_h, full, kept=kept) as r:
            with code.loop(full, "k", kept=kept and _keeps_channels(taps_h, full)) as k:
                add_products(tile, sums, r, k, WORDS)
            if rest:
                add_products(tile, sums, r, full, rest)
        _store(code, kernel, function, tile, pixels, lambda p, v: sums[p * vectors + v])
    return code.body_of(function)


def conv_by_smmla(kernel: Int8ConvKernel, knobs: PixelKnobs) -> PrimFunc:
    """Two pixels x two outputs to a register of sums, eight input channels at once; for pixels that lie side by side.

    An odd pixel at the end of a tile makes a pair with itself.
    """
    function = compute.define(kernel)
    x, weights, *_ = function.params
    pairs, columns, blocks = -(-knobs.pixels // 2), kernel.panel // 2, -(-kernel.in_channels // LANES)
    (taps_h, taps_w), (stride_h, stride_w), (gap_h, gap_w) = kernel.kernel, kernel.stride, kernel.dilation
    code = Code()

    def add_products(tile: _Tile, sums: Sums, r: Expr, block: Expr) -> None:
        """Of a block of input channels, for all taps of row `r`."""
        row, first = tile.row * stride_h + r * gap_h, tile.first * stride_w
        for q in range(taps_w):

            def pixels(pair: int, q: int = q) -> Expr:
                count = 2 if 2 * pair + 1 < knobs.pixels else 1
                at = [first + (2 * pair + p) * stride_w + q * gap_w for p in range(count)]
                return code.value(_pair(x, block, row, at, stride_w), "x")

            def outputs(column: int, q: int = q) -> Expr:
                return code.value(load(weights, [tile.panel, r, q, block, 2 * column, 0], 4), "w")

            def add(pair: int, column: int, both: Expr, w: Expr) -> None:
                total = pair * columns + column
                sums[total] = neon.smmla(sums[total], both, w)

            # Of pixels and weights, the fewer ones stay in registers while the others come one by one.
            if columns < pairs:
                held = [outputs(column) for column in range(columns)]
                for pair in range(pairs):
                    both = pixels(pair)
                    for column in range(columns):
                        add(pair, column, both, held[column])
            else:
                held = [pixels(pair) for pair in range(pairs)]
                for column in range(columns):
                    w = outputs(column)
                    for pair in range(pairs):
                        add(pair, column, held[pair], w)

    with _tiles(code, kernel, knobs) as tile:
        sums = code.sums(pairs * columns)
        with (
            _tap_rows(code, taps_h, blocks, kept=True) as r,
            code.loop(blocks, "k", kept=_keeps_channels(taps_h, blocks)) as k,
        ):
            add_products(tile, sums, r, k)
        _store_pairs(code, kernel, function, tile, knobs.pixels, sums)
    return code.body_of(function)


def _pair(x: Any, block: Expr, row: Expr, at: Sequence[Expr], stride: int) -> Expr:
    """A block of input channels of two pixels in a register; of one pixel twice, if there is only one."""
    if len(at) == 2 and stride == 1:
        return load(x, [block, row, at[0], 0], 2 * WORDS)
    first, second = (load(x, [block, row, column, 0], WORDS) for column in (at[0], at[-1]))
    return neon.join(first, second, WORDS)


def _store_pairs(code: Code, kernel: Int8ConvKernel, function: PrimFunc, tile: _Tile, pixels: int, sums: Sums) -> None:
    """Requantizes and stores sums [pair of pixels][pair of outputs], each [x0 w0, x0 w1, x1 w0, x1 w1]."""
    _, _, *constants, y = function.params
    form, columns = kernel.requantization, kernel.panel // 2
    for block in range(kernel.panel // LANES):
        channel = tile.panel * kernel.panel + block * LANES
        at = tile.panel * (kernel.panel // LANES) + block
        numbers = {}
        for i in range(LANES // 2):
            factors = [
                code.value(neon.shuffle([load(c, [channel + 2 * i], 2)], (0, 1, 0, 1)), c.name) for c in constants
            ]
            for pair in range(-(-pixels // 2)):
                total = sums[pair * columns + block * LANES // 2 + i]
                numbers[pair, i] = code.value(scaled(code, total, factors, form), "number")
        for pair in range(-(-pixels // 2)):
            quarters = [numbers[pair, i] for i in range(LANES // 2)]
            low, high = (narrowed(quarters[i], quarters[i + 1], form) for i in (0, 2))
            both = neon.join(low, high, LANES)
            # Pairs of outputs are units of two bytes: those of the first pixel, then those of the second.
            apart = neon.shuffle([tirx.reinterpret("int16x8", both)], (0, 2, 4, 6, 1, 3, 5, 7))
            values = clamped(tirx.reinterpret("int8x16", apart), form)
            if 2 * pair + 1 == pixels:
                values = neon.shuffle([values], range(LANES))
            code.store(y, [at, tile.row, tile.first + 2 * pair, 0], values)


def conv_by_products(kernel: Int8ConvKernel, knobs: PixelKnobs) -> PrimFunc:
    """SMULL: eight products of bytes in 16 bits; two of them fit together if no weight is -128, and are summed to 32.

    One register of partial sums for each output of a tile of `pixels` x panel, summed up at the end.
    """
    function = compute.define(kernel)
    x, weights, *_ = function.params
    pixels, panel = knobs.pixels, kernel.panel
    (taps_h, taps_w), (stride_h, stride_w), (gap_h, gap_w) = kernel.kernel, kernel.stride, kernel.dilation
    blocks = -(-kernel.in_channels // LANES)
    together = 2 if kernel.smallest_weight > -128 else 1
    code = Code()

    def add_products(tile: _Tile, sums: Sums, r: Expr, q: Expr, block: Expr, count: int) -> None:
        """Of `count` blocks of input channels for one tap."""
        row, first = tile.row * stride_h + r * gap_h, tile.first * stride_w + q * gap_w
        seen = [
            [_bytes(code, load(x, [block + b, row, first + p * stride_w, 0], WORDS), "x") for b in range(count)]
            for p in range(pixels)
        ]
        for n in range(panel):
            w = [_bytes(code, load(weights, [tile.panel, r, q, block + b, n, 0], WORDS), "w") for b in range(count)]
            for p in range(pixels):
                products = neon.smull_bytes(seen[p][0], w[0])
                for b in range(1, count):
                    products = products + neon.smull_bytes(seen[p][b], w[b])
                sums[p * panel + n] = neon.sadalp(sums[p * panel + n], products)

    with _tiles(code, kernel, knobs) as tile:
        sums = code.sums(pixels * panel)
        if knobs.reread_weights:
            steps = [
                (r, q, block) for r in range(taps_h) for q in range(taps_w) for block in range(0, blocks, together)
            ]
            for number, (r, q, block) in enumerate(steps):
                with (
                    code.apart(tile.innermost[0], tile.innermost[1] + number)
                    if number and pixels > 1
                    else nullcontext()
                ):
                    add_products(tile, sums, r, q, block, min(together, blocks - block))
        else:
            full = blocks // together
            with _tap_rows(code, taps_h, taps_w * full, kept=True) as r, code.loop(taps_w, "q") as q:
                with code.loop(full, "k", kept=_keeps_channels(taps_h * taps_w, full)) as k:
                    add_products(tile, sums, r, q, k * together, together)
                if blocks % together:
                    add_products(tile, sums, r, q, blocks - 1, 1)

        def total(p: int, v: int) -> Expr:
            parts = [sums[p * panel + 4 * v + n] for n in range(4)]
            return neon.addp(neon.addp(parts[0], parts[1]), neon.addp(parts[2], parts[3]))

        _store(code, kernel, function, tile, pixels, total)
    return code.body_of(function)


def _bytes(code: Code, words: Expr, name: str) -> Expr:
    return code.value(tirx.reinterpret("int8x8", words), name)


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
            low, high = (scaled(code, total(p, 2 * block + v), factors[v], form) for v in (0, 1))
            return narrowed(low, high, form)

        at = tile.panel * (kernel.panel // LANES) + block
        for p in range(0, pixels - 1, 2):
            code.store(y, [at, tile.row, tile.first + p, 0], clamped(neon.join(narrow(p), narrow(p + 1), 8), form))
        if pixels % 2:
            code.store(y, [at, tile.row, tile.first + pixels - 1, 0], clamped(narrow(pixels - 1), form))
