"""Int8 convolutions for x86, by VPMADDWD (AVX2, AVX-512) or VPDPBUSD (AVX-512 VNNI).

Both take a word of neighboring input channels of one pixel against the same word of a vector of outputs. What they
want a pixel to be, int16 or bytes without a sign, it is made once for a run of tiles, in memory of the kernel's own;
from there a word is broadcast by a load. All panels of weights pass over such a run, so it is as long as the
first-level cache allows. Runs of pointwise kernels go on from row to row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm import tirx

from dscompile import compute
from dscompile.plan.int8_kernels import Int8ConvKernel
from dscompile.plan.int8_tiles_x86 import is_by_pixels, run_of_tiles
from dscompile.plan.knobs import PixelKnobs
from dscompile.plan.tiles import Span, cut
from dscompile.schedule import x86_vectors as x86
from dscompile.schedule.vector_code import Code, Sums, load
from dscompile.schedule.x86_requantization import narrowed, scaled
from dscompile.target import Target

Expr = Any
Buffer = Any
PrimFunc = Any


@dataclass(frozen=True)
class _Way:
    """How products are summed: elements to load for a block of a pixel and for a vector of weights, what they become.

    `pixel` gives int32 words; `add` takes a vector of sums, one word in all lanes, and a vector of weights.
    """

    target: Target
    block: int
    vector: int
    pixel: Callable[[Expr], Expr]
    weight: Callable[[Expr], Expr]
    add: Callable[[Expr, Expr, Expr], Expr]


def conv_by_vpmaddwd(kernel: Int8ConvKernel, knobs: PixelKnobs, target: Target) -> PrimFunc:
    """Pairs of input channels as int16. Weights become int16 when they are loaded, for all pixels of a tile."""

    def pixel(values: Expr) -> Expr:
        return tirx.reinterpret(f"int32x{kernel.lanes // 2}", x86.widened(values, "int16"))

    def weight(values: Expr) -> Expr:
        return x86.widened(values, "int16")

    def add(total: Expr, word: Expr, by: Expr) -> Expr:
        return x86.in_order(total + x86.vpmaddwd(tirx.reinterpret(f"int16x{2 * target.lanes}", word), by, target))

    way = _Way(target, kernel.lanes, 2 * target.lanes, pixel, weight, add)
    return _Convolution.of(kernel, way).written(knobs.pixels)


def conv_by_vpdpbusd(kernel: Int8ConvKernel, knobs: PixelKnobs, target: Target) -> PrimFunc:
    """Words of four input channels, of a kernel that is `unsigned`."""
    words = kernel.lanes // 4

    def pixel(values: Expr) -> Expr:
        return values ^ x86.splat(-0x7F7F7F80, "int32", words)  # 0x80 in every byte: 128 is added

    def weight(values: Expr) -> Expr:
        return values

    def add(total: Expr, word: Expr, by: Expr) -> Expr:
        return x86.vpdpbusd(total, word, by, target)

    way = _Way(target, words, target.lanes, pixel, weight, add)
    return _Convolution.of(kernel, way).written(knobs.pixels)


@dataclass(frozen=True)
class _Run:
    """Pixels that outputs see, from output `first` on, as words [row of taps][column][words of a pixel].

    Outputs are those of row `row`, or of all rows one behind the other where it is None.
    """

    words: Buffer
    row: Expr | None
    first: Expr
    columns: int
    per_pixel: int


@dataclass(frozen=True)
class _Tile:
    """`pixels` outputs of a run from `first` on, times `vectors` of a panel."""

    run: _Run
    panel: Expr
    first: Expr
    pixels: int
    vectors: int


@dataclass(frozen=True)
class _Convolution:
    """The code of a kernel while it is written."""

    code: Code
    kernel: Int8ConvKernel
    way: _Way
    function: PrimFunc

    @classmethod
    def of(cls, kernel: Int8ConvKernel, way: _Way) -> _Convolution:
        """Of a kernel, with nothing written yet."""
        return cls(Code(), kernel, way, compute.define(kernel))

    def written(self, pixels: int) -> PrimFunc:
        """Row by row, run by run, panel by panel, tile by tile."""
        kernel = self.kernel
        if is_by_pixels(kernel.kernel, kernel.stride):
            self._runs(None, kernel.height * kernel.width, pixels)
        else:
            with self.code.loop(kernel.height, "row") as row:
                self._runs(row, kernel.width, pixels)
        return self.code.body_of(self.function)

    def _runs(self, row: Expr | None, outputs: int, pixels: int) -> None:
        """Of one row, or of all. They are one loop, so that threads can share its rounds; the last may be shorter."""
        size = min(outputs, run_of_tiles(self.kernel, pixels))
        full, rest = divmod(outputs, size)

        def write(first: Expr, width: int) -> None:
            run = self._run(row, first, width)
            for panels, vectors in self._panels():
                with self.code.loop(panels.count, "panel") as panel:
                    self._tiles(run, panels.start + panel, vectors, width, pixels)

        with self.code.loop(full + (rest > 0), "run") as index:
            if rest:
                self.code.either(index < full, lambda: write(index * size, size), lambda: write(index * size, rest))
            else:
                write(index * size, size)

    def _place(self, run: _Run, output: Expr) -> tuple[Expr, Expr]:
        """Row and column of an output of a run."""
        at = run.first + output
        if run.row is not None:
            return run.row, at
        return tirx.floordiv(at, self.kernel.width), tirx.floormod(at, self.kernel.width)

    def _panels(self) -> list[tuple[Span, int]]:
        """Whole panels with all their vectors, and what is used of the last one."""
        lanes, kernel = self.way.target.lanes, self.kernel
        vectors, used = kernel.panel // lanes, -(-(kernel.used or kernel.out_channels) // lanes)
        full, rest = divmod(used, vectors)
        return [(Span(0, full, 1), vectors), *([(Span(full, 1, 1), rest)] if rest else [])]

    def _run(self, row: Expr | None, first: Expr, pixels: int) -> _Run:
        """Makes what `pixels` outputs see as the instruction wants it."""
        code, kernel, way = self.code, self.kernel, self.way
        (taps_h, taps_w), (stride_h, stride_w), (gap_h, gap_w) = kernel.kernel, kernel.stride, kernel.dilation
        columns = (pixels - 1) * stride_w + (taps_w - 1) * gap_w + 1
        blocks, per_block = -(-kernel.in_channels // kernel.lanes), kernel.lanes // kernel.word
        words = code.buffer(taps_h * columns * blocks * per_block, "int32", "words")
        run = _Run(words, row, first, columns, blocks * per_block)
        with code.loop(taps_h, "r") as r, code.loop(blocks, "block") as block, code.loop(columns, "column") as column:
            at = self._place(run, column) if row is None else (row * stride_h + r * gap_h, first * stride_w + column)
            pixel = way.pixel(load(self.function.params[0], [block, *at, 0], way.block))
            code.store(words, [((r * columns + column) * blocks + block) * per_block], pixel)
        return run

    def _tiles(self, run: _Run, panel: Expr, vectors: int, width: int, pixels: int) -> None:
        """A panel over a run; fewer vectors than a panel has leave room for as many more pixels."""
        pixels *= max(1, self.kernel.panel // self.way.target.lanes // vectors)
        for span in cut(width, min(pixels, width)):
            with self.code.loop(span.count, "tile") as index:
                tile = _Tile(run, panel, span.start + index * span.tile, span.tile, vectors)
                factors = self._factors(tile)
                sums = self._begun(tile, factors)
                self._add_products(tile, sums)
                self._store(tile, sums, factors)

    def _factors(self, tile: _Tile) -> list[dict[str, Expr]]:
        """The constants of each vector of a panel, by name."""
        lanes, first = self.way.target.lanes, tile.panel * self.kernel.panel
        return [
            {c.name: self.code.value(load(c, [first + lanes * v], lanes), c.name) for c in self.function.params[2:-1]}
            for v in range(tile.vectors)
        ]

    def _begun(self, tile: _Tile, factors: list[dict[str, Expr]]) -> Sums:
        """The sums of a tile before the first product: what is to be added to them is there already."""
        sums = self.code.sums(tile.pixels * tile.vectors, self.way.target.lanes)
        for v, constants in enumerate(factors):
            begin = [constants[name] for name in self._addends() if name in constants]
            for p in range(tile.pixels if begin else 0):
                sums[p * tile.vectors + v] = begin[0] if len(begin) == 1 else begin[0] + begin[1]
        return sums

    def _addends(self) -> tuple[str, ...]:
        return ("start", "bias") if self.kernel.requantization.scaling == "float32" else ("start",)

    def _add_products(self, tile: _Tile, sums: Sums) -> None:
        """All taps and input channels of a tile."""
        code, kernel, way, run = self.code, self.kernel, self.way, tile.run
        lanes, per_block = way.target.lanes, kernel.lanes // kernel.word
        weights = self.function.params[1]

        def add(r: Expr, q: Expr, k: Expr) -> None:
            at = [[tile.panel, r, q, k, lanes * v, 0] for v in range(tile.vectors)]
            by = [code.value(way.weight(load(weights, place, way.vector)), "w") for place in at]
            for p in range(tile.pixels):
                column = (tile.first + p) * kernel.stride[1] + q * kernel.dilation[1]
                word = tirx.BufferLoad(run.words, [(r * run.columns + column) * run.per_pixel + k])
                pixel = code.value(tirx.Broadcast(word, lanes), "x")
                for v in range(tile.vectors):
                    sums[p * tile.vectors + v] = way.add(sums[p * tile.vectors + v], pixel, by[v])

        full, rest = divmod(-(-kernel.in_channels // kernel.word), per_block)
        with code.loop(kernel.kernel[0], "r") as r, code.loop(kernel.kernel[1], "q") as q:
            with code.loop(full, "block") as block:
                for word in range(per_block):
                    add(r, q, block * per_block + word)
            for word in range(rest):
                add(r, q, full * per_block + word)

    def _store(self, tile: _Tile, sums: Sums, factors: list[dict[str, Expr]]) -> None:
        """Requantizes and stores the sums of a tile, as many at once as are narrowed together."""
        code, kernel, target = self.code, self.kernel, self.way.target
        y, lanes, form = self.function.params[-1], target.lanes, kernel.requantization
        added = dict.fromkeys(self._addends(), x86.splat(0, "int32", lanes))

        def number(p: int, v: int) -> Expr:
            constants = {**factors[v], **added}
            by = [constants[parameter.name] for parameter in form.parameters]
            return scaled(sums[p * tile.vectors + v], by, form, target)

        per_block, together = kernel.lanes // lanes, x86.narrowed_together(lanes)
        for v in range(0, tile.vectors, per_block):
            beside = min(per_block, tile.vectors - v)
            block = tile.panel * (kernel.panel // kernel.lanes) + v // per_block
            numbers = [(p, v + i) for p in range(tile.pixels) for i in range(beside)]
            for group in range(0, len(numbers), together):
                some = numbers[group : group + together]
                values = narrowed([number(*which) for which in some], form, target)
                step = len(some) if beside == per_block and self._are_neighbors(tile) else beside
                for begin in range(0, len(some), step):
                    row, column = self._place(tile.run, tile.first + some[begin][0])
                    part = x86.part(values, lanes * begin, lanes * step)
                    code.store(y, [block, row, column, 0], part)

    def _are_neighbors(self, tile: _Tile) -> bool:
        """Whether the blocks of outputs that are narrowed together, two at most, follow each other without a gap."""
        kernel = self.kernel
        gapless = kernel.y.row == kernel.width * kernel.y.pixel
        return tile.run.row is not None or gapless or (kernel.width % 2 == 0 and tile.pixels % 2 == 0)
