"""TFLite operators on float32 and int8 tensors: one function each, which reads options and emits the IR's layers."""

from __future__ import annotations

import math

import numpy as np

from dscompile.errors import BadInputError, UnsupportedError
from dscompile.frontend import import_lowering as lower
from dscompile.frontend.import_graph import Value
from dscompile.frontend.tflite.call import RELU_0_TO_1, RELU_N1_TO_1, Call, Handler
from dscompile.frontend.tflite.images import IMAGES
from dscompile.frontend.tflite.movement import MOVEMENT
from dscompile.ir.ops import (
    GELU,
    GELU_TANH,
    HARD_SWISH,
    RELU,
    RELU6,
    SIGMOID,
    TANH,
    Activation,
    Binary,
    BinaryKind,
    Dequantize,
    Pool,
    Quantize,
)


def _fully_connected(call: Call) -> Value:
    if call.options.shuffled_weights:
        raise UnsupportedError("shuffled weights are not supported")
    value, linear = call.value(), call.linear("the weights", 0)
    weights = linear.kernel
    if weights.ndim != 2:
        raise BadInputError(f"weights have shape {list(weights.shape)}, they must be [out, in]")
    depth, elements = weights.shape[1], math.prod(value.shape)
    if not call.options.keep_axes:
        if depth < 1 or elements % depth:
            raise BadInputError(f"weights over {depth} inputs do not fit {list(value.shape)}")
        value = call.graph.reshaped(value, (elements // depth, depth))
    if call.is_int8 and call.rounding == "tflite" and math.prod(value.shape[:-1]) != 1:
        raise UnsupportedError(
            f"an int8 input of several rows {list(value.shape)}, which TFLite rounds unlike a convolution"
        )
    return lower.dense(call.graph, value, weights.T, linear.bias, call.activation, linear.scale)


def _activation(activation: Activation) -> Handler:
    def handler(call: Call) -> Value:
        return lower.activate(call.graph, call.value(), activation)

    return handler


def _hard_swish(call: Call) -> Value:
    given, made = call.graph.tensor_of(call.value()).quantization, call.result.quantization
    if given is not None and made is not None and made.scales[0] <= given.scale / 128:
        raise UnsupportedError(
            f"a result of scale {made.scales[0]:g} of an input of scale {given.scale:g}; it must exceed 1/128 of it"
        )
    return lower.activate(call.graph, call.value(), HARD_SWISH)


def _factor(call: Call, name: str) -> float:
    """The factor that an operator's options name."""
    if not math.isfinite(call.options.scale):
        raise BadInputError(f"{name} is {call.options.scale}; it must be finite")
    return call.options.scale


def _leaky_relu(call: Call) -> Value:
    return lower.activate(call.graph, call.value(), Activation("leaky_relu", alpha=_factor(call, "alpha")))


def _prelu(call: Call) -> Value:
    if call.is_int8:
        raise UnsupportedError("PRELU of int8 is not supported")
    return lower.prelu(call.graph, call.value(), call.weight(1, "the slope"))


def _softmax(call: Call) -> Value:
    given = call.result.quantization
    if call.is_int8 and given is not None and (given.scales[0] != 1 / 256 or given.zero_points[0] != -128):
        raise UnsupportedError(
            f"its result has scale {given.scales[0]:g} and zero point {given.zero_points[0]}; "
            "an int8 softmax has 1/256 and -128"
        )
    return lower.softmax(call.graph, call.value(), -1, _factor(call, "beta"))


def _argmax(call: Call) -> Value:
    axes = call.integer_list(1, "the axis")
    if len(axes) != 1:
        raise BadInputError(f"needs one axis, not {list(axes)}")
    return lower.argmax(call.graph, call.value(), axes[0], keep_axis=False)


def _cast(call: Call) -> Value:
    value = call.value()
    if call.graph.tensor_of(value).dtype != "int32" or call.result.dtype not in ("int32", "int64"):
        raise UnsupportedError(f"to {call.result.dtype}; only indices of an argmax, to int32 or int64, are supported")
    return value


def _mean(call: Call) -> Value:
    axes = call.integer_list(1, "the axes")
    if not axes:
        return call.value()
    return lower.mean(call.graph, call.value(), axes, call.options.keep_axes)


def _quantize(call: Call) -> Value:
    value = call.value()
    return call.graph.emit_value(Quantize(), [value.tensor], value.order)


def _dequantize(call: Call) -> Value:
    value = call.value()
    return call.graph.emit_value(Dequantize(), [value.tensor], value.order)


def _binary(kind: BinaryKind) -> Handler:
    def handler(call: Call) -> Value:
        if kind == "div" and call.is_int8:
            raise UnsupportedError("of int8 is not supported")
        op = Binary(kind, call.activation, "centered" if kind in ("add", "sub", "mul") else "int8")
        return lower.binary(call.graph, op, call.operand(0), call.operand(1))

    return handler


def _gelu(call: Call) -> Value:
    return lower.activate(call.graph, call.value(), GELU_TANH if call.options.approximate else GELU)


def _sum(call: Call) -> Value:
    """A mean times the number of elements."""
    if call.is_int8:
        raise UnsupportedError("of int8 is not supported")
    value, axes = call.value(), call.integer_list(1, "the axes")
    if not axes:
        return value
    made = lower.mean(call.graph, value, axes, call.options.keep_axes)
    count = math.prod(value.shape) // math.prod(made.shape)
    return lower.binary(call.graph, Binary("mul"), made, np.full((1,) * len(made.shape), count, np.float32))


def _reduce_max(call: Call) -> Value:
    value, axes = call.value(), call.integer_list(1, "the axes")
    return lower.reduce(call.graph, value, axes, call.options.keep_axes, Pool("max")) if axes else value


def _batch_matmul(call: Call) -> Value:
    """A product with a constant matrix, which makes it a dense layer."""
    if call.is_int8:
        raise UnsupportedError("of int8 is not supported")
    if call.options.adjoint[0]:
        raise UnsupportedError("a transposed first matrix is not supported")
    matrix = call.weight(1, "the second matrix")
    if matrix.ndim < 2 or math.prod(matrix.shape[:-2]) != 1:
        raise UnsupportedError(f"a second matrix of shape {list(matrix.shape)}; only one matrix is supported")
    plain = matrix.reshape(matrix.shape[-2:])
    return lower.dense(call.graph, call.value(), plain.T if call.options.adjoint[1] else plain, None)


HANDLERS: dict[str, Handler] = {
    **IMAGES,
    **MOVEMENT,
    "ADD": _binary("add"),
    "ARG_MAX": _argmax,
    "BATCH_MATMUL": _batch_matmul,
    "CAST": _cast,
    "DEQUANTIZE": _dequantize,
    "DIV": _binary("div"),
    "ELU": _activation(Activation("elu", alpha=1.0)),
    "FULLY_CONNECTED": _fully_connected,
    "GELU": _gelu,
    "HARD_SWISH": _hard_swish,
    "LEAKY_RELU": _leaky_relu,
    "LOGISTIC": _activation(SIGMOID),
    "MAXIMUM": _binary("max"),
    "MEAN": _mean,
    "MINIMUM": _binary("min"),
    "MUL": _binary("mul"),
    "PRELU": _prelu,
    "QUANTIZE": _quantize,
    "REDUCE_MAX": _reduce_max,
    "RELU": _activation(RELU),
    "RELU6": _activation(RELU6),
    "RELU_0_TO_1": _activation(RELU_0_TO_1),
    "RELU_N1_TO_1": _activation(RELU_N1_TO_1),
    "SOFTMAX": _softmax,
    "SUB": _binary("sub"),
    "SUM": _sum,
    "TANH": _activation(TANH),
}
