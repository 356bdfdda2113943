"""How each operator becomes kernel calls (see plan/lowering.py; convolutions are in plan/convolutions.py)."""

from __future__ import annotations

import math

import numpy as np

from dscompile.errors import UnsupportedError
from dscompile.ir.network import Layer
from dscompile.ir.ops import (
    NONE,
    Activate,
    Activation,
    BatchNorm,
    Binary,
    Concat,
    Constant,
    Conv2D,
    Dense,
    Pad,
    Pool,
    Reshape,
    Softmax,
    Transpose,
)
from dscompile.plan.convolutions import lower_conv, lower_matrix_vector
from dscompile.plan.fusion import Work
from dscompile.plan.kernels import (
    ElementwiseKernel,
    FillKernel,
    FlatKernel,
    Function,
    PoolKernel,
    SoftmaxKernel,
)
from dscompile.plan.layout import Strides
from dscompile.plan.lowering import Lowering, is_constant
from dscompile.plan.packing import pack_vector
from dscompile.plan.program import Operand
from dscompile.plan.storage import BlockedView, FlatView, broadcast_strides


def lower_layer(lowering: Lowering, work: Work) -> None:
    """Appends the calls of a layer to the current step and places its result."""
    layer = work.layer
    match layer.op:
        case Conv2D() as op:
            lower_conv(lowering, work, op)
        case Dense() as op:
            _dense(lowering, layer, op)
        case Pool() as op:
            _pool(lowering, layer, op)
        case Binary() as op:
            _binary(lowering, layer, op)
        case Activate() as op:
            _activate(lowering, layer, op)
        case Concat() as op:
            _concat(lowering, layer, op)
        case Softmax() as op:
            _softmax(lowering, layer, op)
        case Pad() as op:
            _pad(lowering, layer, op)
        case Reshape() as op:
            lowering.place(layer.output, lowering.dense(layer.inputs[0]).reshaped(op.shape))
        case Transpose() as op:
            _transpose(lowering, layer, op)
        case Constant():
            lowering.materialize(layer)
        case BatchNorm():
            raise UnsupportedError(
                "a batch norm is left in the network; fold it first (dscompile.passes.canonicalize)", layer=layer.name
            )


def _dense(lowering: Lowering, layer: Layer, op: Dense) -> None:
    x = lowering.dense(layer.inputs[0])
    y = lowering.new_flat(layer.output, lowering.network.shape(layer.output))
    kernel = lowering.network.weight(layer, "kernel")
    lower_matrix_vector(lowering, layer, kernel, x.at(), y, op.activation)
    lowering.place(layer.output, y)


def _pool(lowering: Lowering, layer: Layer, op: Pool) -> None:
    x = lowering.blocked(layer.inputs[0])
    y = lowering.new_blocked(layer.output, lowering.network.shape(layer.output))
    image, result = x.layout, y.layout
    window = op.window(image.height, image.width)
    kernel = PoolKernel(
        function=op.kind,
        in_height=image.height,
        in_width=image.width,
        height=result.height,
        width=result.width,
        blocks=image.blocks,
        lanes=lowering.lanes,
        kernel=window,
        stride=op.stride,
        pad_top=op.pads.top,
        pad_left=op.pads.left,
        divisor=math.prod(window) if op.count_pads else 0,
        x=image.strides,
        y=result.strides,
        activation=op.activation,
    )
    lowering.call(kernel, [x.at(), y.at()])
    lowering.place(layer.output, y)


def _binary(lowering: Lowering, layer: Layer, op: Binary) -> None:
    shapes = [lowering.network.shape(name) for name in layer.inputs]
    result = lowering.network.shape(layer.output)
    if len(result) == 4 and all(_is_image_or_vector(shape, result) for shape in shapes):
        images = [name for name, shape in zip(layer.inputs, shapes, strict=True) if shape == result]
        if images and not is_constant(lowering.network, images[0]):
            first = images[0]
            second = layer.inputs[1] if first == layer.inputs[0] else layer.inputs[0]
            _binary_blocked(lowering, layer, op, first, second)
            return
    _binary_flat(lowering, layer, op)


def _is_image_or_vector(shape: tuple[int, ...], result: tuple[int, ...]) -> bool:
    return shape == result or (math.prod(shape[:-1]) == 1 and shape[-1:] in ((1,), result[-1:])) or shape == ()


