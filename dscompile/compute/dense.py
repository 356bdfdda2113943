"""Fully connected layer: a matrix-vector product on packed weights."""

from __future__ import annotations

from typing import Any

from tvm import te

from dscompile.compute.activation import activate
from dscompile.plan.kernels import DenseKernel


def dense(kernel: DenseKernel) -> Any:
    """y[n] = activation(sum_k x[k] weights[n / panel, k, n % panel] + bias[n]). Blocks: `acc` and `y`."""
    channels, units, panel = kernel.in_channels, kernel.out_channels, kernel.panel
    x = te.placeholder((channels,), name="x")
    weights = te.placeholder((units // panel, channels, panel), name="weights")
    bias = te.placeholder((units,), name="bias")
    k = te.reduce_axis((0, channels), name="k")
    acc = te.compute((units,), lambda n: te.sum(x[k] * weights[n // panel, k, n % panel], axis=k), name="acc")
    y = te.compute((units,), lambda n: activate(acc[n] + bias[n], kernel.activation), name="y")
    return te.create_prim_func([x, weights, bias, y])
