"""Convolutions on blocked images: x [ceil(C / lanes)][H][W][lanes], already padded."""

from __future__ import annotations

from typing import Any

from tvm import te

from dscompile.compute.activation import activate
from dscompile.plan.kernels import ConvKernel, DepthwiseKernel, Epilogue
from dscompile.plan.layout import Strides, TileStrides

Tensor = Any
PrimFunc = Any


def conv(kernel: ConvKernel) -> PrimFunc:
    """Dense convolution; pointwise is its 1x1 case. Blocks: `acc` (the sum), `biased`, `y` (activation, residual).

    acc[b, h, w, l] = sum_{k, r, q} x[k, h s + r d, w s + q d] weights[n / panel, r, q, k, n % panel], n = b lanes + l.
    A flat x is [C][H][W], whatever its strides. Of a gathered one, channel k is x[offsets[k]]. One in tiles is
    [blocks][H][tiles][pixels][lanes].
    """
    lanes, panel = kernel.lanes, kernel.panel
    (taps_h, taps_w), (stride_h, stride_w), (gap_h, gap_w) = kernel.kernel, kernel.stride, kernel.dilation
    rows = (kernel.height - 1) * stride_h + (taps_h - 1) * gap_h + 1
    columns = (kernel.width - 1) * stride_w + (taps_w - 1) * gap_w + 1
    channels = kernel.in_channels
    blocked = isinstance(kernel.x, Strides)
    tile = kernel.x.pixels if isinstance(kernel.x, TileStrides) else 0
    across = (columns // tile, tile) if tile else (columns,)
    channels_first = (kernel.span or channels, rows, columns)
    shape = (-(-channels // lanes), rows, *across, lanes) if blocked or tile else channels_first
    x = te.placeholder(shape, name="x")
    offsets = te.placeholder((channels,), "int32", name="offsets") if kernel.span else None
    weights = te.placeholder((kernel.out_channels // panel, taps_h, taps_w, channels, panel), name="weights")
    bias = te.placeholder((kernel.out_channels,), name="bias")
    r, q = te.reduce_axis((0, taps_h), name="r"), te.reduce_axis((0, taps_w), name="q")
    k = te.reduce_axis((0, channels), name="k")

    def pixel(h: Any, w: Any) -> Any:
        row, column = h * stride_h + r * gap_h, w * stride_w + q * gap_w
        if offsets is not None:
            return x[offsets[k], row, column]
        if tile:
            return x[k // lanes, row, column // tile, column % tile, k % lanes]
        return x[k // lanes, row, column, k % lanes] if blocked else x[k, row, column]

    shape = (kernel.out_channels // lanes, kernel.height, kernel.width, lanes)
    acc = te.compute(
        shape,
        lambda b, h, w, lane: te.sum(
            pixel(h, w) * weights[(b * lanes + lane) // panel, r, q, k, (b * lanes + lane) % panel], axis=[r, q, k]
        ),
        name="acc",
    )
    return finish([x, *([] if offsets is None else [offsets]), weights, bias], acc, kernel.epilogue, lanes)


def depthwise(kernel: DepthwiseKernel) -> PrimFunc:
    """One filter per channel. Blocks: `acc`, `biased` and `y`.

    acc[b, h, w, l] = sum_{r, q} x[b, h s + r d, w s + q d, l] weights[b, r, q, l]. A y in tiles is
    [blocks][H][tiles][pixels][lanes].
    """
    lanes = kernel.lanes
    (taps_h, taps_w), (stride_h, stride_w), (gap_h, gap_w) = kernel.kernel, kernel.stride, kernel.dilation
    rows = (kernel.height - 1) * stride_h + (taps_h - 1) * gap_h + 1
    columns = (kernel.width - 1) * stride_w + (taps_w - 1) * gap_w + 1
    x = te.placeholder((kernel.blocks, rows, columns, lanes), name="x")
    weights = te.placeholder((kernel.blocks, taps_h, taps_w, lanes), name="weights")
    bias = te.placeholder((kernel.blocks * lanes,), name="bias")
    r, q = te.reduce_axis((0, taps_h), name="r"), te.reduce_axis((0, taps_w), name="q")
    acc = te.compute(
        (kernel.blocks, kernel.height, kernel.width, lanes),
        lambda b, h, w, lane: te.sum(
            x[b, h * stride_h + r * gap_h, w * stride_w + q * gap_w, lane] * weights[b, r, q, lane], axis=[r, q]
        ),
        name="acc",
    )
    tile = kernel.y.pixels if isinstance(kernel.y, TileStrides) else 0
    return finish([x, weights, bias], acc, kernel.epilogue, lanes, tile)


def finish(inputs: list[Tensor], acc: Tensor, epilogue: Epilogue, lanes: int, tile: int = 0) -> PrimFunc:
    """biased = acc + bias and y = outer(inner(biased) + residual), as blocks of these names.

    With a `tile`, that many pixels of a row are an axis of y.
    """
    bias = inputs[-1]
    biased = te.compute(acc.shape, lambda b, h, w, lane: acc[b, h, w, lane] + bias[b * lanes + lane], name="biased")
    residual = None if epilogue.residual is None else te.placeholder(acc.shape, name="residual")

    def value(b: Any, h: Any, w: Any, lane: Any) -> Any:
        y = activate(biased[b, h, w, lane], epilogue.activation)
        if residual is None:
            return y
        return activate(y + residual[b, h, w, lane], epilogue.residual_activation)

    if tile:
        blocks, height, width, _ = acc.shape
        shape = (blocks, height, width // tile, tile, lanes)
        y = te.compute(shape, lambda b, h, t, w, lane: value(b, h, t * tile + w, lane), name="y")
    else:
        y = te.compute(acc.shape, value, name="y")
    return te.create_prim_func([*inputs, *([] if residual is None else [residual]), y])
