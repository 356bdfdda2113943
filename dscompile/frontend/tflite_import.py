"""`import_tflite`: a float .tflite file becomes a network."""

from __future__ import annotations

import math
from pathlib import Path

from dscompile.errors import UnsupportedError
from dscompile.frontend.import_cleanup import tidy
from dscompile.frontend.import_errors import Problems, invalid_file
from dscompile.frontend.import_graph import CHANNELS_LAST, ImportGraph, Operand, Order, Value
from dscompile.frontend.import_names import (
    SourceName,
    UniqueNames,
    network_name,
    sanitized,
    short_names,
    source_name,
)
from dscompile.frontend.tflite_ops import HANDLERS, Call
from dscompile.frontend.tflite_reader import TfliteModel, TfliteOperator, read_tflite
from dscompile.ir.network import Network

_QUANTIZED = ("int4", "int8", "uint8", "int16")
_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")

# How TensorFlow names the kernel of a layer; the converter joins such names with those of everything it fused.
_KERNEL_NAMES = {"CONV_2D": "Conv2D", "DEPTHWISE_CONV_2D": "depthwise", "FULLY_CONNECTED": "MatMul"}


def import_tflite(path: Path) -> Network:
    """Reads a .tflite file with float32 tensors as a validated network; inputs and outputs keep their names.

    A symbolic batch becomes 1. Raises BadInputError for files that are not valid TFLite, UnsupportedError listing every
    operator and option that cannot be imported, ToolError without the tflite package.
    """
    return _Importer(path, read_tflite(path)).run()