def _binary_blocked(lowering: Lowering, layer: Layer, op: Binary, first: str, second: str) -> None:
    a = lowering.blocked(first)
    operand, strides = _second_operand(lowering, second, a)
    y = lowering.new_blocked(layer.output, lowering.network.shape(layer.output))
    _elementwise(lowering, op.kind, a, y, op.activation, [operand], strides)
    lowering.place(layer.output, y)


def _second_operand(lowering: Lowering, name: str, like: BlockedView) -> tuple[Operand, Strides]:
    """The other operand of an element-wise kernel on the image `like`: an image, or a vector for all pixels."""
    network, layout, lanes = lowering.network, like.layout, lowering.lanes
    shape = network.shape(name)
    width = layout.blocks * lanes
    if is_constant(network, name) and math.prod(shape[:-1]) == 1:
        value = np.asarray(network.weight(network.producers[name], "value")).reshape(-1)
        vector = np.broadcast_to(value, (layout.channels,)) if value.size == 1 else value
        return lowering.constant("operand", pack_vector(vector, 0, width)), Strides(lanes, 0, 0)
    if shape == (1, layout.height, layout.width, layout.channels):
        view = lowering.blocked(name)
        return view.at(), view.layout.strides
    view = lowering.blocked(name)
    if view.layout.channels == 1 and layout.channels > 1:
        view = _spread(lowering, name, view, layout.channels)
    return view.at(), Strides(view.layout.strides.block, 0, 0)


def _spread(lowering: Lowering, name: str, view: BlockedView, channels: int) -> BlockedView:
    """A scalar tensor repeated over all channels."""
    result = lowering.new_blocked(name, (1, 1, 1, channels), tag=".spread")
    lanes = lowering.lanes
    shape = (result.layout.blocks, lanes)
    kernel = FlatKernel("copy", shape, (0, 0), (result.layout.strides.block, 1))
    lowering.call(kernel, [view.at(), result.at()])
    return result


def _binary_flat(lowering: Lowering, layer: Layer, op: Binary) -> None:
    shape = lowering.network.shape(layer.output)
    a, b = (lowering.flat(name) for name in layer.inputs)
    y = lowering.new_flat(layer.output, shape)
    kernel = FlatKernel(
        op.kind, shape or (1,), broadcast_strides(a, shape or (1,)), y.strides or (1,),
        broadcast_strides(b, shape or (1,)), op.activation,
    )  # fmt: skip
    lowering.call(kernel, [a.at(), b.at(), y.at()])
    lowering.place(layer.output, y)


def _activate(lowering: Lowering, layer: Layer, op: Activate) -> None:
    name, shape = layer.inputs[0], lowering.network.shape(layer.output)
    view = lowering.home(name)
    prelu = op.activation.kind == "prelu"
    slope = lowering.network.weight(layer, "slope") if prelu else None
    if isinstance(view, BlockedView):
        y = lowering.new_blocked(layer.output, shape)
        size = view.layout.blocks * lowering.lanes
        extra = [lowering.constant("slope", pack_vector(slope, 0, size))] if prelu else []
        _elementwise(lowering, "copy", view, y, op.activation, extra, None)
        lowering.place(layer.output, y)
        return
    flat = lowering.new_flat(layer.output, shape)
    extra = [lowering.constant("slope", pack_vector(slope, 0, shape[-1]))] if prelu else []
    kernel = FlatKernel("copy", shape, view.strides, flat.strides, None, op.activation)
    lowering.call(kernel, [view.at(), *extra, flat.at()])
    lowering.place(layer.output, flat)


def _elementwise(
    lowering: Lowering,
    function: Function,
    a: BlockedView,
    y: BlockedView,
    activation: Activation,
    extra: list[Operand],
    b: Strides | None,
) -> None:
    layout = a.layout
    kernel = ElementwiseKernel(
        function, layout.height, layout.width, layout.blocks, lowering.lanes, layout.strides, y.layout.strides, b,
        activation,
    )  # fmt: skip
    lowering.call(kernel, [a.at(), *extra, y.at()])


def _concat(lowering: Lowering, layer: Layer, op: Concat) -> None:
    shape = lowering.network.shape(layer.output)
    if len(shape) != 4 or op.axis == 0:
        _concat_flat(lowering, layer, op)
        return
    y = lowering.whole(layer.output) or lowering.new_blocked(layer.output, shape)
    offset = [0, 0, 0, 0]
    for name in layer.inputs:
        if not lowering.is_part(name, layer.output):
            _concat_part(lowering, name, y, offset)
        offset[op.axis] += lowering.network.shape(name)[op.axis]
    lowering.place(layer.output, y)


