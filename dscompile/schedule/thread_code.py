"""Kernels of GPUs written down statement by statement, where schedule primitives cannot say what is meant.

`ThreadCode` is what one thread runs, from the first statement to the last, like `vector_code.Code` for CPUs. Barriers
stand where they are written; `own_barriers` says so of the finished function, and no pass adds any.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tvm import ir, tirx

Expr = Any
Buffer = Any
PrimFunc = Any

OWN_BARRIERS = "dscompile.own_barriers"


class ThreadCode:
    """The statements of a thread."""

    def __init__(self) -> None:
        self._statements: list[Any] = []
        self._arrays: list[Any] = []

    @contextmanager
    def loop(self, extent: int, name: str) -> Iterator[Expr]:
        """What is written inside runs for name = 0 .. extent - 1."""
        with self._loop(extent, name, tirx.ForKind.SERIAL) as variable:
            yield variable

    @contextmanager
    def unrolled(self, extent: int, name: str) -> Iterator[Expr]:
        """The same, unrolled by nvcc, so that arrays indexed by `name` can be registers."""
        with self._loop(extent, name, tirx.ForKind.UNROLLED) as variable:
            yield variable

    @contextmanager
    def vector(self, lanes: int, name: str = "lane") -> Iterator[Expr]:
        """The same for the elements of a vector, all at once."""
        with self._loop(lanes, name, tirx.ForKind.VECTORIZED) as variable:
            yield variable

    @contextmanager
    def when(self, condition: Expr | None) -> Iterator[None]:
        """What is written inside runs where a condition holds; always without one."""
        outer, self._statements = self._statements, []
        yield
        inner, self._statements = self._statements, outer
        if condition is None:
            self._statements += inner
        else:
            self._statements.append(tirx.IfThenElse(condition, _sequence(inner), None))

    def store(self, buffer: Buffer, index: Sequence[Expr], value: Expr) -> None:
        """Writes one element."""
        self._statements.append(tirx.BufferStore(buffer, value, list(index)))

    def do(self, call: Expr) -> None:
        """Evaluates a call for its effect."""
        self._statements.append(tirx.Evaluate(call))

    def barrier(self) -> None:
        """All threads of the block come here before one goes on."""
        self.do(tirx.call_intrin("int32", "tirx.tvm_storage_sync", "shared"))

    def warp_barrier(self) -> None:
        """All threads of the warp come here before one goes on."""
        self.do(tirx.call_extern("void", "__syncwarp"))  # TVM's own barrier of a warp comes out as nothing

    def shared(self, shape: Sequence[int], dtype: str, name: str) -> Buffer:
        """An array that the block's threads share."""
        return self._array(shape, dtype, name, "shared")

    def registers(self, shape: Sequence[int], dtype: str, name: str, scope: str = "local") -> Buffer:
        """An array of the thread's own; in a scope of wmma, fragments of the warp's."""
        return self._array(shape, dtype, name, scope)

    def body_of(
        self, function: PrimFunc, blocks: tuple[Expr, Expr], grid: tuple[int, int], thread: Expr, count: int
    ) -> PrimFunc:
        """`function` with this code as its body: `count` threads to a block, of a grid along x and y."""
        body = _sequence([*self._arrays, *self._statements])
        axes = [(thread, "threadIdx.x", count), (blocks[1], "blockIdx.y", grid[1]), (blocks[0], "blockIdx.x", grid[0])]
        for variable, tag, extent in axes:
            axis = tirx.IterVar(ir.Range(0, extent), variable, tirx.IterVar.ThreadIndex, tag)
            body = tirx.AttrStmt(axis, "thread_extent", tirx.const(extent, "int32"), body)
        return function.with_body(body).with_attr(OWN_BARRIERS, True)

    def _array(self, shape: Sequence[int], dtype: str, name: str, scope: str) -> Buffer:
        buffer = tirx.decl_buffer(tuple(shape), dtype, name=name, scope=scope)
        self._arrays.append(tirx.AllocBuffer(buffer))
        return buffer

    @contextmanager
    def _loop(self, extent: int, name: str, kind: Any) -> Iterator[Expr]:
        variable = tirx.Var(name, "int32")
        outer, self._statements = self._statements, []
        yield variable
        inner, self._statements = self._statements, outer
        self._statements.append(tirx.For(variable, 0, extent, kind, _sequence(inner)))


def _sequence(statements: list[Any]) -> Any:
    return statements[0] if len(statements) == 1 else tirx.SeqStmt(statements)
