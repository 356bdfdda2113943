"""The bfloat16 pointwise convolution: what it computes, in operations that every target has.

Each element of x is rounded to bfloat16, to the nearest and at ties to the even one, as the weights were when they were
packed. Products of two bfloat16 are exact in float32, in which they are summed; in which order is free. Instructions
may round these sums to odd and take subnormal factors for 0 (BFMMLA and BFDOT without FEAT_EBF16, VDPBF16PS).
"""

from __future__ import annotations

from typing import Any

from tvm import te, tirx

from dscompile.compute.convolution import finish
from dscompile.plan.bf16_kernels import Bf16ConvKernel
from dscompile.plan.bf16_packing import HALF_OF_LAST_PLACE

Expr = Any
PrimFunc = Any

LOWER_HALF = 16  # bits of a float32 that a bfloat16 has not


def bf16_conv(kernel: Bf16ConvKernel) -> PrimFunc:
    """Blocks: `acc` (the sum), `biased`, `y` (activation, residual). Weights are the bits of bfloat16.

    acc[b, h, w, l] = sum_k bf16(x[k, h s, w s]) weights[n / panel, k / word, n % panel, k % word], n = b lanes + l.
    """
    lanes, panel, word = kernel.lanes, kernel.panel, kernel.word
    (stride_h, stride_w), channels = kernel.stride, kernel.in_channels
    rows, columns = (kernel.height - 1) * stride_h + 1, (kernel.width - 1) * stride_w + 1
    x = te.placeholder((-(-channels // lanes), rows, columns, lanes), name="x")
    packed = (kernel.out_channels // panel, -(-channels // word), panel, word)
    weights = te.placeholder(packed, "uint16", name="weights")
    bias = te.placeholder((kernel.out_channels,), name="bias")
    k = te.reduce_axis((0, channels), name="k")

    def product(b: Expr, h: Expr, w: Expr, lane: Expr) -> Expr:
        n = b * lanes + lane
        pixel = x[k // lanes, h * stride_h, w * stride_w, k % lanes]
        return rounded(pixel) * widened(weights[n // panel, k // word, n % panel, k % word])

    acc = te.compute(
        (kernel.out_channels // lanes, kernel.height, kernel.width, lanes),
        lambda b, h, w, lane: te.sum(product(b, h, w, lane), axis=k),
        name="acc",
    )
    return finish([x, weights, bias], acc, kernel.epilogue, lanes)


def rounded(x: Expr) -> Expr:
    """The bfloat16 next to a float32 that is a number, as float32; NaN stays NaN."""
    bits = tirx.reinterpret("uint32", x)
    last = tirx.bitwise_and(tirx.shift_right(bits, _bits(LOWER_HALF)), _bits(1))
    near = tirx.bitwise_and(bits + _bits(HALF_OF_LAST_PLACE) + last, _bits(0xFFFF0000))
    return tirx.Select(x == x, tirx.reinterpret("float32", near), x)


def widened(bits: Expr) -> Expr:
    """A bfloat16, given by its bits, as float32."""
    return tirx.reinterpret("float32", tirx.shift_left(tirx.Cast("uint32", bits), _bits(LOWER_HALF)))


def _bits(value: int) -> Expr:
    return tirx.const(value, "uint32")
