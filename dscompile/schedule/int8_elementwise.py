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

PrimFunc = Any


def scheduled(kernel: Int8ElementwiseKernel) -> PrimFunc:
    """The scheduled PrimFunc of `kernel`."""
    function = compute.define(kernel)
    match kernel:
        case Int8PoolKernel() | Int8MeanKernel():
            return pixel_by_pixel(function).mod["main"]
        case Int8SumKernel() | Int8ProductKernel():
            blocked = kernel.y[-1] == 1 and len(kernel.shape) == 4
            return element_by_element(function, vectors=blocked).mod["main"]
        case LookupKernel() | QuantizeKernel():
            return element_by_element(function, vectors=False).mod["main"]
        case Int8SoftmaxKernel():
            return row_by_row(function).mod["main"]


def pixel_by_pixel(function: PrimFunc) -> Schedule:
    """A block of channels stays in registers while the taps pass by."""
    sch = Schedule(function)
    acc, out = sch.get_sblock("acc"), sch.get_sblock("y")
    *_, column, lane = sch.get_loops(out)
    sch.compute_at(acc, column, preserve_unit_loops=True)
    sch.set_scope(acc, 0, "local")
    acc_lane, r, q = sch.get_loops(acc)[-3:]
    sch.reorder(r, q, acc_lane)
    sch.vectorize(acc_lane)
    sch.vectorize(sch.get_loops(sch.decompose_reduction(acc, r))[-1])
    sch.vectorize(lane)
    return sch


def element_by_element(function: PrimFunc, *, vectors: bool) -> Schedule:
    """The last axis as one vector, if it is a block of channels."""
    sch = Schedule(function)
    if vectors:
        sch.vectorize(sch.get_loops(sch.get_sblock("y"))[-1])
    return sch


def row_by_row(function: PrimFunc) -> Schedule:
    """What a row needs is computed before its elements."""
    sch = Schedule(function)
    row, _ = sch.get_loops(sch.get_sblock("y"))
    for name in ("reciprocal", "headroom", "total", "largest"):
        sch.compute_at(sch.get_sblock(name), row, preserve_unit_loops=True)
    return sch
