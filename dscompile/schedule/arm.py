"""Schedules for 64-bit Arm: blocked channels in vector registers, accumulators never leave them.

A multiply-add takes one of its factors from any element of a register (FMLA by element). Four input channels of a pixel
are one register, so inputs are read as vectors and serve four steps. What is not here is the same for all CPUs
(schedule/common.py).
"""

from __future__ import annotations

import math
from typing import Any

from tvm.s_tir import Schedule

from dscompile.plan.kernels import ConvKernel, DenseKernel, DepthwiseKernel, ElementwiseKernel
from dscompile.plan.knobs import DenseKnobs, DepthwiseKnobs, TileKnobs
from dscompile.plan.layout import Strides
from dscompile.schedule import common
from dscompile.schedule.barrier import keep_loops, read_anew
from dscompile.schedule.common import InputSteps, finish_conv, require_divides, tile_conv, unroll

PrimFunc = Any
Block = Any
Loop = Any

ROUNDS_BY_ADDING = False  # exponentials (compute/activation.py)
STRAIGHT_CHANNELS = 8  # of a dense layer; with more, finishing all outputs of a panel at once costs less
STRAIGHT_PIXELS = 36  # of a block of channels; LLVM 22 unrolls no more of them
LANES = 4  # float32 in a vector register, whose elements a multiply-add can take


def conv(function: PrimFunc, kernel: ConvKernel, knobs: TileKnobs) -> Schedule:
    """A tile of `pixels` x panel accumulators in registers; per four input channels one vector of every pixel.

    Serves pointwise and dense convolutions. `kernel.width` must be a multiple of `knobs.pixels`. Inputs of which four
    channels do not lie together, or that do not have four times as many, are read one by one.
    """
    require_divides(knobs.unroll_channels, kernel.in_channels, "unroll_channels")
    sch = Schedule(function)
    step = knobs.unroll_channels
    vector = LANES if isinstance(kernel.x, Strides) and step % LANES == 0 else 1
    # Straight code, without a loop over channels, mixes the sums with the activations of the tile before.
    is_straight = vector > 1 and step == kernel.in_channels
    one_by_one = is_straight and kernel.epilogue.activation.is_exponential
    loops = tile_conv(sch, kernel, knobs, one_by_one=one_by_one)
    k_outer, k_vector, k_element = sch.split(loops.k, [None, step // vector, vector])
    tile = (loops.tile_row, loops.pixels, loops.filters, loops.lane)
    sch.reorder(loops.r, loops.q, k_outer, k_vector, k_element, *tile)
    if vector > 1:
        inputs = sch.cache_read(sch.get_sblock("acc"), "x", "local")
        sch.compute_at(inputs, k_vector, preserve_unit_loops=True)
        *_, block, row, pixel, lane = sch.get_loops(inputs)
        sch.vectorize(lane)
        unroll(sch, [block, row, pixel])
    unroll(sch, [k_vector, k_element])
    finish_conv(sch, kernel, knobs, loops, step, k_outer)
    read_anew(sch, [loops.row, loops.tile])
    return sch


def depthwise(function: PrimFunc, kernel: DepthwiseKernel, knobs: DepthwiseKnobs) -> Schedule:
    """`rows` x `columns` pixels of one vector of channels stay in registers while all taps pass by."""
    exponential = kernel.epilogue.activation.is_exponential
    sch = common.depthwise(function, kernel, knobs, pixel_by_pixel=True, one_by_one=exponential)
    if knobs.reread_taps or exponential:  # whose constants take the registers of the taps
        _, row_tile, column_tile, *_ = sch.get_loops(sch.get_sblock("y"))
        read_anew(sch, [row_tile, column_tile])
    return sch


def dense(function: PrimFunc, kernel: DenseKernel, knobs: DenseKnobs) -> Schedule:
    """One panel of outputs in registers; the input is read as vectors where four of its channels make whole steps."""
    step = math.lcm(LANES, knobs.partial_sums)
    steps = InputSteps(step, _read_vectors) if kernel.in_channels % step == 0 else None
    one_by_one = kernel.activation.is_exponential and kernel.in_channels <= STRAIGHT_CHANNELS
    sch = common.dense(function, kernel, knobs, steps, one_by_one=one_by_one)
    if one_by_one:
        keep_loops(sch, sch.get_loops(sch.get_sblock("y"))[-2:-1])
    return sch


def elementwise(function: PrimFunc, kernel: ElementwiseKernel) -> Schedule:
    """One vector of channels at a time. Rows of small images whose activation has slopes as an array stay a loop.

    LLVM makes straight code of them, and keeps more of what is always the same than fits into registers.
    """
    sch = common.elementwise(function)
    if kernel.activation.kind == "prelu" and kernel.height * kernel.width <= STRAIGHT_PIXELS:
        _, row, *_ = sch.get_loops(sch.get_sblock("y"))
        keep_loops(sch, [row])
    return sch


def _read_vectors(sch: Schedule, block: Block, loop: Loop) -> None:
    """Reads what `block` takes from x in a round of `loop` into registers, four elements at a time."""
    inputs = sch.cache_read(block, "x", "local")
    sch.compute_at(inputs, loop, preserve_unit_loops=True)
    vector, lane = sch.split(sch.get_loops(inputs)[-1], [None, LANES])
    sch.vectorize(lane)
    sch.unroll(vector)
