"""How each operator becomes kernel calls (see plan/lowering.py; convolutions are in plan/convolutions.py).

Those that only move elements are in plan/movement.py, what computes on integers is in plan/int8_layers.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from dscompile.errors import UnsupportedError
from dscompile.ir.cost import layer_kind
from dscompile.ir.network import Array, Layer, Network
from dscompile.ir.ops import (
    Activate,
    Activation,
    ArgMax,
    BatchNorm,
    Binary,
    BinaryKind,
    Concat,
    Constant,
    Conv2D,
    ConvTranspose,
    Dense,
    DepthToSpace,
    Dequantize,
    Lookup,
    Mean,
    Pad,
    Pool,
    Quantize,
    Reshape,
    Resize,
    Shuffle,
    Slice,
    Softmax,
    SpaceToDepth,
    Transpose,
)
from dscompile.plan.builder import ProgramBuilder, is_constant
from dscompile.plan.convolutions import lower_conv, lower_matrix_vector
from dscompile.plan.fusion import Work
from dscompile.plan.kernels import (
    ArgMaxKernel,
    ElementwiseKernel,
    FillKernel,
    FlatKernel,
    Function,
    PoolKernel,
    ResampleKernel,
    ResampleMethod,
    SoftmaxKernel,
)
from dscompile.plan.layout import Strides
from dscompile.plan.movement import (
    copy_image,
    lower_concat,
    lower_depth_to_space,
    lower_shuffle,
    lower_slice,
    lower_space_to_depth,
    lower_transpose,
)
from dscompile.plan.packing import pack_vector
from dscompile.plan.program import Operand
from dscompile.plan.resampling import grid_of, padded_grid
from dscompile.plan.storage import BlockedView, broadcast_strides


def lower_layer(builder: ProgramBuilder, work: Work) -> None:
    """Appends the calls of a layer to the current step and places its result."""
    layer = work.layer
    if layer.output in builder.routing.mixtures:
        return  # whoever reads it finds its channels
    if _computes_on_integers(builder.network, layer):
        from dscompile.plan.int8_layers import lower_int8_layer  # float32 networks do without

        lower_int8_layer(builder, layer)
        return
    match layer.op:
        case Conv2D() as op:
            lower_conv(builder, work, op)
        case Dense() as op:
            _dense(builder, layer, op)
        case Pool() as op:
            _pool(builder, layer, op)
        case Binary() as op:
            _binary(builder, layer, op)
        case Activate() as op:
            _activate(builder, layer, op)
        case Concat() as op:
            lower_concat(builder, layer, op)
        case Slice() as op:
            lower_slice(builder, layer, op)
        case Shuffle() as op:
            lower_shuffle(builder, layer, op)
        case DepthToSpace() as op:
            lower_depth_to_space(builder, layer, op)
        case SpaceToDepth() as op:
            lower_space_to_depth(builder, layer, op)
        case Softmax() as op:
            _softmax(builder, layer, op)
        case ArgMax() as op:
            _argmax(builder, layer, op)
        case Pad() as op:
            _pad(builder, layer, op)
        case Resize() as op:
            _resize(builder, layer, op)
        case Reshape() as op:
            builder.place(layer.output, builder.dense(layer.inputs[0]).reshaped(op.shape))
        case Transpose() as op:
            lower_transpose(builder, layer, op)
        case Constant():
            builder.materialize(layer)
        case BatchNorm() | ConvTranspose():
            raise UnsupportedError(
                f"a {layer_kind(builder.network, layer)} is left in the network; fold it first "
                "(dscompile.passes.canonicalize)",
                layer=layer.name,
            )


def _computes_on_integers(network: Network, layer: Layer) -> bool:
    """Whether a layer has other kernels for integers than for float32; convolutions see to that themselves."""
    if isinstance(layer.op, Quantize):
        return True
    return network.is_quantized_layer(layer) and isinstance(
        layer.op, Dense | Pool | Mean | Binary | Activate | Lookup | Softmax | Dequantize
    )


def _dense(builder: ProgramBuilder, layer: Layer, op: Dense) -> None:
    x = builder.dense(layer.inputs[0])
    y = builder.new_flat(layer.output, builder.network.shape(layer.output))
    kernel = builder.network.weight(layer, "kernel")
    lower_matrix_vector(builder, layer, kernel, x.at(), y, op.activation)
    builder.place(layer.output, y)


def _pool(builder: ProgramBuilder, layer: Layer, op: Pool) -> None:
    x = builder.blocked(layer.inputs[0])
    y = builder.new_blocked(layer.output, builder.network.shape(layer.output))
    image, result = x.layout, y.layout
    window = op.window(image.height, image.width)
    kernel = PoolKernel(
        function=op.kind,
        in_height=image.height,
        in_width=image.width,
        height=result.height,
        width=result.width,
        blocks=image.blocks,
        lanes=builder.lanes,
        kernel=window,
        stride=op.stride,
        pad_top=op.pads.top,
        pad_left=op.pads.left,
        divisor=math.prod(window) if op.count_pads else 0,
        x=image.strides,
        y=result.strides,
        activation=op.activation,
    )
    builder.call(kernel, [x.at(), y.at()])
    builder.place(layer.output, y)


def _binary(builder: ProgramBuilder, layer: Layer, op: Binary) -> None:
    shapes = [builder.network.shape(name) for name in layer.inputs]
    result = builder.network.shape(layer.output)
    if len(result) == 4 and all(_is_image_or_vector(shape, result) for shape in shapes):
        images = [name for name, shape in zip(layer.inputs, shapes, strict=True) if shape == result]
        # Lanes behind the last channel may hold anything finite: nothing may be divided there.
        divides = op.kind == "div" and result[3] % builder.lanes
        if images and not divides and not is_constant(builder.network, images[0]):
            _binary_blocked(builder, layer, op, images[0])
            return
    _binary_flat(builder, layer, op)


def _is_image_or_vector(shape: tuple[int, ...], result: tuple[int, ...]) -> bool:
    return shape == result or (math.prod(shape[:-1]) == 1 and shape[-1:] in ((1,), result[-1:])) or shape == ()


_REVERSED: Mapping[BinaryKind, Function] = {"sub": "rsub", "div": "rdiv"}


def _binary_blocked(builder: ProgramBuilder, layer: Layer, op: Binary, first: str) -> None:
    """`first` is the input that has the shape of the result."""
    swapped = first != layer.inputs[0]
    second = layer.inputs[0] if swapped else layer.inputs[1]
    a = builder.blocked(first)
    operand, strides = _second_operand(builder, second, a)
    y = builder.new_blocked(layer.output, builder.network.shape(layer.output))
    function: Function = _REVERSED.get(op.kind, op.kind) if swapped else op.kind
    _elementwise(builder, function, a, y, op.activation, [operand], strides)
    builder.place(layer.output, y)


def _second_operand(builder: ProgramBuilder, name: str, like: BlockedView) -> tuple[Operand, Strides]:
    """The other operand of an element-wise kernel on the image `like`: an image, or a vector for all pixels."""
    network, layout, lanes = builder.network, like.layout, builder.lanes
    shape = network.shape(name)
    width = layout.blocks * lanes
    if is_constant(network, name) and math.prod(shape[:-1]) == 1:
        value = np.asarray(network.weight(network.producers[name], "value")).reshape(-1)
        vector = np.broadcast_to(value, (layout.channels,)) if value.size == 1 else value
        return builder.constant("operand", pack_vector(vector, 0, width)), Strides(lanes, 0, 0)
    if shape == (1, layout.height, layout.width, layout.channels):
        view = builder.blocked(name)
        return view.at(), view.layout.strides
    view = builder.blocked(name)
    if view.layout.channels == 1 and layout.channels > 1:
        view = _spread(builder, name, view, layout.channels)
    return view.at(), Strides(view.layout.strides.block, 0, 0)


def _spread(builder: ProgramBuilder, name: str, view: BlockedView, channels: int) -> BlockedView:
    """A scalar tensor repeated over all channels."""
    result = builder.new_blocked(name, (1, 1, 1, channels), tag=".spread")
    lanes = builder.lanes
    shape = (result.layout.blocks, lanes)
    kernel = FlatKernel("copy", shape, (0, 0), (result.layout.strides.block, 1))
    builder.call(kernel, [view.at(), result.at()])
    return result


def _binary_flat(builder: ProgramBuilder, layer: Layer, op: Binary) -> None:
    shape = builder.network.shape(layer.output)
    a, b = (builder.flat(name) for name in layer.inputs)
    y = builder.new_flat(layer.output, shape)
    kernel = FlatKernel(
        op.kind, shape or (1,), broadcast_strides(a, shape or (1,)), y.strides or (1,),
        broadcast_strides(b, shape or (1,)), op.activation,
    )  # fmt: skip
    builder.call(kernel, [a.at(), b.at(), y.at()])
    builder.place(layer.output, y)


def _activate(builder: ProgramBuilder, layer: Layer, op: Activate) -> None:
    name, shape = layer.inputs[0], builder.network.shape(layer.output)
    view = builder.home(name)
    prelu = op.activation.kind == "prelu"
    slope = builder.network.weight(layer, "slope") if prelu else None
    if isinstance(view, BlockedView):
        y = builder.new_blocked(layer.output, shape)
        size = view.layout.blocks * builder.lanes
        extra = [builder.constant("slope", pack_vector(slope, 0, size))] if prelu else []
        _elementwise(builder, "copy", view, y, op.activation, extra, None)
        builder.place(layer.output, y)
        return
    flat = builder.new_flat(layer.output, shape)
    extra = [builder.constant("slope", pack_vector(slope, 0, shape[-1]))] if prelu else []
    kernel = FlatKernel("copy", shape, view.strides, flat.strides, None, op.activation)
    builder.call(kernel, [view.at(), *extra, flat.at()])
    builder.place(layer.output, flat)


def _elementwise(
    builder: ProgramBuilder,
    function: Function,
    a: BlockedView,
    y: BlockedView,
    activation: Activation,
    extra: list[Operand],
    b: Strides | None,
) -> None:
    layout = a.layout
    kernel = ElementwiseKernel(
        function, layout.height, layout.width, layout.blocks, builder.lanes, layout.strides, y.layout.strides, b,
        activation,
    )  # fmt: skip
    builder.call(kernel, [a.at(), *extra, y.at()])


def _softmax(builder: ProgramBuilder, layer: Layer, op: Softmax) -> None:
    x = builder.dense(layer.inputs[0])
    y = builder.new_flat(layer.output, x.shape)
    length = x.shape[-1]
    builder.call(SoftmaxKernel(math.prod(x.shape) // length, length, op.beta), [x.at(), y.at()])
    builder.place(layer.output, y)


def _argmax(builder: ProgramBuilder, layer: Layer, op: ArgMax) -> None:
    """Of float32 and int8 alike; images are read where they lie."""
    view = builder.home(layer.inputs[0])
    x = view if isinstance(view, BlockedView) else builder.dense(layer.inputs[0])
    y = builder.new_flat(layer.output, builder.network.shape(layer.output))
    if isinstance(x, BlockedView):
        image = x.layout
        kernel = ArgMaxKernel(image.height, image.width, image.channels, image.lanes, image.strides, op.last, x.dtype)
    else:
        channels, elements = x.shape[-1], math.prod(x.shape)
        kernel = ArgMaxKernel(1, elements // channels, channels, 1, Strides(1, elements, channels), op.last, x.dtype)
    builder.call(kernel, [x.at(), y.at()])
    builder.place(layer.output, y)


def _pad(builder: ProgramBuilder, layer: Layer, op: Pad) -> None:
    if op.mode != "constant":
        x = builder.blocked(layer.inputs[0])
        _resample(builder, layer, "nearest", padded_grid(op, (x.layout.height, x.layout.width)))
        return
    x = builder.blocked(layer.inputs[0])
    y = builder.new_blocked(layer.output, builder.network.shape(layer.output))
    layout = y.layout
    value = builder.element(layer.output).stored(op.value)
    fill = FillKernel(
        layout.blocks, layout.height, layout.width * layout.lanes, layout.strides.block, layout.strides.row, value,
        y.dtype,
    )  # fmt: skip
    builder.call(fill, [y.at()])
    copy_image(builder, x, y, y.at(op.pads.top, op.pads.left))
    builder.place(layer.output, y)


def _resize(builder: ProgramBuilder, layer: Layer, op: Resize) -> None:
    x = builder.blocked(layer.inputs[0])
    _resample(builder, layer, op.method, grid_of(op, (x.layout.height, x.layout.width), x.dtype))


def _resample(builder: ProgramBuilder, layer: Layer, method: ResampleMethod, grid: Mapping[str, Array]) -> None:
    """One pass, of every type."""
    x = builder.blocked(layer.inputs[0])
    y = builder.new_blocked(layer.output, builder.network.shape(layer.output))
    image, result = x.layout, y.layout
    kernel = ResampleKernel(
        method, image.height, image.width, result.height, result.width, image.blocks, image.lanes,
        image.strides, result.strides, y.dtype,
    )  # fmt: skip
    builder.call(kernel, [x.at(), *(builder.constant(name, table) for name, table in grid.items()), y.at()])
    builder.place(layer.output, y)
