"""Schedules of the cuda family: who of a block computes what, and what goes through shared memory.

A block makes one tile of a result. Its threads bring a tile of the input (with the pixels around it) into shared
memory together, four channels at once, and every thread keeps its own outputs in registers. Stages of a module that
follow each other meet in shared memory; TVM places the barriers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tvm import s_tir, tirx
from tvm.s_tir import Schedule

from dscompile.plan.gpu.kernels import QUAD, ModuleKernel, Stage
from dscompile.plan.kernels import ImageStrides
from dscompile.plan.knobs import ModuleKnobs
from dscompile.schedule.common import require_divides, unroll

UNROLLED_ROWS = 3  # of a depthwise kernel; more want more registers than there are

PrimFunc = Any
Block = Any
Loop = Any


def module(function: PrimFunc, kernel: ModuleKernel, knobs: ModuleKnobs) -> Schedule:
    """A module: its last stage in registers, those before it in shared memory."""
    sch = Schedule(function)
    last = kernel.stages[-1]
    require_divides(knobs.block_quads * knobs.passes, last.quads, "block_quads * passes")
    require_divides(knobs.thread_rows, kernel.rows, "thread_rows")
    threads = knobs.threads(kernel.rows, kernel.columns)
    block, one_pass, thread = _bind_result(sch, kernel, knobs)
    acc = sch.get_sblock(f"{last.role}_acc")
    sch.set_scope(acc, 0, "local")
    sch.compute_at(acc, thread, preserve_unit_loops=True)
    begin = _sums(sch, kernel, last, knobs.step)
    source_at = one_pass if last.is_depthwise else begin

    # First everything to its place, so that TVM sees exactly which part of a stage the next one needs.
    before = [_stage_in_shared(sch, kernel, stage, source_at, knobs) for stage in reversed(kernel.stages[:-1])]
    expands = kernel.stages[0].role == "expand"
    copies = [_patch_in_shared(sch, kernel, block if expands else source_at)]
    for stage in kernel.stages:
        if not stage.is_depthwise:
            copies.append(_weights_in_shared(sch, kernel, stage, begin if stage is last else source_at))

    for staged in before:
        spread(sch, staged.pixels, threads)
        _clear_before(sch, staged.acc, staged.begin)
    for loops in copies:
        spread(sch, loops, threads)
    _clear_before(sch, acc, begin)
    if kernel.has_ragged_tiles:
        _guard_result(sch, kernel)
    return sch


def _bind_result(sch: Schedule, kernel: ModuleKernel, knobs: ModuleKnobs) -> tuple[Loop, Loop, Loop]:
    """Blocks and threads of the result; returns the loops over blocks, over passes of a block, and over its threads.

    Threads that follow each other make pixels that follow each other, so that stores are coalesced.
    """
    down, across, quad, row, column, lane = sch.get_loops(sch.get_sblock("y"))
    block_quad, one_pass, thread_quad, quad = sch.split(
        quad, [None, knobs.passes, knobs.block_quads // knobs.quads, knobs.quads]
    )
    thread_row, row = sch.split(row, [None, knobs.thread_rows])
    sch.reorder(down, across, block_quad, one_pass, thread_quad, thread_row, column, quad, row, lane)
    sch.bind(sch.fuse(down, across), "blockIdx.x")
    sch.bind(block_quad, "blockIdx.y")
    thread = sch.fuse(thread_quad, thread_row, column)
    sch.bind(thread, "threadIdx.x")
    sch.vectorize(lane)
    unroll(sch, [quad, row])
    return block_quad, one_pass, thread


def _sums(sch: Schedule, kernel: ModuleKernel, stage: Stage, step: int) -> Loop:
    """The sums of a thread; returns the loop before which they are zero.

    A convolution takes `step` quads of input channels at a time. All taps of a small depthwise one are unrolled, so
    that inputs that neighbors share are loaded once.
    """
    acc, int8 = sch.get_sblock(f"{stage.role}_acc"), kernel.dtype == "int8"
    weights = f"{stage.role}_weights"
    if stage.is_depthwise:
        quad, row, column, lane, r, q = sch.get_loops(acc)[-6:]
        sch.reorder(r, q, quad, row, column, lane)
        if int8:
            _in_registers(sch, acc, weights, q)
        _quad(sch, lane, vector=not int8)
        unroll(sch, [*([r] if stage.kernel[0] <= UNROLLED_ROWS else []), q, quad, row, column])
        return r
    quad, row, column, lane, r, q, k = sch.get_loops(acc)[-7:]
    reads_flat = stage is kernel.stages[0] and isinstance(kernel.x, ImageStrides)
    if int8:
        outer, *inner = sch.split(k, [None, step])
    elif reads_flat:
        outer, *inner = sch.split(k, [None, stage.in_channels])
    else:
        outer, *inner = sch.split(k, [None, step, QUAD])
    sch.reorder(outer, r, q, *inner, quad, row, column, lane)
    if int8:
        _in_registers(sch, acc, weights, inner[0])
    elif not reads_flat:
        _in_registers(sch, acc, 0, inner[0])
    _quad(sch, lane, vector=not int8)
    unroll(sch, [*inner[1:], quad, row, column])
    return outer


def _quad(sch: Schedule, lane: Loop, *, vector: bool) -> None:
    """The four channels of a quad: as a vector, or (__dp4a has no vectors) one after the other."""
    if vector:
        sch.vectorize(lane)
    else:
        sch.unroll(lane)


def _in_registers(sch: Schedule, acc: Block, operand: int | str, loop: Loop) -> None:
    """An operand of the sum is loaded as vectors at `loop`, and then used one element after the other."""
    copy = sch.cache_read(acc, operand, "local")
    sch.compute_at(copy, loop, preserve_unit_loops=True)
    *loops, lane = sch.get_loops(copy)[-3:]
    sch.vectorize(lane)
    unroll(sch, loops)


def _weights_in_shared(sch: Schedule, kernel: ModuleKernel, stage: Stage, loop: Loop) -> list[Loop]:
    """The weights that are used within `loop`, a vector at a time; returns the loops over these vectors."""
    name = f"{stage.role}_weights"
    reader = f"{name}_local" if kernel.dtype == "int8" else f"{stage.role}_acc"
    weights = sch.cache_read(sch.get_sblock(reader), name, "shared")
    sch.compute_at(weights, loop, preserve_unit_loops=True)
    *loops, lane = sch.get_loops(weights)[-6:]
    sch.vectorize(lane)
    return list(loops)


@dataclass(frozen=True)
class _Staged:
    """A stage in shared memory: its sums, the loop before which they are zero, and the loops over its pixels."""

    acc: Block
    begin: Loop
    pixels: list[Loop]


def _stage_in_shared(sch: Schedule, kernel: ModuleKernel, stage: Stage, loop: Loop, knobs: ModuleKnobs) -> _Staged:
    """A stage that the next one reads: each thread makes one pixel of some quads, in registers until it is done."""
    made, acc = sch.get_sblock(stage.role), sch.get_sblock(f"{stage.role}_acc")
    sch.set_scope(made, 0, "shared")  # first: then what all threads need of it is made at `loop`
    sch.compute_at(made, loop, preserve_unit_loops=True)
    quad, row, column, lane = sch.get_loops(made)[-4:]
    quad, some = sch.split(quad, [None, 1 if stage.is_depthwise else knobs.expand_quads])
    sch.reorder(quad, row, column, some, lane)
    sch.vectorize(lane)
    sch.unroll(some)
    sch.set_scope(acc, 0, "local")
    sch.compute_at(acc, column, preserve_unit_loops=True)
    return _Staged(acc, _sums(sch, kernel, stage, 1), [quad, row, column])


def _patch_in_shared(sch: Schedule, kernel: ModuleKernel, loop: Loop) -> list[Loop]:
    """The tile of the input, in shared memory from `loop` on; returns the loops over its vectors."""
    patch = sch.get_sblock("patch")
    sch.set_scope(patch, 0, "shared")
    sch.compute_at(patch, loop, preserve_unit_loops=True)
    if isinstance(kernel.x, ImageStrides):
        return list(sch.get_loops(patch)[-3:])
    *loops, lane = sch.get_loops(patch)[-4:]
    sch.vectorize(lane)
    return list(loops)


def spread(sch: Schedule, loops: Sequence[Loop], threads: int) -> Loop:
    """Loops as one, a round of `threads` at a time; returns the loop over threads."""
    _, thread = sch.split(sch.fuse(*loops), [None, threads])
    sch.bind(thread, "threadIdx.x")
    return thread


def _clear_before(sch: Schedule, block: Block, loop: Loop) -> None:
    """Sets sums to zero before `loop`."""
    *loops, lane = sch.get_loops(sch.decompose_reduction(block, loop))
    sch.vectorize(lane)
    unroll(sch, loops[-3:])


def _guard_result(sch: Schedule, kernel: ModuleKernel) -> None:
    """Nothing is stored beyond the result, where the last tiles reach."""
    block = sch.get(sch.get_sblock("y"))
    down, across, _, row, column, _ = (axis.var for axis in block.iter_vars)
    inside = tirx.all(down * kernel.rows + row < kernel.size[0], across * kernel.columns + column < kernel.size[1])
    guarded = s_tir.SBlock(
        block.iter_vars,
        block.reads,
        block.writes,
        block.name_hint,
        tirx.IfThenElse(inside, block.body, None),
        block.init,
        block.alloc_buffers,
        block.match_buffers,
        block.annotations,
    )
    sch.state.replace(sch.get_sref(sch.get_sblock("y")), guarded, {block: guarded})
