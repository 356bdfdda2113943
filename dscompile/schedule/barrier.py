"""A barrier for LLVM: what a loop reads in every round is read in every round, even if it is always the same.

LLVM moves loads of what does not change out of a loop, whether registers are left for it or not. In kernels whose
weights are more than fit into registers these loads become spills: the same loads again, from the stack, and worse
ones of what should have stayed in a register. Loops are marked in the schedule, and the barrier is placed after
lowering.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tvm import tirx

from dscompile.schedule.prefetch import with_body

READ_ANEW = "dscompile.read_anew"
# HINT #0 is NOP; LLVM takes it for something that may write to any memory, and moves no load across it.
_INTRINSIC = "llvm.aarch64.hint"

PrimFunc = Any
Stmt = Any


def read_anew(sch: Any, loops: Iterable[Any]) -> None:
    """Marks loops of a schedule for 64-bit Arm: nothing that their bodies read is read before them."""
    for loop in loops:
        sch.annotate(loop, READ_ANEW, 1)


def insert_barriers(prim: PrimFunc) -> PrimFunc:
    """The lowered function with a barrier in every marked loop; unchanged if it has none.

    Pointers of a function with barriers may alias as far as LLVM knows, or it would see that nothing reaches them.
    """
    body, found = _rewrite(prim.body)
    return prim.with_body(body).without_attr("tirx.noalias") if found else prim


def _rewrite(statement: Stmt) -> tuple[Stmt, bool]:
    """The statement with its barriers, and whether there are any."""
    if isinstance(statement, tirx.SeqStmt):
        children = [_rewrite(child) for child in statement.seq]
        return tirx.SeqStmt([child for child, _ in children]), any(found for _, found in children)
    if not isinstance(statement, tirx.For):
        return statement, False
    body, found = _rewrite(statement.body)
    if READ_ANEW in statement.annotations:
        hint = tirx.Evaluate(tirx.call_llvm_intrin("void", _INTRINSIC, tirx.const(0, "int32")))
        body, found = tirx.SeqStmt([hint, body]), True
    return with_body(statement, body), found
