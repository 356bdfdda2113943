"""Int8 convolutions for x86, by VPMADDWD (AVX2, AVX-512) or VPDPBUSD (AVX-512 VNNI).

Both take a word of neighboring input channels of one pixel against the same word of a vector of outputs. What they want a
pixel to be, int16 or bytes without a sign, it is made once for a run of tiles, in memory of the kernel's own; from
there a word is broadcast by a load. All panels of weights pass over such a run, so it is as long as the first-level
cache allows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm import tirx

from dscompile import compute
from dscompile.plan.int8_kernels import Int8ConvKernel
from dscompile.plan.int8_tiles_x86 import run_of_tiles
from dscompile.plan.knobs import PixelKnobs
from dscompile.plan.tiles import Span, cut
from dscompile.schedule import x86_vectors as x86
from dscompile.schedule.vector_code import Code, Sums, load
from dscompile.schedule.x86_requantization import clamped, scaled
from dscompile.target import Target

Expr = Any
Buffer = Any
PrimFunc = Any


def conv_by_vpmaddwd(kernel: Int8ConvKernel, knobs: PixelKnobs, target: Target) -> PrimFunc:
    """Pairs of input channels as int16; weights become int16 when they are loaded, a vector of pairs for `pixels` sums."""

    def pixel(values: Expr) -> Expr:
        return tirx.reinterpret(f"int32x{kernel.lanes // 2}", x86.widened(values, "int16"))

    def weight(values: Expr) -> Expr:
        return x86.widened(values, "int16")

    def add(total: Expr, word: Expr, by: Expr) -> Expr:
        return x86.in_order(total + x86.vpmaddwd(tirx.reinterpret(f"int16x{2 * target.lanes}", word), by, target))

    return _conv(kernel, knobs, _Way(target, kernel.lanes, 2 * target.lanes, pixel, weight, add))


def conv_by_vpdpbusd(kernel: Int8ConvKernel, knobs: PixelKnobs, target: Target) -> PrimFunc:
    """Words of four input channels, of a kernel that is `unsigned`."""
    words = kernel.lanes // 4

    def pixel(values: Expr) -> Expr:
        return values ^ x86.splat(-0x7F7F7F80, "int32", words)  # 0x80 in every byte

    def weight(values: Expr) -> Expr:
        return values

    def add(total: Expr, word: Expr, by: Expr) -> Expr:
        return x86.vpdpbusd(total, word, by, target)

    return _conv(kernel, knobs, _Way(target, words, target.lanes, pixel, weight, add))


@dataclass(frozen=True)
class _Way:
    """How products are summed: elements to load for a block of a pixel and for a vector of weights, and what they become.

    `pixel` gives int32 words, `add` a vector of sums and one word in all lanes times a vector of weights.
    """

    target: Target
    block: int
    vector: int
    pixel: Callable[[Expr], Expr]
    weight: Callable[[Expr], Expr]
    add: Callable[[Expr, Expr, Expr], Expr]


@dataclass(frozen=True)
class _Run:
    """Pixels that tiles of a row see, from output `first` on, as words [row of taps][column][words of a pixel]."""

    words: Buffer
    row: Expr
    first: Expr
    columns: int
    per_pixel: int


def _conv(kernel: Int8ConvKernel, knobs: PixelKnobs, way: _Way) -> PrimFunc:
    function = compute.define(kernel)
    code = Code()
    with code.loop(kernel.height, "row") as row:
        for span in cut(kernel.width, min(kernel.width, run_of_tiles(kernel, knobs.pixels))):
            with code.loop(span.count, "run") as index:
                run = _widen(code, kernel, function.params[0], way, row, span.start + index * span.tile, span.tile)
                for panels, vectors in _panels(kernel, way.target.lanes):
                    with code.loop(panels.count, "panel") as panel:
                        _tiles(code, kernel, function, way, run, panels.start + panel, vectors, span.tile, knobs.pixels)
    return code.body_of(function)


def _panels(kernel: Int8ConvKernel, lanes: int) -> list[tuple[Span, int]]:
    """Whole panels with all their vectors, and what is used of the last one."""
    vectors, used = kernel.panel // lanes, -(-(kernel.used or kernel.out_channels) // lanes)
    full, rest = divmod(used, vectors)
    return [(Span(0, full, 1), vectors), *([(Span(full, 1, 1), rest)] if rest else [])]


def _widen(
    code: Code, kernel: Int8ConvKernel, x: Buffer, way: _Way, row: Expr, first: Expr, pixels: int
) -> _Run:
    """What `pixels` outputs see, as the instruction wants it."""
    (taps_h, taps_w), (stride_h, stride_w), (gap_h, gap_w) = kernel.kernel, kernel.stride, kernel.dilation
    columns = (pixels - 1) * stride_w + (taps_w - 1) * gap_w + 1
    blocks, per_block = -(-kernel.in_channels // kernel.lanes), kernel.lanes // kernel.word
    per_pixel = blocks * per_block
    words = code.buffer(taps_h * columns * per_pixel, "int32", "words")
    with code.loop(taps_h, "r") as r, code.loop(blocks, "block") as block, code.loop(columns, "column") as column:
        values = load(x, [block, row * stride_h + r * gap_h, first * stride_w + column, 0], way.block)
        code.store(words, [((r * columns + column) * blocks + block) * per_block], way.pixel(values))
    return _Run(words, row, first, columns, per_pixel)


def _tiles(
    code: Code, kernel: Int8ConvKernel, function: PrimFunc, way: _Way, run: _Run, panel: Expr, vectors: int, width: int,
    pixels: int,
) -> None:  # fmt: skip
    """A panel of `vectors` over a run; fewer vectors than a panel has leave room for as many more pixels."""
    lanes = way.target.lanes
    pixels *= max(1, kernel.panel // lanes // vectors)
    for tiles in cut(width, min(pixels, width)):
        with code.loop(tiles.count, "tile") as tile:
            first = tiles.start + tile * tiles.tile
            sums = code.sums(tiles.tile * vectors, lanes)
            _add_products(code, kernel, function.params[1], way, run, panel, first, tiles.tile, vectors, sums)
            _store(code, kernel, function, way.target, run, panel, first, tiles.tile, vectors, sums)


def _add_products(
    code: Code, kernel: Int8ConvKernel, weights: Buffer, way: _Way, run: _Run, panel: Expr, first: Expr, pixels: int,
    vectors: int, sums: Sums,
) -> None:  # fmt: skip
    """All taps and input channels of a tile."""
    lanes, per_block = way.target.lanes, kernel.lanes // kernel.word
    stride, gap = kernel.stride[1], kernel.dilation[1]
    full, rest = divmod(-(-kernel.in_channels // kernel.word), per_block)

    def add(r: Expr, q: Expr, block: Expr, count: int) -> None:
        for word in range(count):
            k = block * per_block + word
            by = [
                code.value(way.weight(load(weights, [panel, r, q, k, lanes * v, 0], way.vector)), "w")
                for v in range(vectors)
            ]
            for p in range(pixels):
                at = (r * run.columns + (first + p) * stride + q * gap) * run.per_pixel + k
                pixel = code.value(tirx.Broadcast(tirx.BufferLoad(run.words, [at]), lanes), "x")
                for v in range(vectors):
                    sums[p * vectors + v] = way.add(sums[p * vectors + v], pixel, by[v])

    with code.loop(kernel.kernel[0], "r") as r, code.loop(kernel.kernel[1], "q") as q:
        with code.loop(full, "k") as k:
            add(r, q, k, per_block)
        if rest:
            add(r, q, full, rest)


def _store(
    code: Code, kernel: Int8ConvKernel, function: PrimFunc, target: Target, run: _Run, panel: Expr, first: Expr,
    pixels: int, vectors: int, sums: Sums,
) -> None:  # fmt: skip
    """Requantizes and stores the sums of a tile, as many at once as are narrowed together."""
    *constants, y = function.params[2:]
    lanes, form = target.lanes, kernel.requantization
    channel = panel * kernel.panel
    factors = [[code.value(load(c, [channel + lanes * v], lanes), c.name) for c in constants] for v in range(vectors)]

    def number(p: int, v: int) -> Expr:
        total, by = sums[p * vectors + v], factors[v]
        if kernel.unsigned:
            total, by = total + by[0], by[1:]
        return scaled(total, by, form, target)

    def store(p: int, v: int, values: Expr) -> None:
        block, lane = divmod(lanes * v, kernel.lanes)
        at = [panel * (kernel.panel // kernel.lanes) + block, run.row, run.first + first + p, lane]
        code.store(y, at, clamped(values, form))

    per_block = kernel.lanes // lanes  # vectors that lie side by side in a pixel
    for v in range(0, vectors, per_block):
        beside = min(per_block, vectors - v)
        numbers = [(p, v + i) for p in range(pixels) for i in range(beside)]
        together = x86.narrowed_together(lanes)
        for group in range(0, len(numbers), together):
            some = numbers[group : group + together]
            values = x86.saturated_bytes([number(*which) for which in some], target)
            whole = beside == per_block  # neighboring pixels follow each other without a gap
            step = len(some) if whole else beside
            for begin in range(0, len(some), step):
                part = values if step == len(some) else x86.shuffle([values], range(lanes * begin, lanes * (begin + step)))
                store(*some[begin], part)
