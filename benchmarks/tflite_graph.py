"""A .tflite file while it grows: tensors, constants and operators."""

from __future__ import annotations

from collections.abc import Sequence

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from dscompile.ir.tensor import Quantization

_TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "int8": schema.TensorType.INT8,
    "int32": schema.TensorType.INT32,
}
_NAMES = {number: name for name, number in _TYPES.items()}
_FIRST_VERSIONS = {  # that take int8; they take float32 as well
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "FULLY_CONNECTED": 4,
    "ADD": 2,
    "MUL": 2,
    "MEAN": 2,
    "AVERAGE_POOL_2D": 2,
    "MAX_POOL_2D": 2,
    "CONCATENATION": 2,
    "LOGISTIC": 2,
    "SLICE": 2,
    "TRANSPOSE": 2,
    "PAD": 2,
    "SOFTMAX": 2,
    "DEQUANTIZE": 2,
}


class TfliteGraph:
    """The only subgraph of a model. Tensors are numbers, in the order in which they were made."""

    def __init__(self) -> None:
        self._buffers = [schema.BufferT()]
        self._tensors: list[schema.TensorT] = []
        self._operators: list[schema.OperatorT] = []
        self._codes: list[str] = []

    def model(self, name: str, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        """The content of the file."""
        graph = schema.SubGraphT()
        graph.name = name
        graph.tensors, graph.operators = self._tensors, self._operators
        graph.inputs, graph.outputs = list(inputs), list(outputs)
        model = schema.ModelT()
        model.version, model.subgraphs, model.buffers = 3, [graph], self._buffers
        model.operatorCodes = [_operator_code(code) for code in self._codes]
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def tensor(self, name: str, shape: Sequence[int], quantization: Quantization | None = None) -> int:
        """A computed tensor: int8 with a quantization, else float32."""
        return self._add(name, shape, "float32" if quantization is None else "int8", quantization)

    def like(self, source: int, name: str, shape: Sequence[int]) -> int:
        """A computed tensor of the type and quantization of another one."""
        index = self._add(name, shape, _NAMES[self._tensors[source].type])
        self._tensors[index].quantization = self._tensors[source].quantization
        return index

    def shape(self, tensor: int) -> tuple[int, ...]:
        """The shape of a tensor."""
        return tuple(self._tensors[tensor].shape)

    def constant(self, values: np.ndarray, quantization: Quantization | None = None, axis: int = 0) -> int:
        """A tensor of float32, int8 or int32 values; several scales lie along `axis`."""
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
        self._buffers.append(buffer)
        index = self._add(f"constant{len(self._tensors)}", values.shape, values.dtype.name, quantization, axis)
        self._tensors[index].buffer = len(self._buffers) - 1
        return index

    def operator(self, name: str, options: object, sources: Sequence[int], target: int) -> None:
        """An operator by its name in the schema, which makes the tensor `target`."""
        if name not in self._codes:
            self._codes.append(name)
        operator = schema.OperatorT()
        operator.opcodeIndex = self._codes.index(name)
        operator.inputs, operator.outputs = list(sources), [target]
        if options is not None:
            operator.builtinOptions = options
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        self._operators.append(operator)

    def _add(
        self, name: str, shape: Sequence[int], dtype: str, quantization: Quantization | None = None, axis: int = 0
    ) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, list(shape), _TYPES[dtype], 0
        if quantization is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = list(quantization.scales)
            tensor.quantization.zeroPoint = [quantization.zero_point] * len(quantization.scales)
            tensor.quantization.quantizedDimension = axis
        self._tensors.append(tensor)
        return len(self._tensors) - 1


def _operator_code(name: str) -> schema.OperatorCodeT:
    result = schema.OperatorCodeT()
    result.builtinCode, result.version = getattr(schema.BuiltinOperator, name), _FIRST_VERSIONS.get(name, 1)
    result.deprecatedBuiltinCode = min(result.builtinCode, 127)
    return result
