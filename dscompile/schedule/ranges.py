"""Kernels that do a part of their work: the bounds of their outermost loops become parameters.

What a kernel computes is a nest of loops, of which the outermost ones (panels of filters, blocks of channels, rows,
tiles of pixels) write different elements of the result in every round. So their rounds may be done in any order, and by
several threads at once. Such loops are found in the lowered function, whatever its schedule was.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import tvm_ffi
from tvm import tirx

MOST_LOOPS = 2

PrimFunc = Any
Stmt = Any
Var = Any


@dataclass(frozen=True)
class Ranged:
    """A lowered function whose outermost loops run from one of its parameters to the next.

    `extents` are the rounds of those loops, the outermost first; `bounds` two parameters for each: where it begins and
    where it ends. Both are empty for a function that can only be called as a whole.
    """

    prim: PrimFunc
    extents: tuple[int, ...]
    bounds: tuple[Var, ...]


def with_ranges(prim: PrimFunc, written: Collection[str]) -> Ranged:
    """Gives bounds to the outermost loops of a lowered function; `written` are the names of parameters it writes."""
    statements = list(prim.body.seq) if isinstance(prim.body, tirx.SeqStmt) else [prim.body]
    places = [index for index, one in enumerate(statements) if not isinstance(one, tirx.AllocBuffer | tirx.DeclBuffer)]
    if len(places) != 1:
        return Ranged(prim, (), ())
    (place,) = places
    loops = _outermost_loops(_without_single_rounds(statements[place]), written)
    if not loops:
        return Ranged(prim, (), ())
    bounds: list[Var] = []
    nest = loops[-1].body
    for index, loop in reversed(list(enumerate(loops))):
        first, end = (tirx.Var(f"{name}_{index}", "int32") for name in ("first", "end"))
        bounds = [first, end, *bounds]
        nest = tirx.For(
            loop.loop_var, first, end - first, loop.kind, nest, loop.thread_binding, loop.annotations, loop.step
        )
    statements[place] = nest
    body = tirx.SeqStmt(statements) if len(statements) > 1 else nest
    return Ranged(prim.with_body(body), tuple(int(loop.extent) for loop in loops), tuple(bounds))


def _outermost_loops(statement: Stmt, written: Collection[str]) -> list[Any]:
    """Loops right within each other whose rounds write different elements: each counts in all that is written.

    Not the innermost loop of a kernel that makes one vector or element in a round: nobody would do a part of that, and
    LLVM does better if it knows how many there are.
    """
    stores = _stores(statement, written)
    loops: list[Any] = []
    while len(loops) < MOST_LOOPS and isinstance(statement, tirx.For) and _is_large(statement.body):
        if not (stores and all(statement.loop_var in variables for variables in stores)):
            break
        loops.append(statement)
        statement = _without_single_rounds(statement.body)
    return loops


def _without_single_rounds(statement: Stmt) -> Stmt:
    """What is within loops of one round: those with annotations, which TVM keeps, would hide the loops inside."""
    while isinstance(statement, tirx.For) and int(statement.extent) == 1:
        known = {statement.loop_var: statement.min}

        def placed(variable: Var, known: Mapping[Var, Any] = known) -> Any:
            return known.get(variable, variable)

        statement = tvm_ffi.structural_map(statement.body, (tirx.Var, placed))
    return statement


def _is_large(body: Stmt) -> bool:
    """Whether there is a loop in the body of a loop, or several stores."""
    found: list[Any] = []
    tvm_ffi.structural_walk(body, ((tirx.For, tirx.BufferStore), found.append))
    return len(found) > 1


def _stores(statement: Stmt, written: Collection[str]) -> list[set[Any]]:
    """For every store to a parameter of those `written`: the variables that its place depends on."""
    bound: dict[Any, set[Any]] = {}
    found: list[set[Any]] = []

    def bind(node: Any) -> None:
        bound[node.var] = _variables([node.value], bound)

    def store(node: Any) -> None:
        if node.buffer.name in written:
            found.append(_variables(node.indices, bound))

    tvm_ffi.structural_walk(statement, [(tirx.Bind, bind), (tirx.BufferStore, store)])
    return found


def _variables(expressions: Iterable[Any], bound: Mapping[Any, set[Any]]) -> set[Any]:
    """The variables of expressions; of one that is bound, those of what it is bound to."""
    free = [variable for expression in expressions for variable in tirx.analysis.undefined_vars(expression)]
    return {origin for variable in free for origin in bound.get(variable, {variable})}
