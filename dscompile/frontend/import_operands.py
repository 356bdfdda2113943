"""The operands of an operator that is being imported, by their index; of any file format."""

from __future__ import annotations

from collections.abc import Sequence

from dscompile.errors import BadInputError
from dscompile.frontend.import_graph import Floats, Operand, Value
from dscompile.frontend.import_lowering import as_value, as_weight


class Operands:
    """What a call of any format is asked for; None among `operands` is an optional input that is absent."""

    operands: Sequence[Operand | None]

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
