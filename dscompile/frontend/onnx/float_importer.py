"""A float32 ONNX model becomes a network, node by node."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dscompile.errors import BadInputError, UnsupportedError
from dscompile.frontend.import_cleanup import tidy
from dscompile.frontend.import_errors import Problems
from dscompile.frontend.import_graph import CHANNELS_FIRST, ImportGraph, Operand, Order, Value
from dscompile.frontend.import_names import SourceName, UniqueNames, network_name, sanitized, short_names, source_name
from dscompile.frontend.onnx.call import Call
from dscompile.frontend.onnx.constants import FOLDERS, constant, fold
from dscompile.frontend.onnx.ops import HANDLERS, QDQ_OPERATORS, SPLITTERS
from dscompile.frontend.onnx.reader import OnnxModel, OnnxNode
from dscompile.frontend.onnx.reference import REFERENCE_OPERATORS, reference
from dscompile.ir.network import Network
from dscompile.ir.tensor import Rounding, Shape

OPERATORS = frozenset((*HANDLERS, *SPLITTERS, *FOLDERS, *REFERENCE_OPERATORS, *QDQ_OPERATORS, "Constant"))
"""What a node may be, if only in some places."""


class FloatImporter:
    """The state of one import of a float32 model."""

    def __init__(self, path: Path, model: OnnxModel) -> None:
        self.model = model
        self.problems = Problems(path)
        self.graph = ImportGraph(network_name(path.stem), CHANNELS_FIRST)
        # What every name of the file stands for; None where a node could not be imported and nothing is known.
        self.operands: dict[str, Operand | None] = {}
        self.node_name = ""
        self.read = {name for node in model.nodes for name in node.inputs} | set(model.outputs)

    def run(self, rounding: Rounding | None = None) -> Network:
        """Imports inputs, nodes and outputs."""
        borders = UniqueNames()
        input_names = [borders.fresh(sanitized(name, "input")) for name, _ in self.model.inputs]
        output_names = [borders.fresh(sanitized(name, "output")) for name in self.model.outputs]
        self.graph.reserve(input_names)
        for (source, shape), name in zip(self.model.inputs, input_names, strict=True):
            order = self.graph.input_order(shape, self._transpositions_of(source))
            self.operands[source] = None
            with self.problems.noting(f"input '{source}'"):
                self.operands[source] = self.input_operand(source, name, shape, order)
        named = [node for node in self.model.nodes if node.op not in ("Constant", "Identity", "Shape", "Dropout")]
        names = short_names([_source_name(node) for node in named], input_names)
        self.graph.reserve(names)
        layer_names = {id(node): name for node, name in zip(named, names, strict=True)}
        for node in self.model.nodes:
            self.node_name = layer_names.get(id(node), "constant")
            self.graph.start(self.node_name)
            with self.problems.noting(node.op, node.label):
                self.import_node(node)
            for name in filter(None, node.outputs):
                if self.operands.get(name) is None:
                    self.operands[name] = self._placeholder(name)
        outputs: list[tuple[str, Value]] = []
        for source, name in zip(self.model.outputs, output_names, strict=True):
            with self.problems.noting(f"output '{source}'"):
                operand = self.output_operand(source)
                if isinstance(operand, np.ndarray):
                    raise UnsupportedError("depends on no input")
                if operand is not None:
                    outputs.append((name, operand))
        self.problems.raise_if_any()
        return tidy(self.graph.finish(outputs, rounding))

    def _transpositions_of(self, source: str) -> list[Order | None]:
        """How the readers of an input transpose it; None for those that do something else."""
        return [node.integers("perm") if node.op == "Transpose" else None for node in self.readers_of(source)]

    def readers_of(self, name: str) -> list[OnnxNode]:
        """The nodes that do something with a tensor."""
        return [node for node in self.model.nodes if name in node.inputs]

    def input_operand(self, source: str, name: str, shape: Shape, order: Order) -> Operand:
        """Declares an input `source` of the model, which is called `name` in the network."""
        return self.graph.input(name, shape, order)

    def output_operand(self, name: str) -> Operand | None:
        """What an output of the model is."""
        return self.operand(name)

    def operands_of(self, node: OnnxNode) -> list[Operand | None]:
        """What the inputs of a node stand for; None for absent ones, and for those that could not be imported."""
        return [self.operand(name) if name else None for name in node.inputs]

    def operand(self, name: str) -> Operand | None:
        """What a name of the file stands for; None if that could not be imported. BadInputError without a name."""
        if not name:
            raise BadInputError("an input that it needs is missing")
        if name not in self.operands:
            if name not in self.model.constants:
                raise BadInputError(f"it needs '{name}', which is neither a constant nor made before")
            self.operands[name] = self.model.constants[name]
        return self.operands[name]

    def import_node(self, node: OnnxNode) -> None:
        """Emits the layers of a node, or evaluates it."""
        if node.op in SPLITTERS:
            self.import_splitter(node, self.operands_of(node))
            return
        if node.op not in OPERATORS:
            raise UnsupportedError("this operator is not supported")
        extra = [name for name in node.outputs[1:] if name in self.read and name]
        if extra:
            raise UnsupportedError(f"only its first result is supported, '{extra[0]}' is used too")
        operands = self.operands_of(node)
        if any(name and operand is None for name, operand in zip(node.inputs, operands, strict=True)):
            return  # follows a node that could not be imported, and nothing is known of that one's result
        constants = [operand for operand in operands if not isinstance(operand, Value)]
        result: Operand
        if node.op == "Constant":
            result = constant(node)
        elif len(constants) == len(operands) and node.op in FOLDERS:
            result = fold(node, constants, self.model.opset)
        elif len(constants) == len(operands) and node.op in REFERENCE_OPERATORS:
            result = reference(node, constants, self.model.opset)
        elif node.op in HANDLERS:
            result = HANDLERS[node.op](Call(self.graph, node, operands, self.model.opset))
        else:
            raise UnsupportedError("this operator is supported on constants only")
        if node.outputs:
            self.operands[node.outputs[0]] = result

    def import_splitter(self, node: OnnxNode, operands: list[Operand | None]) -> None:
        """Emits the layers of a node with several results."""
        if any(name and operand is None for name, operand in zip(node.inputs, operands, strict=True)):
            return
        results = SPLITTERS[node.op](Call(self.graph, node, operands, self.model.opset))
        self.operands.update((name, result) for name, result in zip(node.outputs, results, strict=True) if name)

    def _placeholder(self, name: str) -> Value | None:
        """What stands for a result until it is known: with it, nodes behind an unsupported one are checked too."""
        shape = self.model.hints.get(name)
        return None if shape is None else self.graph.placeholder(shape)


def _source_name(node: OnnxNode) -> SourceName:
    kind = node.op.rpartition(".")[2].lower()
    return source_name(node.label, kind, leaf_names_operator=False)
