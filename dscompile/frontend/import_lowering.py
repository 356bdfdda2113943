"""What the importers share: operators of a source model, with their attributes already read, as layers of the IR.

Axes are those of the source. Every function raises UnsupportedError for what the IR cannot say, ShapeError or
BadInputError for what cannot be at all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dscompile.errors import BadInputError, UnsupportedError
from dscompile.frontend.import_graph import Array, Floats, ImportGraph, Operand, Order, Value, identity
from dscompile.ir.ops import (
    NONE,
    Activate,
    Activation,
    ArgMax,
    BatchNorm,
    Binary,
    Concat,
    Conv2D,
    ConvTranspose,
    Dense,
    DepthToSpace,
    Mean,
    Pad,
    PadMode,
    Pads,
    Pool,
    Resize,
    Slice,
    Softmax,
    SpaceToDepth,
)
from dscompile.ir.shapes import broadcast
from dscompile.ir.tensor import Shape

# Elements of constant channels that a Pad may add; far above real models, which double a few dozen channels.
MAX_PADDING = 1 << 24


def as_value(operand: Operand, what: str = "its input") -> Value:
    """An operand that must be computed."""
    if isinstance(operand, Value):
        return operand
    raise UnsupportedError(f"{what} is a constant; only computed tensors are supported here")


def as_weight(operand: Operand, what: str) -> Floats:
    """An operand that must be a float32 constant."""
    if isinstance(operand, Value):
        raise UnsupportedError(f"{what} is computed at run time; only constants are supported")
    if operand.dtype != np.float32:
        raise UnsupportedError(f"{what} is {operand.dtype}; only float32 is supported")
    return operand.astype(np.float32, copy=False)


def axis_of(axis: int, rank: int) -> int:
    """A possibly negative axis, counted from the front. BadInputError if there is no such axis."""
    if not -rank <= axis < rank:
        raise BadInputError(f"axis {axis} of a tensor of rank {rank}")
    return axis % rank


def image_of(operand: Operand) -> Value:
    """An operand that must be a computed tensor of rank 4."""
    value = as_value(operand)
    if len(value.shape) != 4:
        raise UnsupportedError(f"only images (rank 4) are supported, the input is {list(value.shape)}")
    return value


def _single_image(graph: ImportGraph, value: Value) -> Value:
    image = graph.as_image(value)
    if image.ir_shape[0] != 1:
        raise UnsupportedError(f"batch {image.ir_shape[0]}; only batch 1 is supported")
    return image


def convolution(
    graph: ImportGraph,
    value: Value,
    op: Conv2D | ConvTranspose,
    kernel: Array,
    bias: Array | None,
    kernel_scale: Array | None = None,
) -> Value:
    """A convolution, or a transposed one; the image may be in any order.

    kernel [kh, kw, C_in / groups, C_out], bias [C_out].

    An int8 kernel has its `kernel_scale`, [C_out] or [1].
    """
    image = _single_image(graph, value)
    wanted = (*op.kernel, image.ir_shape[3] // max(1, op.groups), op.out_channels)
    if kernel.shape != wanted:
        raise BadInputError(
            f"weights [kh, kw, in / groups, out] are {list(kernel.shape)}, with {op.groups} groups on an input of "
            f"{image.ir_shape[3]} channels they must be {list(wanted)}"
        )
    if bias is not None and bias.shape != (op.out_channels,):
        raise BadInputError(f"bias has shape {list(bias.shape)}, it must be [{op.out_channels}]")
    scales = per_channel(kernel_scale, op.out_channels)
    return graph.emit_value(op, [image.tensor], image.order, kernel=kernel, bias=bias, kernel_scale=scales)


def per_channel(kernel_scale: Array | None, channels: int) -> Array | None:
    """Scales of an int8 kernel, [C_out], of which a source may have only one."""
    if kernel_scale is None:
        return None
    if kernel_scale.size not in (1, channels):
        raise BadInputError(f"the kernel has {kernel_scale.size} scales for {channels} channels")
    return np.broadcast_to(kernel_scale.reshape(-1), (channels,))


def dense(
    graph: ImportGraph,
    value: Value,
    kernel: Array,
    bias: Array | None,
    activation: Activation = NONE,
    kernel_scale: Array | None = None,
) -> Value:
    """A dense layer: x [..., C_in] times kernel [C_in, C_out], plus bias [C_out]; several rows make it pointwise.

    An int8 kernel has its `kernel_scale`, [C_out] or [1].
    """
    if kernel.ndim != 2:
        raise UnsupportedError(f"weights of rank {kernel.ndim}; only matrices are supported")
    depth, units = kernel.shape
    if not value.shape or value.shape[-1] != depth:
        raise BadInputError(f"weights are [{depth}, {units}], they do not fit an input of {list(value.shape)}")
    if bias is not None and bias.shape != (units,):
        raise BadInputError(f"bias has shape {list(bias.shape)}, it must be [{units}]")
    result = (*value.shape[:-1], units)
    scales = per_channel(kernel_scale, units)
    last = len(value.shape) - 1
    arranged = graph.arranged(value, (*(axis for axis in value.order if axis != last), last))
    rows = math.prod(value.shape[:-1])
    if rows == 1:
        tensor = graph.flattened(arranged, (1, depth))
        made = graph.emit(Dense(units, activation), [tensor], kernel=kernel, bias=bias, kernel_scale=scales)
        return graph.reshaped(Value(made, (1, units), (0, 1)), result)
    shape = arranged.ir_shape
    image = shape if len(shape) == 4 and shape[0] == 1 else (1, 1, rows, depth)
    pointwise = Conv2D(units, (1, 1), activation=activation)
    tensor = graph.flattened(arranged, image)
    weights = kernel.reshape(1, 1, depth, units)
    made = graph.emit(pointwise, [tensor], kernel=weights, bias=bias, kernel_scale=scales)
    ordered = Value(made, result, arranged.order)
    return Value(graph.flattened(ordered, ordered.ir_shape), result, arranged.order)


def pool(graph: ImportGraph, value: Value, op: Pool) -> Value:
    """Pooling over height and width of an image."""
    image = _single_image(graph, value)
    return graph.emit_value(op, [image.tensor], image.order)


def regridded(graph: ImportGraph, value: Value, op: Resize | DepthToSpace | SpaceToDepth) -> Value:
    """An image on another grid of rows and columns."""
    image = _single_image(graph, value)
    return graph.emit_value(op, [image.tensor], image.order)


def activate(graph: ImportGraph, value: Value, activation: Activation) -> Value:
    """An element-wise function; none for "no activation"."""
    if not activation:
        return value
    return graph.emit_value(Activate(activation), [value.tensor], value.order)


def prelu(graph: ImportGraph, value: Value, slope: Array) -> Value:
    """PReLU. The slope broadcasts to the input and may vary from channel to channel only."""
    if slope.size == 1:
        return activate(graph, value, Activation("leaky_relu", alpha=float(slope.reshape(-1)[0])))
    arranged = graph.as_image(value) if len(value.shape) == 4 else value
    if slope.ndim > len(arranged.shape):
        raise BadInputError(f"slope {list(slope.shape)} does not broadcast to {list(value.shape)}")
    channels = arranged.ir_shape[-1]
    shape = (1,) * (len(arranged.shape) - slope.ndim) + slope.shape
    inside = tuple(shape[axis] for axis in arranged.order)
    if inside != (*(1 for _ in inside[:-1]), channels):
        raise UnsupportedError(
            f"slope {list(slope.shape)} on {list(value.shape)}; only one slope per channel is supported"
        )
    op = Activate(Activation("prelu"))
    return graph.emit_value(op, [arranged.tensor], arranged.order, slope=slope.reshape(channels))


@dataclass(frozen=True)
class Normalization:
    """Constants of a batch normalization, each of shape [C]."""

    gamma: Array
    beta: Array
    mean: Array
    variance: Array
    epsilon: float


def batch_norm(graph: ImportGraph, value: Value, norm: Normalization, channel_axis: int) -> Value:
    """Batch normalization with stored statistics over the given axis."""
    rank = len(value.shape)
    if rank == 4 and graph.image_order[-1] == channel_axis:
        arranged = graph.as_image(value)
    else:
        arranged = graph.arranged(value, (*(axis for axis in value.order if axis != channel_axis), channel_axis))
    channels = arranged.ir_shape[-1]
    weights = {"gamma": norm.gamma, "beta": norm.beta, "mean": norm.mean, "variance": norm.variance}
    for role, array in weights.items():
        if array.shape != (channels,):
            raise BadInputError(f"{role} has shape {list(array.shape)}, it must be [{channels}]")
    return graph.emit_value(BatchNorm(norm.epsilon), [arranged.tensor], arranged.order, **weights)


def binary(graph: ImportGraph, op: Binary, first: Operand, second: Operand) -> Value:
    """An element-wise operator with NumPy's broadcasting in the source's order; one operand may be a constant."""
    rank = max(len(first.shape), len(second.shape))
    broadcast(tuple(first.shape), tuple(second.shape))
    computed = [operand for operand in (first, second) if isinstance(operand, Value)]
    if not computed:
        raise UnsupportedError("both inputs are constants")
    expanded = [graph.reshaped(value, (1,) * (rank - len(value.shape)) + value.shape) for value in computed]
    order = max(expanded, key=lambda value: math.prod(value.shape)).order
    ready = iter([graph.arranged(value, order) for value in expanded])
    operands = []
    for operand in (first, second):
        if isinstance(operand, Value):
            operands.append(next(ready))
        else:
            operands.append(graph.constant(operand.reshape((1,) * (rank - operand.ndim) + operand.shape), order))
    return graph.emit_value(op, [value.tensor for value in operands], order)


def concat(graph: ImportGraph, operands: Sequence[Operand], axis: int) -> Value:
    """Joins tensors, of which at least one is computed, along an axis of the source."""
    first = next(operand for operand in operands if isinstance(operand, Value))
    rank = len(first.shape)
    if any(len(operand.shape) != rank for operand in operands):
        raise BadInputError(f"joins tensors of different ranks: {[list(operand.shape) for operand in operands]}")
    at = axis_of(axis, rank)
    if len(operands) == 1:
        return first
    values = [
        graph.arranged(operand, first.order) if isinstance(operand, Value) else graph.constant(operand, first.order)
        for operand in operands
    ]
    return graph.emit_value(Concat(first.order.index(at)), [value.tensor for value in values], first.order)


def box(
    graph: ImportGraph, operand: Operand, begins: Sequence[int], sizes: Sequence[int], steps: Sequence[int] = ()
) -> Operand:
    """Along axis i of the source the `sizes[i]` elements from `begins[i]` on, or every `steps[i]`-th of them.

    Of a constant at once.
    """
    strides = tuple(steps) or (1,) * len(operand.shape)
    for axis, (begin, size, whole) in enumerate(zip(begins, sizes, operand.shape, strict=True)):
        if size < 1:
            raise UnsupportedError(f"leaves nothing of axis {axis} of {list(operand.shape)}")
        end = begin + (size - 1) * strides[axis] + 1
        if begin < 0 or end > whole:
            raise BadInputError(f"elements {begin} to {end} of axis {axis} of {list(operand.shape)}")
    if not isinstance(operand, Value):
        return operand[Slice(tuple(begins), tuple(sizes), strides).box]
    if tuple(sizes) == operand.shape:
        return operand
    op = Slice(
        tuple(begins[axis] for axis in operand.order),
        tuple(sizes[axis] for axis in operand.order),
        tuple(strides[axis] for axis in operand.order) if max(strides) > 1 else (),
    )
    return graph.emit_value(op, [operand.tensor], operand.order)


def split(graph: ImportGraph, operand: Operand, axis: int, sizes: Sequence[int]) -> list[Operand]:
    """Boxes one after the other along an axis of the source, of these sizes, which must fill it."""
    at = axis_of(axis, len(operand.shape))
    if sum(sizes) != operand.shape[at]:
        raise BadInputError(f"parts of {list(sizes)} do not fill axis {at} of {list(operand.shape)}")
    parts, begins = [], [0] * len(operand.shape)
    for size in sizes:
        shape = [size if other == at else whole for other, whole in enumerate(operand.shape)]
        parts.append(box(graph, operand, begins, shape))
        begins[at] += size
    return parts


def softmax(graph: ImportGraph, value: Value, axis: int, beta: float = 1.0) -> Value:
    """Softmax over one axis of the source."""
    at = axis_of(axis, len(value.shape))
    arranged = graph.arranged(value, (*(other for other in value.order if other != at), at))
    return graph.emit_value(Softmax(beta), [arranged.tensor], arranged.order)


def argmax(graph: ImportGraph, value: Value, axis: int, *, keep_axis: bool, last: bool = False) -> Value:
    """Where the largest element along one axis of the source lies, as int32."""
    at = axis_of(axis, len(value.shape))
    if at == 0 and len(value.shape) > 1:
        raise UnsupportedError("over the batch is not supported; batches are 1")
    others = tuple(other for other in value.order if other != at)
    arranged = graph.arranged(value, (*others, at))
    order = arranged.order if keep_axis else tuple(other - (other > at) for other in others)
    return graph.emit_value(ArgMax(keep_axis, last), [arranged.tensor], order)


def mean(graph: ImportGraph, value: Value, axes: Sequence[int], keep_axes: bool) -> Value:
    """Mean over axes of the source: see `reduce`. Of int8 a Mean layer, which changes the scale."""
    is_real = graph.tensor_of(value).dtype == "float32"
    return reduce(graph, value, axes, keep_axes, Pool("average") if is_real else Mean())


def reduce(graph: ImportGraph, value: Value, axes: Sequence[int], keep_axes: bool, whole: Pool | Mean) -> Value:
    """Mean or maximum over axes of the source: a pooling layer over height and width, or over rows of those axes.

    `whole` is the layer over a whole image.
    """
    rank = len(value.shape)
    over = sorted({axis_of(axis, rank) for axis in axes})
    kept = [axis for axis in range(rank) if axis not in over]
    result = tuple(1 if axis in over else size for axis, size in enumerate(value.shape))
    inside = {value.order.index(axis) for axis in over}
    if rank == 4 and value.ir_shape[0] == 1 and inside == {1, 2}:
        pooled = graph.emit_value(whole, [value.tensor], value.order)
    elif rank == 4 and value.ir_shape[0] == 1 and inside and inside < {1, 2} and isinstance(whole, Pool):
        _, height, width, _ = value.ir_shape
        window = (height if 1 in inside else 1, width if 2 in inside else 1)
        pooled = graph.emit_value(Pool(whole.kind, window), [value.tensor], value.order)
    else:
        rows = math.prod(value.shape[axis] for axis in over)
        columns = math.prod(value.shape[axis] for axis in kept)
        arranged = graph.arranged(value, (*over, *kept))
        tensor = graph.emit(whole, [graph.flattened(arranged, (1, rows, 1, columns))])
        order = _with_last(result, kept)
        ordered = Value(tensor, result, order)
        pooled = Value(graph.flattened(ordered, ordered.ir_shape), result, order)
    if keep_axes:
        return pooled
    return graph.reshaped(pooled, tuple(value.shape[axis] for axis in kept))


def _with_last(shape: Shape, last: Sequence[int]) -> Order:
    """All axes of `shape`, the given ones behind the others."""
    return (*(axis for axis in identity(len(shape)) if axis not in last), *last)


def pad(
    graph: ImportGraph,
    value: Value,
    before: Sequence[int],
    after: Sequence[int],
    fill: float,
    mode: PadMode = "constant",
) -> Value:
    """Padding, given per axis of the source; height, width and (with a constant) channels of images may grow."""
    grown = [axis for axis in range(len(before)) if before[axis] or after[axis]]
    if not grown:
        return value
    if min(*before, *after) < 0:
        raise UnsupportedError("negative padding (cropping) is not supported")
    if len(value.shape) != 4:
        raise UnsupportedError(f"only images (rank 4) can be padded, the input is {list(value.shape)}")
    image = value if {value.order.index(axis) for axis in grown} <= {1, 2} else graph.as_image(value)
    batch, row, column, channel = image.order
    if batch in grown:
        raise UnsupportedError("padding of the batch is not supported")
    pads = Pads(before[row], after[row], before[column], after[column])
    if pads:
        image = graph.emit_value(Pad(pads, fill, mode), [image.tensor], image.order)
    if mode != "constant" and channel in grown:
        raise UnsupportedError(f"mode '{mode}' over channels; only height and width can be padded so")
    if channel not in grown:
        return image
    # Channels grow by joining constant ones.
    sides = [_filled(graph, image, channel, count, fill) for count in (before[channel], after[channel])]
    return concat(graph, [part for part in (sides[0], image, sides[1]) if part is not None], channel)


def _filled(graph: ImportGraph, image: Value, channel: int, count: int, fill: float) -> Operand | None:
    """`count` constant channels of the size of an image, or None for none."""
    if not count:
        return None
    shape = tuple(count if axis == channel else size for axis, size in enumerate(image.shape))
    if math.prod(shape) > MAX_PADDING:
        raise UnsupportedError(f"padding by {math.prod(shape)} elements of constant channels")
    quantization = graph.tensor_of(image).quantization
    if quantization is None:
        return np.full(shape, fill, np.float32)
    q = quantization.zero_point + round(fill / quantization.scale)
    return graph.quantized_constant(np.full(shape, min(max(q, -128), 127), np.int8), image.order, quantization)