def _concat_part(lowering: Lowering, name: str, y: BlockedView, offset: list[int]) -> None:
    x, lanes = lowering.blocked(name), lowering.lanes
    _, row, column, channel = offset
    if channel % lanes == 0:
        kernel = ElementwiseKernel(
            "copy", x.layout.height, x.layout.width, x.layout.blocks, lanes, x.layout.strides, y.layout.strides
        )
        lowering.call(kernel, [x.at(), y.at(row, column, channel // lanes)])
        return
    _shifted_channels(lowering, x, y, channel)


def _shifted_channels(lowering: Lowering, x: BlockedView, y: BlockedView, start: int) -> None:
    """Copies an image to channels from `start` on, where blocks do not line up: runs within one block on both sides."""
    lanes, layout = lowering.lanes, x.layout
    channel = 0
    while channel < layout.channels:
        target = start + channel
        run = min(lanes - channel % lanes, lanes - target % lanes, layout.channels - channel)
        kernel = FlatKernel(
            "copy",
            (layout.height, layout.width, run),
            (layout.strides.row, layout.strides.pixel, 1),
            (y.layout.strides.row, y.layout.strides.pixel, 1),
        )
        source = _shift(x.at(0, 0, channel // lanes), channel % lanes)
        lowering.call(kernel, [source, _shift(y.at(0, 0, target // lanes), target % lanes)])
        channel += run
    rest = -(start + channel) % lanes
    if start + channel == y.layout.channels and rest:
        _zero_lanes(lowering, y, (start + channel) % lanes, rest)


def _zero_lanes(lowering: Lowering, view: BlockedView, lane: int, count: int) -> None:
    """Zeroes the unused lanes of an image's last block."""
    layout = view.layout
    kernel = FillKernel(layout.height, layout.width, count, layout.strides.row, layout.strides.pixel)
    lowering.call(kernel, [_shift(view.at(0, 0, layout.blocks - 1), lane)])


def _shift(operand: Operand, elements: int) -> Operand:
    return Operand(operand.space, operand.name, operand.offset_bytes + 4 * elements)


def _concat_flat(lowering: Lowering, layer: Layer, op: Concat) -> None:
    y = lowering.new_flat(layer.output, lowering.network.shape(layer.output))
    offset = 0
    for name in layer.inputs:
        x = lowering.flat(name)
        index = tuple(offset if axis == op.axis else 0 for axis in range(len(x.shape)))
        lowering.call(FlatKernel("copy", x.shape, x.strides, y.strides), [x.at(), y.at(*index)])
        offset += x.shape[op.axis]
    lowering.place(layer.output, y)


def _softmax(lowering: Lowering, layer: Layer, op: Softmax) -> None:
    x = lowering.dense(layer.inputs[0])
    y = lowering.new_flat(layer.output, x.shape)
    length = x.shape[-1]
    lowering.call(SoftmaxKernel(math.prod(x.shape) // length, length, op.beta), [x.at(), y.at()])
    lowering.place(layer.output, y)


def _pad(lowering: Lowering, layer: Layer, op: Pad) -> None:
    x = lowering.blocked(layer.inputs[0])
    y = lowering.new_blocked(layer.output, lowering.network.shape(layer.output))
    layout = y.layout
    length = layout.width * lowering.lanes
    fill = FillKernel(layout.blocks, layout.height, length, layout.strides.block, layout.strides.row, op.value)
    lowering.call(fill, [y.at()])
    kernel = ElementwiseKernel(
        "copy", x.layout.height, x.layout.width, x.layout.blocks, lowering.lanes, x.layout.strides, layout.strides,
        None, NONE,
    )  # fmt: skip
    lowering.call(kernel, [x.at(), y.at(op.pads.top, op.pads.left)])
    lowering.place(layer.output, y)


def _transpose(lowering: Lowering, layer: Layer, op: Transpose) -> None:
    x = lowering.flat(layer.inputs[0])
    strides = tuple(x.strides[axis] for axis in op.permutation)
    shape = lowering.network.shape(layer.output)
    lowering.place(layer.output, FlatView(shape, strides, x.space, x.name, x.offset, x.store))
