"""`import_tflite`: a .tflite file becomes a network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np

from dscompile.errors import UnsupportedError
from dscompile.frontend.import_cleanup import stored_in_four_bits, tidy
from dscompile.frontend.import_errors import Problems, invalid_file
from dscompile.frontend.import_graph import CHANNELS_LAST, Array, ImportGraph, Operand, Order, Value
from dscompile.frontend.import_names import (
    SourceName,
    UniqueNames,
    network_name,
    sanitized,
    short_names,
    source_name,
)
from dscompile.frontend.loaded import NetFile
from dscompile.frontend.tflite.call import Call
from dscompile.frontend.tflite.constants import FOLDED, fold
from dscompile.frontend.tflite.ops import HANDLERS
from dscompile.frontend.tflite.reader import TfliteModel, TfliteOperator, TfliteTensor, read_tflite
from dscompile.frontend.tflite.streaming import StreamingImport
from dscompile.frontend.tflite.variables import VARIABLE_OPERATORS, Variables, needed_operators, read_variables
from dscompile.ir.network import Network
from dscompile.ir.tensor import DType, Quantization, Rounding

# Types of activations that are refused as a whole, before single operators are looked at.
_REFUSED_TYPES = ("int4", "int16", "float16", "float64")
_BORDER_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")
# Operators whose int8 constants are terms like any other input.
_WITH_CONSTANT_TERMS = ("ADD", "CONCATENATION", "MAXIMUM", "MINIMUM", "MUL", "SUB")
# Operators with several results.
_VARIABLE_COUNTS = {"READ_VARIABLE": (1, 1), "ASSIGN_VARIABLE": (2, 0)}  # inputs and results
_SPLITTERS = ("SPLIT", "SPLIT_V", "UNPACK")

# How TensorFlow names the kernel of a layer; the converter joins such names with those of everything it fused.
_KERNEL_NAMES = {"CONV_2D": "Conv2D", "DEPTHWISE_CONV_2D": "depthwise", "FULLY_CONNECTED": "MatMul"}


def import_tflite(path: Path, rounding: Rounding | None = None) -> Network:
    """Reads a .tflite file with float32 or int8 tensors as a validated network; inputs and outputs keep their names.

    int8 networks round as TFLite's reference kernels do unless `rounding` says otherwise. A symbolic batch becomes 1.
    Raises BadInputError for files that are not valid TFLite, UnsupportedError listing every operator and option that
    cannot be imported (or for a rounding of a float32 network), ToolError without the tflite package.
    """
    return load_tflite(path, rounding).network


def load_tflite(path: Path, rounding: Rounding | None = None) -> NetFile:
    """As `import_tflite`, with what is to be known of the file beside its network."""
    importer = _Importer(path, read_tflite(path), rounding)
    network = importer.run()
    return NetFile(network, path, dynamic_range=tuple(importer.dynamic_range))


class _Importer:
    """The state of one import."""

    def __init__(self, path: Path, model: TfliteModel, rounding: Rounding | None) -> None:
        self.path = path
        self.rounding = rounding
        self.model = model
        self.problems = Problems(path)
        self.graph = ImportGraph(network_name(path.stem), CHANNELS_LAST)
        self.values: dict[int, Value] = {}
        self.constants: dict[int, Array] = {}
        self.dynamic_range: list[str] = []
        self.four_bits: list[str] = []
        self.operators = self._fold(self._needed_operators())
        variables = Variables({}, {})
        with self.problems.noting("CALL_ONCE"):
            variables = read_variables(model)
        self.streaming = StreamingImport(self.graph, model, variables, self._quantization_of)

    def run(self) -> Network:
        """Imports inputs, operators and outputs."""
        self._check_types()
        tensors = self.model.tensors
        borders = UniqueNames()
        input_names = [borders.fresh(sanitized(tensors[index].name, "input")) for index in self.model.inputs]
        output_names = [borders.fresh(sanitized(tensors[index].name, "output")) for index in self.model.outputs]
        self.streaming.begin(self.operators, borders)
        self.graph.reserve([*input_names, *self.streaming.names])
        for index, name in zip(self.model.inputs, input_names, strict=True):
            with self.problems.noting(f"input '{name}'"):
                self.values[index] = self._input(index, name)
        self.problems.raise_if_any()

        layer_names = short_names(
            [self._source_name(operator) for operator in self.operators], [*input_names, *self.streaming.names]
        )
        self.graph.reserve(layer_names)
        for operator, name in zip(self.operators, layer_names, strict=True):
            with self.problems.noting(operator.op, self._label(operator)):
                self._import(operator, name)
            for index in operator.outputs:
                if (
                    index not in self.values
                    and index not in self.constants
                    and min(tensors[index].shape, default=0) > 0
                ):
                    self.values[index] = self._placeholder(tensors[index])
        outputs: list[tuple[str, Value]] = []
        for index, name in zip(self.model.outputs, output_names, strict=True):
            with self.problems.noting(f"output '{name}'"):
                if index not in self.values and not self.problems:
                    raise UnsupportedError("depends on no input")
                if index in self.values:
                    outputs.append((name, self.values[index]))
        if self.rounding is not None and not self.graph.is_quantized:
            self.problems.unsupported(f"this model is float32; the rounding '{self.rounding}' is for int8")
        self.problems.raise_if_any()
        rounding = (self.rounding or "tflite") if self.graph.is_quantized else None
        return stored_in_four_bits(tidy(self.graph.finish(outputs, rounding)), self.four_bits)

    def _placeholder(self, tensor: TfliteTensor) -> Value:
        if tensor.dtype == "int8" and tensor.quantization is not None:
            quantization = Quantization((float(tensor.quantization.scales[0]),), tensor.quantization.zero_points[0])
            return self.graph.placeholder(tensor.shape, "int8", quantization)
        return self.graph.placeholder(tensor.shape)

    def _needed_operators(self) -> tuple[TfliteOperator, ...]:
        """The operators that outputs need. Raises BadInputError if one reads what none before it makes."""
        tensors = self.model.tensors
        known = {*self.model.inputs, *(index for index, tensor in enumerate(tensors) if tensor.data is not None)}
        for operator in self.model.operators:
            for index in operator.inputs:
                if index is None or index in known or tensors[index].stateful:
                    continue
                why = f"{operator.op} reads '{tensors[index].name}', which nothing before it makes"
                raise invalid_file(self.path, "TFLite", why)
            repeated = [index for index in operator.outputs if index in known]
            if repeated:
                raise invalid_file(self.path, "TFLite", f"'{tensors[repeated[0]].name}' is made twice")
            known.update(operator.outputs)
        missing = [index for index in self.model.outputs if index not in known]
        if missing:
            raise invalid_file(self.path, "TFLite", f"output '{tensors[missing[0]].name}' is made by no operator")
        return needed_operators(self.model)

    def _fold(self, operators: Sequence[TfliteOperator]) -> tuple[TfliteOperator, ...]:
        """Notes all constants, those that operators make of constants among them, and returns the other operators."""
        tensors = self.model.tensors
        self.constants = {index: tensor.data for index, tensor in enumerate(tensors) if tensor.data is not None}
        kept = []
        for operator in operators:
            (given, *_) = (*operator.inputs, None)
            if operator.op not in FOLDED or given is None or given not in self.constants:
                kept.append(operator)
                continue
            with self.problems.noting(operator.op, self._label(operator)):
                self.constants[operator.outputs[0]] = fold(operator.op, self.constants[given], tensors[given])
        return tuple(kept)

    def _check_types(self) -> None:
        """Raises UnsupportedError for models of other types, together with the operators that are missing anyway."""
        tensors = self.model.tensors
        for dtype in (*_REFUSED_TYPES, "uint8"):
            names = [tensors[index].name for index in self._used() if tensors[index].dtype == dtype]
            if dtype == "int4":
                names = [name for name in names if name not in self._int4_kernels()]
            if dtype == "uint8":
                names = [name for name in names if name not in self._converted_borders()]
            if not names:
                continue
            more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
            self.problems.unsupported(f"tensor '{names[0]}'{more} is {dtype}; only float32 and int8 are supported")
        if not self.problems:
            return
        for operator in self.operators:
            if operator.op not in (*HANDLERS, *VARIABLE_OPERATORS):
                self.problems.unsupported(f"{operator.op}: this operator is not supported", self._label(operator))
        self.problems.raise_if_any()

    def _int4_kernels(self) -> set[str]:
        """Constants of int4 that are kernels."""
        tensors = self.model.tensors
        kernels = [op.inputs[1] for op in self.operators if op.op in _KERNEL_NAMES and len(op.inputs) > 1]
        return {tensors[index].name for index in kernels if index is not None and tensors[index].data is not None}

    def _used(self) -> tuple[int, ...]:
        """Tensors of the operators, and the inputs of the model."""
        used = [index for operator in self.operators for index in (*operator.inputs, *operator.outputs)]
        return tuple(dict.fromkeys(index for index in (*used, *self.model.inputs) if index is not None))

    def _converted_borders(self) -> set[str]:
        """Inputs and outputs that only conversions read or make: these may be uint8."""
        borders = {*self.model.inputs, *self.model.outputs}
        for operator in self.operators:
            if operator.op not in _BORDER_CONVERSIONS:
                borders.difference_update((*(i for i in operator.inputs if i is not None), *operator.outputs))
        return {self.model.tensors[index].name for index in borders}

    def _quantization_of(self, tensor: TfliteTensor) -> Quantization | None:
        """Scale and zero point of a computed tensor, of which integers must have one each; None for float32."""
        if tensor.dtype not in ("int8", "uint8"):
            return None
        given = tensor.quantization
        if given is None or given.scales.size != 1:
            raise UnsupportedError(
                f"tensor '{tensor.name}' is {tensor.dtype} without one scale and zero point; it must have both"
            )
        return Quantization((float(given.scales[0]),), given.zero_points[0])

    def _input(self, index: int, name: str) -> Value:
        tensor = self.model.tensors[index]
        shape = tensor.shape
        if tensor.dtype not in ("float32", "int8", "uint8"):
            raise UnsupportedError(f"it is {tensor.dtype}; only float32, int8 and uint8 are supported")
        if not shape:
            raise UnsupportedError("it is a scalar, or has no shape")
        if any(axis > 0 for axis in tensor.dynamic):
            raise UnsupportedError(
                f"axis {max(tensor.dynamic)} is dynamic",
                help="convert the model again with a fixed input shape (tf.TensorSpec, or input_shapes)",
            )
        shape = (1, *shape[1:]) if tensor.dynamic else shape
        if shape[0] != 1:
            raise UnsupportedError(
                f"it has batch {shape[0]}; only batch 1 is supported", help="convert the model again for a batch of 1"
            )
        if min(shape) < 1 or math.prod(shape) >= 2**31:
            raise UnsupportedError(f"its shape {list(shape)} fits no buffer")
        readers = [operator for operator in self.operators if index in operator.inputs]
        order = self.graph.input_order(shape, [self._permutation(reader) for reader in readers])
        dtype = cast(DType, tensor.dtype)
        return self.graph.input(name, shape, order, dtype, self._quantization_of(tensor))

    def _permutation(self, operator: TfliteOperator) -> Order | None:
        """How an operator transposes its input; None if it does something else."""
        if operator.op != "TRANSPOSE" or len(operator.inputs) < 2 or operator.inputs[1] is None:
            return None
        data = self.model.tensors[operator.inputs[1]].data
        order = () if data is None or data.dtype.kind != "i" else tuple(int(axis) for axis in data.reshape(-1))
        return order if sorted(order) == list(range(4)) else None

    def _import(self, operator: TfliteOperator, name: str) -> None:
        if operator.op in VARIABLE_OPERATORS:
            self._import_variable(operator)
            return
        if operator.op not in HANDLERS:
            raise UnsupportedError("this operator is not supported")
        if len(operator.outputs) != 1 and operator.op not in _SPLITTERS:
            raise UnsupportedError(f"{len(operator.outputs)} results; only one is supported")
        tensors = self.model.tensors
        result = tensors[operator.outputs[0]]
        quantization = self._quantization_of(result)
        self.graph.start(name, quantization, "uint8" if result.dtype == "uint8" else "int8")
        operands: list[Operand | None] = []
        for index in operator.inputs:
            if index is None:
                operands.append(None)
                continue
            tensor = tensors[index]
            if tensor.stateful:
                raise UnsupportedError(
                    f"tensor '{tensor.name}' keeps state between inferences, which is supported of VAR_HANDLE alone"
                )
            operand = self.values.get(index, self.constants.get(index))
            if operand is None:
                if operator.op != "RESHAPE" or index == operator.inputs[0]:
                    return  # follows an operator that could not be imported, and nothing is known of that one's result
                operand = Value(tensor.name, tensor.shape, ())  # computed, though not by this network
            if operator.op in _WITH_CONSTANT_TERMS and isinstance(operand, np.ndarray) and tensor.dtype == "int8":
                operand = self._constant_term(tensor, operand)
            operands.append(operand)
        described = [None if index is None else tensors[index] for index in operator.inputs]
        rounding = self.rounding or "tflite"
        call = Call(self.graph, operator.options, operands, described, result, rounding, len(operator.outputs))
        if operator.op in _KERNEL_NAMES and call.is_dynamic_range:
            self.dynamic_range.append(name)
        if operator.op in _KERNEL_NAMES and len(described) > 1 and described[1] and described[1].dtype == "int4":
            self.four_bits.append(name)
        made = HANDLERS[operator.op](call)
        for index, value in zip(operator.outputs, made if isinstance(made, list) else [made], strict=True):
            self._check_result(tensors[index], value)
            self.values[index] = value

    def _import_variable(self, operator: TfliteOperator) -> None:
        found = len(operator.inputs), len(operator.outputs)
        if (wanted := _VARIABLE_COUNTS.get(operator.op, found)) != found:
            raise UnsupportedError(
                f"{found[0]} inputs and {found[1]} results; it must have {wanted[0]} and {wanted[1]}"
            )
        if operator.op == "READ_VARIABLE":
            made = self.streaming.read(operator)
            if isinstance(made, Value):
                self.values[operator.outputs[0]] = made
            else:
                self.constants[operator.outputs[0]] = made
        elif operator.op == "ASSIGN_VARIABLE":
            index = operator.inputs[1]
            operand = None if index is None else self.values.get(index, self.constants.get(index))
            if operand is not None:
                self.streaming.assign(operator, operand)

    def _check_result(self, tensor: TfliteTensor, value: Value) -> None:
        wanted, made = self._quantization_of(tensor), self.graph.tensor_of(value).quantization
        if made != wanted:
            raise UnsupportedError(
                f"its result is {_described(wanted)}, and its input {_described(made)}; "
                "this operator keeps the scale of its input"
            )

    def _constant_term(self, tensor: TfliteTensor, array: Array) -> Value:
        """An int8 constant as a layer."""
        quantization = self._quantization_of(tensor)
        assert quantization is not None
        return self.graph.quantized_constant(array, tuple(range(array.ndim)), quantization)

    def _label(self, operator: TfliteOperator) -> str:
        """What errors call an operator: the name of its result, without what was fused into it."""
        name = self.model.tensors[operator.outputs[0]].name if operator.outputs else ""
        return _segment(name, operator.op) or "(without a name)"

    def _source_name(self, operator: TfliteOperator) -> SourceName:
        kind = operator.op.lower().replace("_2d", "").removesuffix("_conv")
        label = _segment(self.model.tensors[operator.outputs[0]].name, operator.op) if operator.outputs else ""
        return source_name(label, kind, leaf_names_operator=True)


def _described(quantization: Quantization | None) -> str:
    if quantization is None:
        return "float32"
    return f"int8 with scale {quantization.scale:g} and zero point {quantization.zero_point}"


def _segment(name: str, op: str) -> str:
    """The part of a joined name `a/Relu;b/BiasAdd;c/Conv2D` that names the layer itself.

    The converter joins the names of what it fused, and of layers that merely share a constant. The layer's own is the
    last that is named like its kernel; a bias is never shared, so that its name decides where there is one.
    """
    segments = [segment for segment in name.split(";") if segment]
    if not segments:
        return name
    if op in _KERNEL_NAMES:
        for marker in ("BiasAdd", _KERNEL_NAMES[op]):
            own = [segment for segment in segments if segment.rpartition("/")[2].startswith(marker)]
            if own:
                return own[-1]
    return segments[-1]
