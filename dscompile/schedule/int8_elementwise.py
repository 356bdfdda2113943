"""Int8 kernels without weights on any target: one block of channels at a time, the rest left to LLVM's vectorizer."""

from __future__ import annotations

from typing import Any

from tvm.s_tir import Schedule

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
from dscompile.schedule.barrier import keep_loops
from dscompile.target import Target

PrimFunc = Any


PIXELS = 2  # whose bytes fill a register of 64-bit Arm


def scheduled(kernel: Int8ElementwiseKernel, target: Target) -> PrimFunc:
    """The scheduled PrimFunc of `kernel`."""
    function = compute.define(kernel)
    match kernel:
        case Int8PoolKernel() | Int8MeanKernel():
            schedule = common.pool(function)
        case Int8SumKernel() | Int8ProductKernel():
            blocked = kernel.y[-1] == 1 and len(kernel.shape) == 4
            if not blocked:
                schedule = common.contiguous(function)
            else:
                schedule = _by_pixels(function) if target.has("asimd") else common.elementwise(function)
        case LookupKernel() | QuantizeKernel():
            schedule = common.contiguous(function)
        case Int8SoftmaxKernel():
            schedule = common.row_by_row(function, ("reciprocal", "headroom", "total", "largest"))
    return schedule.mod["main"]


def _by_pixels(function: PrimFunc) -> Schedule:
    """Of 64-bit Arm: two pixels of a block at a time, in a loop; LLVM spills what it makes of many at once."""
    schedule = Schedule(function)
    *_, column, lane = schedule.get_loops(schedule.get_sblock("y"))
    if int(schedule.get(column).extent) % PIXELS == 0:
        column, pixel = schedule.split(column, [None, PIXELS])
        lane = schedule.fuse(pixel, lane)
    schedule.vectorize(lane)
    keep_loops(schedule, [column])
    return schedule
