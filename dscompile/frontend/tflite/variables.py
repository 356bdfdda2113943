"""Variables of streaming TFLite models: what VAR_HANDLE, READ_VARIABLE, ASSIGN_VARIABLE and CALL_ONCE say together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dscompile.errors import UnsupportedError
from dscompile.frontend.import_graph import Array
from dscompile.frontend.tflite.reader import TfliteModel, TfliteOperator, TfliteTensor

VARIABLE_OPERATORS = ("ASSIGN_VARIABLE", "CALL_ONCE", "READ_VARIABLE", "VAR_HANDLE")


@dataclass(frozen=True)
class Variables:
    """The variables of a model. `handles` are the tensors that name one, `initial` what each holds at first."""

    handles: Mapping[int, str]
    initial: Mapping[str, Array]

    def of(self, operator: TfliteOperator) -> str:
        """The variable that READ_VARIABLE or ASSIGN_VARIABLE is about. Raises UnsupportedError if that is not plain."""
        index = first_input(operator)
        if index not in self.handles:
            raise UnsupportedError("its variable is not named by a VAR_HANDLE")
        return self.handles[index]


def read_variables(model: TfliteModel) -> Variables:
    """Collects handles, and the first values that initializers assign: constants.

    Raises UnsupportedError for an initializer that does anything else.
    """
    initial: dict[str, Array] = {}
    for initializer in model.initializers:
        handles = _handles(initializer)
        for operator in initializer.operators:
            if operator.op not in ("VAR_HANDLE", "ASSIGN_VARIABLE"):
                raise UnsupportedError(
                    f"runs {operator.op} before the first inference; only constants are assigned there"
                )
            if operator.op != "ASSIGN_VARIABLE" or len(operator.inputs) != 2:
                continue
            index = operator.inputs[1]
            value = None if index is None else initializer.tensors[index].data
            if value is None:
                raise UnsupportedError("assigns what is not constant before the first inference")
            initial[Variables(handles, {}).of(operator)] = value
    return Variables(_handles(model), initial)


def needed_operators(model: TfliteModel) -> tuple[TfliteOperator, ...]:
    """The operators that outputs need, in order: also what is assigned to a variable that one of them reads."""
    handles = _handles(model)
    wanted_variables: set[str] = set()
    while True:
        kept = _needed(model, handles, wanted_variables)
        read = {handles.get(first_input(operator), "") for operator in kept if operator.op == "READ_VARIABLE"}
        if read <= wanted_variables:
            return kept
        wanted_variables |= read


def _needed(model: TfliteModel, handles: Mapping[int, str], variables: set[str]) -> tuple[TfliteOperator, ...]:
    needed = set(model.outputs)
    kept: list[TfliteOperator] = []
    for operator in reversed(model.operators):
        assigns = operator.op == "ASSIGN_VARIABLE" and handles.get(first_input(operator)) in variables
        if assigns or needed.intersection(operator.outputs):
            # The shape of a RESHAPE that is computed at run time is not computed here (see tflite_ops).
            used = operator.inputs[:1] if operator.op == "RESHAPE" else operator.inputs
            needed.update(index for index in used if index is not None)
            kept.append(operator)
    return tuple(reversed(kept))


def short_variable_name(variable: str) -> str:
    """The part of a variable's name that tells it from others: `model/stream_3/states` becomes `stream_3`."""
    parts = [part for part in variable.split("/") if part and part not in ("states", "state", "ReadVariableOp")]
    return parts[-1] if parts else "state"


def check_same(variable: str, one: TfliteTensor, other: TfliteTensor) -> None:
    """Raises UnsupportedError unless two tensors that are both the variable's value have one type, shape and scale."""
    if (one.shape, one.dtype) != (other.shape, other.dtype):
        raise UnsupportedError(
            f"variable '{variable}' is {one.dtype} {list(one.shape)} in one place, {other.dtype} {list(other.shape)} "
            "in another"
        )
    first, second = one.quantization, other.quantization
    if first is None or second is None:
        same = first is second
    else:
        same = first.scales.tolist() == second.scales.tolist() and first.zero_points == second.zero_points
    if not same:
        raise UnsupportedError(
            f"variable '{variable}' is read with another scale or zero point than it is assigned with"
        )


def _handles(model: TfliteModel) -> dict[int, str]:
    return {
        operator.outputs[0]: operator.options.variable.strip("/") or "variable"
        for operator in model.operators
        if operator.op == "VAR_HANDLE" and operator.outputs
    }


def first_input(operator: TfliteOperator) -> int:
    """The index of an operator's first input; -1 where it has none."""
    index = operator.inputs[0] if operator.inputs else None
    return -1 if index is None else index
