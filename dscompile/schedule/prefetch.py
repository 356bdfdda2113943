"""Weight prefetch: while one panel is at work, the next one is on its way into the second-level cache.

A network's weights are larger than its caches, so every panel comes from far away, once. Schedule primitives cannot
express this, so loops are marked with annotations in the schedule, and the instructions are placed after lowering.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tvm import tirx

PANEL = "dscompile.panel"  # the loop over panels of weights
TILE = "dscompile.tile"  # loops over tiles of pixels that see the same panel; annotated with their extents' product
DEPTH = "dscompile.depth"  # the loop over input channels that prefetches, annotated with elements per iteration

LINE_ELEMENTS = 16
INTO_L2 = 2  # the third argument of llvm.prefetch: locality

Stmt = Any
Expr = Any
PrimFunc = Any


def annotate(sch: Any, loops: PrefetchLoops, panel_elements: int, iterations: int) -> None:
    """Marks the loops of a schedule whose weights are to be prefetched, one panel of `panel_elements` ahead.

    `iterations` is how often the depth loop's body runs per panel.
    """
    sch.annotate(loops.panel, PANEL, panel_elements)
    for tile in loops.tiles:
        sch.annotate(tile, TILE, 1)
    sch.annotate(loops.depth, DEPTH, -(-panel_elements // iterations))


@dataclass(frozen=True)
class PrefetchLoops:
    """Loops of a schedule: over panels, over tiles of pixels (outer to inner), over input channels."""

    panel: Any
    tiles: tuple[Any, ...]
    depth: Any


@dataclass(frozen=True)
class _Place:
    """Where in the loops a statement stands: which panel, which iteration within it."""

    weights: Any
    panel: Expr
    panel_elements: int
    iteration: Expr


def insert_prefetches(prim: PrimFunc) -> PrimFunc:
    """The lowered function with prefetches in its annotated loops; unchanged if it has none."""
    weights = next((b for b in _buffers(prim.body) if b.name.startswith("weights")), None)
    if weights is None:
        return prim
    zero = tirx.const(0, "int32")
    return prim.with_body(_rewrite(prim.body, _Place(weights, zero, 0, zero)))


def _buffers(body: Stmt) -> list[Any]:
    statements = list(body.seq) if isinstance(body, tirx.SeqStmt) else [body]
    return [statement.buffer for statement in statements if isinstance(statement, tirx.DeclBuffer)]


def _rewrite(statement: Stmt, place: _Place) -> Stmt:
    if isinstance(statement, tirx.SeqStmt):
        return tirx.SeqStmt([_rewrite(child, place) for child in statement.seq])
    if not isinstance(statement, tirx.For):
        return statement
    marks = statement.annotations
    if PANEL in marks:
        place = replace(place, panel=statement.loop_var, panel_elements=int(marks[PANEL]))
    elif TILE in marks:
        place = replace(place, iteration=place.iteration * statement.extent + statement.loop_var)
    elif DEPTH in marks and place.panel_elements:
        place = replace(place, iteration=place.iteration * statement.extent + statement.loop_var)
        prefetches = _prefetches(place, int(marks[DEPTH]))
        return with_body(statement, tirx.SeqStmt([*prefetches, statement.body]))
    return with_body(statement, _rewrite(statement.body, place))


def _prefetches(place: _Place, elements: int) -> list[Stmt]:
    """Prefetches of the lines of the next panel that belong to this iteration.

    Where there are fewer lines than iterations, several prefetch the same one: the panels after the next have no room.
    """
    lines = -(-elements // LINE_ELEMENTS)
    begin = (place.panel + 1) * place.panel_elements + place.iteration * (
        elements if lines == 1 else lines * LINE_ELEMENTS
    )
    return [
        tirx.Evaluate(
            tirx.call_llvm_intrin(
                "void",
                "llvm.prefetch.p0",
                tirx.address_of(place.weights[begin + line * LINE_ELEMENTS]),
                tirx.const(0, "int32"),
                tirx.const(INTO_L2, "int32"),
                tirx.const(1, "int32"),
            )
        )
        for line in range(lines)
    ]


def with_body(loop: Any, body: Stmt) -> Stmt:
    """The loop with another body."""
    return tirx.For(
        loop.loop_var, loop.min, loop.extent, loop.kind, body, loop.thread_binding, loop.annotations, loop.step
    )
