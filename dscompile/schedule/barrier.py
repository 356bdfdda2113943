"""What LLVM must not move or unroll, because registers would not be left for it.

LLVM moves loads of what does not change out of a loop, whether registers are left for it or not. In kernels whose
weights are more than fit into registers these loads become spills: the same loads again, from the stack, and worse
ones of what should have stayed in a register. A barrier in the loop keeps them where they are. It also unrolls every
short loop whole, and then moves what the rounds read in the same way; a loop whose count it cannot see stays a loop.

Loops of schedules are marked, and what stands for the marks is placed after lowering.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tvm import tirx

from dscompile.schedule.prefetch import with_body

READ_ANEW = "dscompile.read_anew"
KEPT = "dscompile.kept"
# HINT #0 is NOP; LLVM takes it for something that may write to any memory, and moves no load across it.
_INTRINSIC = "llvm.aarch64.hint"
# SQADD of general registers' values; LLVM does not compute it in advance.
_OPAQUE = "llvm.aarch64.neon.sqadd.i32"

PrimFunc = Any
Stmt = Any
Expr = Any


def read_anew(sch: Any, loops: Iterable[Any]) -> None:
    """Marks loops of a schedule for 64-bit Arm: nothing that their bodies read is read before them."""
    for loop in loops:
        sch.annotate(loop, READ_ANEW, 1)


def keep_loops(sch: Any, loops: Iterable[Any]) -> None:
    """Marks loops of a schedule for 64-bit Arm that LLVM must not unroll; loops of one round vanish all the same."""
    for loop in loops:
        sch.annotate(loop, KEPT, 1)


def opaque(number: int) -> Expr:
    """A number > 0 that LLVM does not know; four instructions, which it moves out of all loops."""
    return tirx.call_llvm_pure_intrin("int32", _OPAQUE, tirx.const(number, "int32"), tirx.const(0, "int32"))


def opaque_count(rounds: int) -> Expr:
    """As `opaque`, of which LLVM knows that it is not 0: a loop needs no test in front of it."""
    return tirx.max(opaque(rounds), tirx.const(1, "int32"))


def insert_barriers(prim: PrimFunc) -> PrimFunc:
    """The lowered function with a barrier in every loop so marked, and the counts of loops that are to be kept hidden.

    Pointers of a function with barriers may alias as far as LLVM knows, or it would see that nothing reaches them.
    """
    body, found = _rewrite(prim.body)
    prim = prim.with_body(body)
    return prim.without_attr("tirx.noalias") if found else prim


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
    statement = with_body(statement, body)
    return (_with_hidden_count(statement) if KEPT in statement.annotations else statement), found


def _with_hidden_count(loop: Stmt) -> Stmt:
    return tirx.For(loop.loop_var, loop.min, opaque_count(int(loop.extent)), loop.kind, loop.body)
