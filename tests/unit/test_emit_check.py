"""Programs that do not hold together never become C."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from dscompile.emit.check import check_program
from dscompile.ir.tensor import Tensor
from dscompile.plan.kernels import Parameter
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


def test_consistent_programs_pass() -> None:
    check_program(PROGRAM)
    check_program(several().program)


WRONG: dict[str, Callable[[], Program]] = {
    "input 'image' is int8; this emitter writes float32 borders": lambda: with_tensor("int8"),
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