class _Importer:
    """The state of one import."""

    def __init__(self, path: Path, model: TfliteModel) -> None:
        self.path = path
        self.model = model
        self.problems = Problems(path)
        self.graph = ImportGraph(network_name(path.stem), CHANNELS_LAST)
        self.values: dict[int, Value] = {}
        self.operators = self._needed_operators()

    def run(self) -> Network:
        """Imports inputs, operators and outputs."""
        self._check_types()
        tensors = self.model.tensors
        borders = UniqueNames()
        input_names = [borders.fresh(sanitized(tensors[index].name, "input")) for index in self.model.inputs]
        output_names = [borders.fresh(sanitized(tensors[index].name, "output")) for index in self.model.outputs]
        self.graph.reserve(input_names)
        for index, name in zip(self.model.inputs, input_names, strict=True):
            with self.problems.noting(f"input '{name}'"):
                self.values[index] = self._input(index, name)
        self.problems.raise_if_any()

        layer_names = short_names([self._source_name(operator) for operator in self.operators], input_names)
        self.graph.reserve(layer_names)
        for operator, name in zip(self.operators, layer_names, strict=True):
            self.graph.start(name)
            with self.problems.noting(operator.op, self._label(operator)):
                self._import(operator)
            for index in operator.outputs:
                if index not in self.values and min(tensors[index].shape, default=0) > 0:
                    self.values[index] = self.graph.placeholder(tensors[index].shape)
        outputs: list[tuple[str, Value]] = []
        for index, name in zip(self.model.outputs, output_names, strict=True):
            with self.problems.noting(f"output '{name}'"):
                if index not in self.values and not self.problems:
                    raise UnsupportedError("depends on no input")
                if index in self.values:
                    outputs.append((name, self.values[index]))
        self.problems.raise_if_any()
        return tidy(self.graph.finish(outputs))

    def _needed_operators(self) -> tuple[TfliteOperator, ...]:
        """The operators that outputs need. Raises BadInputError if one reads what none before it makes."""
        tensors = self.model.tensors
        known = {*self.model.inputs, *(index for index, tensor in enumerate(tensors) if tensor.data is not None)}
        for operator in self.model.operators:
            for index in operator.inputs:
                if index is None or index in known or tensors[index].stateful or tensors[index].sparse:
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
        needed = set(self.model.outputs)
        kept: list[TfliteOperator] = []
        for operator in reversed(self.model.operators):
            if needed.intersection(operator.outputs):
                # The shape of a RESHAPE that is computed at run time is not computed here (see tflite_ops).
                used = operator.inputs[:1] if operator.op == "RESHAPE" else operator.inputs
                needed.update(index for index in used if index is not None)
                kept.append(operator)
        return tuple(reversed(kept))

    def _check_types(self) -> None:
        """Raises UnsupportedError for quantized models, together with the operators that are missing anyway."""
        tensors = self.model.tensors
        used = {index for operator in self.operators for index in (*operator.inputs, *operator.outputs)}
        types = {tensors[index].dtype for index in (*used, *self.model.inputs) if index is not None}
        quantized = [name for name in _QUANTIZED if name in types]
        if quantized:
            kinds = ", ".join(quantized)
            self.problems.unsupported(f"this is a quantized model ({kinds}); quantized tensors are not supported yet")
        elif "float16" in types:
            self.problems.unsupported("this model stores float16 weights (DEQUANTIZE); they are not supported yet")
        if not self.problems:
            return
        for operator in self.operators:
            if operator.op not in HANDLERS and operator.op not in _CONVERSIONS:
                self.problems.unsupported(f"{operator.op}: this operator is not supported", self._label(operator))
        self.problems.raise_if_any()

    def _input(self, index: int, name: str) -> Value:
        tensor = self.model.tensors[index]
        shape = tensor.shape
        if tensor.dtype != "float32":
            raise UnsupportedError(f"it is {tensor.dtype}; only float32 is supported")
        if not shape:
            raise UnsupportedError("it is a scalar, or has no shape")
        if any(axis > 0 for axis in tensor.dynamic):
            raise UnsupportedError(
                f"axis {max(tensor.dynamic)} is dynamic",
                help="convert the model again with a fixed input shape (tf.TensorSpec, or input_shapes)",
            )
        shape = (1, *shape[1:]) if tensor.dynamic else shape
        if shape[0] != 1:
            raise UnsupportedError(f"it has batch {shape[0]}; only batch 1 is supported")
        if min(shape) < 1 or math.prod(shape) >= 2**31:
            raise UnsupportedError(f"its shape {list(shape)} fits no buffer")
        readers = [operator for operator in self.operators if index in operator.inputs]
        return self.graph.input(name, shape, self.graph.input_order(shape, [self._permutation(r) for r in readers]))

    def _permutation(self, operator: TfliteOperator) -> Order | None:
        """How an operator transposes its input; None if it does something else."""
        if operator.op != "TRANSPOSE" or len(operator.inputs) < 2 or operator.inputs[1] is None:
            return None
        data = self.model.tensors[operator.inputs[1]].data
        order = () if data is None or data.dtype.kind != "i" else tuple(int(axis) for axis in data.reshape(-1))
        return order if sorted(order) == list(range(4)) else None

    def _import(self, operator: TfliteOperator) -> None:
        if operator.op not in HANDLERS:
            raise UnsupportedError("this operator is not supported")
        if len(operator.outputs) != 1:
            raise UnsupportedError(f"{len(operator.outputs)} results; only one is supported")
        tensors = self.model.tensors
        operands: list[Operand | None] = []
        for index in operator.inputs:
            if index is None:
                operands.append(None)
                continue
            tensor = tensors[index]
            if tensor.stateful or tensor.sparse:
                what = "keeps state between inferences" if tensor.stateful else "is sparse"
                raise UnsupportedError(f"tensor '{tensor.name}' {what}, which is not supported")
            operand = self.values.get(index, tensor.data)
            if operand is None:
                if operator.op != "RESHAPE" or index == operator.inputs[0]:
                    return  # follows an operator that could not be imported, and nothing is known of that one's result
                operand = Value(tensor.name, tensor.shape, ())  # computed, though not by this network
            operands.append(operand)
        output = operator.outputs[0]
        self.values[output] = HANDLERS[operator.op](Call(self.graph, operator.options, operands, tensors[output].shape))

    def _label(self, operator: TfliteOperator) -> str:
        """What errors call an operator: the name of its result, without what was fused into it."""
        name = self.model.tensors[operator.outputs[0]].name if operator.outputs else ""
        return _segment(name, operator.op) or "(without a name)"

    def _source_name(self, operator: TfliteOperator) -> SourceName:
        kind = operator.op.lower().replace("_2d", "").removesuffix("_conv")
        label = _segment(self.model.tensors[operator.outputs[0]].name, operator.op) if operator.outputs else ""
        return source_name(label, kind, leaf_names_operator=True)


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
