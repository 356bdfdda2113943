"""Int8 convolutions on blocked images and fully connected layers, with int32 sums. Blocks: `acc` and `y`.

Where the weights of whole words of four lie together, images and weights are seen as int32 words and summed with dot4;
strides of the views are in bytes all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import te, tirx

from dscompile.compute.dot_product import WORD, dot4
from dscompile.compute.integer import typed_const
from dscompile.compute.requantization import constants, requantized
from dscompile.plan.int8_kernels import Int8ConvKernel, Int8DenseKernel, Int8DepthwiseKernel, Requantization

Tensor = Any
Expr = Any
PrimFunc = Any


def int8_conv(kernel: Int8ConvKernel) -> PrimFunc:
    """Dense convolution; pointwise is its 1x1 case.

    acc[b, h, w, l] = sum_{r, q, k, j} x[k word + j, h s + r d, w s + q d] weights[n / panel, r, q, k, n % panel, j]
    with n = b lanes + l, and channel c of x at [c / lanes][..][c % lanes]. If the kernel is `unsigned`, x + 128 stands
    in place of x, and `start`[n] is added in the end.
    """
    lanes, panel, word = kernel.lanes, kernel.panel, kernel.word
    (taps_h, taps_w), (stride_h, stride_w), (gap_h, gap_w) = kernel.kernel, kernel.stride, kernel.dilation
    rows, columns = _extent(kernel.height, taps_h, stride_h, gap_h), _extent(kernel.width, taps_w, stride_w, gap_w)
    words = -(-kernel.in_channels // word)
    size, dtype = _unit(word)  # bytes that are multiplied at once
    x = te.placeholder((-(-words * word // lanes), rows, columns, lanes // size), dtype, name="x")
    shape = (kernel.out_channels // panel, taps_h, taps_w, words, panel, word // size)
    weights = te.placeholder(shape, dtype, name="weights")
    factors = constants(kernel.requantization, kernel.out_channels)
    r, q = te.reduce_axis((0, taps_h), name="r"), te.reduce_axis((0, taps_w), name="q")
    k, j = te.reduce_axis((0, words), name="k"), te.reduce_axis((0, word // size), name="j")

    def product(b: Expr, h: Expr, w: Expr, lane: Expr) -> Expr:
        n, unit = b * lanes + lane, k * (word // size) + j
        row, column, per_block = h * stride_h + r * gap_h, w * stride_w + q * gap_w, lanes // size
        pixel, by = x[unit // per_block, row, column, unit % per_block], weights[n // panel, r, q, k, n % panel, j]
        return _unsigned_product(pixel, by) if kernel.unsigned else _product(pixel, by)

    acc = te.compute(
        (kernel.out_channels // lanes, kernel.height, kernel.width, lanes),
        lambda *index: te.sum(product(*index), axis=[r, q, k, j]),
        name="acc",
    )
    start = [te.placeholder((kernel.out_channels,), "int32", name="start")] if kernel.unsigned else []
    return _finish([x, weights], acc, factors, kernel.requantization, start)


def int8_depthwise(kernel: Int8DepthwiseKernel) -> PrimFunc:
    """One filter per channel.

    acc[b, h, w, l] = sum_{r, q} x[b, h s + r d, w s + q d, l] weights[b, r, q, l], or where rows of taps are words
    weights[b, r, 0, q / word, l, q % word].
    """
    lanes, word = kernel.lanes, kernel.word
    (taps_h, taps_w), (stride_h, stride_w), (gap_h, gap_w) = kernel.kernel, kernel.stride, kernel.dilation
    rows, columns = _extent(kernel.height, taps_h, stride_h, gap_h), _extent(kernel.width, taps_w, stride_w, gap_w)
    x = te.placeholder((kernel.blocks, rows, columns, lanes), "int8", name="x")
    shape = (taps_w, lanes) if word == 1 else (2, taps_w // word + 1, lanes, word)
    weights = te.placeholder((kernel.blocks, taps_h, *shape), "int8", name="weights")
    factors = constants(kernel.requantization, kernel.blocks * lanes)
    r, q = te.reduce_axis((0, taps_h), name="r"), te.reduce_axis((0, taps_w), name="q")

    def product(b: Expr, h: Expr, w: Expr, lane: Expr) -> Expr:
        tap = weights[b, r, q, lane] if word == 1 else weights[b, r, 0, q // word, lane, q % word]
        return _product(x[b, h * stride_h + r * gap_h, w * stride_w + q * gap_w, lane], tap)

    acc = te.compute(
        (kernel.blocks, kernel.height, kernel.width, lanes),
        lambda *index: te.sum(product(*index), axis=[r, q]),
        name="acc",
    )
    return _finish([x, weights], acc, factors, kernel.requantization)


def int8_dense(kernel: Int8DenseKernel) -> PrimFunc:
    """acc[n] = sum_k x[k] weights[n / panel, k / word, n % panel, k % word].

    Words of x are loaded only where its length is a whole number of them: nothing beyond its end is read.
    """
    channels, units, panel, word = kernel.in_channels, kernel.out_channels, kernel.panel, kernel.word
    size, dtype = _unit(word) if channels % WORD == 0 else (1, "int8")
    x = te.placeholder((channels // size,), dtype, name="x")
    shape = (units // panel, -(-channels // word), panel, word // size)
    weights = te.placeholder(shape, dtype, name="weights")
    factors = constants(kernel.requantization, units)
    k, per_word = te.reduce_axis((0, channels // size), name="k"), word // size

    def product(n: Expr) -> Expr:
        return _product(x[k], weights[n // panel, k // per_word, n % panel, k % per_word])

    acc = te.compute((units,), lambda n: te.sum(product(n), axis=[k]), name="acc")
    y = te.compute((units,), lambda n: requantized(acc[n], [f[n] for f in factors], kernel.requantization), name="y")
    return te.create_prim_func([x, weights, *factors, y])


def _finish(
    inputs: list[Tensor],
    acc: Tensor,
    factors: list[Tensor],
    requantization: Requantization,
    start: Sequence[Tensor] = (),
) -> PrimFunc:
    """The block `y`: every sum, and its `start` if there is any, as an int8 of its channel."""
    lanes = int(acc.shape[-1])

    def value(b: Expr, h: Expr, w: Expr, lane: Expr) -> Expr:
        channel, total = b * lanes + lane, acc[b, h, w, lane]
        for more in start:
            total = total + more[channel]
        return requantized(total, [f[channel] for f in factors], requantization)

    return te.create_prim_func([*inputs, *start, *factors, te.compute(acc.shape, value, name="y")])


def _unit(word: int) -> tuple[int, str]:
    """How many bytes are multiplied at once, and the type that holds them."""
    return (WORD, "int32") if word % WORD == 0 else (1, "int8")


def _product(x: Expr, w: Expr) -> Expr:
    """Of bytes, or the sum of the four products of words."""
    if str(w.dtype) == "int8":
        return tirx.Cast("int32", x) * tirx.Cast("int32", w)
    return dot4(x, w)


def _unsigned_product(x: Expr, w: Expr) -> Expr:
    """As `_product`, with 128 added to every byte of x."""
    if str(w.dtype) == "int8":
        return (tirx.Cast("int32", x) + typed_const(128, "int32")) * tirx.Cast("int32", w)
    ones = typed_const(0x01010101, "int32")
    return dot4(x, w) + tirx.shift_left(dot4(ones, w), typed_const(7, "int32"))


def _extent(outputs: int, taps: int, stride: int, gap: int) -> int:
    """Inputs that a run of outputs sees."""
    return (outputs - 1) * stride + (taps - 1) * gap + 1
