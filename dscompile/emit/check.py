"""What an emitter may rely on: checks a program once, so that no wrong pointer is ever written into C, and no step
overwrites what is still needed.

A violation is a bug of the plan, not of the user: ValueError with everything that is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator

from dscompile.ir.state import STATE_ALIGNMENT
from dscompile.ir.tensor import DTYPE_BYTES, DType
from dscompile.plan.arena import Overlap, share_bytes
from dscompile.plan.gpu.costs import module_cost
from dscompile.plan.gpu.kernels import GpuDenseKernel, ModuleKernel
from dscompile.plan.kernels import Parameter
from dscompile.plan.knobs import ModuleKnobs
from dscompile.plan.mcu.kernels import WindowedKernel
from dscompile.plan.program import Buffer, Call, Function, Operand, Program
from dscompile.plan.states import early_writes, kept_tensors

_BORDER_TYPES: dict[str, tuple[DType, ...]] = {
    "input": ("float32", "int8", "uint8"),
    "output": ("float32", "int8", "uint8", "int32"),
}
_LARGEST = 2**32 - 1  # sizes and offsets are uint32_t in C


def check_program(program: Program) -> None:
    """Raises ValueError naming every step, operand and buffer that does not hold together."""
    problems = [
        *_border_problems(program),
        *_arena_problems(program),
        *_step_problems(program),
        *_lifetime_problems(program),
        *_sharing_problems(program),
        *(f"state '{name}' is written while its old value is still needed" for name in early_writes(program)),
    ]
    if problems:
        raise ValueError("the program is inconsistent:\n" + "\n".join(f"  {problem}" for problem in problems))


def _border_problems(program: Program) -> Iterator[str]:
    network = program.network
    names = {buffer.name for buffer in program.buffers}
    resident = network.user_inputs if program.pushed is None else ()
    for role, tensors, homes in (
        ("input", resident, program.inputs),
        ("output", network.user_outputs, program.outputs),
    ):
        for name in tensors:
            tensor = network.tensor(name)
            if tensor.dtype not in _BORDER_TYPES[role]:
                yield f"{role} '{name}' is {tensor.dtype}; {role}s are {', '.join(_BORDER_TYPES[role])}"
            if homes.get(name) not in names:
                yield f"{role} '{name}' has no buffer in the arena"
            elif program.buffer(homes[name]).size_bytes < tensor.size_bytes:
                yield f"{role} '{name}' does not fit into its buffer '{homes[name]}'"


def _arena_problems(program: Program) -> Iterator[str]:
    if not 0 < program.arena_bytes <= _LARGEST:
        yield f"the arena has {program.arena_bytes} bytes"
    regions = [""] if program.split is None else [use.region.name for use in program.split.uses]
    for buffer in program.buffers:
        if buffer.region not in regions:
            yield f"buffer '{buffer.name}' lies in '{buffer.region}', which is no memory of the arena"
        elif buffer.offset_bytes < 0 or buffer.offset_bytes + buffer.size_bytes > program.region_bytes(buffer.region):
            yield f"buffer '{buffer.name}' lies outside the arena"


def _lifetime_problems(program: Program) -> Iterator[str]:
    """Whatever a step touches must be alive in it."""
    buffers = {buffer.name: buffer for buffer in program.buffers}
    for index, step in enumerate(program.steps):
        operands = (step.result, *(operand for call in step.every_call for operand in call.operands))
        touched = dict.fromkeys(_buffer_name(program, operand) for operand in operands)
        for name in touched:
            buffer = buffers.get(name) if name is not None else None
            if buffer is not None and not buffer.first <= index <= buffer.last:
                yield f"step '{step.name}' touches buffer '{name}', which is alive from {buffer.first} to {buffer.last}"


def _sharing_problems(program: Program) -> Iterator[str]:
    """No two buffers that live in one step share a byte, but for the overlaps that the program states."""
    stated = {frozenset((overlap.earlier, overlap.later)): overlap for overlap in program.overlaps}
    names: set[str] = set()
    alive: list[Buffer] = []
    for buffer in sorted(program.buffers, key=lambda b: b.first):
        if buffer.name in names:
            yield f"there are two buffers called '{buffer.name}'"
        names.add(buffer.name)
        alive = [other for other in alive if other.last >= buffer.first]
        for other in alive:
            if buffer.region == other.region and share_bytes(*_span(buffer), *_span(other)):
                yield from _pair_problems(program, other, buffer, stated.get(frozenset((other.name, buffer.name))))
        alive.append(buffer)


def _pair_problems(program: Program, one: Buffer, two: Buffer, overlap: Overlap | None) -> Iterator[str]:
    """What is wrong with two live buffers that share memory."""
    if overlap is None:
        yield f"buffers '{one.name}' and '{two.name}' share memory and live in step {max(one.first, two.first)}"
        return
    earlier, later = (one, two) if overlap.earlier == one.name else (two, one)
    what = f"overlap of '{earlier.name}' and '{later.name}'"
    shift = later.offset_bytes - earlier.offset_bytes
    if earlier.last != later.first or earlier.first >= later.first:
        yield f"{what}: step {later.first} is not the last of one and the first of the other"
    elif not overlap.permits(shift):
        yield f"{what}: the second may not begin {shift} bytes after the first"
    elif 0 <= later.first < len(program.steps):
        yield from (f"{what}: {problem}" for problem in _direction_problems(program, later.first, overlap, shift))


def _direction_problems(program: Program, index: int, overlap: Overlap, shift: int) -> Iterator[str]:
    """The kernel must go in the direction for which the place of its result is right; in place, either is."""
    if overlap.is_in_place:
        return
    step = program.steps[index]
    kernels = {function.symbol: function.kernel for function in program.functions}
    for call in step.calls:
        kernel = kernels.get(call.symbol)
        touched = {_buffer_name(program, operand) for operand in call.operands}
        if not isinstance(kernel, WindowedKernel) or not {overlap.earlier, overlap.later} <= touched:
            continue
        distance = overlap.above_bytes if kernel.descending else overlap.below_bytes
        way, after = ("downwards", shift) if kernel.descending else ("upwards", -shift)
        if distance is None or after < distance:
            yield f"{call.symbol} in step '{step.name}' goes {way} and overwrites what it still reads"


def _buffer_name(program: Program, operand: Operand) -> str | None:
    """The arena buffer behind an operand: a border tensor's own one; None for a constant and for a state."""
    is_border = operand.space in ("input", "output")
    if operand.space == "constant" or (is_border and operand.name in kept_tensors(program.network)):
        return None
    homes = {"input": program.inputs, "output": program.outputs}.get(operand.space, {})
    return homes.get(operand.name, operand.name)


