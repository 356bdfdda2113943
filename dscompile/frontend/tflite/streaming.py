"""Variables of a TFLite model as states of the network (ir/state.py), while its operators are imported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from dscompile.errors import UnsupportedError
from dscompile.frontend.import_graph import Array, ImportGraph, KeptValue, Operand, Value, identity
from dscompile.frontend.import_names import UniqueNames, sanitized
from dscompile.frontend.tflite.reader import TfliteModel, TfliteOperator, TfliteTensor
from dscompile.frontend.tflite.variables import Variables, check_same, first_input, short_variable_name
from dscompile.ir.tensor import DType, Quantization

QuantizationOf = Callable[[TfliteTensor], Quantization | None]


class StreamingImport:
    """What each variable holds, operator by operator: READ_VARIABLE and ASSIGN_VARIABLE in the order of the file."""

    def __init__(
        self, graph: ImportGraph, model: TfliteModel, variables: Variables, quantization_of: QuantizationOf
    ) -> None:
        self._graph = graph
        self._model = model
        self._variables = variables
        self._quantization_of = quantization_of
        self._assigned: set[str] = set()
        self._tensors: dict[str, TfliteTensor] = {}
        self._names: dict[str, str] = {}
        self._current: dict[str, Value] = {}
        self._read: set[str] = set()

    def begin(self, operators: Sequence[TfliteOperator], names: UniqueNames) -> None:
        """Chooses a name for every variable that the operators read and assign."""
        assigning = [operator for operator in operators if operator.op == "ASSIGN_VARIABLE"]
        self._assigned = {self._variables.handles.get(first_input(operator), "") for operator in assigning}
        for variable in dict.fromkeys(self._variables.handles.values()):
            if variable in self._assigned:
                self._names[variable] = names.fresh(sanitized(short_variable_name(variable), "state"))

    @property
    def names(self) -> list[str]:
        """The names of all states."""
        return list(self._names.values())

    def read(self, operator: TfliteOperator) -> Operand:
        """READ_VARIABLE: what the variable holds here; a constant where nothing is ever assigned to it."""
        variable = self._variables.of(operator)
        self._read.add(variable)
        tensor = self._model.tensors[operator.outputs[0]]
        check_same(variable, self._tensors.setdefault(variable, tensor), tensor)
        if variable in self._current:
            return self._current[variable]
        initial = self._first_value(variable, tensor)
        if variable not in self._assigned:
            return initial
        quantization, dtype = self._quantization_of(tensor), cast(DType, tensor.dtype)
        order = identity(len(tensor.shape))
        value = self._graph.input(self._names[variable], tensor.shape, order, dtype, quantization)
        self._graph.keep(self._names[variable], KeptValue(value, initial))
        self._current[variable] = value
        return value

    def assign(self, operator: TfliteOperator, operand: Operand) -> None:
        """ASSIGN_VARIABLE: from here on, and in the next inference, the variable holds this."""
        variable = self._variables.of(operator)
        index = operator.inputs[1]
        assert index is not None
        tensor = self._model.tensors[index]
        check_same(variable, self._tensors.setdefault(variable, tensor), tensor)
        if not isinstance(operand, Value):
            raise UnsupportedError(
                f"a constant is assigned to variable '{variable}'; only computed values are supported"
            )
        if variable not in self._read:
            raise UnsupportedError(f"variable '{variable}' is assigned before it is read")
        if variable not in self._current:
            return  # what was wrong with reading it is noted already
        self._current[variable] = operand
        self._graph.keep(self._names[variable], KeptValue(operand, self._first_value(variable, tensor)))

    def _first_value(self, variable: str, tensor: TfliteTensor) -> Array:
        initial = self._variables.initial.get(variable)
        if initial is None:
            raise UnsupportedError(f"variable '{variable}' has no first value; CALL_ONCE must assign one")
        if initial.shape != tensor.shape or initial.dtype.name != tensor.dtype:
            raise UnsupportedError(
                f"variable '{variable}' is {tensor.dtype} {list(tensor.shape)}, and first "
                f"{initial.dtype} {list(initial.shape)}"
            )
        if tensor.dtype not in ("float32", "int8"):
            raise UnsupportedError(f"variable '{variable}' is {tensor.dtype}; only float32 and int8 are supported")
        return initial
