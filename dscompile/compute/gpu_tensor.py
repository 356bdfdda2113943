"""Pointwise convolutions of halves with float32 sums, as tensor cores compute them (plan/gpu/tensor_kernels.py)."""

from __future__ import annotations

from typing import Any

from tvm import te, tirx

from dscompile.compute.activation import activate
from dscompile.ir.ops import Activation
from dscompile.plan.gpu.kernels import QUAD
from dscompile.plan.gpu.tensor_kernels import TensorKernel

Expr = Any
PrimFunc = Any


def tensor(kernel: TensorKernel) -> PrimFunc:
    """y[n] = finish(sum_k half(x[k]) w[k, n] + bias[n]) for every pixel.

    x and y are float32 [quads][1][pixels][4], the weights float16 [panels][depth][panel].
    """
    stage, panel = kernel.stage, kernel.panel
    assert isinstance(stage.finish, Activation)
    inner = stage.finish
    x = te.placeholder((stage.in_quads, *stage.in_size, QUAD), name="x")
    weights = te.placeholder((kernel.panels, kernel.depth, panel), "float16", name="project_weights")
    bias = te.placeholder((stage.quads, QUAD), name="project_bias")
    shape = (stage.quads, *stage.size, QUAD)
    residual = None if kernel.residual is None else te.placeholder(shape, name="residual")
    k = te.reduce_axis((0, stage.in_quads * QUAD), name="k")

    def product(quad: Expr, i: Expr, j: Expr, lane: Expr) -> Expr:
        n = quad * QUAD + lane
        rounded = tirx.Cast("float32", tirx.Cast("float16", x[k // QUAD, i, j, k % QUAD]))
        return te.sum(rounded * tirx.Cast("float32", weights[n // panel, k, n % panel]), axis=k)

    acc = te.compute(shape, product, name="project_acc")

    def finished(quad: Expr, i: Expr, j: Expr, lane: Expr) -> Expr:
        made = activate(acc[quad, i, j, lane] + bias[quad, lane], inner)
        if residual is None:
            return made
        return activate(made + residual[quad, i, j, lane], kernel.residual_activation)

    y = te.compute(shape, finished, name="y")
    return te.create_prim_func([x, weights, bias, *([] if residual is None else [residual]), y])
