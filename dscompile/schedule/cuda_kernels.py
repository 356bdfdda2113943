"""Which schedule of the cuda family a kernel gets."""

from __future__ import annotations

from typing import Any

from dscompile import compute
from dscompile.plan.gpu.kernels import GpuDenseKernel, ModuleKernel
from dscompile.plan.gpu.tensor_kernels import TensorKernel
from dscompile.plan.int8_elementwise import (
    Int8MeanKernel,
    Int8PoolKernel,
    Int8ProductKernel,
    Int8SoftmaxKernel,
    Int8SumKernel,
    LookupKernel,
    QuantizeKernel,
)
from dscompile.plan.kernels import (
    ElementwiseKernel,
    FillKernel,
    FlatKernel,
    PackKernel,
    PoolKernel,
    ResampleKernel,
    SoftmaxKernel,
    UnpackKernel,
)
from dscompile.plan.knobs import Knobs, ModuleKnobs, TensorKnobs
from dscompile.schedule import cuda, cuda_simple, cuda_tensor

PrimFunc = Any


def scheduled(kernel: Any, knobs: Knobs | None) -> PrimFunc:
    """The scheduled PrimFunc of a kernel. Raises ValueError for kernels of other families."""
    if isinstance(kernel, TensorKernel) and isinstance(knobs, TensorKnobs):
        return cuda_tensor.pointwise(kernel, knobs)
    function = compute.define(kernel)
    match kernel, knobs:
        case ModuleKernel(), ModuleKnobs():
            schedule = cuda.module(function, kernel, knobs)
        case GpuDenseKernel(), None:
            schedule = cuda_simple.dense(function, kernel)
        case ((PoolKernel() | Int8PoolKernel() | Int8MeanKernel()), None):
            schedule = cuda_simple.pool(function, kernel)
        case ((ElementwiseKernel() | ResampleKernel()), None):
            schedule = cuda_simple.element_by_element(function, vectors=kernel.dtype == "float32")
        case PackKernel() | UnpackKernel() | FillKernel() | FlatKernel(), None:
            schedule = cuda_simple.element_by_element(function, vectors=False)
        case Int8SumKernel() | Int8ProductKernel() | LookupKernel() | QuantizeKernel(), None:
            schedule = cuda_simple.element_by_element(function, vectors=False)
        case SoftmaxKernel(), None:
            # Threads that share a row of one element would wait for each other inside a condition, which TVM refuses.
            spread = cuda_simple.softmax if kernel.length > 1 else cuda_simple.row_by_row
            schedule = spread(function, ("total", "power", "largest"))
        case Int8SoftmaxKernel(), None:
            schedule = cuda_simple.row_by_row(function, ("reciprocal", "headroom", "total", "largest"))
        case _:
            raise ValueError(f"there is no schedule for a GPU of a {kernel.kind} kernel with {type(knobs).__name__}")
    return schedule.mod["main"]
