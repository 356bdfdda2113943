"""Int8 kernels on any target: one schedule each that is right everywhere, for what no family has a faster one for.

Sums are vectors of as many int32 as the target's registers hold, or of a whole block of channels where that is less.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm.s_tir import Schedule

from dscompile import compute
from dscompile.plan.int8_kernels import Int8ConvKernel, Int8DenseKernel, Int8DepthwiseKernel, Int8Kernel
from dscompile.plan.knobs import DepthwiseKnobs, Knobs, PixelKnobs
from dscompile.target import Target

PrimFunc = Any


def scheduled(kernel: Int8Kernel, knobs: Knobs | None, target: Target) -> PrimFunc:
    """The scheduled PrimFunc of `kernel`; `knobs` as its kind takes them."""
    function = compute.define(kernel)
    match kernel, knobs:
        case Int8ConvKernel(), PixelKnobs():
            return image(function, 1, knobs.pixels, target.lanes).mod["main"]
        case Int8DepthwiseKernel(), DepthwiseKnobs():
            return image(function, knobs.rows, knobs.columns, target.lanes).mod["main"]
        case Int8DenseKernel(), None:
            return dense(function, kernel.panel, target.lanes).mod["main"]
    raise ValueError(f"{kernel.kind} kernels do not take {type(knobs).__name__}")


def image(function: PrimFunc, rows: int, columns: int, vector: int) -> Schedule:
    """The sums of `rows` x `columns` pixels of a block stay in registers while taps and input channels pass by."""
    sch = Schedule(function)
    acc, out = sch.get_sblock("acc"), sch.get_sblock("y")
    block, row, column, lane = sch.get_loops(out)
    for name, tile, loop in (("rows", rows, row), ("pixels", columns, column)):
        size = int(sch.get(loop).extent)
        if size % tile:
            raise ValueError(f"knob {name} = {tile} does not divide {size}")
    row_tile, row = sch.split(row, [None, rows])
    column_tile, column = sch.split(column, [None, columns])
    sch.reorder(block, row_tile, column_tile, row, column, lane)
    _vectorize(sch, lane, vector)

    sch.compute_at(acc, column_tile, preserve_unit_loops=True)
    sch.set_scope(acc, 0, "local")
    block, row, column, lane, *reductions = sch.get_loops(acc)[3:]
    sch.reorder(*reductions, block, row, column, lane)
    _vectorize(sch, lane, vector)
    _unroll(sch, [row, column])
    init = sch.get_loops(sch.decompose_reduction(acc, reductions[0]))
    sch.vectorize(init[-1])
    _unroll(sch, init[4:-1])
    return sch


def dense(function: PrimFunc, panel_units: int, vector: int) -> Schedule:
    """A panel of sums in registers, the input broadcast."""
    sch = Schedule(function)
    acc, out = sch.get_sblock("acc"), sch.get_sblock("y")
    panel, lane = sch.split(sch.get_loops(out)[0], [None, panel_units])
    sch.compute_at(acc, panel, preserve_unit_loops=True)
    sch.set_scope(acc, 0, "local")
    acc_lane, k = sch.get_loops(acc)[1:]
    sch.reorder(k, acc_lane)
    _vectorize(sch, acc_lane, vector)
    sch.vectorize(sch.get_loops(sch.decompose_reduction(acc, k))[-1])
    _vectorize(sch, lane, vector)
    return sch


def _unroll(sch: Schedule, loops: Sequence[Any]) -> None:
    for loop in loops:
        sch.unroll(loop)


def _vectorize(sch: Schedule, loop: Any, vector: int) -> None:
    """Vectors of `vector` elements, or of the whole loop where that does not divide it."""
    if int(sch.get(loop).extent) % vector == 0:
        _, loop = sch.split(loop, [None, vector])
    sch.vectorize(loop)
