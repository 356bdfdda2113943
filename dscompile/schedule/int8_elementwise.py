"""Int8 kernels without weights on any target: one block of channels at a time, the rest left to LLVM's vectorizer."""

from __future__ import annotations

from typing import Any

from dscompile import compute
from dscompile.plan.int8_elementwise import (
    Int8ElementwiseKernel,
    Int8MeanKernel,
    Int8PoolKernel,
    Int8ProductKernel,
    Int8SoftmaxKernel,
    Int8SumKernel,
    LookupKernel,
    QuantizeKernel,
)
from dscompile.schedule import common

PrimFunc = Any


def scheduled(kernel: Int8ElementwiseKernel) -> PrimFunc:
    """The scheduled PrimFunc of `kernel`."""
    function = compute.define(kernel)
    match kernel:
        case Int8PoolKernel() | Int8MeanKernel():
            schedule = common.pool(function)
        case Int8SumKernel() | Int8ProductKernel():
            blocked = kernel.y[-1] == 1 and len(kernel.shape) == 4
            schedule = common.elementwise(function) if blocked else common.contiguous(function)
        case LookupKernel() | QuantizeKernel():
            schedule = common.contiguous(function)
        case Int8SoftmaxKernel():
            schedule = common.row_by_row(function, ("reciprocal", "headroom", "total", "largest"))
    return schedule.mod["main"]
