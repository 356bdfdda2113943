"""ONNX operators on int8 tensors, between DequantizeLinear and QuantizeLinear: those that the IR has on integers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

from dscompile.errors import BadInputError, UnsupportedError
from dscompile.frontend import import_lowering as lower
from dscompile.frontend.import_graph import Array, Floats, Operand, Value
from dscompile.frontend.onnx.call import Call
from dscompile.frontend.onnx.ops import HANDLERS
from dscompile.frontend.onnx.windows import window_of
from dscompile.ir.ops import RELU, Activation, Binary, Conv2D, RoundedAs
from dscompile.ir.tensor import Quantization

# Operators that only move elements, or choose among them: the same on integers as on what they stand for.
MOVERS = (
    "Concat",
    "Dropout",
    "Flatten",
    "GlobalMaxPool",
    "Identity",
    "MaxPool",
    "Reshape",
    "Slice",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
)

# uint8 activations become int8 by subtracting this from integers and zero points.
UNSIGNED_SHIFT = 128


@dataclass(frozen=True)
class QuantizedConstant:
    """A constant behind a DequantizeLinear: `centered` are its integers without their zero points.

    scale [1] or one per index of `axis`. `zero_point` is that of int8, or for a uint8 constant shifted by -128.
    `has_four_bits` says whether the file has it as int4 or uint4.
    """

    centered: NDArray[np.int64]
    scale: Floats
    zero_point: int
    axis: int
    has_four_bits: bool = False

    @property
    def real(self) -> Floats:
        """The values in float32."""
        shape = [1] * self.centered.ndim
        if self.scale.size > 1:
            shape[self.axis] = self.scale.size
        return np.asarray(self.centered.astype(np.float32) * self.scale.reshape(shape), np.float32)

    @property
    def per_tensor(self) -> Quantization:
        """The only scale, with the zero point. Raises UnsupportedError if there are several."""
        if self.scale.size != 1:
            raise UnsupportedError("a term with one scale per channel is not supported")
        return Quantization((float(self.scale.reshape(-1)[0]),), self.zero_point)

    @property
    def stored(self) -> NDArray[np.int8]:
        """The integers as an int8 tensor has them."""
        return (self.centered + self.zero_point).astype(np.int8)


@dataclass(frozen=True)
class Int8Call(Call):
    """A node whose computed operands are int8; `constants` are those behind a DequantizeLinear, by input.

    `rounded_as` is the type of the result in the file.
    """

    constants: Sequence[QuantizedConstant | None]
    activation: Activation
    rounded_as: RoundedAs

    def constant(self, index: int, what: str) -> QuantizedConstant:
        """An input that must be a quantized constant."""
        found = self.constants[index] if index < len(self.constants) else None
        if found is None:
            operand = self.operand(index)
            kind = "computed at run time" if isinstance(operand, Value) else f"{operand.dtype}"
            raise UnsupportedError(f"{what} is {kind}; beside int8 activations only quantized constants are supported")
        return found

    def kernel(self, index: int, what: str, axis: int) -> tuple[NDArray[np.int8], Floats]:
        """A symmetric int8 constant whose scales lie along `axis`, and those scales."""
        found = self.constant(index, what)
        if found.scale.size > 1 and found.axis % found.centered.ndim != axis:
            raise UnsupportedError(f"{what} has scales along axis {found.axis}; only one per output is supported")
        if found.centered.min(initial=0) < -UNSIGNED_SHIFT or found.centered.max(initial=0) >= UNSIGNED_SHIFT:
            raise UnsupportedError(f"{what} is asymmetric and without its zero point no int8; use symmetric weights")
        return found.centered.astype(np.int8), found.scale

    def bias(self, index: int, kernel_scale: Floats) -> NDArray[np.int32] | None:
        """An optional int32 constant with the scale of the sums."""
        if self.optional(index) is None:
            return None
        found = self.constant(index, "the bias")
        given = self.graph.tensor_of(self.value()).quantization
        assert given is not None
        wanted = np.float32(given.scale) * kernel_scale
        if found.scale.size not in (1, wanted.size) or not np.allclose(found.scale, wanted, rtol=1e-4, atol=0):
            raise UnsupportedError("the bias has another scale than input scale * kernel scale")
        return found.centered.astype(np.int32)


Int8Handler = Callable[[Int8Call], Value]


def quantization_of(call: Call) -> Quantization:
    """Scale and zero point of a QuantizeLinear or DequantizeLinear on a computed tensor, as of int8."""
    scale, zero = _scale_of(call), _zero_points_of(call)
    if scale.size != 1 or zero.size != 1:
        raise UnsupportedError(f"{scale.size} scales of an activation; only one per tensor is supported")
    shift = UNSIGNED_SHIFT if zero.dtype == np.uint8 else 0
    return Quantization((float(scale.reshape(-1)[0]),), int(zero.reshape(-1)[0]) - shift)


def quantized_constant(call: Call) -> QuantizedConstant:
    """The constant input of a DequantizeLinear."""
    values, scale = call.operand(0), _scale_of(call)
    assert isinstance(values, np.ndarray)
    axis = call.node.integer("axis", 1)
    if values.dtype not in (np.int8, np.uint8, np.int32) and not _has_four_bits(values):
        raise UnsupportedError(f"of {values.dtype} constants; only int4, uint4, int8, uint8 and int32 are supported")
    if scale.size > 1 and (not -values.ndim <= axis < values.ndim or scale.size != values.shape[axis]):
        raise BadInputError(f"{scale.size} scales do not fit axis {axis} of {list(values.shape)}")
    zero = np.zeros(1, np.int64) if call.optional(2) is None else _zero_points_of(call).astype(np.int64).reshape(-1)
    if zero.size not in (1, scale.size):
        raise BadInputError(f"{zero.size} zero points do not fit {scale.size} scales")
    shape = [1] * values.ndim
    if zero.size > 1:
        shape[axis] = zero.size
    centered = values.astype(np.int64) - zero.reshape(shape if values.ndim else ())
    shift = UNSIGNED_SHIFT if values.dtype == np.uint8 else 0
    return QuantizedConstant(centered, scale.reshape(-1), int(zero[0]) - shift, axis, _has_four_bits(values))


def _has_four_bits(values: Array) -> bool:
    return values.dtype.name in ("int4", "uint4")


def stored_type(call: Call) -> RoundedAs:
    """What a QuantizeLinear makes."""
    return "uint8" if _zero_points_of(call).dtype == np.uint8 else "int8"


def is_table(operand: Operand | None) -> TypeGuard[Floats]:
    """Whether an operand is a real number for each of the 256 integers."""
    return (
        isinstance(operand, np.ndarray)
        and operand.shape == (256,)
        and operand.dtype == np.float32
        and bool(np.isfinite(operand).all())
    )


def quantized_table(table: Floats, quantization: Quantization) -> NDArray[np.int8]:
    """What a QuantizeLinear makes of the reals of a table, as int8."""
    levels = np.rint(table / np.float32(quantization.scale)).astype(np.float64) + quantization.zero_point
    return np.asarray(np.clip(levels, -128, 127), np.int8)


def fused_activation(call: Call, quantization: Quantization) -> Activation:
    """A Relu or Clip between an operator and its QuantizeLinear.

    Its bounds must fall on integers that float32 and TFLite's rounding agree about.
    """
    if call.node.op == "Relu":
        return RELU
    low, high = call.scalar(1, "min"), call.scalar(2, "max")
    for bound in (low, high):
        if bound is not None and abs(bound / quantization.scale) % 1 == 0.5:
            raise UnsupportedError(f"the bound {bound:g} lies between two integers of scale {quantization.scale:g}")
    infinity = float("inf")
    return Activation("clip", -infinity if low is None else low, infinity if high is None else high)


def _scale_of(call: Call) -> Floats:
    scale = call.weight(1, "the scale")
    if call.node.integer("block_size", 0):
        raise UnsupportedError("scales per block are not supported")
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise BadInputError("its scale is not positive")
    return scale


def _zero_points_of(call: Call) -> Array:
    zero = call.optional(2)
    if zero is None:
        if call.node.integer("output_dtype", 2) != 2:
            raise UnsupportedError("only int8 and uint8 are supported")
        return np.zeros(1, np.uint8)
    if isinstance(zero, Value):
        raise UnsupportedError("the zero point is computed at run time; only constants are supported")
    if zero.dtype not in (np.int8, np.uint8, np.int32) and not _has_four_bits(zero):
        raise UnsupportedError(f"zero points of type {zero.dtype}; only int8 and uint8 are supported")
    return zero


def _conv(call: Int8Call) -> Value:
    image = lower.image_of(call.operand(0))
    kernel, scale = call.kernel(1, "the kernel", 0)
    if kernel.ndim != 4:
        raise UnsupportedError(f"kernel of shape {list(kernel.shape)}; only 2-D convolutions are supported")
    out_channels, _, *taps = kernel.shape
    window = window_of(call.node, (image.shape[2], image.shape[3]), (taps[0], taps[1]))
    groups = call.node.integer("group", 1)
    op = Conv2D(out_channels, window.kernel, window.stride, window.pads, window.dilation, groups, call.activation)
    bias = call.bias(2, scale)
    return lower.convolution(call.graph, image, op, kernel.transpose(2, 3, 1, 0), bias, scale)


def _gemm(call: Int8Call) -> Value:
    if call.node.integer("transA", 0) or call.node.real("alpha", 1.0) != 1.0 or call.node.real("beta", 1.0) != 1.0:
        raise UnsupportedError("transA, alpha and beta are not supported on int8")
    transposed = call.node.integer("transB", 0)
    kernel, scale = call.kernel(1, "the matrix B", 0 if transposed else 1)
    bias = call.bias(2, scale)
    matrix = kernel.T if transposed else kernel
    return lower.dense(call.graph, call.value(), matrix, bias, call.activation, scale)


def _matmul(call: Int8Call) -> Value:
    if not isinstance(call.operand(0), Value):
        raise UnsupportedError("a constant on the left; only constants on the right are supported")
    kernel, scale = call.kernel(1, "the right matrix", 1)
    return lower.dense(call.graph, call.value(), kernel, None, call.activation, scale)


def _add(call: Int8Call) -> Value:
    terms = [_term(call, index) for index in (0, 1)]
    return lower.binary(call.graph, Binary("add", call.activation, call.rounded_as), *terms)


def _mul(call: Int8Call) -> Value:
    factors = [_term(call, index) for index in (0, 1)]
    return lower.binary(call.graph, Binary("mul", call.activation, call.rounded_as), *factors)


def _term(call: Int8Call, index: int) -> Operand:
    operand = call.operand(index)
    if isinstance(operand, Value):
        return operand
    found = call.constant(index, f"input {index}")
    return call.graph.quantized_constant(found.stored, tuple(range(found.stored.ndim)), found.per_tensor)


def _mean(call: Int8Call) -> Value:
    """GlobalAveragePool and ReduceMean are the same lowering as in float32, which makes a Mean of int8."""
    if call.activation:
        raise UnsupportedError("an activation behind a mean is not supported on int8")
    made = HANDLERS[call.node.op](call)
    assert isinstance(made, Value)
    return made


INT8_HANDLERS: dict[str, Int8Handler] = {
    "Add": _add,
    "Conv": _conv,
    "Gemm": _gemm,
    "GlobalAveragePool": _mean,
    "MatMul": _matmul,
    "Mul": _mul,
    "ReduceMean": _mean,
}
