"""One operator of a TFLite file as its importer sees it: operands, options, and what the file says of both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dscompile.errors import BadInputError, UnsupportedError
from dscompile.frontend.import_graph import Array, Floats, ImportGraph, Operand, Value
from dscompile.frontend.import_operands import Operands
from dscompile.frontend.tflite.constants import dequantized
from dscompile.frontend.tflite.options import Options
from dscompile.frontend.tflite.reader import TfliteTensor
from dscompile.ir.ops import NONE, RELU, RELU6, TANH, Activation, Pads, Pair
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
class Call(Operands):
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
