"""Matrix-vector products of GPUs: panels of as many units as a warp has threads."""

from __future__ import annotations

from typing import Any

from tvm import te

from dscompile.compute.activation import activate
from dscompile.compute.dot_product import WORD, dot4
from dscompile.compute.requantization import constants, requantized
from dscompile.ir.ops import Activation
from dscompile.plan.gpu.kernels import DENSE_PANEL, GpuDenseKernel
from dscompile.plan.int8_kernels import Requantization

PrimFunc = Any


def gpu_dense(kernel: GpuDenseKernel) -> PrimFunc:
    """y[n] = finish(sum_k x[k] weights[n / 32, k, n % 32]). Blocks: `acc` and `y`.

    Bytes are summed in words of four where x comes in words, else one by one.
    """
    if kernel.dtype == "int8":
        return _bytes(kernel)
    units, depth = kernel.out_channels, kernel.in_channels
    x = te.placeholder((depth,), name="x")
    weights = te.placeholder((kernel.panels, depth, DENSE_PANEL), name="weights")
    bias = te.placeholder((kernel.panels * DENSE_PANEL,), name="bias")
    k = te.reduce_axis((0, depth), name="k")
    acc = te.compute(
        (units,), lambda n: te.sum(x[k] * weights[n // DENSE_PANEL, k, n % DENSE_PANEL], axis=k), name="acc"
    )
    assert isinstance(kernel.finish, Activation)
    finish = kernel.finish
    y = te.compute((units,), lambda n: activate(acc[n] + bias[n], finish), name="y")
    return te.create_prim_func([x, weights, bias, y])


def _bytes(kernel: GpuDenseKernel) -> PrimFunc:
    from tvm import tirx

    units, words = kernel.out_channels, -(-kernel.in_channels // WORD)
    assert isinstance(kernel.finish, Requantization)
    finish, factors = kernel.finish, constants(kernel.finish, kernel.panels * DENSE_PANEL)
    if kernel.in_words:
        x = te.placeholder((words,), "int32", name="x")
        weights = te.placeholder((kernel.panels, words, DENSE_PANEL), "int32", name="weights")
        k = te.reduce_axis((0, words), name="k")
        acc = te.compute(
            (units,), lambda n: te.sum(dot4(x[k], weights[n // DENSE_PANEL, k, n % DENSE_PANEL]), axis=k), name="acc"
        )
    else:
        x = te.placeholder((kernel.in_channels,), "int8", name="x")
        weights = te.placeholder((kernel.panels, words, DENSE_PANEL, WORD), "int8", name="weights")
        k = te.reduce_axis((0, kernel.in_channels), name="k")

        def product(n: Any) -> Any:
            weight = weights[n // DENSE_PANEL, k // WORD, n % DENSE_PANEL, k % WORD]
            return tirx.Cast("int32", x[k]) * tirx.Cast("int32", weight)

        acc = te.compute((units,), lambda n: te.sum(product(n), axis=k), name="acc")
    y = te.compute((units,), lambda n: requantized(acc[n], [f[n] for f in factors], finish), name="y")
    return te.create_prim_func([x, weights, *factors, y])
