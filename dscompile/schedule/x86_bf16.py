"""Bfloat16 convolutions for AVX-512, by VDPBF16PS: a vector of outputs of one pixel, two input channels at once."""

from __future__ import annotations

from typing import Any

from tvm import tirx

from dscompile import compute
from dscompile.plan.bf16_kernels import Bf16ConvKernel
from dscompile.plan.knobs import PixelKnobs
from dscompile.schedule.bf16 import Tile, store, tiles, without_padding
from dscompile.schedule.bf16_instructions import dpbf16, rounded
from dscompile.schedule.vector_code import Code, Sums, load

Expr = Any
Buffer = Any
PrimFunc = Any

LANES = 16  # channels of a block: float32 in a zmm register
PAIRS = LANES // 2  # of input channels in a block


def conv_by_dpbf16(kernel: Bf16ConvKernel, knobs: PixelKnobs) -> PrimFunc:
    """A tile of `pixels` x panel sums; per pair of input channels a vector of weights for every 16 outputs.

    The tile's pixels of a block of channels are rounded into a few cache lines of the stack, from which a load
    broadcasts the pairs.
    """
    function = compute.define(kernel)
    x, weights, bias, *_ = function.params
    pixels, vectors = knobs.pixels, kernel.panel // LANES
    full, rest = divmod(kernel.in_channels, LANES)
    stride_h, stride_w = kernel.stride
    code = Code()

    def narrow(tile: Tile, halves: Buffer, block: Expr, channels: int) -> None:
        """Rounds the pixels of a block, of which `channels` are there."""
        for p in range(pixels):
            image = load(x, [block, tile.row * stride_h, (tile.first + p) * stride_w, 0], LANES)
            whole = without_padding(image, channels, LANES) if channels < LANES else image
            code.store(halves, [p * PAIRS], tirx.reinterpret(f"int32x{PAIRS}", rounded(whole)))
        code.read_anew(halves)  # or LLVM keeps them in registers, and broadcasts take the place of products

    def add_products(tile: Tile, sums: Sums, halves: Buffer, block: Expr, pair: Expr) -> None:
        """Of one pair of channels of a block."""
        held = [
            code.value(load(weights, [tile.panel, block * PAIRS + pair, v * LANES, 0], 2 * LANES), "w")
            for v in range(vectors)
        ]
        for p in range(pixels):
            both = tirx.Broadcast(load(halves, [p * PAIRS + pair], 1), LANES)
            seen = code.value(tirx.reinterpret(f"uint16x{2 * LANES}", both), "x")
            for v in range(vectors):
                sums[p * vectors + v] = dpbf16(sums[p * vectors + v], seen, held[v])

    with tiles(code, kernel, knobs) as tile:
        memory = code.buffer(pixels * kernel.panel, "float32", "sums")
        sums = Sums(code, memory, LANES)
        for v in range(vectors):
            start = code.value(load(bias, [tile.panel * kernel.panel + v * LANES], LANES), "bias")
            for p in range(pixels):
                sums[p * vectors + v] = start
        halves = code.buffer(pixels * PAIRS, "int32", "halves")
        with code.loop(full, "k") as k:
            narrow(tile, halves, k, LANES)
            with code.loop(PAIRS, "pair") as pair:
                add_products(tile, sums, halves, k, pair)
        if rest:
            narrow(tile, halves, full, rest)
            with code.loop(-(-rest // 2), "pair") as pair:
                add_products(tile, sums, halves, full, pair)
        store(code, kernel, function, tile, pixels, memory)
    return code.body_of(function)