def _span(buffer: Buffer) -> tuple[int, int]:
    return buffer.offset_bytes, buffer.offset_bytes + buffer.size_bytes


def _step_problems(program: Program) -> Iterator[str]:
    functions = {function.symbol: function for function in program.functions}
    if len(functions) != len(program.functions):
        yield "two functions share a symbol"
    for step in program.steps:
        yield from (f"step '{step.name}', result: {problem}" for problem in _operand_problems(program, step.result))
        for call in step.every_call:
            function = functions.get(call.symbol)
            if function is None:
                yield f"step '{step.name}' calls '{call.symbol}', which is no function of the program"
            else:
                yield from (f"step '{step.name}', {problem}" for problem in _call_problems(program, call, function))
                yield from (f"step '{step.name}', {problem}" for problem in _module_problems(program, call, function))


def _call_problems(program: Program, call: Call, function: Function) -> Iterator[str]:
    if len(call.operands) != len(function.parameters):
        yield f"{call.symbol}: {len(call.operands)} operands for {len(function.parameters)} parameters"
        return
    for operand, parameter in zip(call.operands, function.parameters, strict=True):
        problems = list(_operand_problems(program, operand)) or _pointer_problems(program, operand, parameter)
        yield from (f"{call.symbol}({parameter.name}): {problem}" for problem in problems)


def _module_problems(program: Program, call: Call, function: Function) -> Iterator[str]:
    """A module must fit a multiprocessor, and not write what its other blocks still read."""
    gpu = program.target.gpu
    if gpu is None or not isinstance(function.kernel, ModuleKernel | GpuDenseKernel):
        return
    if isinstance(function.kernel, ModuleKernel):
        if not isinstance(function.knobs, ModuleKnobs):
            yield f"{call.symbol} has no knobs of a module"
        elif module_cost(function.kernel, function.knobs, gpu) is None:
            yield f"{call.symbol} does not fit a multiprocessor of {program.target.name}"
    places = list(zip(function.parameters, call.operands, strict=False))
    written = {_buffer_name(program, operand) for parameter, operand in places if parameter.written}
    for parameter, operand in places:
        name = _buffer_name(program, operand)
        if not parameter.written and name is not None and name in written:
            yield f"{call.symbol}({parameter.name}) reads the buffer '{name}' that it writes"


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
    # The user's buffers are aligned as their elements are, no more.
    base = DTYPE_BYTES[parameter.dtype] if border else program.target.arena_alignment
    if border and operand.name in kept_tensors(program.network):
        base = STATE_ALIGNMENT
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
