"""The schedule of Winograd's F(4 x 4, 3 x 3) for x86: a few tiles at a time, everything of them near."""

from __future__ import annotations

from typing import Any

from tvm.s_tir import Schedule

from dscompile.plan.kernels import WinogradKernel
from dscompile.plan.knobs import WinogradKnobs
from dscompile.schedule.common import require_divides, unroll, vector_init

__all__ = ["winograd"]

PrimFunc = Any


def winograd(function: PrimFunc, kernel: WinogradKernel, knobs: WinogradKnobs) -> Schedule:
    """`rows` x `columns` tiles are transformed, multiplied and transformed back, panel by panel.

    For each of 36 positions, their sums of a panel stay in registers over all channels.
    """
    require_divides(knobs.rows, kernel.tiles[0], "rows")
    require_divides(knobs.columns, kernel.tiles[1], "columns")
    sch = Schedule(function)
    block, down, across, row, column, lane = sch.get_loops(sch.get_sblock("y"))
    panel, block = sch.split(block, [None, kernel.panel // kernel.lanes])
    down_tile, down = sch.split(down, [None, knobs.rows])
    tile, across = sch.split(across, [None, knobs.columns])
    sch.reorder(down_tile, tile, panel, down, across, block, row, column, lane)
    sch.vectorize(lane)
    unroll(sch, [row, column])

    rows = sch.get_sblock("rows")
    sch.compute_at(rows, block, preserve_unit_loops=True)
    sch.set_scope(rows, 0, "local")
    *_, position, row, lane = sch.get_loops(rows)
    sch.vectorize(lane)
    unroll(sch, [position, row])

    _multiply(sch, kernel, panel)

    spread = sch.get_sblock("spread")
    sch.compute_at(spread, tile, preserve_unit_loops=True)
    sch.set_scope(spread, 0, "local")
    i, j, down, across, block, lane = sch.get_loops(spread)[-6:]
    sch.reorder(down, across, block, i, j, lane)
    sch.vectorize(lane)
    unroll(sch, [i, j])
    columns = sch.get_sblock("columns")
    sch.compute_at(columns, block, preserve_unit_loops=True)
    sch.set_scope(columns, 0, "local")
    i, column, lane = sch.get_loops(columns)[-3:]
    sch.reorder(column, i, lane)
    sch.vectorize(lane)
    unroll(sch, [column, i])
    return sch


def _multiply(sch: Schedule, kernel: WinogradKernel, panel: Any) -> None:
    """Products of all positions, each a small matrix of tiles x filters in registers, kept for the transform back."""
    acc = sch.get_sblock("acc")
    kept = sch.cache_write(acc, 0, "local")
    sch.set_scope(acc, 0, "local")
    sch.compute_at(kept, panel, preserve_unit_loops=True)
    block, i, j, down, across, lane = sch.get_loops(kept)[-6:]
    sch.reorder(i, j, down, across, block, lane)
    sch.vectorize(lane)
    unroll(sch, [down, across, block])
    sch.compute_at(acc, j, preserve_unit_loops=True)
    block, _, _, down, across, lane, k = sch.get_loops(acc)[-7:]
    k_outer, k_inner = sch.split(k, [None, kernel.lanes if kernel.in_channels % kernel.lanes == 0 else 1])
    sch.reorder(k_outer, k_inner, down, across, block, lane)
    sch.vectorize(lane)
    unroll(sch, [down, across, block])
    vector_init(sch, acc, k_outer, unrolled=3)
