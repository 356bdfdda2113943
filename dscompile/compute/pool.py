"""Pooling on blocked images."""

from __future__ import annotations

from typing import Any

from tvm import te, tirx

from dscompile.compute.activation import activate, const
from dscompile.plan.kernels import PoolKernel


def pool(kernel: PoolKernel) -> Any:
    """Average or maximum of the taps that lie inside the image. Blocks: `acc` and `y`."""
    (taps_h, taps_w), (stride_h, stride_w) = kernel.kernel, kernel.stride
    x = te.placeholder((kernel.blocks, kernel.in_height, kernel.in_width, kernel.lanes), name="x")
    r, q = te.reduce_axis((0, taps_h), name="r"), te.reduce_axis((0, taps_w), name="q")
    average = kernel.function == "average"
    padded = not _inside(kernel)

    def tap(b: Any, h: Any, w: Any, lane: Any) -> Any:
        row, column = h * stride_h + r - kernel.pad_top, w * stride_w + q - kernel.pad_left
        if not padded:
            return x[b, row, column, lane]
        inside = tirx.all(row >= 0, row < kernel.in_height, column >= 0, column < kernel.in_width)
        outside = const(0.0) if average else tirx.min_value("float32")
        return tirx.if_then_else(inside, x[b, row, column, lane], outside)

    reduce = te.sum if average else te.max
    shape = (kernel.blocks, kernel.height, kernel.width, kernel.lanes)
    acc = te.compute(shape, lambda b, h, w, lane: reduce(tap(b, h, w, lane), axis=[r, q]), name="acc")

    def value(b: Any, h: Any, w: Any, lane: Any) -> Any:
        total = acc[b, h, w, lane]
        if average and (kernel.divisor or not padded):
            total = total * const(1.0 / (kernel.divisor or taps_h * taps_w))
        elif average:
            rows = _taps_inside(h * stride_h - kernel.pad_top, taps_h, kernel.in_height)
            columns = _taps_inside(w * stride_w - kernel.pad_left, taps_w, kernel.in_width)
            total = total / tirx.Cast("float32", rows * columns)
        return activate(total, kernel.activation)

    return te.create_prim_func([x, te.compute(shape, value, name="y")])


def _taps_inside(first: Any, taps: int, size: int) -> Any:
    """How many of the taps first .. first + taps - 1 lie in [0, size)."""
    return tirx.min(first + taps, size) - tirx.max(first, 0)


def _inside(kernel: PoolKernel) -> bool:
    """Whether every tap of every window lies inside the image."""
    last_row = (kernel.height - 1) * kernel.stride[0] - kernel.pad_top + kernel.kernel[0]
    last_column = (kernel.width - 1) * kernel.stride[1] - kernel.pad_left + kernel.kernel[1]
    return (
        kernel.pad_top == 0 and kernel.pad_left == 0 and last_row <= kernel.in_height and last_column <= kernel.in_width
    )
