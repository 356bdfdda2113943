"""What an emitter may rely on: checks a program once, so that no wrong pointer is ever written into C.

A violation is a bug of the plan, not of the user: ValueError with everything that is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator

from dscompile.ir.tensor import DTYPE_BYTES, DType
from dscompile.plan.kernels import Parameter
from dscompile.plan.program import Call, Function, Operand, Program

_BORDER_ALIGNMENT = 4  # the user's buffers are aligned as their elements are, no more
_LARGEST = 2**32 - 1  # sizes and offsets are uint32_t in C


def check_program(program: Program, border_types: tuple[DType, ...] = ("float32",)) -> None:
    """Raises ValueError naming every step, operand and buffer that does not hold together.

    `border_types` are the types of inputs and outputs that the emitter can write.
    """
    problems = [*_border_problems(program, border_types), *_arena_problems(program), *_step_problems(program)]
    if problems:
        raise ValueError("the program is inconsistent:\n" + "\n".join(f"  {problem}" for problem in problems))


def _border_problems(program: Program, border_types: tuple[DType, ...]) -> Iterator[str]:
    network = program.network
    names = {buffer.name for buffer in program.buffers}
    for role, tensors, homes in (
        ("input", network.inputs, program.inputs),
        ("output", network.outputs, program.outputs),
    ):
        for name in tensors:
            tensor = network.tensor(name)
            if tensor.dtype not in border_types:
                yield f"{role} '{name}' is {tensor.dtype}; this emitter writes {' and '.join(border_types)} borders"
            if homes.get(name) not in names:
                yield f"{role} '{name}' has no buffer in the arena"
            elif program.buffer(homes[name]).size_bytes < tensor.size_bytes:
                yield f"{role} '{name}' does not fit into its buffer '{homes[name]}'"


def _arena_problems(program: Program) -> Iterator[str]:
    if not 0 < program.arena_bytes <= _LARGEST:
        yield f"the arena has {program.arena_bytes} bytes"
    for buffer in program.buffers:
        if buffer.offset_bytes < 0 or buffer.offset_bytes + buffer.size_bytes > program.arena_bytes:
            yield f"buffer '{buffer.name}' lies outside the arena"


def _step_problems(program: Program) -> Iterator[str]:
    functions = {function.symbol: function for function in program.functions}
    if len(functions) != len(program.functions):
        yield "two functions share a symbol"
    for step in program.steps:
        yield from (f"step '{step.name}', result: {problem}" for problem in _operand_problems(program, step.result))
        for call in step.calls:
            function = functions.get(call.symbol)
            if function is None:
                yield f"step '{step.name}' calls '{call.symbol}', which is no function of the program"
            else:
                yield from (f"step '{step.name}', {problem}" for problem in _call_problems(program, call, function))


def _call_problems(program: Program, call: Call, function: Function) -> Iterator[str]:
    if len(call.operands) != len(function.parameters):
        yield f"{call.symbol}: {len(call.operands)} operands for {len(function.parameters)} parameters"
        return
    for operand, parameter in zip(call.operands, function.parameters, strict=True):
        problems = list(_operand_problems(program, operand)) or _pointer_problems(program, operand, parameter)
        yield from (f"{call.symbol}({parameter.name}): {problem}" for problem in problems)


def _operand_problems(program: Program, operand: Operand) -> Iterator[str]:
    size = _size_bytes(program, operand)
    if size is None:
        yield f"there is no {operand.space} '{operand.name}'"
    elif not 0 <= operand.offset_bytes < size:
        yield f"offset {operand.offset_bytes} is outside {operand.space} '{operand.name}' of {size} bytes"


def _pointer_problems(program: Program, operand: Operand, parameter: Parameter) -> Iterator[str]:
    if parameter.written and operand.space in ("input", "constant"):
        yield f"writes to {operand.space} '{operand.name}'"
    border = operand.space in ("input", "output")
    if border and program.network.tensor(operand.name).dtype != parameter.dtype:
        yield f"takes {operand.space} '{operand.name}' for {parameter.dtype}"
    base = _BORDER_ALIGNMENT if border else program.target.arena_alignment
    offset = operand.offset_bytes
    if operand.space == "arena":
        offset += program.buffer(operand.name).offset_bytes
    if base % parameter.alignment or offset % parameter.alignment or offset % DTYPE_BYTES[parameter.dtype]:
        yield f"offset {offset} into the {operand.space} is not known to be aligned to {parameter.alignment} bytes"


def _size_bytes(program: Program, operand: Operand) -> int | None:
    """Bytes of the memory behind an operand; None if there is none of this name."""
    match operand.space:
        case "arena":
            return next((b.size_bytes for b in program.buffers if b.name == operand.name), None)
        case "constant":
            return program.constants[operand.name].nbytes if operand.name in program.constants else None
        case "input":
            return program.network.tensor(operand.name).size_bytes if operand.name in program.network.inputs else None
        case "output":
            return program.network.tensor(operand.name).size_bytes if operand.name in program.network.outputs else None
