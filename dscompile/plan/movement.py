"""Operators that only move elements, of every type: as views where elements can stay, else as copies."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dscompile.ir.network import Layer
from dscompile.ir.ops import Concat, Shuffle, Slice, Transpose
from dscompile.plan.builder import ProgramBuilder
from dscompile.plan.kernels import ElementwiseKernel, FillKernel, FlatKernel
from dscompile.plan.layout import Blocked
from dscompile.plan.program import Operand
from dscompile.plan.storage import BlockedView, FlatView, View


def lower_concat(builder: ProgramBuilder, layer: Layer, op: Concat) -> None:
    """Copies of what does not lie in its part of the result yet."""
    shape = builder.network.shape(layer.output)
    if len(shape) != 4 or op.axis == 0:
        _concat_flat(builder, layer, op)
        return
    y = builder.whole(layer.output) or builder.new_blocked(layer.output, shape)
    offset = [0, 0, 0, 0]
    for name in layer.inputs:
        if not builder.is_part(name, layer.output):
            _concat_part(builder, name, y, offset)
        offset[op.axis] += builder.network.shape(name)[op.axis]
    builder.place(layer.output, y)


def _concat_part(builder: ProgramBuilder, name: str, y: BlockedView, offset: list[int]) -> None:
    x = builder.blocked(name)
    lanes = x.layout.lanes
    _, row, column, channel = offset
    if channel % lanes == 0:
        copy_image(builder, x, y, y.at(row, column, channel // lanes))
        return
    _copy_channels(builder, x, y, x.layout, [_Channels(0, channel, x.layout.channels)])


def _concat_flat(builder: ProgramBuilder, layer: Layer, op: Concat) -> None:
    y = builder.new_flat(layer.output, builder.network.shape(layer.output))
    offset = 0
    for name in layer.inputs:
        x = builder.flat(name)
        index = tuple(offset if axis == op.axis else 0 for axis in range(len(x.shape)))
        builder.call(FlatKernel("copy", x.shape, x.strides, y.strides, dtype=x.dtype), [x.at(), y.at(*index)])
        offset += x.shape[op.axis]
    builder.place(layer.output, y)


def lower_slice(builder: ProgramBuilder, layer: Layer, op: Slice) -> None:
    """A view of the input; of a blocked image only from a whole block of channels on, and a copy elsewhere."""
    view = builder.home(layer.inputs[0])
    builder.place(layer.output, _box(builder, layer, op, view))


def _box(builder: ProgramBuilder, layer: Layer, op: Slice, view: View) -> View:
    if isinstance(view, FlatView):
        first = sum(begin * stride for begin, stride in zip(op.begins, view.strides, strict=True))
        return replace(view, shape=op.sizes, offset=view.offset + first)
    _, row, column, channel = op.begins
    _, height, width, channels = op.sizes
    layout = view.layout
    block, lane = divmod(channel, layout.lanes)
    if (height, width) == (layout.height, layout.width) and not lane:
        # The lanes behind its last channel hold other channels: finite, which is all that is asked of them.
        return replace(view, layout=replace(layout, channels=channels), base=view.base + block * layout.strides.block)
    y = builder.new_blocked(layer.output, op.sizes)
    if not lane:
        kernel = _image_copy(y.layout, view, y)
        builder.call(kernel, [view.at(row, column, block), y.at()])
        return y
    _copy_channels(builder, view, y, y.layout, [_Channels(channel, 0, channels)], row, column)
    return y


def lower_shuffle(builder: ProgramBuilder, layer: Layer, op: Shuffle) -> None:
    """One pass: every group's channels go where they belong."""
    view = builder.home(layer.inputs[0])
    shape = builder.network.shape(layer.output)
    count = shape[-1] // op.groups
    if isinstance(view, BlockedView):
        y = builder.new_blocked(layer.output, shape)
        runs = [_Channels(group * count, group, count, op.groups) for group in range(op.groups)]
        _copy_channels(builder, view, y, y.layout, runs)
        builder.place(layer.output, y)
        return
    flat = builder.new_flat(layer.output, shape)
    channel = view.strides[-1]
    kernel = FlatKernel(
        "copy",
        (*shape[:-1], op.groups, count),
        (*view.strides[:-1], count * channel, channel),
        (*flat.strides[:-1], 1, op.groups),
        dtype=view.dtype,
    )
    builder.call(kernel, [view.at(), flat.at()])
    builder.place(layer.output, flat)


def lower_transpose(builder: ProgramBuilder, layer: Layer, op: Transpose) -> None:
    """A view with other strides."""
    x = builder.flat(layer.inputs[0])
    strides = tuple(x.strides[axis] for axis in op.permutation)
    shape = builder.network.shape(layer.output)
    builder.place(layer.output, replace(x, shape=shape, strides=strides))


def copy_image(builder: ProgramBuilder, x: BlockedView, y: BlockedView, first: Operand) -> None:
    """Copies an image into a larger one, whose pixel `first` is to be its first."""
    builder.call(_image_copy(x.layout, x, y), [x.at(), first])


def _image_copy(part: Blocked, x: BlockedView, y: BlockedView) -> ElementwiseKernel:
    """Copies the pixels and blocks that `part` has."""
    return ElementwiseKernel(
        "copy", part.height, part.width, part.blocks, part.lanes, x.layout.strides, y.layout.strides, dtype=x.dtype
    )


@dataclass(frozen=True)
class _Channels:
    """Channels source, source + 1, ... of one image, which become target, target + step, ... of another one."""

    source: int
    target: int
    count: int
    step: int = 1

    def runs(self, lanes: int) -> list[_Channels]:
        """The same channels in pieces that lie within one block on both sides."""
        pieces, done = [], 0
        while done < self.count:
            source, target = self.source + done, self.target + done * self.step
            room = -(-(lanes - target % lanes) // self.step)
            run = min(lanes - source % lanes, room, self.count - done)
            pieces.append(_Channels(source, target, run, self.step))
            done += run
        return pieces


def _copy_channels(
    builder: ProgramBuilder,
    x: BlockedView,
    y: BlockedView,
    part: Blocked,
    channels: list[_Channels],
    row: int = 0,
    column: int = 0,
) -> None:
    """Copies channels where blocks do not line up: of as many pixels as `part` has, in x from (row, column) on."""
    lanes = x.layout.lanes
    given, made = x.layout.strides, y.layout.strides
    for run in [run for each in channels for run in each.runs(lanes)]:
        kernel = FlatKernel(
            "copy",
            (part.height, part.width, run.count),
            (given.row, given.pixel, 1),
            (made.row, made.pixel, run.step),
            dtype=x.dtype,
        )
        source = x.at(row, column, run.source // lanes, run.source % lanes)
        builder.call(kernel, [source, y.at(0, 0, run.target // lanes, run.target % lanes)])
    rest = -y.layout.channels % lanes
    if rest and max(each.target + (each.count - 1) * each.step for each in channels) == y.layout.channels - 1:
        _zero_lanes(builder, y, lanes - rest, rest)


def _zero_lanes(builder: ProgramBuilder, view: BlockedView, lane: int, count: int) -> None:
    """Zeroes the unused lanes of an image's last block."""
    layout = view.layout
    kernel = FillKernel(layout.height, layout.width, count, layout.strides.row, layout.strides.pixel, dtype=view.dtype)
    builder.call(kernel, [view.at(0, 0, layout.blocks - 1, lane)])
