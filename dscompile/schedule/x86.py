"""Schedules for x86: blocked channels in vector registers, accumulators never leave them.

Each function takes a PrimFunc from `dscompile.compute` and named knobs, and returns a `tvm.s_tir.Schedule`. Tiles must
divide what they tile; whoever plans a kernel cuts odd sizes into kernels that divide (plan/tiles.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tvm.s_tir import Schedule

from dscompile import compute
from dscompile.plan.kernels import (
    ConvKernel,
    DenseKernel,
    DepthwiseKernel,
    ElementwiseKernel,
    FillKernel,
    FlatKernel,
    Kernel,
    PackKernel,
    PoolKernel,
    SoftmaxKernel,
    UnpackKernel,
)
from dscompile.plan.knobs import DenseKnobs, DepthwiseKnobs, Knobs, TileKnobs
from dscompile.schedule import prefetch

PrimFunc = Any
Loop = Any

MAX_UNROLLED_TAPS = 49  # larger windows keep their rows as a loop, or the code outgrows the instruction cache


def scheduled(kernel: Kernel, knobs: Knobs | None) -> PrimFunc:
    """The scheduled PrimFunc of `kernel`; `knobs` as its kind takes them."""
    function = compute.define(kernel)
    match kernel, knobs:
        case ConvKernel(), TileKnobs():
            return conv(function, kernel, knobs).mod["main"]
        case DepthwiseKernel(), DepthwiseKnobs():
            return depthwise(function, kernel, knobs).mod["main"]
        case DenseKernel(), DenseKnobs():
            return dense(function, kernel, knobs).mod["main"]
        case PoolKernel(), None:
            return pool(function).mod["main"]
        case ElementwiseKernel(), None:
            return elementwise(function).mod["main"]
        case PackKernel(), None:
            return pack(function, kernel).mod["main"]
        case UnpackKernel(), None:
            return unpack(function, kernel).mod["main"]
        case FillKernel() | FlatKernel(), None:
            return contiguous(function).mod["main"]
        case SoftmaxKernel(), None:
            return softmax(function).mod["main"]
    raise ValueError(f"a {kernel.kind} kernel does not take {type(knobs).__name__}")


def conv(function: PrimFunc, kernel: ConvKernel, knobs: TileKnobs) -> Schedule:
    """A tile of `pixels` x panel accumulators in registers; per input channel one weight vector each and broadcasts.

    Serves pointwise and dense convolutions. `kernel.width` must be a multiple of `knobs.pixels`.
    """
    _divides(knobs.pixels, kernel.width, "pixels")
    sch = Schedule(function)
    acc, out = sch.get_sblock("acc"), sch.get_sblock("y")

    # Output: panels of channels outermost, so that each is streamed once; one tile of a row at a time.
    block, row, column, lane = sch.get_loops(out)
    panel, block = sch.split(block, [None, kernel.panel // kernel.lanes])
    tile, column = sch.split(column, [None, knobs.pixels])
    order = [panel, row, tile] if knobs.panel_outer else [row, tile, panel]
    sch.reorder(*order, column, block, lane)

    # Sum: over taps and input channels, with the whole tile unrolled inside.
    sch.compute_at(acc, order[-1], preserve_unit_loops=True)
    sch.set_scope(acc, 0, "local")
    acc_block, acc_row, acc_column, acc_lane, r, q, k = sch.get_loops(acc)[-7:]
    k_outer, k_inner = sch.split(k, [None, _channel_step(kernel, knobs)])
    sch.reorder(r, q, k_outer, k_inner, acc_row, acc_column, acc_block, acc_lane)
    sch.vectorize(acc_lane)
    _unroll(sch, [acc_row, acc_column, acc_block])
    if knobs.unroll_channels > 1:
        sch.unroll(k_inner)
    _vector_init(sch, acc, r, unrolled=3)
    if knobs.prefetch:
        iterations = (
            kernel.height * (kernel.width // knobs.pixels) * -(-kernel.in_channels // _channel_step(kernel, knobs))
        )
        loops = prefetch.PrefetchLoops(panel, (row, tile), k_outer)
        prefetch.annotate(sch, loops, kernel.in_channels * kernel.panel, iterations)
    sch.vectorize(lane)
    _unroll(sch, [column, block])
    return sch


def depthwise(function: PrimFunc, kernel: DepthwiseKernel, knobs: DepthwiseKnobs) -> Schedule:
    """`rows` x `columns` pixels of one vector of channels stay in registers while all taps pass by."""
    _divides(knobs.columns, kernel.width, "columns")
    _divides(knobs.rows, kernel.height, "rows")
    sch = Schedule(function)
    acc, out = sch.get_sblock("acc"), sch.get_sblock("y")

    block, row, column, lane = sch.get_loops(out)
    row_tile, row = sch.split(row, [None, knobs.rows])
    column_tile, column = sch.split(column, [None, knobs.columns])
    sch.reorder(block, row_tile, column_tile, row, column, lane)

    sch.compute_at(acc, column_tile, preserve_unit_loops=True)
    sch.set_scope(acc, 0, "local")
    acc_row, acc_column, acc_lane, r, q = sch.get_loops(acc)[-5:]
    sch.reorder(r, q, acc_row, acc_column, acc_lane)
    sch.vectorize(acc_lane)
    _unroll(sch, [q, acc_row, acc_column])
    if kernel.kernel[0] * kernel.kernel[1] <= MAX_UNROLLED_TAPS:
        sch.unroll(r)
    _vector_init(sch, acc, r, unrolled=2)
    sch.vectorize(lane)
    _unroll(sch, [row, column])
    return sch


def dense(function: PrimFunc, kernel: DenseKernel, knobs: DenseKnobs) -> Schedule:
    """One panel of outputs in registers, the input broadcast; weights are read once, in order."""
    if knobs.partial_sums > 1:
        return _dense_with_partial_sums(function, kernel, knobs)
    sch = Schedule(function)
    acc, out = sch.get_sblock("acc"), sch.get_sblock("y")
    (unit,) = sch.get_loops(out)
    panel, vector, lane = sch.split(unit, [None, kernel.panel // kernel.lanes, kernel.lanes])
    sch.compute_at(acc, panel, preserve_unit_loops=True)
    sch.set_scope(acc, 0, "local")
    acc_unit, k = sch.get_loops(acc)[-2:]
    acc_vector, acc_lane = sch.split(acc_unit, [None, kernel.lanes])
    sch.reorder(k, acc_vector, acc_lane)
    sch.vectorize(acc_lane)
    sch.unroll(acc_vector)
    _vector_init(sch, acc, k, unrolled=1)
    sch.vectorize(lane)
    sch.unroll(vector)
    return sch


def _dense_with_partial_sums(function: PrimFunc, kernel: DenseKernel, knobs: DenseKnobs) -> Schedule:
    """As `dense`, with the input split into interleaved parts that are summed at the end."""
    _divides(knobs.partial_sums, kernel.in_channels, "partial_sums")
    sch = Schedule(function)
    acc, out = sch.get_sblock("acc"), sch.get_sblock("y")
    k = sch.get_loops(acc)[-1]
    _, part = sch.split(k, [None, knobs.partial_sums])
    partial = sch.rfactor(part, factor_axis=0)

    (unit,) = sch.get_loops(out)
    panel, vector, lane = sch.split(unit, [None, kernel.panel // kernel.lanes, kernel.lanes])
    sch.compute_at(acc, panel, preserve_unit_loops=True)
    sch.compute_at(partial, panel, preserve_unit_loops=True)
    for block in (acc, partial):
        sch.set_scope(block, 0, "local")

    part, unit, k_outer = sch.get_loops(partial)[-3:]
    partial_vector, partial_lane = sch.split(unit, [None, kernel.lanes])
    sch.reorder(k_outer, part, partial_vector, partial_lane)
    sch.vectorize(partial_lane)
    _unroll(sch, [part, partial_vector])
    _vector_init(sch, partial, k_outer, unrolled=2)

    part, unit = sch.get_loops(acc)[-2:]
    acc_vector, acc_lane = sch.split(unit, [None, kernel.lanes])
    sch.reorder(part, acc_vector, acc_lane)
    sch.vectorize(acc_lane)
    sch.unroll(acc_vector)
    _vector_init(sch, acc, part, unrolled=1)
    sch.vectorize(lane)
    sch.unroll(vector)
    return sch


def pool(function: PrimFunc) -> Schedule:
    """One vector of channels at a time, taps in a loop."""
    sch = Schedule(function)
    acc, out = sch.get_sblock("acc"), sch.get_sblock("y")
    *_, column, lane = sch.get_loops(out)
    sch.compute_at(acc, column, preserve_unit_loops=True)
    sch.set_scope(acc, 0, "local")
    acc_lane, r, q = sch.get_loops(acc)[-3:]
    sch.reorder(r, q, acc_lane)
    sch.vectorize(acc_lane)
    _vector_init(sch, acc, r, unrolled=0)
    sch.vectorize(lane)
    return sch


def elementwise(function: PrimFunc) -> Schedule:
    """One vector of channels at a time."""
    sch = Schedule(function)
    sch.vectorize(sch.get_loops(sch.get_sblock("y"))[-1])
    return sch


def pack(function: PrimFunc, kernel: PackKernel) -> Schedule:
    """Pixel by pixel; NHWC with whole blocks of channels moves vectors, anything else elements."""
    sch = Schedule(function)
    block, row, column, lane = sch.get_loops(sch.get_sblock("y"))
    sch.reorder(row, column, block, lane)
    if kernel.x.channel == 1 and kernel.channels % kernel.lanes == 0:
        sch.vectorize(lane)
    return sch


def unpack(function: PrimFunc, kernel: UnpackKernel) -> Schedule:
    """Pixel by pixel; NHWC with whole blocks of channels moves vectors, anything else elements."""
    sch = Schedule(function)
    channel, row, column = sch.get_loops(sch.get_sblock("y"))
    if kernel.y.channel == 1:
        if kernel.channels % kernel.lanes == 0:
            block, lane = sch.split(channel, [None, kernel.lanes])
            sch.reorder(row, column, block, lane)
            sch.vectorize(lane)
        else:
            sch.reorder(row, column, channel)
    return sch


def contiguous(function: PrimFunc) -> Schedule:
    """Left to LLVM's own vectorizer: the last axis is contiguous, or strided as the data demand."""
    return Schedule(function)


