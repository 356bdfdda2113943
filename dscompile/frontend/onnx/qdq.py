"""ONNX models in QDQ format, as onnxruntime.quantization.quantize_static writes them, become int8 networks.

In such a model every operator is written in float32, between DequantizeLinear and QuantizeLinear. Operators for which
the IR has the same function on integers are imported as int8 layers; all others as what the file says: a Dequantize, a
float32 layer and a Quantize. uint8 activations are shifted to int8, which changes nothing.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from dscompile.errors import BadInputError, UnsupportedError
from dscompile.frontend.import_cleanup import stored_in_four_bits
from dscompile.frontend.import_graph import Operand, Order, Value
from dscompile.frontend.onnx.call import Call
from dscompile.frontend.onnx.float_importer import FloatImporter
from dscompile.frontend.onnx.ops import HANDLERS, SPLITTERS
from dscompile.frontend.onnx.qdq_ops import (
    INT8_HANDLERS,
    MOVERS,
    UNSIGNED_SHIFT,
    Int8Call,
    QuantizedConstant,
    fused_activation,
    is_table,
    quantization_of,
    quantized_constant,
    quantized_table,
    stored_type,
)
from dscompile.frontend.onnx.reader import OnnxModel, OnnxNode
from dscompile.ir.network import Network
from dscompile.ir.ops import NONE, Activation, Dequantize, Lookup, Quantize, RoundedAs
from dscompile.ir.tensor import INTEGER_RANGES, Quantization, Rounding, Shape

_ACTIVATIONS = ("Relu", "Clip")
_WITH_KERNELS = ("Conv", "Gemm", "MatMul")


class QdqImporter(FloatImporter):
    """The state of one import of a model in QDQ format.

    The operand of a DequantizeLinear is the tensor of integers itself (see `_real` for its float32 form), and of a
    constant its float32 values, with the integers in `integers`.
    """

    def __init__(self, path: Path, model: OnnxModel) -> None:
        super().__init__(path, model)
        self.integers: dict[str, QuantizedConstant] = {}
        self.four_bits: list[str] = []
        # The float32 form of tensors of integers, and results whose nodes became part of a layer.
        self.reals: dict[str, Value] = {}
        self.done: set[str] = set()
        # Positions in a table, by the name of the Cast that makes them: the int8 tensor that is looked up.
        self.positions: dict[str, Value] = {}
        self.quantized = {name: node for node in model.nodes if node.op == "QuantizeLinear" for name in node.outputs}
        self.readers: dict[str, list[OnnxNode]] = {}
        for node in model.nodes:
            for name in dict.fromkeys(node.inputs):
                self.readers.setdefault(name, []).append(node)

    def run(self, rounding: Rounding | None = None) -> Network:
        """Imports inputs, nodes and outputs; layers whose kernels the file has in four bits keep them so."""
        return stored_in_four_bits(super().run(rounding), self.four_bits)

    def import_node(self, node: OnnxNode) -> None:
        """Emits the layers of a node; QuantizeLinear that became part of a layer are passed over."""
        if node.outputs and node.outputs[0] in self.done:
            return
        if node.op == "DequantizeLinear":
            self._dequantize(node)
        elif node.op == "QuantizeLinear":
            self._quantize(node)
        elif node.op == "Gather" and node.inputs[1:] and node.inputs[1] in self.positions:
            self._look_up(node, self.positions[node.inputs[1]])
        elif not (self._makes_positions(node) or self._import_int8(node)):
            super().import_node(node)

    def readers_of(self, name: str) -> list[OnnxNode]:
        """The nodes that do something with a tensor, or with its float32 form."""
        return [
            reader
            for node in self.readers.get(name, [])
            for reader in (self.readers.get(node.outputs[0], []) if node.op == "DequantizeLinear" else [node])
        ]

    def input_operand(self, source: str, name: str, shape: Shape, order: Order) -> Operand:
        """An input, which may be int8, or uint8 and shifted to int8 first, as its DequantizeLinear says."""
        dtype = self.model.integers.get(source)
        reader = next(iter(self.readers.get(source, [])), None)
        if dtype is None or reader is None:
            return super().input_operand(source, name, shape, order)
        call = self._call(reader, [np.empty(0)])
        if stored_type(call) != dtype:
            raise BadInputError(f"it is {dtype}, and its DequantizeLinear has no zero point of that type")
        quantization = quantization_of(call)
        if dtype == "int8":
            return self.graph.input(name, shape, order, dtype, quantization)
        stored = replace(quantization, zero_point=quantization.zero_point + UNSIGNED_SHIFT)
        given = self.graph.input(name, shape, order, dtype, stored)
        self.graph.start(self.graph.fresh(f"{name}_shift"), quantization)
        return self.graph.emit_value(Quantize(), [given.tensor], given.order)

    def output_operand(self, name: str) -> Operand | None:
        """An output, of the type that the file says it is."""
        operand = self.operand(name)
        if not isinstance(operand, Value):
            return operand
        quantizer = self.quantized.get(name)
        if quantizer is None:
            self.graph.start(self.graph.fresh(f"{name}_dequantize"))
            return self._real(operand)
        if stored_type(self._call(quantizer, [operand])) == "int8":
            return operand
        quantization = self.graph.tensor_of(operand).quantization
        if quantization is None:
            return None  # it stands in for the result of a node that could not be imported
        stored = replace(quantization, zero_point=quantization.zero_point + UNSIGNED_SHIFT)
        self.graph.start(self.graph.fresh(f"{name}_shift"), stored, "uint8")
        return self.graph.emit_value(Quantize(), [operand.tensor], operand.order)

    def _dequantize(self, node: OnnxNode) -> None:
        operand = self.operand(node.inputs[0])
        if operand is None:
            return
        if isinstance(operand, np.ndarray):
            constant = self.integers.get(node.inputs[0]) or quantized_constant(self._call(node, [operand]))
            self.integers[node.outputs[0]] = constant
            self.operands[node.outputs[0]] = constant.real
            return
        given = quantization_of(self._call(node, [operand]))
        if self.graph.tensor_of(operand).quantization != given:
            raise UnsupportedError("its scale or zero point is not that of the QuantizeLinear before it")
        self.operands[node.outputs[0]] = operand

    def _quantize(self, node: OnnxNode) -> None:
        operand = self.operand(node.inputs[0])
        if operand is None:
            return
        if isinstance(operand, np.ndarray):
            raise UnsupportedError("of a constant is not supported; quantize the model with constants folded")
        quantization = quantization_of(self._call(node, [operand]))
        self.operands[node.outputs[0]] = self._requantized(operand, quantization, self.node_name)

    def _requantized(self, value: Value, quantization: Quantization, name: str) -> Value:
        """The value with another scale and zero point: dequantized and quantized again where it has one already."""
        if self.graph.tensor_of(value).quantization == quantization:
            return value
        real = self._real(value)
        self.graph.start(name, quantization)
        return self.graph.emit_value(Quantize(), [real.tensor], real.order)

    def _real(self, value: Value) -> Value:
        """The value as a float32 tensor; indices stay what they are."""
        if self.graph.tensor_of(value).dtype not in INTEGER_RANGES:
            return value
        known = self.reals.get(value.tensor)
        if known is None:
            known = Value(self.graph.emit_real(Dequantize(), value.tensor), value.shape, value.order)
            self.reals[value.tensor] = known
        return replace(known, shape=value.shape, order=value.order)

    def operands_of(self, node: OnnxNode) -> list[Operand | None]:
        """The inputs of a node that is imported as it stands: float32 tensors."""
        integers = [name for name in node.inputs if name in self.quantized]
        if integers:
            raise UnsupportedError(f"reads the integers of '{integers[0]}'; only a DequantizeLinear may (QDQ format)")
        operands = super().operands_of(node)
        if node.op == "ArgMax":  # the order of the integers is that of what they stand for
            return operands
        return [self._real(operand) if isinstance(operand, Value) else operand for operand in operands]

    def _makes_positions(self, node: OnnxNode) -> bool:
        """Whether the node is a Cast of uint8 integers to positions that a Gather reads; notes whose they are then."""
        quantizer = self.quantized.get(node.inputs[0]) if node.op == "Cast" and node.inputs and node.outputs else None
        if quantizer is None or self._only_reader(node.outputs[0], ("Gather",), 1) is None:
            return False
        value = self.operand(node.inputs[0])
        if not isinstance(value, Value) or stored_type(self._call(quantizer, [value])) != "uint8":
            return False
        self.operands[node.outputs[0]] = self.positions[node.outputs[0]] = value
        return True

    def _look_up(self, node: OnnxNode, value: Value) -> None:
        """Emits a Lookup: a Gather of reals at the integers of `value`, and the QuantizeLinear behind it."""
        table, quantizer = self.operand(node.inputs[0]), self._sole_reader(node, ("QuantizeLinear",))
        if quantizer is None or not is_table(table) or node.integer("axis", 0) not in (0, -1):
            raise UnsupportedError(
                "of integers in something else than a table: 256 float32 constants, with a QuantizeLinear behind them"
            )
        quantization = quantization_of(self._call(quantizer, [value]))
        self.graph.start(self.node_name, quantization)
        levels = quantized_table(table, quantization)
        result = self.graph.emit_value(Lookup(), [value.tensor], value.order, table=levels)
        for name in (node.outputs[0], quantizer.outputs[0]):
            self.operands[name] = result
            self.done.add(name)

    def _import_int8(self, node: OnnxNode) -> bool:
        """Emits an int8 layer if the node has int8 inputs, a QuantizeLinear behind it and a counterpart in the IR."""
        if node.op in SPLITTERS:
            return self._split_int8(node)
        if node.op not in INT8_HANDLERS and node.op not in MOVERS:
            return False
        operands = super().operands_of(node)
        values = [operand for operand in operands if isinstance(operand, Value)]
        if not values or any(self.graph.tensor_of(value).dtype != "int8" for value in values):
            return False
        activation_node = self._sole_reader(node, _ACTIVATIONS) if node.op in INT8_HANDLERS else None
        last = activation_node or node
        quantizer = self._sole_reader(last, ("QuantizeLinear",))
        if quantizer is None:
            return False
        quantization = quantization_of(self._call(quantizer, [values[0]]))
        activation = NONE
        if activation_node is not None:
            call = self._call(activation_node, [values[0]])
            activation = fused_activation(call, quantization)
        stored = stored_type(self._call(quantizer, [values[0]]))
        result = self._int8_result(node, operands, activation, quantization, stored)
        self.operands[quantizer.outputs[0]] = result
        self.operands[last.outputs[0]] = self.operands[node.outputs[0]] = result
        self.done.update((last.outputs[0], quantizer.outputs[0]))
        return True

    def _int8_result(
        self,
        node: OnnxNode,
        operands: list[Operand | None],
        activation: Activation,
        quantization: Quantization,
        stored: RoundedAs,
    ) -> Value:
        name = self.node_name
        if node.op in MOVERS:
            if node.op == "Concat":
                named = zip(node.inputs, operands, strict=True)
                operands = [self._term(name, source, operand, quantization) for source, operand in named]
            self.graph.start(name)
            moved = HANDLERS[node.op](Call(self.graph, node, operands, self.model.opset))
            assert isinstance(moved, Value)
            return self._requantized(moved, quantization, self.graph.fresh(f"{name}_requantize"))
        self.graph.start(name, quantization)
        constants = [self.integers.get(source) for source in node.inputs]
        if node.op in _WITH_KERNELS and len(constants) > 1 and constants[1] and constants[1].has_four_bits:
            self.four_bits.append(name)
        call = Int8Call(self.graph, node, operands, self.model.opset, constants, activation, stored)
        return INT8_HANDLERS[node.op](call)

    def _split_int8(self, node: OnnxNode) -> bool:
        """Emits int8 slices where what is split is int8, and every part has a QuantizeLinear behind it."""
        operands = super().operands_of(node)
        quantizers = [self._only_reader(name, ("QuantizeLinear",)) for name in node.outputs]
        given = operands[0]
        if not isinstance(given, Value) or self.graph.tensor_of(given).dtype != "int8" or None in quantizers:
            return False
        self.import_splitter(node, operands)
        for name, quantizer in zip(node.outputs, quantizers, strict=True):
            part = self.operands[name]
            assert isinstance(part, Value)
            assert quantizer is not None
            quantization = quantization_of(self._call(quantizer, [part]))
            result = self._requantized(part, quantization, self.graph.fresh(f"{self.node_name}_requantize"))
            self.operands[name] = self.operands[quantizer.outputs[0]] = result
            self.done.update((name, quantizer.outputs[0]))
        return True

    def _term(self, name: str, source: str, operand: Operand | None, quantization: Quantization) -> Operand | None:
        """An input of a Concat with the quantization of the result."""
        if isinstance(operand, Value):
            return self._requantized(operand, quantization, self.graph.fresh(f"{name}_{source}"))
        if source in self.integers and operand is not None:
            constant = self.integers[source]
            if constant.per_tensor == quantization:
                return self.graph.quantized_constant(constant.stored, tuple(range(operand.ndim)), quantization)
            raise UnsupportedError(f"joins the constant '{source}' of another scale, which is not supported")
        return operand

    def _sole_reader(self, node: OnnxNode, ops: tuple[str, ...]) -> OnnxNode | None:
        """The only node that reads the result, if it is one of these operators and the result is no output."""
        return self._only_reader(node.outputs[0], ops)

    def _only_reader(self, name: str, ops: tuple[str, ...], position: int = 0) -> OnnxNode | None:
        """The only node that reads a result, if it is one of these operators, has it as that input, and it is no
        output.
        """
        readers = self.readers.get(name, [])
        if name in self.model.outputs or len(readers) != 1 or readers[0].op not in ops:
            return None
        return readers[0] if readers[0].inputs[position : position + 1] == (name,) else None

    def _call(self, node: OnnxNode, first: list[Operand]) -> Call:
        """A node with its constant inputs behind the first one."""
        rest: list[Operand | None] = [self.operand(name) if name else None for name in node.inputs[1:]]
        return Call(self.graph, node, [*first, *rest], self.model.opset)
