"""ONNX operators on computed tensors: one function each, which reads the attributes and emits the IR's layers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np

from dscompile.errors import BadInputError, UnsupportedError
from dscompile.frontend import import_lowering as lower
from dscompile.frontend.import_graph import Array, Operand, Value
from dscompile.frontend.import_lowering import axis_of
from dscompile.frontend.onnx.call import Call
from dscompile.frontend.onnx.constants import resolved_shape, shape_constant, static_integers
from dscompile.frontend.onnx.convolutions import conv, conv_transpose, of_sequences
from dscompile.frontend.onnx.elementwise import (
    activation,
    binary,
    clip,
    div,
    elu,
    extreme,
    gelu,
    hard_sigmoid,
    leaky_relu,
    mean,
    prelu,
    sub,
    sum_of,
)
from dscompile.frontend.onnx.movement import concat, depth_to_space, gather, pad, slice_of, space_to_depth, split
from dscompile.frontend.onnx.resize import resize, upsample
from dscompile.frontend.onnx.windows import window_of, with_ceil_mode
from dscompile.ir.ops import (
    ERF,
    HARD_SWISH,
    RELU,
    SIGMOID,
    TANH,
    Binary,
    Pool,
)

Handler = Callable[[Call], Operand]

_INTEGERS = (6, 7)  # onnx.TensorProto.INT32 and INT64: indices fit both


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
        bias = call.node.finite("beta", 1.0) * np.broadcast_to(given.reshape(-1), units)
    return lower.dense(call.graph, value, call.node.finite("alpha", 1.0) * kernel, bias)


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
        epsilon=call.node.finite("epsilon", 1e-5),
    )
    return lower.batch_norm(call.graph, value, norm, axis_of(1, len(value.shape)))


def _max_pool(call: Call) -> Value:
    return _pool(call, "max")


def _average_pool(call: Call) -> Value:
    return _pool(call, "average")


def _pool(call: Call, kind: Literal["average", "max"]) -> Value:
    image = lower.image_of(call.operand(0))
    size = (image.shape[2], image.shape[3])
    window = window_of(call.node, size)
    _refuse_dilation(window.dilation)
    counts = kind == "average" and bool(call.node.integer("count_include_pad", 0))
    if call.node.integer("ceil_mode", 0):
        window = with_ceil_mode(size, window, counts=counts)
    return lower.pool(
        call.graph, image, Pool(kind, window.kernel, window.stride, window.pads, counts and bool(window.pads))
    )


def _refuse_dilation(dilation: tuple[int, int]) -> None:
    if dilation != (1, 1):
        raise UnsupportedError(f"dilations {list(dilation)} of a pool are not supported")


def _global_average_pool(call: Call) -> Value:
    value = call.value()
    return lower.mean(call.graph, value, range(2, len(value.shape)), keep_axes=True)


def _global_max_pool(call: Call) -> Value:
    return lower.pool(call.graph, lower.image_of(call.operand(0)), Pool("max"))


def _reduce_mean(call: Call) -> Value:
    axes = _reduced_axes(call)
    return call.value() if axes is None else lower.mean(call.graph, call.value(), axes, _keeps_axes(call))


def _reduce_max(call: Call) -> Value:
    axes = _reduced_axes(call)
    if axes is None:
        return call.value()
    return lower.reduce(call.graph, call.value(), axes, _keeps_axes(call), Pool("max"))


def _reduce_sum(call: Call) -> Value:
    """The mean times the number of elements."""
    axes = _reduced_axes(call)
    if axes is None:
        return call.value()
    value = call.value()
    count = math.prod(value.shape[axis_of(axis, len(value.shape))] for axis in axes)
    mean = lower.mean(call.graph, value, axes, _keeps_axes(call))
    return lower.binary(call.graph, Binary("mul"), mean, np.array(count, np.float32))


def _reduced_axes(call: Call) -> tuple[int, ...] | None:
    """The axes of a reduction; None if it reduces nothing."""
    axes = call.axes(1)
    if axes:
        return axes
    return None if call.node.integer("noop_with_empty_axes", 0) else tuple(range(len(call.value().shape)))


def _keeps_axes(call: Call) -> bool:
    return bool(call.node.integer("keepdims", 1))


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


def _argmax(call: Call) -> Value:
    last = bool(call.node.integer("select_last_index", 0))
    return lower.argmax(call.graph, call.value(), call.node.integer("axis", 0), keep_axis=_keeps_axes(call), last=last)


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
    if call.graph.tensor_of(call.value()).dtype == "int32" and call.node.integer("to", 0) in _INTEGERS:
        return call.value()
    if call.node.integer("to", 0) != 1:
        raise UnsupportedError("only conversions to float32 are supported on computed tensors")
    if call.graph.tensor_of(call.value()).dtype == "int32":
        raise UnsupportedError("of the indices of an argmax to float32 is not supported")
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
    "Add": binary("add"),
    "ArgMax": _argmax,
    "AveragePool": of_sequences(_average_pool),
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Clip": clip,
    "Concat": concat,
    "Conv": of_sequences(conv),
    "ConvTranspose": of_sequences(conv_transpose),
    "DepthToSpace": depth_to_space,
    "Div": div,
    "Dropout": _dropout,
    "Elu": elu,
    "Erf": activation(ERF),
    "Flatten": _flatten,
    "Gather": gather,
    "Gelu": gelu,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_average_pool,
    "GlobalMaxPool": _global_max_pool,
    "HardSigmoid": hard_sigmoid,
    "HardSwish": activation(HARD_SWISH),
    "Identity": _identity,
    "LeakyRelu": leaky_relu,
    "MatMul": _matmul,
    "MaxPool": of_sequences(_max_pool),
    "Max": extreme("max"),
    "Mean": mean,
    "Min": extreme("min"),
    "Mul": binary("mul"),
    "PRelu": prelu,
    "Pad": pad,
    "ReduceMax": _reduce_max,
    "ReduceMean": _reduce_mean,
    "ReduceSum": _reduce_sum,
    "Relu": activation(RELU),
    "Reshape": _reshape,
    "Resize": resize,
    "Shape": _shape,
    "Sigmoid": activation(SIGMOID),
    "Slice": slice_of,
    "Softmax": _softmax,
    "SpaceToDepth": space_to_depth,
    "Squeeze": _squeeze,
    "Sub": sub,
    "Sum": sum_of,
    "Tanh": activation(TANH),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Upsample": upsample,
}

# Operators with several results.
SPLITTERS: dict[str, Callable[[Call], list[Operand]]] = {"Split": split}