def softmax(function: PrimFunc) -> Schedule:
    """Row by row; the exponentials of a row are kept for the division."""
    sch = Schedule(function)
    row, _ = sch.get_loops(sch.get_sblock("y"))
    for name in ("total", "power", "largest"):
        sch.compute_at(sch.get_sblock(name), row, preserve_unit_loops=True)
    return sch


def _channel_step(kernel: ConvKernel, knobs: TileKnobs) -> int:
    """Input channels of the inner loop: what is unrolled, else a block of lanes where they divide."""
    if knobs.unroll_channels > 1:
        _divides(knobs.unroll_channels, kernel.in_channels, "unroll_channels")
        return knobs.unroll_channels
    return kernel.lanes if kernel.in_channels % kernel.lanes == 0 else 1


def _vector_init(sch: Schedule, block: Any, loop: Loop, *, unrolled: int) -> None:
    """Zeroes the accumulators of `block` before `loop`: the last loop is a vector, `unrolled` loops above unroll."""
    loops = sch.get_loops(sch.decompose_reduction(block, loop))
    sch.vectorize(loops[-1])
    _unroll(sch, loops[len(loops) - 1 - unrolled : -1])


def _unroll(sch: Schedule, loops: Iterable[Loop]) -> None:
    for loop in loops:
        sch.unroll(loop)


def _divides(tile: int, size: int, name: str) -> None:
    if size % tile:
        raise ValueError(f"knob {name} = {tile} does not divide {size}")
