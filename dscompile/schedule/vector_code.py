"""Kernels written down vector by vector, where schedule primitives cannot say what is meant.

`Code` collects statements in the order in which they are to run. What it gives is the body of a PrimFunc whose
parameters come from `dscompile.compute`; views and lowering are those of every other kernel. Loops over Python ranges
are unrolled, `Code.loop` makes loops of the machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tvm import tirx

from dscompile.schedule.barrier import READ_ANEW, opaque, opaque_count

Expr = Any
Buffer = Any
PrimFunc = Any

ALIGNMENT = 64  # bytes: of a cache line, and of the widest vector


class Code:
    """The statements of a function, from the first to the last."""

    def __init__(self) -> None:
        self._statements: list[Any] = []

    @contextmanager
    def loop(self, extent: int, name: str, *, read_anew: bool = False, kept: bool = False) -> Iterator[Expr]:
        """What is written inside runs for name = 0 .. extent - 1; not at all for an extent of 0.

        `read_anew`: nothing that it reads is read before the loop; `kept`: LLVM does not unroll it, and what is written
        inside stays apart from what stands around it, even for one round (dscompile/schedule/barrier.py).
        """
        variable = tirx.Var(name, "int32")
        outer, self._statements = self._statements, []
        yield tirx.const(0, "int32") if extent == 1 else variable
        inner, self._statements = self._statements, outer
        if inner and extent:
            notes = {READ_ANEW: 1} if read_anew else {}
            rounds = opaque_count(extent) if kept else extent
            body = _sequence(inner)
            self._statements.append(tirx.For(variable, 0, rounds, tirx.ForKind.SERIAL, body, annotations=notes))

    @contextmanager
    def apart(self, index: Expr, limit: int) -> Iterator[None]:
        """What is written inside runs; LLVM takes it for a branch and does not mix it with what stands before.

        `index` is a loop's variable, always below `limit`. Limits of neighbours differ, or LLVM joins them.
        """
        outer, self._statements = self._statements, []
        yield
        inner, self._statements = self._statements, outer
        self._statements.append(tirx.IfThenElse(index < opaque(limit), _sequence(inner), None))

    def either(self, condition: Expr, then: Callable[[], None], other: Callable[[], None]) -> None:
        """What `then` writes runs where the condition holds, else what `other` writes."""
        outer, bodies = self._statements, []
        for write in (then, other):
            self._statements = []
            write()
            bodies.append(_sequence(self._statements))
        self._statements = outer
        self._statements.append(tirx.IfThenElse(condition, *bodies))

    def value(self, expression: Expr, name: str) -> Expr:
        """`expression`, computed here and once."""
        variable = tirx.Var(name, str(expression.ty.dtype))
        self._statements.append(tirx.Bind(variable, expression))
        return variable

    def store(self, buffer: Buffer, index: Sequence[Expr], value: Expr) -> None:
        """Writes the vector `value` to consecutive elements from `index` on."""
        self._statements.append(tirx.BufferStore(buffer, value, _ramp(index, lanes_of(value))))

    def read_anew(self, memory: Buffer) -> None:
        """What is read from `memory` of `vectors` after this is read after this, not kept in registers from before.

        LLVM would move such loads out of loops and spill them, on a stack that it then aligns for less than a vector. A
        prefetch, of what is in the first-level cache anyway, counts as something that may write to its address.
        """
        address = tirx.address_of(tirx.BufferLoad(memory, [0]))
        hint = [tirx.const(value, "int32") for value in (0, 3, 1)]  # to read, into the first level, data
        self._statements.append(tirx.Evaluate(tirx.call_llvm_intrin("void", "llvm.prefetch.p0", address, *hint)))

    def keep(self, memory: Buffer, index: Expr, value: Expr) -> None:
        """Writes a vector to memory of `vectors`."""
        self._statements.append(tirx.BufferStore(memory, value, [index]))

    def buffer(self, size: int, dtype: str, name: str) -> Buffer:
        """Memory of the function's own, of `size` elements, with anything in it."""
        buffer = tirx.decl_buffer((size,), dtype, name=name, scope="local", data_alignment=ALIGNMENT)
        self._statements.append(tirx.AllocBuffer(buffer))
        return buffer

    def vectors(self, count: int, dtype: str, lanes: int, name: str) -> Buffer:
        """Memory as `buffer` gives it, of whole vectors, aligned as they are. Elements are vectors."""
        return self.buffer(count, f"{dtype}x{lanes}", name)

    def sums(self, count: int, lanes: int = 4) -> Sums:
        """`count` vectors of `lanes` int32, all 0."""
        sums = Sums(self, self.buffer(lanes * count, "int32", "sums"), lanes)
        for index in range(count):
            sums[index] = tirx.Broadcast(tirx.const(0, "int32"), lanes)
        return sums

    def body_of(self, function: PrimFunc) -> PrimFunc:
        """`function` with this code as its body."""
        return function.with_body(_sequence(self._statements))


class Sums:
    """Vectors of int32 that change from one iteration of a loop to the next; LLVM keeps them in registers."""

    def __init__(self, code: Code, buffer: Buffer, lanes: int) -> None:
        self._code, self._buffer, self._lanes = code, buffer, lanes

    def __getitem__(self, index: int) -> Expr:
        return load(self._buffer, [self._lanes * index], self._lanes)

    def __setitem__(self, index: int, value: Expr) -> None:
        self._code.store(self._buffer, [self._lanes * index], value)


def load(buffer: Buffer, index: Sequence[Expr], lanes: int) -> Expr:
    """The vector of `lanes` consecutive elements from `index` on; it may run on into the next pixel."""
    return tirx.BufferLoad(buffer, _ramp(index, lanes))


def lanes_of(value: Expr) -> int:
    """Elements of a vector."""
    return int(value.ty.dtype.lanes) if hasattr(value.ty.dtype, "lanes") else 1


def _ramp(index: Sequence[Expr], lanes: int) -> list[Expr]:
    *outer, last = index
    return [*outer, tirx.Ramp(last, 1, lanes) if lanes > 1 else last]


def _sequence(statements: list[Any]) -> Any:
    return statements[0] if len(statements) == 1 else tirx.SeqStmt(statements)
