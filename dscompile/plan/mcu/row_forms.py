"""Kernels by row: what computes one row of a layer's result, and how the layer goes through the rows of its image.

A kernel by row is given the first image row inside its window (the others follow it closely), the taps [first, end) of
the window that are inside, and the row of the result. This module is the only place that knows which kernels have
such a form; streaming (plan/mcu/streams.py) deals with `RowForm` alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from dscompile.ir.tensor import DTYPE_BYTES, Shape
from dscompile.plan.mcu.kernels import McuKernel, WindowedKernel
from dscompile.plan.mcu.products import (
    ConvKernel,
    DepthwiseKernel,
    SeparableKernel,
)
from dscompile.plan.mcu.rows import SLACK_BYTES
from dscompile.plan.mcu.sets import VECTOR_VARIANTS
from dscompile.plan.mcu.small_kernels import (
    ActivateKernel,
    BinaryKernel,
    LookupKernel,
    MeanKernel,
    PoolKernel,
    RowSumKernel,
)
from dscompile.plan.mcu.windows import Axis

_MOST_ROWS = 32_000  # int16_t counts them in C


@dataclass(frozen=True)
class RowForm:
    """A kernel that makes one row of y, [`rows.outputs`][y_row_bytes], from rows of x, [`rows.size`][x_row_bytes].

    `images` are its parameters that point to rows of images: the first is read through the window `rows`, a second one
    row by row. If `is_symmetric` the two may change places. Up to `slack_bytes` behind x are read. A kernel that keeps
    `sums_bytes` between rows finishes y, which is one row, with the last row of x.
    """

    kernel: McuKernel
    rows: Axis
    x_row_bytes: int
    y_row_bytes: int
    images: tuple[str, ...] = ("x",)
    is_symmetric: bool = False
    sums_bytes: int = 0
    slack_bytes: int = 0


def row_form(kernel: McuKernel, x: Shape, y: Shape) -> RowForm | None:
    """The form by row of a kernel that makes `y` [1, H', W', C'] from `x` [1, H, W, C]; None if it has none."""
    if len(x) != 4 or not 1 <= x[1] <= _MOST_ROWS:
        return None
    if _has_no_rows(kernel):
        return None
    match kernel:
        case PoolKernel() if _is_global(kernel):
            return _sums(kernel, x, kernel.window.channels)
        case MeanKernel() if kernel.pixels == x[1] * x[2]:
            return _sums(kernel, x, kernel.channels)
        case ConvKernel() | DepthwiseKernel() | SeparableKernel() | PoolKernel():
            return _windowed(kernel) if len(y) == 4 else None
        case ActivateKernel() | LookupKernel() | BinaryKernel() if x == y:
            return _elementwise(kernel, x)
        case _:
            return None


def _has_no_rows(kernel: McuKernel) -> bool:
    """Whether a kernel is written for vectors or goes channel by channel: of those there is no form by row."""
    match kernel:
        case SeparableKernel():
            return bool({kernel.variant, kernel.depthwise.variant} & set(VECTOR_VARIANTS))
        case ConvKernel() | DepthwiseKernel() | PoolKernel() | MeanKernel():
            return kernel.variant in (*VECTOR_VARIANTS, "planes")
        case _:
            return False


def _windowed(kernel: WindowedKernel) -> RowForm | None:
    window, size = kernel.window, DTYPE_BYTES[kernel.parameters[-1].dtype]
    if window.rows.outputs > _MOST_ROWS:
        return None
    has_residual = isinstance(kernel, ConvKernel | SeparableKernel) and kernel.residual is not None
    return RowForm(
        by_row(kernel),
        window.rows,
        window.columns.size * window.channels * size,
        window.columns.outputs * kernel.y_step * size,
        ("x", "residual") if has_residual else ("x",),
        slack_bytes=SLACK_BYTES if _reads_rows(kernel) else 0,
    )


def _reads_rows(kernel: WindowedKernel) -> bool:
    return isinstance(kernel, SeparableKernel) and kernel.depthwise.variant == "rows"


def by_row(kernel: WindowedKernel) -> WindowedKernel:
    """The kernel that computes one row."""
    match kernel:
        case SeparableKernel():
            depthwise = replace(kernel.depthwise, by_row=True, late=False)
            return replace(kernel, depthwise=depthwise, by_row=True, descending=False)
        case ConvKernel() | DepthwiseKernel() | PoolKernel():
            return replace(kernel, by_row=True, descending=False)


def _is_global(kernel: PoolKernel) -> bool:
    """Whether one window is the whole image, which needs to be seen only once."""
    axes = (kernel.window.rows, kernel.window.columns)
    return kernel.window.pixels == 1 and all(axis.taps(0) == (0, axis.size) and axis.before == 0 for axis in axes)


def _sums(kernel: PoolKernel | MeanKernel, x: Shape, channels: int) -> RowForm:
    sums = RowSumKernel(kernel, x[1], x[2], channels)
    element = DTYPE_BYTES[sums.parameters[0].dtype]
    each_row = Axis(x[1], x[1], 1, 1, 0)
    return RowForm(sums, each_row, x[2] * channels * element, 0, sums_bytes=channels * DTYPE_BYTES[sums.sum_type])


def _elementwise(kernel: ActivateKernel | LookupKernel | BinaryKernel, shape: Shape) -> RowForm | None:
    height, width, channels = shape[1:]
    each_row, elements = Axis(height, height, 1, 1, 0), width * channels
    x_bytes, y_bytes = (elements * DTYPE_BYTES[kernel.parameters[i].dtype] for i in (0, -1))
    row: McuKernel
    match kernel:
        case BinaryKernel():
            dense = (kernel.a, kernel.b, kernel.y) == ((1,), (1,), (1,)) and math.prod(kernel.shape) == math.prod(shape)
            commutes = kernel.a == kernel.b
            row = replace(kernel, shape=(elements,))
            return RowForm(row, each_row, x_bytes, y_bytes, ("a", "b"), commutes) if dense else None
        case ActivateKernel() | LookupKernel():
            if kernel.step:
                return None
            per_channel = isinstance(kernel, ActivateKernel) and kernel.activation.kind == "prelu"
            row = (
                replace(kernel, rows=width, channels=channels)
                if per_channel
                else replace(kernel, rows=1, channels=elements)
            )
            return RowForm(row, each_row, x_bytes, y_bytes)
