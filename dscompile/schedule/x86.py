"""Schedules for x86: blocked channels in vector registers, accumulators never leave them.

A multiply-add takes one of its factors from memory, broadcast to all lanes, so inputs need no registers. What is not
here is the same for all CPUs (schedule/common.py).
"""

from __future__ import annotations

from typing import Any

from tvm.s_tir import Schedule

from dscompile.plan.kernels import ConvKernel, DenseKernel, DepthwiseKernel
from dscompile.plan.knobs import DenseKnobs, DepthwiseKnobs, TileKnobs
from dscompile.plan.layout import TileStrides
from dscompile.schedule import common
from dscompile.schedule.common import finish_conv, require_divides, tile_conv, unroll, vector_init

__all__ = ["conv", "dense", "depthwise"]

PrimFunc = Any

ROUNDS_BY_ADDING = True  # exponentials (compute/activation.py)
# Of an image in tiles; from here on, all channels of a row are made before the next row: they lie near each other.
FAR_ELEMENTS = 1 << 19


def conv(function: PrimFunc, kernel: ConvKernel, knobs: TileKnobs) -> Schedule:
    """A tile of `pixels` x panel accumulators in registers; per input channel one weight vector each and broadcasts.

    Serves pointwise and dense convolutions. `kernel.width` must be a multiple of `knobs.pixels`.
    """
    sch = Schedule(function)
    loops = tile_conv(sch, kernel, knobs, in_pairs=knobs.pixels % 2 == 0 and _is_finished_abreast(kernel))
    step = _channel_step(kernel, knobs)
    k_outer, k_inner = sch.split(loops.k, [None, step])
    sch.reorder(loops.r, loops.q, k_outer, k_inner, loops.tile_row, loops.pixels, loops.filters, loops.lane)
    if knobs.unroll_channels > 1:
        sch.unroll(k_inner)
    finish_conv(sch, kernel, knobs, loops, step, k_outer)
    return sch


def depthwise(function: PrimFunc, kernel: DepthwiseKernel, knobs: DepthwiseKnobs) -> Schedule:
    """`rows` x `columns` pixels of one vector of channels stay in registers while all taps pass by."""
    is_power = knobs.columns & (knobs.columns - 1) == 0  # vectors of 5 or 7 pixels have no constants in memory
    sch = common.depthwise(function, kernel, knobs, abreast=is_power and _is_finished_abreast(kernel))
    if isinstance(kernel.y, TileStrides) and kernel.height * kernel.y.row >= FAR_ELEMENTS:
        block, row_tile = sch.get_loops(sch.get_sblock("y"))[:2]
        sch.reorder(row_tile, block)
    return sch


def _is_finished_abreast(kernel: ConvKernel | DepthwiseKernel) -> bool:
    """Exponential activations are long chains of operations: those of pixels that lie side by side are interleaved."""
    epilogue, lanes = kernel.epilogue, kernel.lanes
    exponential = epilogue.activation.is_exponential or epilogue.residual_activation.is_exponential
    beside = kernel.y.pixel == lanes and (epilogue.residual is None or epilogue.residual.pixel == lanes)
    return exponential and beside


def dense(function: PrimFunc, kernel: DenseKernel, knobs: DenseKnobs) -> Schedule:
    """Panels of outputs in registers, `streams` of them at a time; weights are read once, in order in each panel."""
    if knobs.streams == 1:
        return common.dense(function, kernel, knobs)
    require_divides(knobs.streams, kernel.out_channels // kernel.panel, "streams")
    sch = Schedule(function)
    acc, out = sch.get_sblock("acc"), sch.get_sblock("y")
    (unit,) = sch.get_loops(out)
    tile, stream, vector, lane = sch.split(unit, [None, knobs.streams, kernel.panel // kernel.lanes, kernel.lanes])
    sch.compute_at(acc, tile, preserve_unit_loops=True)
    sch.set_scope(acc, 0, "local")
    acc_unit, k = sch.get_loops(acc)[-2:]
    acc_stream, acc_vector, acc_lane = sch.split(acc_unit, [knobs.streams, None, kernel.lanes])
    sch.reorder(k, acc_stream, acc_vector, acc_lane)
    sch.vectorize(acc_lane)
    unroll(sch, [acc_stream, acc_vector])
    vector_init(sch, acc, k, unrolled=2)
    sch.vectorize(lane)
    unroll(sch, [stream, vector])
    return sch


def _channel_step(kernel: ConvKernel, knobs: TileKnobs) -> int:
    """Input channels of the inner loop: what is unrolled, else a block of lanes where they divide."""
    if knobs.unroll_channels > 1:
        require_divides(knobs.unroll_channels, kernel.in_channels, "unroll_channels")
        return knobs.unroll_channels
    return kernel.lanes if kernel.in_channels % kernel.lanes == 0 else 1
