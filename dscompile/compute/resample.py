"""Blocked images on another grid."""

from __future__ import annotations

from typing import Any

from tvm import te, tirx

from dscompile.compute.integer import cast, typed_const
from dscompile.ir.resampling import TFLITE_BITS
from dscompile.plan.kernels import ResampleKernel

Expr = Any
PrimFunc = Any


def resample(kernel: ResampleKernel) -> PrimFunc:
    """The pixels that the tables name, or what lies between two rows and two columns of them. Block: `y`."""
    x = te.placeholder((kernel.blocks, kernel.in_height, kernel.in_width, kernel.lanes), kernel.dtype, name="x")
    shape = (kernel.blocks, kernel.height, kernel.width, kernel.lanes)
    if kernel.method == "nearest":
        rows = te.placeholder((kernel.height,), "int32", name="rows")
        columns = te.placeholder((kernel.width,), "int32", name="columns")
        y = te.compute(shape, lambda b, h, w, lane: x[b, rows[h], columns[w], lane], name="y")
        return te.create_prim_func([x, rows, columns, y])
    weight = "float32" if kernel.dtype == "float32" else "int32"
    rows = te.placeholder((2, kernel.height), "int32", name="rows")
    row_weights = te.placeholder((kernel.height,), weight, name="row_weights")
    columns = te.placeholder((2, kernel.width), "int32", name="columns")
    column_weights = te.placeholder((kernel.width,), weight, name="column_weights")

    def value(b: Expr, h: Expr, w: Expr, lane: Expr) -> Expr:
        corners = [[x[b, rows[i, h], columns[j, w], lane] for j in (0, 1)] for i in (0, 1)]
        if kernel.dtype != "float32":
            return _fixed_point(corners, row_weights[h], column_weights[w])
        above, below = (_between(left, right, column_weights[w]) for left, right in corners)
        return _between(above, below, row_weights[h])

    return te.create_prim_func([x, rows, row_weights, columns, column_weights, te.compute(shape, value, name="y")])


def _between(first: Expr, second: Expr, weight: Expr) -> Expr:
    return first + (second - first) * weight


def _fixed_point(corners: list[list[Expr]], row_weight: Expr, column_weight: Expr) -> Expr:
    """Products of weights of 10 bits, rounded once, halves away from zero; fits 32 bits."""
    one = typed_const(1 << TFLITE_BITS, "int32")
    above, below = (
        cast("int32", left) * (one - column_weight) + cast("int32", right) * column_weight for left, right in corners
    )
    total = above * (one - row_weight) + below * row_weight
    half = typed_const(1 << (2 * TFLITE_BITS - 1), "int32")
    # Halves of negative sums go down: they are made one short of what the shift would round up.
    short = tirx.shift_right(total, typed_const(31, "int32"))
    return cast("int8", tirx.shift_right(total + half + short, typed_const(2 * TFLITE_BITS, "int32")))
