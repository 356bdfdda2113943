"""Schedules that all families of CPUs share, and the steps that those of a family are made of.

Each function takes a PrimFunc from `dscompile.compute`, and returns a `tvm.s_tir.Schedule`. Tiles must divide what they
tile; whoever plans a kernel cuts odd sizes into kernels that divide (plan/tiles.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tvm.s_tir import Schedule

from dscompile.plan.kernels import (
    ArgMaxKernel,
    ConvKernel,
    DenseKernel,
    DepthwiseKernel,
    ElementwiseKernel,
    FillKernel,
    FlatKernel,
    GatherKernel,
    Kernel,
    PackKernel,
    PoolKernel,
    ResampleKernel,
    SoftmaxKernel,
    UnpackKernel,
)
from dscompile.plan.knobs import DenseKnobs, DepthwiseKnobs, Knobs, TileKnobs
from dscompile.schedule import prefetch

PrimFunc = Any
Block = Any
Loop = Any

SPLIT_WINDOW = 32  # pixels from which on a pooling window has several sums
MAX_POOL_PARTS = 8  # enough to hide the latency of an addition, measured
MAX_UNROLLED_TAPS = 49  # larger windows keep their rows as a loop, or the code outgrows the instruction cache


def without_knobs(function: PrimFunc, kernel: Kernel, knobs: Knobs | None) -> Schedule:
    """The schedule of a kernel of a kind that takes no knobs. Raises ValueError for knobs of the wrong kind."""
    match kernel, knobs:
        case PoolKernel(), None:
            return pool(function, _pool_parts(kernel))
        case ElementwiseKernel() | ResampleKernel(), None:
            return elementwise(function)
        case GatherKernel(), None:
            return gather(function)
        case PackKernel(), None:
            return pack(function, kernel)
        case UnpackKernel(), None:
            return unpack(function, kernel)
        case FillKernel() | FlatKernel(), None:
            return contiguous(function)
        case SoftmaxKernel(), None:
            return row_by_row(function, ("total", "power", "largest"))
        case ArgMaxKernel(), None:
            return argmax(function)
    raise ValueError(f"a {kernel.kind} kernel does not take {type(knobs).__name__}")


@dataclass(frozen=True)
class ConvLoops:
    """Loops of a convolution that is being scheduled.

    `panel`, `row` and `tile` run over panels of filters, rows, and tiles of pixels; the sum is computed within them.
    In the sum, `tile_row`, `pixels` and `filters` run over a tile, `lane` over a vector, `r`, `q`, `k` over taps and
    channels.
    """

    panel: Loop
    row: Loop
    tile: Loop
    tile_row: Loop
    pixels: Loop
    filters: Loop
    lane: Loop
    r: Loop
    q: Loop
    k: Loop


def tile_conv(
    sch: Schedule, kernel: ConvKernel, knobs: TileKnobs, *, one_by_one: bool = False, in_pairs: bool = False
) -> ConvLoops:
    """Cuts the result into panels of filters and tiles of pixels, and moves the sum to where a tile begins.

    Panels are outermost, so that each is streamed once; one tile of a row at a time. `one_by_one` is as for
    `depthwise`; `in_pairs`, two pixels at a time are finished as there a row is `abreast`.
    """
    require_divides(knobs.pixels, kernel.width, "pixels")
    acc, out = begin_with_bias(sch), sch.get_sblock("y")
    block, row, column, lane = sch.get_loops(out)
    panel, block = sch.split(block, [None, kernel.panel // kernel.lanes])
    tile, column = sch.split(column, [None, knobs.pixels])
    order = [panel, row, tile] if knobs.panel_outer else [row, tile, panel]
    if in_pairs:
        column, pair = sch.split(column, [None, 2])
        sch.reorder(*order, column, block, pair, lane)
        lane = sch.fuse(pair, lane)
    else:
        sch.reorder(*order, column, block, lane)
    if one_by_one:
        _store_sums(sch, out, order[-1], 4)
    sch.compute_at(acc, order[-1], preserve_unit_loops=True)
    sch.set_scope(acc, 0, "local")
    sch.vectorize(lane)
    unroll(sch, [] if one_by_one else [column, block])
    acc_block, acc_row, acc_column, acc_lane, r, q, k = sch.get_loops(acc)[-7:]
    return ConvLoops(panel, row, tile, acc_row, acc_column, acc_block, acc_lane, r, q, k)


def finish_conv(
    sch: Schedule, kernel: ConvKernel, knobs: TileKnobs, loops: ConvLoops, step: int, k_outer: Loop
) -> None:
    """Makes the tile of the sum vectors in registers, sets it to its start, and places the prefetches of weights.

    `k_outer` is the loop over input channels, `step` of them at a time.
    """
    acc = sch.get_sblock("acc")
    sch.vectorize(loops.lane)
    unroll(sch, [loops.tile_row, loops.pixels, loops.filters])
    vector_init(sch, acc, loops.r, unrolled=3)
    if knobs.prefetch:
        iterations = kernel.height * (kernel.width // knobs.pixels) * -(-kernel.in_channels // step)
        marked = prefetch.PrefetchLoops(loops.panel, (loops.row, loops.tile), k_outer)
        prefetch.annotate(sch, marked, kernel.in_channels * kernel.panel, iterations)


def depthwise(
    function: PrimFunc,
    kernel: DepthwiseKernel,
    knobs: DepthwiseKnobs,
    *,
    pixel_by_pixel: bool = False,
    one_by_one: bool = False,
    abreast: bool = False,
) -> Schedule:
    """`rows` x `columns` pixels of one vector of channels stay in registers while all taps pass by.

    For every row of the kernel, its taps pass one after the other over all pixels, or `pixel_by_pixel` all its taps
    over one pixel after the other: then an input is needed for a shorter time. `one_by_one`, the outputs of a tile are
    finished in a loop, for activations whose constants do not fit into registers beside all sums. `abreast`, those of a
    row are finished operation by operation, so that one need not wait for the other; they must lie together in memory.
    """
    require_divides(knobs.columns, kernel.width, "columns")
    require_divides(knobs.rows, kernel.height, "rows")
    sch = Schedule(function)
    acc, out = begin_with_bias(sch), sch.get_sblock("y")

    block, row, *columns, lane = sch.get_loops(out)
    row_tile, row = sch.split(row, [None, knobs.rows])
    column_tile, column = columns if len(columns) > 1 else sch.split(*columns, [None, knobs.columns])
    sch.reorder(block, row_tile, column_tile, row, column, lane)

    if one_by_one:
        _store_sums(sch, out, column_tile, 3)
    sch.compute_at(acc, column_tile, preserve_unit_loops=True)
    sch.set_scope(acc, 0, "local")
    acc_row, acc_column, acc_lane, r, q = sch.get_loops(acc)[-5:]
    sch.reorder(r, *((acc_row, acc_column, q) if pixel_by_pixel else (q, acc_row, acc_column)), acc_lane)
    sch.vectorize(acc_lane)
    unroll(sch, [q, acc_row, acc_column])
    if kernel.kernel[0] * kernel.kernel[1] <= MAX_UNROLLED_TAPS:
        sch.unroll(r)
    vector_init(sch, acc, r, unrolled=2)
    if abreast:
        lane = sch.fuse(column, lane)
    sch.vectorize(lane)
    unroll(sch, [] if one_by_one else [row] if abreast else [row, column])
    return sch


def _store_sums(sch: Schedule, out: Block, tile: Loop, axes: int) -> None:
    """Brings the sums of a tile, with so many axes, to memory before `out` reads them, which then may be a loop."""
    sums = sch.cache_read(out, 0, "local")
    sch.compute_at(sums, tile, preserve_unit_loops=True)
    *loops, lane = sch.get_loops(sums)[-axes:]
    sch.vectorize(lane)
    unroll(sch, loops)


@dataclass(frozen=True)
class InputSteps:
    """How a dense kernel goes over its input: `channels` at a time, unrolled, that `read` brings into registers.

    `read(sch, block, loop)` adds to the schedule how the input of `block` is read at the start of `loop`'s body.
    """

    channels: int
    read: Callable[[Schedule, Block, Loop], None]


def dense(
    function: PrimFunc,
    kernel: DenseKernel,
    knobs: DenseKnobs,
    steps: InputSteps | None = None,
    *,
    one_by_one: bool = False,
) -> Schedule:
    """One panel of outputs in registers; weights are read once, in order. Inputs come one by one, or in `steps`.

    `one_by_one` is as for `depthwise`.
    """
    if knobs.streams > 1:
        raise ValueError("panels in streams are a schedule of x86 only")
    if knobs.partial_sums > 1:
        return _dense_with_partial_sums(function, kernel, knobs, steps)
    sch = Schedule(function)
    acc, out = sch.get_sblock("acc"), sch.get_sblock("y")
    (unit,) = sch.get_loops(out)
    panel, vector, lane = sch.split(unit, [None, kernel.panel // kernel.lanes, kernel.lanes])
    if one_by_one:
        sums = sch.cache_read(out, 0, "local")
        sch.compute_at(sums, panel, preserve_unit_loops=True)
        sums_vector, sums_lane = sch.split(sch.get_loops(sums)[-1], [None, kernel.lanes])
        sch.vectorize(sums_lane)
        sch.unroll(sums_vector)
    sch.compute_at(acc, panel, preserve_unit_loops=True)
    sch.set_scope(acc, 0, "local")
    acc_unit, k = sch.get_loops(acc)[-2:]
    k, k_inner = sch.split(k, [None, 1 if steps is None else steps.channels])
    acc_vector, acc_lane = sch.split(acc_unit, [None, kernel.lanes])
    sch.reorder(k, k_inner, acc_vector, acc_lane)
    if steps is not None:
        steps.read(sch, acc, k)
    sch.vectorize(acc_lane)
    unroll(sch, [k_inner, acc_vector])
    vector_init(sch, acc, k, unrolled=1)
    sch.vectorize(lane)
    unroll(sch, [] if one_by_one else [vector])
    return sch


def _dense_with_partial_sums(
    function: PrimFunc, kernel: DenseKernel, knobs: DenseKnobs, steps: InputSteps | None
) -> Schedule:
    """As `dense`, with the input split into interleaved parts that are summed at the end."""
    parts = knobs.partial_sums
    require_divides(parts, kernel.in_channels, "partial_sums")
    sch = Schedule(function)
    acc, out = sch.get_sblock("acc"), sch.get_sblock("y")
    k = sch.get_loops(acc)[-1]
    _, part = sch.split(k, [None, parts])
    partial = sch.rfactor(part, factor_axis=0)

    (unit,) = sch.get_loops(out)
    panel, vector, lane = sch.split(unit, [None, kernel.panel // kernel.lanes, kernel.lanes])
    sch.compute_at(acc, panel, preserve_unit_loops=True)
    sch.compute_at(partial, panel, preserve_unit_loops=True)
    for block in (acc, partial):
        sch.set_scope(block, 0, "local")

    part, unit, k_outer = sch.get_loops(partial)[-3:]
    k_outer, k_inner = sch.split(k_outer, [None, 1 if steps is None else steps.channels // parts])
    partial_vector, partial_lane = sch.split(unit, [None, kernel.lanes])
    sch.reorder(k_outer, k_inner, part, partial_vector, partial_lane)
    if steps is not None:
        steps.read(sch, partial, k_outer)
    sch.vectorize(partial_lane)
    unroll(sch, [k_inner, part, partial_vector])
    vector_init(sch, partial, k_outer, unrolled=2)

    part, unit = sch.get_loops(acc)[-2:]
    acc_vector, acc_lane = sch.split(unit, [None, kernel.lanes])
    sch.reorder(part, acc_vector, acc_lane)
    sch.vectorize(acc_lane)
    sch.unroll(acc_vector)
    vector_init(sch, acc, part, unrolled=1)
    sch.vectorize(lane)
    sch.unroll(vector)
    return sch


def pool(function: PrimFunc, parts: int = 1) -> Schedule:
    """One vector of channels at a time, taps in a loop; `parts` neighboring columns have sums of their own."""
    sch = Schedule(function)
    acc, out = sch.get_sblock("acc"), sch.get_sblock("y")
    *outer, column, lane = sch.get_loops(out)
    if parts > 1:
        _, part = sch.split(sch.get_loops(acc)[-1], [None, parts])
        partial = sch.rfactor(part, factor_axis=0)
    sch.compute_at(acc, column, preserve_unit_loops=True)
    sch.set_scope(acc, 0, "local")
    if parts > 1:
        sch.compute_at(partial, column, preserve_unit_loops=True)
        sch.set_scope(partial, 0, "local")
        part, *_, partial_lane, r, q = sch.get_loops(partial)[len(outer) + 1 :]
        sch.reorder(r, q, part, partial_lane)
        sch.vectorize(partial_lane)
        sch.unroll(part)
        vector_init(sch, partial, r, unrolled=1)
        part, *_, acc_lane = sch.get_loops(acc)[len(outer) + 1 :]
        first = part
    else:
        acc_lane, first, q = sch.get_loops(acc)[-3:]
        sch.reorder(first, q, acc_lane)
    sch.vectorize(acc_lane)
    vector_init(sch, acc, first, unrolled=0)
    sch.vectorize(lane)
    return sch


def _pool_parts(kernel: PoolKernel) -> int:
    """How many columns of a window are summed apart, a divisor of its width; 1 if it is small or padded.

    One sum alone waits for each of its additions.
    """
    rows, columns = kernel.kernel
    inside = kernel.height == kernel.width == 1 and (rows, columns) == (kernel.in_height, kernel.in_width)
    if not inside or rows * columns < SPLIT_WINDOW:
        return 1
    return max(parts for parts in range(1, MAX_POOL_PARTS + 1) if columns % parts == 0)


def elementwise(function: PrimFunc) -> Schedule:
    """One vector of channels at a time."""
    sch = Schedule(function)
    sch.vectorize(sch.get_loops(sch.get_sblock("y"))[-1])
    return sch


def gather(function: PrimFunc) -> Schedule:
    """Element by element, those of a vector without a loop: where they come from is read once for a row."""
    sch = Schedule(function)
    sch.unroll(sch.get_loops(sch.get_sblock("y"))[-1])
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


def row_by_row(function: PrimFunc, stages: Sequence[str]) -> Schedule:
    """What a row needs is computed before its elements: the blocks `stages`, of which each reads those after it."""
    sch = Schedule(function)
    row, _ = sch.get_loops(sch.get_sblock("y"))
    for name in stages:
        sch.compute_at(sch.get_sblock(name), row, preserve_unit_loops=True)
    return sch


def argmax(function: PrimFunc) -> Schedule:
    """Pixel by pixel, of each one vector of channels at a time."""
    sch = Schedule(function)
    pixel = sch.get_loops(sch.get_sblock("y"))[-1]
    for name in ("index", "lane_index", "peak", "lane_peak"):
        block = sch.get_sblock(name)
        sch.compute_at(block, pixel, preserve_unit_loops=True)
        sch.set_scope(block, 0, "local")
    for name in ("lane_index", "lane_peak"):
        block = sch.get_sblock(name)
        lane, blocks = sch.get_loops(block)[-2:]
        sch.reorder(blocks, lane)
        sch.vectorize(lane)
        vector_init(sch, block, blocks, unrolled=0)
    return sch


def begin_with_bias(sch: Schedule) -> Block:
    """The sum of a convolution begins with its bias, which saves an addition for every output; returns its block."""
    acc = sch.get_sblock("acc")
    sch.fuse_reduction_epilogue(acc, "biased")
    return acc


def vector_init(sch: Schedule, block: Any, loop: Loop, *, unrolled: int) -> None:
    """Sets the accumulators of `block` to their start before `loop`.

    The last of the loops over them is a vector, `unrolled` loops above it are unrolled.
    """
    loops = sch.get_loops(sch.decompose_reduction(block, loop))
    sch.vectorize(loops[-1])
    unroll(sch, loops[len(loops) - 1 - unrolled : -1])


def unroll(sch: Schedule, loops: Iterable[Loop]) -> None:
    """Unrolls loops."""
    for loop in loops:
        sch.unroll(loop)


def require_divides(tile: int, size: int, name: str) -> None:
    """Raises ValueError if a knob does not divide what it tiles."""
    if size % tile:
        raise ValueError(f"knob {name} = {tile} does not divide {size}")
