"""TFLite operators on float32 and int8 tensors: one function each, which reads options and emits the IR's layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dscompile.errors import BadInputError, UnsupportedError
from dscompile.frontend import import_lowering as lower
from dscompile.frontend.import_graph import Array, Floats, ImportGraph, Operand, Value
from dscompile.frontend.import_lowering import as_value, as_weight, axis_of
from dscompile.frontend.tflite_constants import dequantized
from dscompile.frontend.tflite_reader import Options, TfliteTensor
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
    Dequantize,
    Pads,
    Pair,
    Pool,
    Quantize,
)
from dscompile.ir.shapes import same_pads
from dscompile.ir.tensor import Rounding, Shape

RELU_N1_TO_1 = Activation("clip", -1.0, 1.0)
RELU_0_TO_1 = Activation("clip", 0.0, 1.0)
_FUSED = {"NONE": NONE, "RELU": RELU, "RELU_N1_TO_1": RELU_N1_TO_1, "RELU6": RELU6, "TANH": TANH}


@dataclass(frozen=True)
class Linear:
    """Constants of a convolution or dense layer as the file has them; `scale` [C_out] or [1] belongs to int8 ones."""

    kernel: Array
    scale: Array | None
    bias: Array | None


@dataclass(frozen=True)
class Call:
    """One operator with its operands (None: an optional input that is absent) and what the file says of them.

    `tensors` has an entry for each operand, `result` is that of the result. `rounding` is that of int8 operators. An
    operator has several `results` only where it splits one tensor; `result` is the first.
    """

    graph: ImportGraph
    options: Options
    operands: Sequence[Operand | None]
    tensors: Sequence[TfliteTensor | None]
    result: TfliteTensor
    rounding: Rounding
    results: int = 1

    @property
    def declared(self) -> Shape:
        """The shape that the file gives to the result."""
        return self.result.shape

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

    @property
    def is_int8(self) -> bool:
        """Whether the first input is a computed tensor of integers."""
        operand = self.optional(0)
        return isinstance(operand, Value) and self.graph.tensor_of(operand).dtype == "int8"

    def linear(self, what: str, axis: int) -> Linear:
        """Inputs 1, the kernel, and 2, the bias, which may be absent. `axis` of the kernel are the output channels."""
        if not self.is_int8:
            bias = None if self.optional(2) is None else self.weight(2, "the bias").reshape(-1)
            return Linear(self._float_kernel(what), None, bias)
        kernel = self.integer_weight(1, what, "int8")
        integer_bias: Array | None = None
        if self.optional(2) is not None:
            integer_bias = self.integer_weight(2, "the bias", "int32").reshape(-1)
        tensor = self.tensors[1]
        quantization = tensor.quantization if tensor is not None else None
        if quantization is None:
            raise BadInputError(f"{what} has no scale")
        if any(quantization.zero_points):
            raise UnsupportedError(f"{what} has zero points other than 0; only symmetric weights are supported")
        if quantization.scales.size > 1 and quantization.axis != axis:
            raise UnsupportedError(
                f"{what} has scales along axis {quantization.axis}; only one per output channel is supported"
            )
        return Linear(kernel, quantization.scales, integer_bias)

    @property
    def is_dynamic_range(self) -> bool:
        """Whether the operator has an int8 kernel for a float32 input, which TFLite quantizes as it runs."""
        operand, tensor = self.optional(1), self.tensors[1] if len(self.tensors) > 1 else None
        quantized = tensor is not None and tensor.quantization is not None
        return isinstance(operand, np.ndarray) and operand.dtype == np.int8 and quantized and not self.is_int8

    def _float_kernel(self, what: str) -> Floats:
        operand, tensor = self.operand(1), self.tensors[1]
        if self.is_dynamic_range and isinstance(operand, np.ndarray) and tensor is not None:
            return dequantized(operand, tensor)
        return self.weight(1, what)

    def integer_weight(self, index: int, what: str, dtype: str) -> Array:
        """An input that must be a constant of this type."""
        operand = self.operand(index)
        if isinstance(operand, Value):
            raise UnsupportedError(f"{what} is computed at run time; only constants are supported")
        if operand.dtype != dtype:
            raise UnsupportedError(f"{what} is {operand.dtype}; beside an int8 input only {dtype} is supported")
        return operand

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
        if self.is_int8 and name == "TANH":
            raise UnsupportedError("fused activation TANH on int8 is not supported")
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


Handler = Callable[[Call], Value | list[Value]]


def _kernel(weights: Array) -> Array:
    if weights.ndim != 4:
        raise BadInputError(f"kernel has shape {list(weights.shape)}, it must have 4 axes")
    return weights


def _conv(call: Call) -> Value:
    image, linear = lower.image_of(call.operand(0)), call.linear("the kernel", 0)
    weights = _kernel(linear.kernel)
    out_channels, height, width, depth = weights.shape
    _, rows, columns, channels = image.shape
    if depth < 1 or channels % depth:
        raise BadInputError(f"a kernel over {depth} channels does not fit an input of {channels}")
    stride, dilation = call.options.stride, call.options.dilation
    pads = call.pads((rows, columns), (height, width), stride, dilation)
    op = Conv2D(out_channels, (height, width), stride, pads, dilation, channels // depth, call.activation)
    return lower.convolution(call.graph, image, op, weights.transpose(1, 2, 3, 0), linear.bias, linear.scale)


def _depthwise(call: Call) -> Value:
    image, linear = lower.image_of(call.operand(0)), call.linear("the kernel", 3)
    weights = _kernel(linear.kernel)
    one, height, width, out_channels = weights.shape
    _, rows, columns, channels = image.shape
    if one != 1 or out_channels % channels:
        raise BadInputError(f"a kernel of {list(weights.shape)} does not fit an input of {channels} channels")
    stride, dilation = call.options.stride, call.options.dilation
    pads = call.pads((rows, columns), (height, width), stride, dilation)
    op = Conv2D(out_channels, (height, width), stride, pads, dilation, channels, call.activation)
    return lower.convolution(call.graph, image, op, weights.transpose(1, 2, 0, 3), linear.bias, linear.scale)


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


def _hard_swish(call: Call) -> Value:
    given, made = call.graph.tensor_of(call.value()).quantization, call.result.quantization
    if given is not None and made is not None and made.scales[0] <= given.scale / 128:
        raise UnsupportedError(
            f"a result of scale {made.scales[0]:g} of an input of scale {given.scale:g}; it must exceed 1/128 of it"
        )
    return lower.activate(call.graph, call.value(), HARD_SWISH)


def _leaky_relu(call: Call) -> Value:
    return lower.activate(call.graph, call.value(), Activation("leaky_relu", alpha=call.options.scale))


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
        fill = _padding_value(call)
    before, after = ([int(size) for size in column] for column in np.asarray(paddings, np.int64).T)
    return lower.pad(call.graph, value, before, after, fill)


def _padding_value(call: Call) -> float:
    """The constant that PADV2 pads with, as a real number."""
    given = call.integer_weight(2, "the padding value", "int8") if call.is_int8 else call.weight(2, "the padding value")
    if given.size != 1:
        raise BadInputError(f"the padding value has {given.size} elements")
    value = float(given.astype(np.float64).reshape(-1)[0])
    if not call.is_int8:
        return value
    quantization = call.graph.tensor_of(call.value()).quantization
    assert quantization is not None
    return (value - quantization.zero_point) * quantization.scale


def _quantize(call: Call) -> Value:
    value = call.value()
    return call.graph.emit_value(Quantize(), [value.tensor], value.order)


def _dequantize(call: Call) -> Value:
    value = call.value()
    return call.graph.emit_value(Dequantize(), [value.tensor], value.order)


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


def _slice(call: Call) -> Value:
    value = call.value()
    begins, sizes = call.integer_list(1, "the begin"), call.integer_list(2, "the size")
    if not len(begins) == len(sizes) == len(value.shape):
        raise BadInputError(f"begin {list(begins)} and size {list(sizes)} do not fit the axes of {list(value.shape)}")
    filled = [
        whole - begin if size == -1 else size for begin, size, whole in zip(begins, sizes, value.shape, strict=True)
    ]
    return as_value(lower.box(call.graph, value, begins, filled))


def _strided_slice(call: Call) -> Value:
    value, masks = call.value(), call.options.masks
    begins, ends, strides = (call.integer_list(i, what) for i, what in ((1, "begin"), (2, "end"), (3, "strides")))
    if not len(begins) == len(ends) == len(strides) <= len(value.shape):
        raise BadInputError(f"begin {list(begins)}, end {list(ends)} and strides {list(strides)} do not fit together")
    if masks.ellipsis or masks.new_axis:
        raise UnsupportedError("ellipses and new axes are not supported")
    firsts, sizes = [0] * len(value.shape), list(value.shape)
    for axis, (begin, end, stride) in enumerate(zip(begins, ends, strides, strict=True)):
        if stride != 1:
            raise UnsupportedError(f"stride {stride} along axis {axis}; only strides of 1 are supported")
        size = value.shape[axis]
        stop = end + begin if call.options.relative_ends else end
        if masks.shrink >> axis & 1:
            first = begin + size if begin < 0 else begin
            last = first + 1
        else:
            given = slice(None if masks.begin >> axis & 1 else begin, None if masks.end >> axis & 1 else stop)
            first, last, _ = given.indices(size)
        firsts[axis], sizes[axis] = first, last - first
    result = as_value(lower.box(call.graph, value, firsts, sizes))
    kept = tuple(size for axis, size in enumerate(sizes) if not masks.shrink >> axis & 1)
    return call.graph.reshaped(result, kept) if masks.shrink else result


def _split(call: Call) -> list[Value]:
    value, axes = call.value(1), call.integer_list(0, "the axis")
    if len(axes) != 1:
        raise BadInputError(f"needs one axis, not {list(axes)}")
    size = value.shape[axis_of(axes[0], len(value.shape))]
    if size % call.results:
        raise BadInputError(f"{call.results} equal parts of axis {axes[0]} of {list(value.shape)}")
    return _parts(call, value, axes[0], [size // call.results] * call.results)


def _split_v(call: Call) -> list[Value]:
    value, sizes, axes = call.value(), call.integer_list(1, "the sizes"), call.integer_list(2, "the axis")
    if len(axes) != 1 or len(sizes) != call.results or sizes.count(-1) > 1:
        raise BadInputError(f"sizes {list(sizes)} along axes {list(axes)} for {call.results} results")
    rest = value.shape[axis_of(axes[0], len(value.shape))] - sum(size for size in sizes if size != -1)
    return _parts(call, value, axes[0], [rest if size == -1 else size for size in sizes])


def _parts(call: Call, value: Value, axis: int, sizes: Sequence[int]) -> list[Value]:
    return [as_value(part) for part in lower.split(call.graph, value, axis, sizes)]


HANDLERS: dict[str, Handler] = {
    "ADD": _add,
    "AVERAGE_POOL_2D": _pool("average"),
    "CONCATENATION": _concatenation,
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "DEQUANTIZE": _dequantize,
    "EXPAND_DIMS": _expand_dims,
    "FULLY_CONNECTED": _fully_connected,
    "HARD_SWISH": _hard_swish,
    "LEAKY_RELU": _leaky_relu,
    "LOGISTIC": _activation(SIGMOID),
    "MAX_POOL_2D": _pool("max"),
    "MEAN": _mean,
    "MUL": _mul,
    "PAD": _pad,
    "PADV2": _pad,
    "PRELU": _prelu,
    "QUANTIZE": _quantize,
    "RELU": _activation(RELU),
    "RELU6": _activation(RELU6),
    "RELU_0_TO_1": _activation(RELU_0_TO_1),
    "RELU_N1_TO_1": _activation(RELU_N1_TO_1),
    "RESHAPE": _reshape,
    "SLICE": _slice,
    "SOFTMAX": _softmax,
    "SPLIT": _split,
    "SPLIT_V": _split_v,
    "SQUEEZE": _squeeze,
    "STRIDED_SLICE": _strided_slice,
    "TANH": _activation(TANH),
    "TRANSPOSE": _transpose,
}
