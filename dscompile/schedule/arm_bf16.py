"""Bfloat16 convolutions for 64-bit Arm, by BFMMLA: two pixels x two outputs to a register of sums."""

from __future__ import annotations

from typing import Any

from dscompile import compute
from dscompile.plan.bf16_kernels import Bf16ConvKernel
from dscompile.plan.knobs import PixelKnobs
from dscompile.schedule import neon
from dscompile.schedule.bf16 import Tile, store, tiles, without_padding
from dscompile.schedule.bf16_instructions import bfmmla, rounded
from dscompile.schedule.vector_code import Code, Sums, load

Expr = Any
PrimFunc = Any

LANES = 4  # channels of a block: what a row of BFMMLA sums
UNROLLED = 2  # blocks of channels in a round of the loop: two registers of weights are loaded at once either way


def conv_by_bfmmla(kernel: Bf16ConvKernel, knobs: PixelKnobs) -> PrimFunc:
    """Per block of four input channels, a register of every two pixels against one of every two outputs.

    A block of a pixel is four float32; two of them are rounded into a register (BFCVTN, BFCVTN2) as they are read. An
    odd pixel at the end of a tile makes a pair with itself.
    """
    function = compute.define(kernel)
    x, weights, bias, *_ = function.params
    pixels, pairs, columns = knobs.pixels, -(-knobs.pixels // 2), kernel.panel // 2
    full, rest = divmod(kernel.in_channels, LANES)
    stride_h, stride_w = kernel.stride
    code = Code()

    def seen(tile: Tile, block: Expr, pair: int, channels: int) -> Expr:
        """Two pixels of a block, of which `channels` are there."""
        row, first = tile.row * stride_h, tile.first * stride_w
        at = [first + p * stride_w for p in (2 * pair, min(2 * pair + 1, pixels - 1))]
        if stride_w == 1 and 2 * pair + 1 < pixels:
            both = load(x, [block, row, at[0], 0], 2 * LANES)
        else:
            one, other = (load(x, [block, row, column, 0], LANES) for column in at)
            both = neon.join(one, other, LANES)
        return code.value(rounded(without_padding(both, channels, LANES) if channels < LANES else both), "x")

    def add_products(tile: Tile, sums: Sums, block: Expr, channels: int) -> None:
        """Of `channels` channels of a block. Of pixels and weights, the fewer ones are held in registers."""

        def weight(column: int) -> Expr:
            return code.value(load(weights, [tile.panel, block, 2 * column, 0], 2 * LANES), "w")

        def add(pair: int, column: int, both: Expr, w: Expr) -> None:
            total = pair * columns + column
            sums[total] = bfmmla(sums[total], both, w)

        if columns < pairs:
            held = [weight(column) for column in range(columns)]
            for pair in range(pairs):
                both = seen(tile, block, pair, channels)
                for column in range(columns):
                    add(pair, column, both, held[column])
        else:
            held = [seen(tile, block, pair, channels) for pair in range(pairs)]
            for column in range(columns):
                w = weight(column)
                for pair in range(pairs):
                    add(pair, column, held[pair], w)

    with tiles(code, kernel, knobs) as tile:
        sums = Sums(code, code.buffer(4 * pairs * columns, "float32", "sums"), 4)
        for column in range(columns):
            two = load(bias, [tile.panel * kernel.panel + 2 * column], 2)
            start = code.value(neon.shuffle([two], (0, 1, 0, 1)), "bias")
            for pair in range(pairs):
                sums[pair * columns + column] = start
        rounds, left = divmod(full, UNROLLED)
        with code.loop(rounds, "k", kept=rounds > 1) as k:
            for block in range(UNROLLED):
                add_products(tile, sums, k * UNROLLED + block, LANES)
        if left:
            add_products(tile, sums, full - 1, LANES)
        if rest:
            add_products(tile, sums, full, rest)
        _store(code, kernel, function, tile, pixels, sums)
    return code.body_of(function)


def _store(code: Code, kernel: Bf16ConvKernel, function: PrimFunc, tile: Tile, pixels: int, sums: Sums) -> None:
    """Puts sums [pair of pixels][pair of outputs], each [x0 w0, x0 w1, x1 w0, x1 w1], in the order of pixels."""
    columns = kernel.panel // 2
    result = code.buffer(pixels * kernel.panel, "float32", "result")
    for pixel in range(pixels):
        half = (0, 1, 4, 5) if pixel % 2 == 0 else (2, 3, 6, 7)
        for block in range(kernel.panel // LANES):
            total = pixel // 2 * columns + 2 * block
            code.store(
                result, [pixel * kernel.panel + block * LANES], neon.shuffle([sums[total], sums[total + 1]], half)
            )
    epilogue = kernel.epilogue
    exponential = epilogue.activation.is_exponential or epilogue.residual_activation.is_exponential
    store(code, kernel, function, tile, pixels, result, kept=exponential)
