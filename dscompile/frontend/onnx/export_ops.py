"""How each operator is written in ONNX: in float32, also those of int8 layers (see `onnx_export`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from dscompile.frontend.onnx.export_qdq import scales_of_transposed
from dscompile.ir.network import Array, Layer
from dscompile.ir.ops import (
    Activate,
    Activation,
    ArgMax,
    BatchNorm,
    Binary,
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
    Pads,
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

if TYPE_CHECKING:
    from dscompile.frontend.onnx.export_graph import GraphWriter, Order

Exporter = Callable[["GraphWriter", Layer], None]
_INT32 = 6  # onnx.TensorProto.INT32


def _convolution(writer: GraphWriter, layer: Layer) -> None:
    op = layer.op
    assert isinstance(op, Conv2D)
    kernel = _weight(writer, layer, "kernel").transpose(3, 2, 0, 1)
    inputs = [writer.read(layer.inputs[0], "first"), writer.kernel(layer, kernel, 0)]
    with_activation(
        writer,
        layer,
        "first",
        op.activation,
        "Conv",
        [*inputs, *writer.bias(layer)],
        kernel_shape=op.kernel,
        strides=op.stride,
        dilations=op.dilation,
        pads=onnx_pads(op.pads),
        group=op.groups,
    )


def _transposed(writer: GraphWriter, layer: Layer) -> None:
    """ONNX has the filters of a group by input channel: [C_in, C_out / groups, kh, kw]."""
    op = layer.op
    assert isinstance(op, ConvTranspose)
    kernel = _weight(writer, layer, "kernel")
    rows, columns, per_group, filters = kernel.shape
    parts = kernel.reshape(rows, columns, per_group, op.groups, filters // op.groups).transpose(3, 2, 4, 0, 1)
    own = parts.reshape(op.groups * per_group, filters // op.groups, rows, columns)
    if writer.network.has_weight(layer, "kernel_scale"):
        found = scales_of_transposed(op, _weight(writer, layer, "kernel_scale"), per_group)
        assert found is not None  # else the network was refused
        name = writer.scaled_kernel(layer, own, *found)
    else:
        name = writer.array(f"{layer.name}.kernel", own)
    with_activation(
        writer,
        layer,
        "first",
        op.activation,
        "ConvTranspose",
        [writer.read(layer.inputs[0], "first"), name, *writer.bias(layer)],
        kernel_shape=op.kernel,
        strides=op.stride,
        dilations=op.dilation,
        pads=onnx_pads(op.pads),
        group=op.groups,
        output_padding=op.output_padding,
    )


def _resize(writer: GraphWriter, layer: Layer) -> None:
    op = layer.op
    assert isinstance(op, Resize)
    _, _, _, channels = writer.network.shape(layer.inputs[0])
    sizes = writer.integers(f"{layer.name}.sizes", [1, channels, *op.size])
    writer.node(
        "Resize",
        [writer.read(layer.inputs[0], "first"), "", "", sizes],
        writer.result(layer, "first"),
        mode="nearest" if op.method == "nearest" else "linear",
        coordinate_transformation_mode=op.coordinates,
        nearest_mode=op.rounding,
    )


def _depth_to_space(writer: GraphWriter, layer: Layer) -> None:
    """Spelled out, because blocks need not be squares."""
    op = layer.op
    assert isinstance(op, DepthToSpace)
    (_, height, width, _), (rows, columns), name = writer.network.shape(layer.inputs[0]), op.block, layer.name
    dcr = op.order == "dcr"
    split = [height, width, rows, columns, -1] if dcr else [height, width, -1, rows, columns]
    source = writer.read(layer.inputs[0], "last")
    parts = writer.node("Reshape", [source, writer.integers(f"{name}.split", split)], f"{name}.parts")
    axes = [0, 2, 1, 3, 4] if dcr else [0, 3, 1, 4, 2]
    turned = writer.node("Transpose", [parts], f"{name}.turned", perm=axes)
    result, crops = writer.result(layer, "last"), op.crops
    shape = writer.integers(f"{name}.shape", [1, height * rows, width * columns, -1])
    if not crops:
        writer.node("Reshape", [turned, shape], result)
        return
    whole = writer.node("Reshape", [turned, shape], f"{name}.whole")
    ends = [height * rows - crops.bottom, width * columns - crops.right]
    corners = (("starts", [crops.top, crops.left]), ("ends", ends), ("axes", [1, 2]))
    writer.node("Slice", [whole, *(writer.integers(f"{name}.{what}", values) for what, values in corners)], result)


def _space_to_depth(writer: GraphWriter, layer: Layer) -> None:
    op = layer.op
    assert isinstance(op, SpaceToDepth)
    (_, height, width, channels), (rows, columns) = writer.network.shape(layer.inputs[0]), op.block
    split = writer.integers(f"{layer.name}.split", [height // rows, rows, width // columns, columns, channels])
    parts = writer.node("Reshape", [writer.read(layer.inputs[0], "last"), split], f"{layer.name}.parts")
    turned = writer.node("Transpose", [parts], f"{layer.name}.turned", perm=[0, 2, 1, 3, 4])
    shape = writer.integers(f"{layer.name}.shape", writer.network.shape(layer.output))
    writer.node("Reshape", [turned, shape], writer.result(layer, "last"))


def _dense(writer: GraphWriter, layer: Layer) -> None:
    op = layer.op
    assert isinstance(op, Dense)
    kernel = writer.kernel(layer, _weight(writer, layer, "kernel"), 1)
    inputs = [writer.read(layer.inputs[0], "last"), kernel, *writer.bias(layer)]
    with_activation(writer, layer, "last", op.activation, "Gemm", inputs)


def _pool(writer: GraphWriter, layer: Layer) -> None:
    op = layer.op
    assert isinstance(op, Pool)
    source = writer.read(layer.inputs[0], "first")
    if op.kernel == (0, 0) and not op.pads:
        kind = "GlobalMaxPool" if op.kind == "max" else "GlobalAveragePool"
        with_activation(writer, layer, "first", op.activation, kind, [source])
        return
    _, height, width, _ = writer.network.shape(layer.inputs[0])
    window = {"kernel_shape": op.window(height, width), "strides": op.stride, "pads": onnx_pads(op.pads)}
    if op.kind == "max":
        with_activation(writer, layer, "first", op.activation, "MaxPool", [source], **window)
    else:
        counts = int(op.count_pads)
        with_activation(
            writer, layer, "first", op.activation, "AveragePool", [source], count_include_pad=counts, **window
        )


def _binary(writer: GraphWriter, layer: Layer) -> None:
    """Channels first if both operands are images and one is made so; others broadcast along the last axes."""
    op = layer.op
    assert isinstance(op, Binary)
    shapes = [writer.network.shape(name) for name in layer.inputs]
    images = len(shapes[0]) == len(shapes[1]) >= 3
    order: Order = "first" if images and "first" in map(writer.order, layer.inputs) else "last"
    inputs = [writer.read(name, order) for name in layer.inputs]
    with_activation(writer, layer, order, op.activation, op.kind.capitalize(), inputs)


def _concat(writer: GraphWriter, layer: Layer) -> None:
    op = layer.op
    assert isinstance(op, Concat)
    order = writer.order(layer.inputs[0])
    axis = _axis(op.axis, len(writer.network.shape(layer.inputs[0])), order)
    writer.node("Concat", [writer.read(name, order) for name in layer.inputs], writer.result(layer, order), axis=axis)


def _slice(writer: GraphWriter, layer: Layer) -> None:
    op = layer.op
    assert isinstance(op, Slice)
    order = writer.order(layer.inputs[0])
    rank = len(op.begins)
    box = op.box
    axes = [axis for axis in range(rank) if op.sizes[axis] != writer.network.shape(layer.inputs[0])[axis]] or [0]
    corners = [[box[axis].start for axis in axes], [box[axis].stop for axis in axes]]
    arrays = [*corners, [_axis(axis, rank, order) for axis in axes], [op.strides[axis] for axis in axes]]
    names = [
        writer.integers(f"{layer.name}.{what}", a)
        for what, a in zip(("starts", "ends", "axes", "steps"), arrays, strict=True)
    ]
    writer.node("Slice", [writer.read(layer.inputs[0], order), *names], writer.result(layer, order))


def _shuffle(writer: GraphWriter, layer: Layer) -> None:
    op = layer.op
    assert isinstance(op, Shuffle)
    order = writer.order(layer.inputs[0])
    shape = writer.shape_in(layer.inputs[0], order)
    axis = _axis(len(shape) - 1, len(shape), order)
    parts = (*shape[:axis], op.groups, shape[axis] // op.groups, *shape[axis + 1 :])
    turned = [*range(axis), axis + 1, axis, *range(axis + 2, len(parts))]
    source = writer.read(layer.inputs[0], order)
    name = layer.name
    grouped = writer.node("Reshape", [source, writer.integers(f"{name}.parts", parts)], f"{name}.grouped")
    swapped = writer.node("Transpose", [grouped], f"{name}.swapped", perm=turned)
    whole = writer.integers(f"{name}.shape", shape)
    writer.node("Reshape", [swapped, whole], writer.result(layer, order))


def _activate(writer: GraphWriter, layer: Layer) -> None:
    op = layer.op
    assert isinstance(op, Activate)
    if op.activation.kind != "prelu":
        order = writer.order(layer.inputs[0])
        source = writer.read(layer.inputs[0], order)
        write_activation(writer, layer.name, op.activation, source, writer.result(layer, order))
        return
    ones = (1,) * max(0, len(writer.network.shape(layer.inputs[0])) - 2)
    slope = writer.array(f"{layer.name}.slope", _weight(writer, layer, "slope").reshape(-1, *ones))
    writer.node("PRelu", [writer.read(layer.inputs[0], "first"), slope], writer.result(layer, "first"))


def _softmax(writer: GraphWriter, layer: Layer) -> None:
    op = layer.op
    assert isinstance(op, Softmax)
    order = writer.order(layer.inputs[0])
    source = writer.read(layer.inputs[0], order)
    if op.beta != 1.0:
        beta = writer.number(f"{layer.name}.beta", op.beta)
        source = writer.node("Mul", [source, beta], f"{layer.name}.scaled")
    axis = _axis(-1, len(writer.network.shape(layer.output)), order) if order == "first" else -1
    writer.node("Softmax", [source], writer.result(layer, order), axis=axis)


def _pad(writer: GraphWriter, layer: Layer) -> None:
    op = layer.op
    assert isinstance(op, Pad)
    pads = op.pads
    amounts = writer.integers(f"{layer.name}.pads", [0, 0, pads.top, pads.left, 0, 0, pads.bottom, pads.right])
    fill = [writer.number(f"{layer.name}.value", op.value)] if op.mode == "constant" else []
    source = writer.read(layer.inputs[0], "first")
    writer.node("Pad", [source, amounts, *fill], writer.result(layer, "first"), mode=op.mode)


def _reshape(writer: GraphWriter, layer: Layer) -> None:
    op = layer.op
    assert isinstance(op, Reshape)
    source, shape = layer.inputs[0], writer.network.shape(layer.inputs[0])
    # Of an image of one pixel both orders have the same elements in a row.
    order: Order = writer.order(source) if math.prod(shape[1:-1]) == 1 else "last"
    target = writer.integers(f"{layer.name}.shape", op.shape)
    writer.node("Reshape", [writer.read(source, order), target], writer.result(layer, "last"))


def _transpose(writer: GraphWriter, layer: Layer) -> None:
    op = layer.op
    assert isinstance(op, Transpose)
    writer.node("Transpose", [writer.read(layer.inputs[0], "last")], writer.result(layer, "last"), perm=op.permutation)


def _batch_norm(writer: GraphWriter, layer: Layer) -> None:
    op = layer.op
    assert isinstance(op, BatchNorm)
    roles = ("gamma", "beta", "mean", "variance")
    weights = [writer.array(f"{layer.name}.{role}", _weight(writer, layer, role)) for role in roles]
    source = writer.read(layer.inputs[0], "first")
    writer.node("BatchNormalization", [source, *weights], writer.result(layer, "first"), epsilon=op.epsilon)


def _constant(writer: GraphWriter, layer: Layer) -> None:
    writer.constant(layer, _weight(writer, layer, "value"))


def _argmax(writer: GraphWriter, layer: Layer) -> None:
    """Without their axis, indices along the channels are in the order in which rows and columns are."""
    op = layer.op
    assert isinstance(op, ArgMax)
    order = writer.order(layer.inputs[0])
    axis = _axis(-1, len(writer.network.shape(layer.inputs[0])), order)
    found = writer.node(
        "ArgMax",
        [writer.read(layer.inputs[0], order)],
        f"{layer.name}.index",
        axis=axis,
        keepdims=int(op.keep_axis),
        select_last_index=int(op.last),
    )
    result = writer.result(layer, order if op.keep_axis else "last")
    writer.node("Cast", [found], result, to=_INT32)


def _mean(writer: GraphWriter, layer: Layer) -> None:
    writer.node("GlobalAveragePool", [writer.read(layer.inputs[0], "first")], writer.result(layer, "first"))


def _quantize(writer: GraphWriter, layer: Layer) -> None:
    order = writer.order(layer.inputs[0])
    writer.quantize(writer.read(layer.inputs[0], order), layer.output, writer.stored_result(layer, order))


def _lookup(writer: GraphWriter, layer: Layer) -> None:
    """Integers of uint8 are the positions of reals in a table, from which a QuantizeLinear makes integers again."""
    (source,), name = layer.inputs, layer.name
    order = writer.order(source)
    table, scale = writer.table(layer)
    stored = writer.node("QuantizeLinear", [writer.read(source, order), *scale], f"{name}.position")
    index = writer.node("Cast", [stored], f"{name}.index", to=_INT32)
    writer.node("Gather", [table, index], writer.result(layer, order), axis=0)


def _dequantize(writer: GraphWriter, layer: Layer) -> None:
    (source,) = layer.inputs
    order = writer.order(source)
    writer.dequantize(writer.stored(source, order), source, writer.result(layer, order))


def with_activation(
    writer: GraphWriter,
    layer: Layer,
    order: Order,
    activation: Activation,
    kind: str,
    inputs: list[str],
    **attributes: object,
) -> None:
    """A node, and after it the activation of its layer."""
    result = writer.result(layer, order)
    sums = writer.node(kind, inputs, f"{layer.name}.sums" if activation else result, **attributes)
    if activation:
        write_activation(writer, layer.name, activation, sums, result)


def write_activation(writer: GraphWriter, name: str, activation: Activation, source: str, result: str) -> None:
    """The nodes of an activation that has no weights."""
    match activation.kind:
        case "none":
            writer.node("Identity", [source], result)
        case "clip" if activation.name == "relu":
            writer.node("Relu", [source], result)
        case "clip":
            limits = (("low", activation.low), ("high", activation.high))
            bounds = [writer.number(f"{name}.{w}", v) if math.isfinite(v) else "" for w, v in limits]
            writer.node("Clip", [source, *bounds], result)
        case "swish":
            gate = writer.node("Sigmoid", [source], f"{name}.gate")
            writer.node("Mul", [source, gate], result)
        case "hard_sigmoid":
            writer.node("HardSigmoid", [source], result, alpha=activation.alpha, beta=0.5)
        case "leaky_relu":
            writer.node("LeakyRelu", [source], result, alpha=activation.alpha)
        case "elu":
            writer.node("Elu", [source], result, alpha=activation.alpha)
        case "gelu":
            root = writer.number(f"{name}.root", math.sqrt(0.5))
            gate = writer.node("Erf", [writer.node("Mul", [source, root], f"{name}.scaled")], f"{name}.erf")
            _half_of_one_plus(writer, name, source, gate, result)
        case "gelu_tanh":
            square = writer.node("Mul", [source, source], f"{name}.square")
            weighted = writer.node("Mul", [source, writer.number(f"{name}.weight", 0.044715)], f"{name}.weighted")
            cubic = writer.node("Mul", [square, weighted], f"{name}.cubic")
            root = writer.number(f"{name}.root", math.sqrt(2 / math.pi))
            inner = writer.node("Mul", [writer.node("Add", [source, cubic], f"{name}.sum"), root], f"{name}.inner")
            _half_of_one_plus(writer, name, source, writer.node("Tanh", [inner], f"{name}.tanh"), result)
        case kind:
            writer.node(_PLAIN[kind], [source], result)


def _half_of_one_plus(writer: GraphWriter, name: str, source: str, gate: str, result: str) -> None:
    """source * (1 + gate) / 2."""
    half = writer.node("Mul", [source, writer.number(f"{name}.half", 0.5)], f"{name}.halved")
    writer.node("Mul", [half, writer.node("Add", [gate, writer.number(f"{name}.one", 1.0)], f"{name}.more")], result)


_PLAIN = {"hard_swish": "HardSwish", "sigmoid": "Sigmoid", "tanh": "Tanh", "erf": "Erf"}


def onnx_pads(pads: Pads) -> list[int]:
    """Rows and columns before, then after."""
    return [pads.top, pads.left, pads.bottom, pads.right]


def _axis(axis: int, rank: int, order: Order) -> int:
    """An axis counted channels last, in an order."""
    if order == "last" or rank < 3 or axis == 0:
        return axis
    return 1 if axis in (-1, rank - 1) else axis + 1


def _weight(writer: GraphWriter, layer: Layer, role: str) -> Array:
    return writer.network.weight(layer, role)


EXPORTERS: Mapping[type[Any], Exporter] = MappingProxyType(
    {
        Conv2D: _convolution,
        ConvTranspose: _transposed,
        Resize: _resize,
        DepthToSpace: _depth_to_space,
        SpaceToDepth: _space_to_depth,
        Dense: _dense,
        Pool: _pool,
        Binary: _binary,
        Concat: _concat,
        Slice: _slice,
        Shuffle: _shuffle,
        Activate: _activate,
        Softmax: _softmax,
        Pad: _pad,
        Reshape: _reshape,
        Transpose: _transpose,
        BatchNorm: _batch_norm,
        Constant: _constant,
        ArgMax: _argmax,
        Mean: _mean,
        Quantize: _quantize,
        Dequantize: _dequantize,
        Lookup: _lookup,
    }
)
