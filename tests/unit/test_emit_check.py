"""Programs that do not hold together never become C."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from dscompile.emit.check import check_program
from dscompile.ir.tensor import Tensor
from dscompile.plan.arena import Overlap
from dscompile.plan.kernels import Parameter
from dscompile.plan.mcu.epilogues import FloatEpilogue
from dscompile.plan.mcu.products import ConvKernel
from dscompile.plan.mcu.windows import Axis, Window
from dscompile.plan.program import Buffer, Call, Function, Operand, Program
from tests.tiny_programs import several, single

PROGRAM = single().program
IMAGE, SCORES = Operand("input", "image"), Operand("output", "scores")


def with_call(*operands: Operand, symbol: str = "tiny_copy") -> Program:
    step = replace(PROGRAM.steps[0], calls=(Call(symbol, operands),))
    return replace(PROGRAM, steps=(step,))


def with_copy_parameters(*parameters: Parameter) -> Program:
    program = with_call(IMAGE, SCORES)
    copy = program.functions[0]
    return replace(program, functions=(Function(copy.symbol, copy.kernel, parameters),))


def with_buffer(**changes: int) -> Program:
    first, *others = PROGRAM.buffers
    return replace(PROGRAM, buffers=(replace(first, **changes), *others))


def with_tensor(dtype: str) -> Program:
    tensors = {**PROGRAM.network.tensors, "image": Tensor("image", (1, 2, 3, 2), dtype)}  # type: ignore[arg-type]
    return replace(PROGRAM, network=replace(PROGRAM.network, tensors=tensors))


def descending_or_not(descending: bool) -> Function:
    """A convolution 3x3 over 8 x 8 floats with 2 columns at a time, upwards or downwards."""
    axis = Axis(8, 8, 3, 1, 1)
    kernel = ConvKernel(Window(axis, axis, 1), 1, FloatEpilogue(), descending=descending)
    return Function("tiny_copy", kernel, PROGRAM.functions[0].parameters)


def overlapping(shift: int, *overlaps: Overlap, last: int = 0, function: Function | None = None) -> Program:
    """One step that reads `low` (at byte 192, alive in the steps -1 to `last`) and writes `high`, `shift` after it."""
    program = with_call(Operand("arena", "low"), Operand("arena", "high"))
    return replace(
        program,
        steps=(replace(program.steps[0], result=Operand("arena", "high")),),
        functions=(function or program.functions[0], *program.functions[1:]),
        buffers=(
            Buffer("input:image", 48, -1, 0, 0),
            Buffer("output:scores", 48, 0, 1, 64),
            Buffer("low", 48, -1, last, 192),
            Buffer("high", 48, 0, 1, 192 + shift),
        ),
        arena_bytes=400,
        overlaps=overlaps,
    )


EITHER = Overlap("low", "high", below_bytes=16, above_bytes=32)


@pytest.mark.parametrize(
    "program",
    [
        overlapping(48),
        overlapping(-48),
        overlapping(0, Overlap("low", "high")),
        overlapping(-16, Overlap("low", "high", below_bytes=16)),
        overlapping(-16, EITHER, function=descending_or_not(False)),
        overlapping(32, EITHER, function=descending_or_not(True)),
    ],
    ids=["above", "below", "in place", "permitted below", "upwards", "downwards"],
)
def test_buffers_apart_and_permitted_overlaps_pass(program: Program) -> None:
    check_program(program)


def test_consistent_programs_pass() -> None:
    check_program(PROGRAM)
    check_program(several().program)


WRONG: dict[str, Callable[[], Program]] = {
    "input 'image' is int32; inputs are float32, int8, uint8": lambda: with_tensor("int32"),
    "input 'image' has no buffer in the arena": lambda: replace(PROGRAM, inputs={}),
    "output 'scores' has no buffer in the arena": lambda: replace(PROGRAM, outputs={"scores": "nowhere"}),
    "input 'image' does not fit into its buffer": lambda: with_buffer(size_bytes=44),
    "the arena has 0 bytes": lambda: replace(PROGRAM, arena_bytes=0, buffers=()),
    "the arena has 4294967296 bytes": lambda: replace(PROGRAM, arena_bytes=2**32),
    "buffer 'twice' lies outside the arena": lambda: replace(PROGRAM, arena_bytes=172),
    "buffer 'input:image' lies outside the arena": lambda: with_buffer(offset_bytes=-64),
    "two functions share a symbol": lambda: replace(PROGRAM, functions=PROGRAM.functions * 2),
    "calls 'tiny_nothing', which is no function": lambda: with_call(IMAGE, SCORES, symbol="tiny_nothing"),
    "3 operands for 2 parameters": lambda: with_call(IMAGE, SCORES, SCORES),
    "there is no arena 'nowhere'": lambda: with_call(IMAGE, Operand("arena", "nowhere")),
    "there is no constant 'nowhere'": lambda: with_call(Operand("constant", "nowhere"), SCORES),
    "there is no input 'scores'": lambda: with_call(Operand("input", "scores"), SCORES),
    "there is no output 'image'": lambda: with_call(IMAGE, Operand("output", "image")),
    "offset 48 is outside input 'image' of 48 bytes": lambda: with_call(replace(IMAGE, offset_bytes=48), SCORES),
    "offset -4 is outside output 'scores'": lambda: with_call(IMAGE, replace(SCORES, offset_bytes=-4)),
    "writes to input 'image'": lambda: with_call(IMAGE, IMAGE),
    "writes to constant 'shift.offsets'": lambda: with_call(IMAGE, Operand("constant", "shift.offsets")),
    "takes input 'image' for int8": lambda: with_copy_parameters(Parameter("a", "int8"), Parameter("y", written=True)),
    "offset 0 into the input is not known to be aligned to 16 bytes": lambda: with_copy_parameters(
        Parameter("a", alignment=16), Parameter("y", written=True)
    ),
    "offset 2 into the output is not known to be aligned": lambda: with_call(IMAGE, replace(SCORES, offset_bytes=2)),
    "offset 72 into the arena is not known to be aligned to 16 bytes": lambda: replace(
        with_call(Operand("arena", "odd"), SCORES),
        buffers=(*PROGRAM.buffers, Buffer("odd", 48, 0, 0, 72)),
        functions=(
            Function(
                "tiny_copy",
                PROGRAM.functions[0].kernel,
                (Parameter("a", alignment=16), Parameter("y", written=True)),
            ),
        ),
    ),
    "step 'twice' touches buffer 'twice', which is alive from 1 to 1": lambda: replace(
        PROGRAM, buffers=tuple(replace(b, first=1) if b.name == "twice" else b for b in PROGRAM.buffers)
    ),
    "step 'twice' touches buffer 'input:image', which is alive from -1 to -1": lambda: with_buffer(last=-1),
    "there are two buffers called 'input:image'": lambda: replace(
        PROGRAM, buffers=(*PROGRAM.buffers, replace(PROGRAM.buffers[0], first=4, last=4))
    ),
    "buffers 'low' and 'high' share memory and live in step 0": lambda: overlapping(-44),
    "buffers 'low' and 'high' share memory": lambda: overlapping(-44, Overlap("low", "output:scores")),
    "overlap of 'low' and 'high': step 0 is not the last of one and the first of the other": lambda: overlapping(
        -44, EITHER, last=1
    ),
    "overlap of 'low' and 'high': the second may not begin 4 bytes after the first": lambda: overlapping(
        4, Overlap("low", "high")
    ),
    "overlap of 'low' and 'high': the second may not begin -12 bytes after the first": lambda: overlapping(-12, EITHER),
    "tiny_copy in step 'twice' goes downwards and overwrites what it still reads": lambda: overlapping(
        -16, EITHER, function=descending_or_not(True)
    ),
    "tiny_copy in step 'twice' goes upwards and overwrites what it still reads": lambda: overlapping(
        32, EITHER, function=descending_or_not(False)
    ),
    "step 'twice', result: there is no arena 'gone'": lambda: replace(
        PROGRAM, steps=(replace(PROGRAM.steps[0], result=Operand("arena", "gone")),)
    ),
}


@pytest.mark.parametrize("message", WRONG)
def test_inconsistencies_are_named(message: str) -> None:
    with pytest.raises(ValueError, match="the program is inconsistent") as caught:
        check_program(WRONG[message]())
    assert message in str(caught.value)


def test_all_inconsistencies_are_named_at_once() -> None:
    with pytest.raises(ValueError, match="inconsistent") as caught:
        check_program(replace(PROGRAM, inputs={}, outputs={}, arena_bytes=172))
    assert len(str(caught.value).splitlines()) == 4
