"""A node of an ONNX file with its operands, as the functions that import operators are given it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dscompile.errors import BadInputError, UnsupportedError
from dscompile.frontend.import_graph import ImportGraph, Operand, Value
from dscompile.frontend.import_operands import Operands
from dscompile.frontend.onnx.constants import integers_argument
from dscompile.frontend.onnx.reader import OnnxNode


@dataclass(frozen=True)
class Call(Operands):
    """One node with its operands (None: an optional input that is absent)."""

    graph: ImportGraph
    node: OnnxNode
    operands: Sequence[Operand | None]
    opset: int

    def scalar(self, index: int, what: str) -> float | None:
        """An optional constant of one element."""
        operand = self.optional(index)
        if operand is None:
            return None
        if isinstance(operand, Value):
            raise UnsupportedError(f"{what} is computed at run time; only constants are supported")
        if operand.size != 1 or operand.dtype.kind not in "fiub":
            raise BadInputError(f"{what} must be one number, not {operand.dtype} {list(operand.shape)}")
        return float(operand.reshape(-1)[0])

    def axes(self, index: int) -> tuple[int, ...] | None:
        """Axes, which became an input at opset 13 (18 for reductions)."""
        return integers_argument(self.node, self.operands, index, "axes")
