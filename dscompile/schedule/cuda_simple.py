"""Schedules of the cuda family for everything that is not a module: an element to a thread, or a sum to a block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm.s_tir import Schedule

from dscompile.plan.gpu.kernels import DENSE_PANEL, GpuDenseKernel
from dscompile.plan.int8_elementwise import Int8MeanKernel, Int8PoolKernel
from dscompile.plan.kernels import PoolKernel
from dscompile.schedule.common import vector_init
from dscompile.schedule.cuda import spread

PrimFunc = Any
Block = Any
Loop = Any

THREADS = 256  # of a block
SLICES = 64  # parts that the sum over an image is cut into
DENSE_SLICES = THREADS // DENSE_PANEL
SHARED_INPUT = 4096  # elements or words of a dense kernel's input that are kept in shared memory
MIN_SHARED_WINDOW = 32  # taps from which on the threads of a block share a window


def element_by_element(function: PrimFunc, *, vectors: bool) -> Schedule:
    """A thread to an element of the result, or to a vector of its last axis."""
    sch = Schedule(function)
    loops = list(sch.get_loops(sch.get_sblock("y")))
    if vectors:
        sch.vectorize(loops.pop())
    _bind(sch, loops)
    return sch


def pool(function: PrimFunc, kernel: PoolKernel | Int8PoolKernel | Int8MeanKernel) -> Schedule:
    """A thread to a pixel of the result; where one window is the whole image, a block to its channels."""
    taps = kernel.height * kernel.width if isinstance(kernel, Int8MeanKernel) else kernel.kernel[0] * kernel.kernel[1]
    pixels = 1 if isinstance(kernel, Int8MeanKernel) else kernel.height * kernel.width
    if taps >= MIN_SHARED_WINDOW and pixels == 1:
        return _shared_window(function, _slices(taps, SLICES))
    sch = Schedule(function)
    acc, y = sch.get_sblock("acc"), sch.get_sblock("y")
    *loops, lane = sch.get_loops(y)
    vectors = isinstance(kernel, PoolKernel)
    if not vectors:
        loops.append(lane)
    sch.set_scope(acc, 0, "local")
    sch.compute_at(acc, loops[-1], preserve_unit_loops=True)
    acc_lane, r, q = sch.get_loops(acc)[-3:]
    if vectors:
        sch.reorder(r, q, acc_lane)
        sch.vectorize(acc_lane)
        sch.vectorize(lane)
    _bind(sch, loops)  # last: what a thread makes is simplest to see before its loops are one
    if vectors:
        vector_init(sch, acc, r, unrolled=0)
    return sch


def _shared_window(function: PrimFunc, slices: int) -> Schedule:
    """The threads of a block sum slices of a window for the channels of a quad, and then the slices."""
    sch = Schedule(function)
    acc, y = sch.get_sblock("acc"), sch.get_sblock("y")
    r, q = sch.get_loops(acc)[-2:]
    *loops, lane = sch.get_loops(y)
    block = sch.fuse(*loops)
    sch.bind(block, "blockIdx.x")
    _sum_in_slices(sch, acc, sch.fuse(r, q), slices, block, lane)
    return sch


def dense(function: PrimFunc, kernel: GpuDenseKernel) -> Schedule:
    """A block to a panel of units: a warp reads a row of weights, and every warp sums its slice of the rows."""
    sch = Schedule(function)
    acc, y = sch.get_sblock("acc"), sch.get_sblock("y")
    (unit,) = sch.get_loops(y)
    block, unit = sch.split(unit, [None, DENSE_PANEL])
    sch.bind(block, "blockIdx.x")
    (k,) = sch.get_loops(acc)[-1:]
    depth = int(sch.get(k).extent)
    slices = _slices(depth, DENSE_SLICES)
    _sum_in_slices(sch, acc, k, slices, block, unit)
    if depth <= SHARED_INPUT and (kernel.dtype == "float32" or kernel.in_words):
        copy = sch.cache_read(sch.get_sblock("acc_rf_update"), "x", "shared")
        sch.compute_at(copy, block, preserve_unit_loops=True)
        spread(sch, sch.get_loops(copy)[1:], slices * DENSE_PANEL)
    return sch


def _slices(terms: int, most: int) -> int:
    """Slices that divide a sum; TVM's rfactor forgets where uneven ones end."""
    return max(slices for slices in range(1, min(terms, most) + 1) if terms % slices == 0)


def _sum_in_slices(sch: Schedule, acc: Block, terms: Loop, slices: int, block: Loop, outputs: Loop) -> None:
    """The sum over `terms` in `slices` at the same time, one thread each for every one of the `outputs` of a block.

    Each thread keeps its slice in a register; in the end the first threads add what all have left in shared memory.
    """
    _, part = sch.split(terms, [None, slices])
    partial = sch.rfactor(part, 0)
    threads = slices * int(sch.get(outputs).extent)
    sch.set_scope(acc, 0, "local")
    sch.compute_at(acc, outputs, preserve_unit_loops=True)
    left = sch.cache_write(partial, 0, "local")
    sch.set_scope(left, 0, "shared")
    sch.compute_at(left, block, preserve_unit_loops=True)
    thread = spread(sch, sch.get_loops(left)[1:], threads)
    sch.compute_at(partial, thread, preserve_unit_loops=True)
    term = sch.get_loops(partial)[-1]
    sch.decompose_reduction(partial, term)
    _, first = sch.split(outputs, [None, threads])
    sch.bind(first, "threadIdx.x")


def softmax(function: PrimFunc, stages: Sequence[str]) -> Schedule:
    """A block to a row, whose threads find the largest element and the sum together; `stages` from last to first."""
    sch = Schedule(function)
    row, column = sch.get_loops(sch.get_sblock("y"))
    sch.bind(row, "blockIdx.x")
    spread(sch, [column], THREADS)
    for name in stages:
        block = sch.get_sblock(name)
        sch.set_scope(block, 0, "shared")
        sch.compute_at(block, row, preserve_unit_loops=True)
        spread(sch, sch.get_loops(block)[-1:], THREADS)
    return sch


def row_by_row(function: PrimFunc, stages: Sequence[str]) -> Schedule:
    """A thread to a row: what it needs is computed before its elements; `stages` from last to first."""
    sch = Schedule(function)
    row, _ = sch.get_loops(sch.get_sblock("y"))
    thread = _bind(sch, [row])
    for name in stages:
        block = sch.get_sblock(name)
        sch.set_scope(block, 0, "local")
        sch.compute_at(block, thread, preserve_unit_loops=True)
    return sch


def _bind(sch: Schedule, loops: Sequence[Loop]) -> Loop:
    """Loops as blocks of threads; returns the loop over threads."""
    fused = sch.fuse(*loops) if len(loops) > 1 else loops[0]
    count = int(sch.get(fused).extent)
    block, thread = sch.split(fused, [None, min(THREADS, -(-count // 32) * 32)])
    sch.bind(block, "blockIdx.x")
    sch.bind(thread, "threadIdx.x")
    return thread
