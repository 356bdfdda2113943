"""Computing a segment band by band.

Tensors that nobody outside the segment reads live in windows: a few rows that slide down the image. Every band writes
and reads the same addresses, so they stay in the nearest cache; rows that the next band needs again are moved up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from dscompile.ir.network import Network
from dscompile.ir.ops import Conv2D, Pads
from dscompile.ir.shapes import dilated_extent
from dscompile.plan.bands import Segment, rows_needed
from dscompile.plan.builder import ProgramBuilder
from dscompile.plan.convolutions import RowWork, prepare_conv
from dscompile.plan.fusion import Work
from dscompile.plan.kernels import ElementwiseKernel, FillKernel
from dscompile.plan.program import Call
from dscompile.plan.row_tiles import TiledView
from dscompile.plan.storage import BlockedView, RowOrigin


@dataclass(frozen=True)
class Rows:
    """What one band does to one tensor: rows `begin` .. `end` are made; `lowest` is the first row still read.

    `highest` is where reading ends; beyond the image lie rows of padding. Rows may be negative: padding above.
    """

    lowest: int
    begin: int
    end: int
    highest: int


Bands = list[Mapping[str, Rows]]
"""For every band: result -> its rows."""

# Sections of an image may take so much longer than if they were all equal.
UNEVEN = 1.1


def lower_in_bands(builder: ProgramBuilder, segment: Segment) -> None:
    """Appends the calls of all layers of a segment, in bands of `segment.rows` rows of its last result."""
    between = builder.tiled(segment.work[0].result, segment.rows)
    if between is not None:
        _lower_around_tiles(builder, segment, between)
        return
    bands = plan_bands(builder.network, segment)
    sections = plan_sections(builder, segment)
    heights: dict[str, int] = {}
    windows: dict[str, BlockedView] = {}
    prepared: list[RowWork] = []
    for work in segment.work:
        builder.enter(work.layer)
        if _is_private(builder, segment, work):
            heights[work.result] = _window_height([[band[work.result] for band in part] for part in (bands, *sections)])
        if heights.get(work.result):
            windows[work.result] = _new_window(builder, work, heights[work.result])
        before = builder.call_count
        prepared.append(prepare_conv(builder, work, windows.get(work.result)))
        if builder.call_count > before and builder.network.is_quantized_layer(work.layer):
            sections = []  # its columns are gathered for all rows at once
    builder.begin_bands()
    _emit_bands(builder, prepared, windows, bands)
    if sections and all(work.result in windows or _is_apart(builder, segment, sections, work) for work in segment.work):
        builder.divide(_emit_sections(builder, segment, prepared, windows, sections))


def _lower_around_tiles(builder: ProgramBuilder, segment: Segment, between: TiledView) -> None:
    """A layer that writes an image in tiles and the pointwise one that reads it: no row is needed by two bands."""
    prepared = []
    for work in segment.work:
        builder.enter(work.layer)
        prepared.append(prepare_conv(builder, work))
    height = prepared[0].height
    for first in range(0, height, segment.rows):
        between.origin.row = first
        for row_work in prepared:
            row_work.emit(first, min(segment.rows, height - first))


def _emit_sections(
    builder: ProgramBuilder,
    segment: Segment,
    prepared: list[RowWork],
    windows: Mapping[str, BlockedView],
    sections: list[Bands],
) -> list[list[Call]]:
    """The calls of every section. The first takes the windows that are there, the others have windows of their own."""
    images = {work.result: builder.blocked(work.result) for work in segment.work if work.result not in windows}
    emitted = []
    for number, bands in enumerate(sections):
        own, works = windows, prepared
        with builder.aside() as calls:
            if number:
                own, works = {}, []
                for work in segment.work:
                    builder.enter(work.layer)
                    if work.result in windows:
                        own[work.result] = _new_window(builder, work, windows[work.result].layout.height)
                    works.append(prepare_conv(builder, work, own.get(work.result), whole=images.get(work.result)))
            _emit_bands(builder, works, own, bands)
        emitted.append(calls)
    return emitted


def _emit_bands(
    builder: ProgramBuilder, prepared: list[RowWork], windows: Mapping[str, BlockedView], bands: Bands
) -> None:
    for before, band in zip([None, *bands], bands, strict=False):
        for row_work in prepared:
            name = row_work.work.result
            rows = band[name]
            if name in windows:
                _slide(builder, name, windows[name], None if before is None else before[name], rows)
            if rows.end > rows.begin:
                row_work.emit(rows.begin, rows.end - rows.begin)
            if name in windows and rows.highest > row_work.height:
                _clear_rows(builder, name, windows[name], row_work.height, rows.highest)


def plan_bands(network: Network, segment: Segment, first: int = 0, end: int | None = None) -> Bands:
    """For every band: result -> its rows. Of the last result, rows `first` .. `end` are made (default: all)."""
    height = network.shape(segment.work[-1].result)[1]
    stop = height if end is None else end
    made = _first_rows(segment, first)
    bands: Bands = []
    for below in range(first + segment.rows, stop + segment.rows, segment.rows):
        wanted = _wanted_rows(network, segment, min(below, stop), finished=below >= height)
        # Strides wider than their kernel skip rows; these are made all the same, so the window begins with them.
        lowest = {name: min(_lowest_row(segment, name, made), made[name]) for name in made}
        highest = {name: _highest_row(segment, name, wanted) for name in made}
        bands.append(
            {name: Rows(lowest[name], made[name], max(made[name], wanted[name]), highest[name]) for name in made}
        )
        made = {name: max(made[name], wanted[name]) for name in made}
    return bands


def _first_rows(segment: Segment, first: int) -> dict[str, int]:
    """Result -> its first row that is needed for rows of the last result from `first` on."""
    made = {segment.work[-1].result: first}
    for work in reversed(segment.work[:-1]):
        made[work.result] = max(0, _lowest_row(segment, work.result, made))
    return {work.result: made[work.result] for work in segment.work}


def plan_sections(builder: ProgramBuilder, segment: Segment) -> list[Bands]:
    """The bands of sections of the image, one for each thread, as even as can be; none if that is not even enough.

    Where two sections meet, both make the rows that both read.
    """
    height, threads = builder.network.shape(segment.work[-1].result)[1], builder.threads
    for step in (segment.rows, 1):  # whole bands if they divide, else rows: the last band of a section may be lower
        count = -(-height // step)
        cuts = [min(height, count * number // threads * step) for number in range(threads + 1)]
        if threads > 1 and max(end - first for first, end in pairwise(cuts)) * threads <= UNEVEN * height:
            return [plan_bands(builder.network, segment, first, end) for first, end in pairwise(cuts) if first < end]
    return []


def _is_apart(builder: ProgramBuilder, segment: Segment, sections: list[Bands], work: Work) -> bool:
    """Whether sections write and read a whole image apart from each other.

    Each makes rows of its own, none twice and none by nobody, as others may read it. What lies left of a row is cleared
    with the row above it, which may be another section's: only the last result, which no section reads, has such sides.
    """
    name = work.result
    view = builder.blocked(name)
    no_sides = not (view.layout.halo.left or view.layout.halo.right) or name == segment.work[-1].result
    return no_sides and all(above[-1][name].end == below[0][name].begin for above, below in pairwise(sections))


def _wanted_rows(network: Network, segment: Segment, rows: int, *, finished: bool) -> dict[str, int]:
    """Result -> how many of its rows must be there so that `rows` rows of the last result can be made."""
    wanted = {work.result: network.shape(work.result)[1] if finished else 0 for work in segment.work}
    wanted[segment.work[-1].result] = rows
    for work in reversed(segment.work):
        for name in work.reads:
            if name in wanted:
                need = wanted[work.result]
                if name in work.layer.inputs:
                    need = rows_needed(_conv(work), need, network.shape(name)[1])
                wanted[name] = max(wanted[name], need)
    return wanted


def _lowest_row(segment: Segment, name: str, made: Mapping[str, int]) -> int:
    """The first row of tensor `name` that is still to be read when its readers have made as many rows as `made`."""
    lowest = []
    for work in segment.work:
        if name in work.layer.inputs:
            op = _conv(work)
            lowest.append(made[work.result] * op.stride[0] - op.pads.top)
        elif name in work.reads:
            lowest.append(made[work.result])
    return min(lowest, default=0)


def _highest_row(segment: Segment, name: str, wanted: Mapping[str, int]) -> int:
    """Where reading of tensor `name` ends when its readers make as many rows as `wanted`; padding included."""
    highest = [0]
    for work in segment.work:
        if name in work.layer.inputs and wanted[work.result]:
            op = _conv(work)
            extent = dilated_extent(op.kernel[0], op.dilation[0])
            highest.append((wanted[work.result] - 1) * op.stride[0] - op.pads.top + extent)
        elif name in work.reads:
            highest.append(wanted[work.result])
    return max(highest)


def _conv(work: Work) -> Conv2D:
    if not isinstance(work.layer.op, Conv2D):
        raise TypeError(f"layer {work.layer.name} does not go by rows")
    return work.layer.op


def _is_private(builder: ProgramBuilder, segment: Segment, work: Work) -> bool:
    """Whether only the segment itself reads the result of `work`."""
    inside = {layer for other in segment.work for layer in other.layers}
    readers = builder.network.consumers[work.result]
    return (
        bool(readers)
        and all(layer.name in inside for layer in readers)
        and work.result not in builder.network.outputs
        and not builder.is_part_of_any(work.result)
    )


def _window_height(runs: Iterable[list[Rows]]) -> int:
    """Rows that a window must hold for all runs of bands.

    0 if rows would be moved onto themselves, so that no window can be used.
    """
    most = 0
    for bands in runs:
        for before, rows in pairwise(bands):
            kept = rows.begin - rows.lowest
            if kept > rows.lowest - before.lowest > 0:
                return 0
        most = max(most, *(max(rows.end, rows.highest) - rows.lowest for rows in bands))
    return most


def _new_window(builder: ProgramBuilder, work: Work, height: int) -> BlockedView:
    """A window for the result of `work`; its sides are cleared, which lasts."""
    _, _, width, channels = builder.network.shape(work.result)
    halo = builder.halos.get(work.result)
    sides = Pads(0, 0, halo.left, halo.right)
    window = builder.new_blocked(work.result, (1, height, width, channels), sides, tag=".window")
    return BlockedView(window.store, window.layout, window.base, RowOrigin())


def _slide(builder: ProgramBuilder, name: str, window: BlockedView, before: Rows | None, rows: Rows) -> None:
    """Moves the window to `rows.lowest`: rows that are read again go to its top; padding above is cleared once."""
    origin, layout = window.origin, window.layout
    if before is None:
        origin.row = rows.lowest
        if rows.lowest < 0:
            _clear_rows(builder, name, window, rows.lowest, 0)
        return
    step, kept = rows.lowest - before.lowest, rows.begin - rows.lowest
    if step > 0 and kept > 0:
        source = window.at(rows.lowest)
        move = ElementwiseKernel(
            "copy", kept, layout.width, layout.blocks, layout.lanes, layout.strides, layout.strides, dtype=window.dtype
        )
        builder.call(move, [source, window.at(before.lowest)])
    origin.row = rows.lowest


def _clear_rows(builder: ProgramBuilder, name: str, window: BlockedView, first: int, end: int) -> None:
    layout, strides = window.layout, window.layout.strides
    zero = builder.element(name).zero
    fill = FillKernel(
        layout.blocks, end - first, layout.width * layout.lanes, strides.block, strides.row, zero, window.dtype
    )
    builder.call(fill, [window.at(first)])
