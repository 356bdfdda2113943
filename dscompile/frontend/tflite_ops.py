"""TFLite operators on float32 tensors: one function each, which reads the options and emits the IR's layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dscompile.errors import BadInputError, UnsupportedError
from dscompile.frontend import import_lowering as lower
from dscompile.frontend.import_graph import Array, Floats, ImportGraph, Operand, Value
from dscompile.frontend.import_lowering import as_value, as_weight, axis_of
from dscompile.frontend.tflite_reader import Options
from dscompile.ir.ops import (
    HARD_SWISH,
    NONE,
    RELU,
    RELU6,
    SIGMOID,
    TANH,
    Activation,
    Binary,
    Conv2D,
    Pads,
    Pair,
    Pool,
)
from dscompile.ir.shapes import same_pads
from dscompile.ir.tensor import Shape

RELU_N1_TO_1 = Activation("clip", -1.0, 1.0)
RELU_0_TO_1 = Activation("clip", 0.0, 1.0)
_FUSED = {"NONE": NONE, "RELU": RELU, "RELU_N1_TO_1": RELU_N1_TO_1, "RELU6": RELU6, "TANH": TANH}


@dataclass(frozen=True)
class Call:
    """One operator with its operands (None: an optional input that is absent).

    `declared` is the shape that the file gives to the result.
    """

    graph: ImportGraph
    options: Options
    operands: Sequence[Operand | None]
    declared: Shape

    def operand(self, index: int) -> Operand:
        """An input that must be there."""
        found = self.optional(index)
        if found is None:
            raise BadInputError(f"input {index} is missing")
        return found

    def optional(self, index: int) -> Operand | None:
        """An input that may be absent."""
        return self.operands[index] if index < len(self.operands) else None

    def value(self, index: int = 0) -> Value:
        """An input that must be a computed tensor."""
        return as_value(self.operand(index), f"input {index}")

    def weight(self, index: int, what: str) -> Floats:
        """An input that must be a float32 constant."""
        return as_weight(self.operand(index), what)

    def bias(self) -> Floats | None:
        """Input 2, which may be absent."""
        return None if self.optional(2) is None else self.weight(2, "the bias").reshape(-1)

    def integers(self, index: int, what: str) -> Array:
        """An input that must be a constant of integers."""
        operand = self.operand(index)
        if isinstance(operand, Value):
            raise UnsupportedError(f"{what} computed at run time; only constants are supported")
        if operand.dtype.kind not in "iu":
            raise BadInputError(f"{what} must be integers, not {operand.dtype}")
        return operand

    def integer_list(self, index: int, what: str) -> tuple[int, ...]:
        """The elements of a constant of integers."""
        return tuple(int(item) for item in self.integers(index, what).reshape(-1))

    @property
    def activation(self) -> Activation:
        """The fused activation."""
        name = self.options.activation
        if name not in _FUSED:
            raise UnsupportedError(f"fused activation {name} is not supported")
        return _FUSED[name]

    def pads(self, image: Pair, kernel: Pair, stride: Pair, dilation: Pair) -> Pads:
        """The padding rule as rows and columns."""
        if min(*stride, *dilation, *kernel) < 1:
            raise BadInputError(f"kernel {kernel}, stride {stride} and dilation {dilation} must be positive")
        match self.options.padding:
            case "SAME":
                return same_pads(*image, kernel, stride, dilation)
            case "VALID":
                return Pads()
            case other:
                raise BadInputError(f"{other} is neither SAME nor VALID")


Handler = Callable[[Call], Value]


def _kernel(weights: Floats) -> Floats:
    if weights.ndim != 4:
        raise BadInputError(f"kernel has shape {list(weights.shape)}, it must have 4 axes")
    return weights


def _conv(call: Call) -> Value:
    image, weights = lower.image_of(call.operand(0)), _kernel(call.weight(1, "the kernel"))
    out_channels, height, width, depth = weights.shape
    _, rows, columns, channels = image.shape
    if depth < 1 or channels % depth:
        raise BadInputError(f"a kernel over {depth} channels does not fit an input of {channels}")
    stride, dilation = call.options.stride, call.options.dilation
    pads = call.pads((rows, columns), (height, width), stride, dilation)
    op = Conv2D(out_channels, (height, width), stride, pads, dilation, channels // depth, call.activation)
    return lower.convolution(call.graph, image, op, weights.transpose(1, 2, 3, 0), call.bias())


def _depthwise(call: Call) -> Value:
    image, weights = lower.image_of(call.operand(0)), _kernel(call.weight(1, "the kernel"))
    one, height, width, out_channels = weights.shape
    _, rows, columns, channels = image.shape
    if one != 1 or out_channels % channels:
        raise BadInputError(f"a kernel of {list(weights.shape)} does not fit an input of {channels} channels")
    stride, dilation = call.options.stride, call.options.dilation
    pads = call.pads((rows, columns), (height, width), stride, dilation)
    op = Conv2D(out_channels, (height, width), stride, pads, dilation, channels, call.activation)
    return lower.convolution(call.graph, image, op, weights.transpose(1, 2, 0, 3), call.bias())


def _fully_connected(call: Call) -> Value:
    if call.options.shuffled_weights:
        raise UnsupportedError("shuffled weights are not supported")
    value, weights = call.value(), call.weight(1, "the weights")
    if weights.ndim != 2:
        raise BadInputError(f"weights have shape {list(weights.shape)}, they must be [out, in]")
    depth, elements = weights.shape[1], math.prod(value.shape)
    if not call.options.keep_axes:
        if depth < 1 or elements % depth:
            raise BadInputError(f"weights over {depth} inputs do not fit {list(value.shape)}")
        value = call.graph.reshaped(value, (elements // depth, depth))
    return lower.dense(call.graph, value, weights.T, call.bias(), call.activation)


def _pool(kind: str) -> Handler:
    def handler(call: Call) -> Value:
        image = lower.image_of(call.operand(0))
        window, stride = call.options.window, call.options.stride
        pads = call.pads((image.shape[1], image.shape[2]), window, stride, (1, 1))
        return lower.pool(
            call.graph,
            image,
            Pool("max" if kind == "max" else "average", window, stride, pads, activation=call.activation),
        )

    return handler


def _add(call: Call) -> Value:
    return lower.binary(call.graph, Binary("add", call.activation), call.operand(0), call.operand(1))


def _mul(call: Call) -> Value:
    return lower.binary(call.graph, Binary("mul", call.activation), call.operand(0), call.operand(1))


def _concatenation(call: Call) -> Value:
    operands = [call.operand(index) for index in range(len(call.operands))]
    if not any(isinstance(operand, Value) for operand in operands):
        raise UnsupportedError("all inputs are constants")
    return lower.activate(call.graph, lower.concat(call.graph, operands, call.options.axis), call.activation)


def _activation(activation: Activation) -> Handler:
    def handler(call: Call) -> Value:
        return lower.activate(call.graph, call.value(), activation)

    return handler


def _leaky_relu(call: Call) -> Value:
    return lower.activate(call.graph, call.value(), Activation("leaky_relu", alpha=call.options.scale))


def _prelu(call: Call) -> Value:
    return lower.prelu(call.graph, call.value(), call.weight(1, "the slope"))


def _softmax(call: Call) -> Value:
    return lower.softmax(call.graph, call.value(), -1, call.options.scale)


def _mean(call: Call) -> Value:
    axes = call.integer_list(1, "the axes")
    if not axes:
        return call.value()
    return lower.mean(call.graph, call.value(), axes, call.options.keep_axes)


def _pad(call: Call) -> Value:
    value, paddings = call.value(), call.integers(1, "the paddings")
    if paddings.shape != (len(value.shape), 2):
        raise BadInputError(f"paddings {list(paddings.shape)} for a tensor of rank {len(value.shape)}")
    fill = 0.0
    if call.optional(2) is not None:
        given = call.weight(2, "the padding value")
        if given.size != 1:
            raise BadInputError(f"the padding value has {given.size} elements")
        fill = float(given.reshape(-1)[0])
    before, after = ([int(size) for size in column] for column in np.asarray(paddings, np.int64).T)
    return lower.pad(call.graph, value, before, after, fill)


def _reshape(call: Call) -> Value:
    value, target = call.value(), call.optional(1)
    if isinstance(target, Value):
        # Keras computes it from the batch; with the batch fixed, it is what the file gives to the result.
        shape = call.declared
    elif target is not None:
        shape = call.integer_list(1, "the shape")
    else:
        shape = call.options.sizes
    elements = math.prod(value.shape)
    if shape.count(-1) == 1 and (rest := -math.prod(shape)) > 0:
        shape = tuple(elements // rest if size == -1 else size for size in shape)
    if min(shape, default=1) < 1 or math.prod(shape) != elements:
        raise BadInputError(f"{list(value.shape)} has {elements} elements, they do not fill {list(shape)}")
    return call.graph.reshaped(value, shape, role="")


def _squeeze(call: Call) -> Value:
    value = call.value()
    rank = len(value.shape)
    dropped = {axis_of(axis, rank) for axis in call.options.sizes} or {
        axis for axis in range(rank) if value.shape[axis] == 1
    }
    if any(value.shape[axis] != 1 for axis in dropped):
        raise BadInputError(f"axes {sorted(dropped)} of {list(value.shape)} are not all 1")
    kept = tuple(size for axis, size in enumerate(value.shape) if axis not in dropped)
    return call.graph.reshaped(value, kept, role="")


def _expand_dims(call: Call) -> Value:
    value, axes = call.value(), call.integer_list(1, "the axis")
    if len(axes) != 1:
        raise BadInputError(f"needs one axis, not {list(axes)}")
    at = axis_of(axes[0], len(value.shape) + 1)
    return call.graph.reshaped(value, (*value.shape[:at], 1, *value.shape[at:]), role="")


def _transpose(call: Call) -> Value:
    value, permutation = call.value(), call.integer_list(1, "the permutation")
    if sorted(permutation) != list(range(len(value.shape))):
        raise BadInputError(f"{list(permutation)} does not permute the axes of {list(value.shape)}")
    return call.graph.transposed(value, permutation)


HANDLERS: dict[str, Handler] = {
    "ADD": _add,
    "AVERAGE_POOL_2D": _pool("average"),
    "CONCATENATION": _concatenation,
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "EXPAND_DIMS": _expand_dims,
    "FULLY_CONNECTED": _fully_connected,
    "HARD_SWISH": _activation(HARD_SWISH),
    "LEAKY_RELU": _leaky_relu,
    "LOGISTIC": _activation(SIGMOID),
    "MAX_POOL_2D": _pool("max"),
    "MEAN": _mean,
    "MUL": _mul,
    "PAD": _pad,
    "PADV2": _pad,
    "PRELU": _prelu,
    "RELU": _activation(RELU),
    "RELU6": _activation(RELU6),
    "RELU_0_TO_1": _activation(RELU_0_TO_1),
    "RELU_N1_TO_1": _activation(RELU_N1_TO_1),
    "RESHAPE": _reshape,
    "SOFTMAX": _softmax,
    "SQUEEZE": _squeeze,
    "TANH": _activation(TANH),
    "TRANSPOSE": _transpose,
}
