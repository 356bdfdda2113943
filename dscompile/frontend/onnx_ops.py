"""ONNX operators on computed tensors: one function each, which reads the attributes and emits the IR's layers."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from dscompile.errors import BadInputError, UnsupportedError
from dscompile.frontend import import_lowering as lower
from dscompile.frontend.import_graph import Array, Operand, Value
from dscompile.frontend.import_lowering import as_weight, axis_of
from dscompile.frontend.onnx_call import Call
from dscompile.frontend.onnx_constants import integers_argument, resolved_shape, shape_constant, static_integers
from dscompile.frontend.onnx_convolutions import conv, conv_transpose, of_sequences
from dscompile.frontend.onnx_resize import resize, upsample
from dscompile.frontend.onnx_windows import refuse_ceil_mode, window_of
from dscompile.ir.ops import (
    HARD_SIGMOID,
    HARD_SWISH,
    RELU,
    SIGMOID,
    TANH,
    Activation,
    Binary,
    DepthToSpace,
    Pool,
    SpaceToDepth,
)

Handler = Callable[[Call], Operand]


def _gemm(call: Call) -> Value:
    value, weights = call.value(), call.weight(1, "the matrix B")
    if call.node.integer("transA", 0):
        raise UnsupportedError("transA is not supported")
    if len(value.shape) != 2 or weights.ndim != 2:
        raise BadInputError(f"needs two matrices, not {list(value.shape)} and {list(weights.shape)}")
    kernel = weights.T if call.node.integer("transB", 0) else weights
    bias = None
    if call.optional(2) is not None:
        units, given = kernel.shape[1], call.weight(2, "the matrix C")
        if given.size not in (1, units) or (given.size > 1 and given.shape[-1] != units):
            raise UnsupportedError(f"C of shape {list(given.shape)}; only one number per column of [{units}]")
        bias = call.node.real("beta", 1.0) * np.broadcast_to(given.reshape(-1), units)
    return lower.dense(call.graph, value, call.node.real("alpha", 1.0) * kernel, bias)


def _matmul(call: Call) -> Value:
    if isinstance(call.operand(0), np.ndarray):
        raise UnsupportedError("a constant on the left; only constants on the right are supported")
    return lower.dense(call.graph, call.value(), call.weight(1, "the right matrix"), None)


def _batch_norm(call: Call) -> Value:
    if call.node.integer("training_mode", 0) or not call.node.integer("spatial", 1):
        raise UnsupportedError("only stored statistics per channel (training_mode 0, spatial 1) are supported")
    value = call.value()
    norm = lower.Normalization(
        gamma=call.weight(1, "the scale"),
        beta=call.weight(2, "the shift"),
        mean=call.weight(3, "the mean"),
        variance=call.weight(4, "the variance"),
        epsilon=call.node.real("epsilon", 1e-5),
    )
    return lower.batch_norm(call.graph, value, norm, axis_of(1, len(value.shape)))


def _activation(activation: Activation) -> Handler:
    def handler(call: Call) -> Value:
        return lower.activate(call.graph, call.value(), activation)

    return handler


def _clip(call: Call) -> Value:
    if call.opset < 11:
        low, high = call.node.real("min", -math.inf), call.node.real("max", math.inf)
    else:
        minimum, maximum = call.scalar(1, "min"), call.scalar(2, "max")
        low = -math.inf if minimum is None else minimum
        high = math.inf if maximum is None else maximum
    largest = float(np.finfo(np.float32).max)
    unbounded = (-math.inf if low <= -largest else low, math.inf if high >= largest else high)
    return lower.activate(call.graph, call.value(), Activation("clip", *unbounded))


def _hard_sigmoid(call: Call) -> Value:
    alpha, beta = call.node.real("alpha", 0.2), call.node.real("beta", 0.5)
    if beta != 0.5:
        raise UnsupportedError(f"beta {beta:g}; only 0.5 is supported")
    # Exporters write 1/6 in single precision; it is meant to be the hard sigmoid of the papers.
    exact = HARD_SIGMOID if np.float32(alpha) == np.float32(1 / 6) else Activation("hard_sigmoid", alpha=alpha)
    return lower.activate(call.graph, call.value(), exact)


def _leaky_relu(call: Call) -> Value:
    return lower.activate(call.graph, call.value(), Activation("leaky_relu", alpha=call.node.real("alpha", 0.01)))


def _prelu(call: Call) -> Value:
    return lower.prelu(call.graph, call.value(), call.weight(1, "the slope"))


def _add(call: Call) -> Value:
    return lower.binary(call.graph, Binary("add"), call.operand(0), call.operand(1))


def _mul(call: Call) -> Value:
    return lower.binary(call.graph, Binary("mul"), call.operand(0), call.operand(1))


def _sub(call: Call) -> Value:
    first, second = call.operand(0), call.operand(1)
    if isinstance(second, Value):
        minus = lower.binary(call.graph, Binary("mul"), second, np.array(-1.0, np.float32))
        return lower.binary(call.graph, Binary("add"), first, minus)
    return lower.binary(call.graph, Binary("add"), first, -as_weight(second, "the right operand"))


def _div(call: Call) -> Value:
    divisor = call.weight(1, "the divisor")
    if not divisor.all():
        raise BadInputError("divides by zero")
    return lower.binary(call.graph, Binary("mul"), call.value(), np.float32(1) / divisor)


def _sum(call: Call) -> Operand:
    total = call.operand(0)
    for index in range(1, len(call.operands)):
        total = lower.binary(call.graph, Binary("add"), total, call.operand(index))
    return total


def _concat(call: Call) -> Value:
    operands = [call.operand(index) for index in range(len(call.operands))]
    if "axis" not in call.node.attributes:
        raise BadInputError("attribute 'axis' is missing")
    return lower.concat(call.graph, operands, call.node.integer("axis", 0))


def _slice(call: Call) -> Operand:
    value = call.value()
    rank = len(value.shape)
    starts, ends = (integers_argument(call.node, call.operands, i, name) for i, name in ((1, "starts"), (2, "ends")))
    if starts is None or ends is None:
        raise BadInputError("starts and ends are missing")
    axes = call.axes(3)
    axes = tuple(range(len(starts))) if axes is None else axes
    steps = integers_argument(call.node, call.operands, 4, "steps") if call.opset >= 10 else None
    steps = (1,) * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise BadInputError(f"{len(starts)} starts, {len(ends)} ends, {len(axes)} axes and {len(steps)} steps")
    begins, sizes = [0] * rank, list(value.shape)
    along = [axis_of(axis, rank) for axis in axes]
    if len(set(along)) != len(along):
        raise BadInputError(f"axes {list(axes)} name an axis twice")
    for axis, start, end, step in zip(along, starts, ends, steps, strict=True):
        if step != 1:
            raise UnsupportedError(f"step {step}; only steps of 1 are supported")
        begin, stop, _ = slice(start, end).indices(value.shape[axis])
        begins[axis], sizes[axis] = begin, stop - begin
    return lower.box(call.graph, value, begins, sizes)


def _split(call: Call) -> list[Operand]:
    operand = call.operand(0)
    axis = axis_of(call.node.integer("axis", 0), len(operand.shape))
    sizes = integers_argument(call.node, call.operands, 1, "split")
    if sizes is None:
        whole, parts = operand.shape[axis], len(call.node.outputs)
        each = -(-whole // parts)
        if whole % parts and call.opset < 18:
            raise BadInputError(f"{parts} equal parts of axis {axis} of {list(operand.shape)}")
        sizes = (*(each,) * (parts - 1), whole - each * (parts - 1))
    if len(sizes) != len(call.node.outputs):
        raise BadInputError(f"{len(sizes)} sizes for {len(call.node.outputs)} results")
    return lower.split(call.graph, operand, axis, sizes)


def _max_pool(call: Call) -> Value:
    image = lower.image_of(call.operand(0))
    size = (image.shape[2], image.shape[3])
    window = window_of(call.node, size)
    _refuse_dilation(window.dilation)
    refuse_ceil_mode(call.node, size, window)
    return lower.pool(call.graph, image, Pool("max", window.kernel, window.stride, window.pads))


def _average_pool(call: Call) -> Value:
    image = lower.image_of(call.operand(0))
    size = (image.shape[2], image.shape[3])
    window = window_of(call.node, size)
    _refuse_dilation(window.dilation)
    refuse_ceil_mode(call.node, size, window)
    count_pads = bool(call.node.integer("count_include_pad", 0)) and bool(window.pads)
    return lower.pool(call.graph, image, Pool("average", window.kernel, window.stride, window.pads, count_pads))


def _depth_to_space(call: Call) -> Value:
    mode, image = call.node.text("mode", "DCR"), lower.image_of(call.operand(0))
    if mode not in ("DCR", "CRD"):
        raise BadInputError(f"mode '{mode}' is neither DCR nor CRD")
    return lower.regridded(call.graph, image, DepthToSpace(_block(call), "dcr" if mode == "DCR" else "crd"))


def _space_to_depth(call: Call) -> Value:
    return lower.regridded(call.graph, lower.image_of(call.operand(0)), SpaceToDepth(_block(call)))


def _block(call: Call) -> tuple[int, int]:
    size = call.node.integer("blocksize", 0)
    if size < 1:
        raise BadInputError(f"blocksize must be at least 1, not {size}")
    return size, size


def _refuse_dilation(dilation: tuple[int, int]) -> None:
    if dilation != (1, 1):
        raise UnsupportedError(f"dilations {list(dilation)} of a pool are not supported")


def _global_average_pool(call: Call) -> Value:
    value = call.value()
    return lower.mean(call.graph, value, range(2, len(value.shape)), keep_axes=True)


def _global_max_pool(call: Call) -> Value:
    return lower.pool(call.graph, lower.image_of(call.operand(0)), Pool("max"))


def _reduce_mean(call: Call) -> Value:
    value, axes = call.value(), call.axes(1)
    if not axes:
        if call.node.integer("noop_with_empty_axes", 0):
            return value
        axes = tuple(range(len(value.shape)))
    return lower.mean(call.graph, value, axes, bool(call.node.integer("keepdims", 1)))


def _softmax(call: Call) -> Value:
    value = call.value()
    rank = len(value.shape)
    if call.opset >= 13:
        return lower.softmax(call.graph, value, call.node.integer("axis", -1))
    # Older opsets flatten everything from `axis` on.
    axis = axis_of(call.node.integer("axis", 1), rank)
    if math.prod(value.shape[axis + 1 :]) == 1:
        return lower.softmax(call.graph, value, axis)
    matrix = call.graph.reshaped(value, (math.prod(value.shape[:axis]), math.prod(value.shape[axis:])))
    return call.graph.reshaped(lower.softmax(call.graph, matrix, 1), value.shape)


def _pad(call: Call) -> Value:
    mode = call.node.text("mode", "constant")
    if mode != "constant":
        raise UnsupportedError(f"mode '{mode}'; only constant padding is supported")
    value = call.value()
    if call.opset < 11:
        pads, fill = call.node.integers("pads"), call.node.real("value", 0.0)
    else:
        pads, fill = integers_argument(call.node, call.operands, 1, "pads"), call.scalar(2, "the padding value") or 0.0
    rank = len(value.shape)
    axes = integers_argument(call.node, call.operands, 3, "axes") or tuple(range(rank))
    if pads is None or len(pads) != 2 * len(axes):
        raise BadInputError(f"pads {list(pads or ())} do not give a start and an end for each of {len(axes)} axes")
    before, after = [0] * rank, [0] * rank
    for index, axis in enumerate(axes):
        before[axis_of(axis, rank)], after[axis_of(axis, rank)] = pads[index], pads[index + len(axes)]
    return lower.pad(call.graph, value, before, after, fill)


def _flatten(call: Call) -> Value:
    value = call.value()
    axis = call.node.integer("axis", 1)
    rank = len(value.shape)
    split = axis if axis == rank else axis_of(axis, rank)
    shape = (math.prod(value.shape[:split]), math.prod(value.shape[split:]))
    return call.graph.reshaped(value, shape, role="")


def _reshape(call: Call) -> Value:
    value, target = call.value(), call.operand(1)
    if isinstance(target, Value):
        raise UnsupportedError("a shape computed at run time; only constants are supported")
    shape = resolved_shape(value.shape, static_integers(target, "shape"), call.node)
    return call.graph.reshaped(value, shape, role="")


def _squeeze(call: Call) -> Value:
    value, axes = call.value(), call.axes(1)
    rank = len(value.shape)
    if axes is None:
        axes = tuple(axis for axis in range(rank) if value.shape[axis] == 1)
    dropped = {axis_of(axis, rank) for axis in axes}
    if any(value.shape[axis] != 1 for axis in dropped):
        raise BadInputError(f"axes {sorted(dropped)} of {list(value.shape)} are not all 1")
    shape = tuple(size for axis, size in enumerate(value.shape) if axis not in dropped)
    return call.graph.reshaped(value, shape, role="")


def _unsqueeze(call: Call) -> Value:
    value, axes = call.value(), call.axes(1) or ()
    rank = len(value.shape) + len(axes)
    added = {axis_of(axis, rank) for axis in axes}
    if len(added) != len(axes):
        raise BadInputError(f"axes {list(axes)} name an axis twice")
    sizes = iter(value.shape)
    return call.graph.reshaped(value, tuple(1 if axis in added else next(sizes) for axis in range(rank)), role="")


def _transpose(call: Call) -> Value:
    value = call.value()
    rank = len(value.shape)
    permutation = call.node.integers("perm") or tuple(reversed(range(rank)))
    if sorted(permutation) != list(range(rank)):
        raise BadInputError(f"perm {list(permutation)} does not permute the axes of {list(value.shape)}")
    return call.graph.transposed(value, permutation)


def _cast(call: Call) -> Value:
    if call.node.integer("to", 0) != 1:
        raise UnsupportedError("only conversions to float32 are supported on computed tensors")
    return call.value()


def _dropout(call: Call) -> Value:
    if call.scalar(2, "training_mode"):
        raise UnsupportedError("training_mode is set; only inference is supported")
    return call.value()


def _identity(call: Call) -> Value:
    return call.value()


def _shape(call: Call) -> Array:
    return shape_constant(call.node, call.value().shape)


# Operators of models in QDQ format (see onnx_qdq).
QDQ_OPERATORS = ("QuantizeLinear", "DequantizeLinear")

HANDLERS: dict[str, Handler] = {
    "Add": _add,
    "AveragePool": of_sequences(_average_pool),
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": _concat,
    "Conv": of_sequences(conv),
    "ConvTranspose": of_sequences(conv_transpose),
    "DepthToSpace": _depth_to_space,
    "Div": _div,
    "Dropout": _dropout,
    "Flatten": _flatten,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_average_pool,
    "GlobalMaxPool": _global_max_pool,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _activation(HARD_SWISH),
    "Identity": _identity,
    "LeakyRelu": _leaky_relu,
    "MatMul": _matmul,
    "MaxPool": of_sequences(_max_pool),
    "Mul": _mul,
    "PRelu": _prelu,
    "Pad": _pad,
    "ReduceMean": _reduce_mean,
    "Relu": _activation(RELU),
    "Reshape": _reshape,
    "Resize": resize,
    "Shape": _shape,
    "Sigmoid": _activation(SIGMOID),
    "Slice": _slice,
    "Softmax": _softmax,
    "SpaceToDepth": _space_to_depth,
    "Squeeze": _squeeze,
    "Sub": _sub,
    "Sum": _sum,
    "Tanh": _activation(TANH),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Upsample": upsample,
}

# Operators with several results.
SPLITTERS: dict[str, Callable[[Call], list[Operand]]] = {"Split": _split}
