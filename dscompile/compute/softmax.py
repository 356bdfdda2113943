"""Softmax over the last axis."""

from __future__ import annotations

from typing import Any

from tvm import te

from dscompile.compute.activation import const, exp
from dscompile.plan.kernels import SoftmaxKernel


def softmax(kernel: SoftmaxKernel) -> Any:
    """exp(beta (x - max x)) / sum, row by row. Blocks: `largest`, `power`, `total`, `y`."""
    shape = (kernel.rows, kernel.length)
    x = te.placeholder(shape, name="x")
    i, j = te.reduce_axis((0, kernel.length), name="i"), te.reduce_axis((0, kernel.length), name="j")
    largest = te.compute((kernel.rows,), lambda row: te.max(x[row, i], axis=i), name="largest")
    power = te.compute(shape, lambda row, n: exp((x[row, n] - largest[row]) * const(kernel.beta)), name="power")
    total = te.compute((kernel.rows,), lambda row: te.sum(power[row, j], axis=j), name="total")
    y = te.compute(shape, lambda row, n: power[row, n] / total[row], name="y")
    return te.create_prim_func([x, y])
