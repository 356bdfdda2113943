"""Element-wise kernels on blocked images and on flat tensors."""

from __future__ import annotations

from typing import Any

from tvm import te, tirx

from dscompile.compute.activation import activate
from dscompile.compute.integer import typed_const
from dscompile.ir.tensor import DType
from dscompile.plan.kernels import ElementwiseKernel, FillKernel, FlatKernel, Function


def elementwise(kernel: ElementwiseKernel) -> Any:
    """y = activation(a) or activation(a op b) on [blocks][H][W][lanes]. Block: `y`."""
    shape = (kernel.blocks, kernel.height, kernel.width, kernel.lanes)
    slope = te.placeholder((kernel.blocks * kernel.lanes,), name="slope")

    def slope_at(index: tuple[Any, ...]) -> Any:
        return slope[index[0] * kernel.lanes + index[3]]

    return _combine(shape, kernel.function, kernel.b is not None, kernel.activation, slope, slope_at, kernel.dtype)


def flat(kernel: FlatKernel) -> Any:
    """y = activation(a) or activation(a op b) over `shape`. Block: `y`."""
    slope = te.placeholder((kernel.shape[-1],), name="slope")
    return _combine(
        kernel.shape, kernel.function, kernel.b is not None, kernel.activation, slope, lambda index: slope[index[-1]],
        kernel.dtype,
    )  # fmt: skip


def fill(kernel: FillKernel) -> Any:
    """y[o, r, i] = value. Block: `y`."""
    shape = (kernel.outer, kernel.rows, kernel.length)
    return te.create_prim_func([te.compute(shape, lambda *_: typed_const(kernel.value, kernel.dtype), name="y")])


def _combine(
    shape: tuple[int, ...], function: Function, binary: bool, activation: Any, slope: Any, slope_at: Any, dtype: DType
) -> Any:
    a = te.placeholder(shape, dtype, name="a")
    b = te.placeholder(shape, dtype, name="b")
    prelu = activation.kind == "prelu"

    def value(*index: Any) -> Any:
        x = a[index]
        if binary:
            x = _applied(function, x, b[index])
        return activate(x, activation, slope_at(index) if prelu else None)

    y = te.compute(shape, value, name="y")
    return te.create_prim_func([a, *([b] if binary else []), *([slope] if prelu else []), y])


def _applied(function: Function, a: Any, b: Any) -> Any:
    match function:
        case "add":
            return a + b
        case "mul":
            return a * b
        case "sub":
            return a - b
        case "rsub":
            return b - a
        case "div":
            return a / b
        case "rdiv":
            return b / a
        case "max":
            return tirx.max(a, b)
        case "min":
            return tirx.min(a, b)
        case "copy":
            raise ValueError("a copy takes one operand")
