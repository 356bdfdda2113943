"""Operators that only move elements, of every type: as views where elements can stay, else as copies."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dscompile.ir.network import Layer
from dscompile.ir.ops import Concat, DepthToSpace, Pads, Pair, Shuffle, Slice, SpaceToDepth, Transpose
from dscompile.plan.builder import ProgramBuilder
from dscompile.plan.kernels import ElementwiseKernel, FillKernel, FlatKernel
from dscompile.plan.layout import Blocked, Strides
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
    """A view of the input; of a blocked image only from a whole block of channels on, and one pass elsewhere."""
    view = builder.home(layer.inputs[0])
    builder.place(layer.output, _box(builder, layer, op, view))


def _box(builder: ProgramBuilder, layer: Layer, op: Slice, view: View) -> View:
    if isinstance(view, FlatView):
        first = sum(begin * stride for begin, stride in zip(op.begins, view.strides, strict=True))
        strides = tuple(stride * step for stride, step in zip(view.strides, op.strides, strict=True))
        return replace(view, shape=op.sizes, strides=strides, offset=view.offset + first)
    _, row, column, channel = op.begins
    _, height, width, channels = op.sizes
    layout = view.layout
    if op.steps:
        y = builder.new_blocked(layer.output, op.sizes)
        _, row_step, column_step, channel_step = op.steps
        pixels = _Pixels((height, width), (row, column), source_step=(row_step, column_step))
        _move_channels(builder, view, y, pixels, _Channels(channel, 0, channels, apart=channel_step))
        _zero_rest(builder, y)
        return y
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


def lower_depth_to_space(builder: ProgramBuilder, layer: Layer, op: DepthToSpace) -> None:
    """One pass: the channels of every place in a block go to the pixels of that place."""
    x = builder.blocked(layer.inputs[0])
    y = builder.new_blocked(layer.output, builder.network.shape(layer.output))
    channels, places = y.layout.channels, op.block[0] * op.block[1]
    for number, place in enumerate(block_places(op.block, op.crops, (y.layout.height, y.layout.width))):
        first, apart = (number * channels, 1) if op.order == "dcr" else (number, places)
        pixels = _Pixels(place.size, place.block, place.pixel, target_step=op.block)
        _move_channels(builder, x, y, pixels, _Channels(first, 0, channels, apart=apart))
    _zero_rest(builder, y)
    builder.place(layer.output, y)


def lower_space_to_depth(builder: ProgramBuilder, layer: Layer, op: SpaceToDepth) -> None:
    """One pass: the pixels of every place in a block become channels."""
    x = builder.blocked(layer.inputs[0])
    y = builder.new_blocked(layer.output, builder.network.shape(layer.output))
    channels = x.layout.channels
    for number, place in enumerate(block_places(op.block, Pads(), (x.layout.height, x.layout.width))):
        pixels = _Pixels(place.size, place.pixel, place.block, source_step=op.block)
        _move_channels(builder, x, y, pixels, _Channels(0, number * channels, channels))
    _zero_rest(builder, y)
    builder.place(layer.output, y)


@dataclass(frozen=True)
class Place:
    """One place of a block: its first `block` and `pixel` that are not cropped, and the `size` of what follows."""

    block: Pair
    pixel: Pair
    size: Pair


def block_places(block: Pair, crops: Pads, size: Pair) -> list[Place]:
    """The places of blocks of pixels, row by row, in an image of `size` that `crops` were cut from."""
    places = []
    for row in range(block[0]):
        for column in range(block[1]):
            sides = [
                _along(block[axis], place, crop, size[axis])
                for axis, place, crop in ((0, row, crops.top), (1, column, crops.left))
            ]
            firsts, pixels, counts = zip(*sides, strict=True)
            places.append(Place(firsts, pixels, counts))
    return places


def _along(step: int, place: int, crop: int, size: int) -> tuple[int, int, int]:
    """First block, first pixel and number of pixels along one axis."""
    block = max(0, -(-(crop - place) // step))
    pixel = block * step + place - crop
    return block, pixel, max(0, -(-(size - pixel) // step))


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
    """Channels source, source + apart, ... of one image, which become target, target + step, ... of another one."""

    source: int
    target: int
    count: int
    step: int = 1
    apart: int = 1

    def runs(self, lanes: int) -> list[_Channels]:
        """The same channels in pieces that lie within one block on both sides."""
        pieces, done = [], 0
        while done < self.count:
            source, target = self.source + done * self.apart, self.target + done * self.step
            left, room = -(-(lanes - source % lanes) // self.apart), -(-(lanes - target % lanes) // self.step)
            run = min(left, room, self.count - done)
            pieces.append(_Channels(source, target, run, self.step, self.apart))
            done += run
        return pieces


@dataclass(frozen=True)
class _Pixels:
    """`size` pixels of one image, from `source` on every `source_step`-th, and where they go in another one."""

    size: Pair
    source: Pair = (0, 0)
    target: Pair = (0, 0)
    source_step: Pair = (1, 1)
    target_step: Pair = (1, 1)


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
    for each in channels:
        _move_channels(builder, x, y, _Pixels((part.height, part.width), (row, column)), each)
    if max(each.target + (each.count - 1) * each.step for each in channels) == y.layout.channels - 1:
        _zero_rest(builder, y)


def _move_channels(
    builder: ProgramBuilder, x: BlockedView, y: BlockedView, pixels: _Pixels, channels: _Channels
) -> None:
    """Copies channels of pixels: whole blocks where they line up, else run by run."""
    lanes, (height, width) = x.layout.lanes, pixels.size
    given, made = _every(x.layout.strides, pixels.source_step), _every(y.layout.strides, pixels.target_step)
    aligned = channels.step == channels.apart == 1 and not (channels.source % lanes or channels.target % lanes)
    if not height * width:
        return
    if aligned and channels.count % lanes == 0:
        blocks = channels.count // lanes
        kernel = ElementwiseKernel("copy", height, width, blocks, lanes, given, made, dtype=x.dtype)
        source = x.at(*pixels.source, channels.source // lanes)
        builder.call(kernel, [source, y.at(*pixels.target, channels.target // lanes)])
        return
    for run in channels.runs(lanes):
        flat = FlatKernel(
            "copy",
            (height, width, run.count),
            (given.row, given.pixel, run.apart),
            (made.row, made.pixel, run.step),
            dtype=x.dtype,
        )
        source = x.at(*pixels.source, run.source // lanes, run.source % lanes)
        builder.call(flat, [source, y.at(*pixels.target, run.target // lanes, run.target % lanes)])


def _every(strides: Strides, step: Pair) -> Strides:
    """Strides that go `step` rows and pixels at a time."""
    return Strides(strides.block, strides.row * step[0], strides.pixel * step[1])


def _zero_rest(builder: ProgramBuilder, view: BlockedView) -> None:
    """Zeroes the lanes behind the last channel, if there are any."""
    rest = -view.layout.channels % view.layout.lanes
    if rest:
        _zero_lanes(builder, view, view.layout.lanes - rest, rest)


def _zero_lanes(builder: ProgramBuilder, view: BlockedView, lane: int, count: int) -> None:
    """Zeroes the unused lanes of an image's last block."""
    layout = view.layout
    kernel = FillKernel(layout.height, layout.width, count, layout.strides.row, layout.strides.pixel, dtype=view.dtype)
    builder.call(kernel, [view.at(0, 0, layout.blocks - 1, lane)])
