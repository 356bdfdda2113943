"""Where the largest channel of every pixel lies."""

from __future__ import annotations

from typing import Any

from tvm import te, tirx

from dscompile.compute.integer import typed_const
from dscompile.plan.kernels import ArgMaxKernel

Expr = Any


def argmax(kernel: ArgMaxKernel) -> Any:
    """The index of the largest channel. Blocks: `lane_peak`, `peak`, `lane_index`, `index`, `y`.

    The largest value first, lane by lane and then of all lanes, and after it in the same way the smallest (or largest)
    index that has this value. Lanes behind the last channel take part in neither.
    """
    rows, columns, lanes, channels = kernel.height, kernel.width, kernel.lanes, kernel.channels
    shape = (rows, columns, lanes)
    x = te.placeholder((kernel.blocks, rows, columns, lanes), kernel.dtype, name="x")
    lowest = tirx.const(float("-inf"), "float32") if kernel.dtype == "float32" else typed_const(-128, kernel.dtype)
    none = typed_const(-1 if kernel.last else channels, "int32")
    best = te.max if kernel.last else te.min
    blocks = [te.reduce_axis((0, kernel.blocks), name=f"b{i}") for i in (0, 1)]
    in_block = [te.reduce_axis((0, lanes), name=f"l{i}") for i in (0, 1)]

    def real(block: Expr, lane: Expr, value: Expr, otherwise: Expr) -> Expr:
        """`value` of lanes that have a channel."""
        if not channels % lanes:
            return value
        return tirx.Select(block * lanes + lane < typed_const(channels, "int32"), value, otherwise)

    lane_peak = te.compute(
        shape,
        lambda h, w, lane: te.max(real(blocks[0], lane, x[blocks[0], h, w, lane], lowest), axis=blocks[0]),
        name="lane_peak",
    )
    peak = te.compute(shape[:2], lambda h, w: te.max(lane_peak[h, w, in_block[0]], axis=in_block[0]), name="peak")

    def candidate(h: Expr, w: Expr, lane: Expr) -> Expr:
        block = blocks[1]
        found = tirx.Select(x[block, h, w, lane] == peak[h, w], block * lanes + lane, none)
        return best(real(block, lane, found, none), axis=block)

    lane_index = te.compute(shape, candidate, name="lane_index")
    index = te.compute(shape[:2], lambda h, w: best(lane_index[h, w, in_block[1]], axis=in_block[1]), name="index")
    return te.create_prim_func([x, te.compute(shape[:2], lambda h, w: _inside(kernel, index[h, w]), name="y")])


def _inside(kernel: ArgMaxKernel, index: Expr) -> Expr:
    """Where no channel equals the largest one (infinities and NaN), the index is of a channel all the same."""
    if kernel.last:
        return tirx.Select(index < typed_const(0, "int32"), typed_const(kernel.channels - 1, "int32"), index)
    return tirx.Select(index < typed_const(kernel.channels, "int32"), index, typed_const(0, "int32"))
