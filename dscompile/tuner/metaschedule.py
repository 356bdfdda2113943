"""What MetaSchedule is told of a layer: a module that stands for its workload, annotations that stand for a choice.

Imports TVM; others import this module when they need it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import tvm
from tvm import te
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule.utils import _json_de_tvm

from dscompile.schedule.native import llvm_target
from dscompile.target import Target
from dscompile.tuner.trace import BLOCK

WORKLOAD = "dscompile.workload"
_INTRINSICS = "tvm.s_tir.tensor_intrin"


def stand_in(text: str) -> Any:
    """A module with one trivial block, which an attribute tells from those of other workloads."""
    source = te.placeholder((1,), name="source", dtype="float32")
    result = te.compute((1,), lambda i: source[i], name=BLOCK)
    function = te.create_prim_func([source, result])
    return tvm.IRModule({"main": function.with_attr("global_symbol", "main").with_attr(WORKLOAD, text)})


def block_of(schedule: Schedule) -> Any:
    """Where choices are noted."""
    return schedule.get_sblock(BLOCK)


def workload_line(text: str) -> Any:
    """A workload as JSONDatabase writes it."""
    return ms.database.Workload(stand_in(text)).as_json()


def workload_text(line: Any) -> str:
    """The text in a line that `workload_line` made; empty if it is of another origin.

    Raises what MetaSchedule does (RuntimeError, TypeError, ValueError, KeyError, IndexError) for what is no workload.
    """
    module = ms.database.Workload.from_json(line).mod
    return next(
        (str(function.attrs[WORKLOAD]) for function in module.functions.values() if WORKLOAD in function.attrs), ""
    )


def target_json(target: Target) -> Any:
    """The target as JSONDatabase writes it."""
    return _json_de_tvm(llvm_target(target).export())


@contextmanager
def without_intrinsics() -> Iterator[None]:
    """A context of MetaSchedule is made without all tensor intrinsics of TVM, which take half a minute to import.

    They serve its own rules for schedules, which are not used here. Whoever has imported them keeps them.
    """
    if _INTRINSICS in sys.modules:
        yield
        return
    sys.modules[_INTRINSICS] = ModuleType(_INTRINSICS)
    try:
        yield
    finally:
        del sys.modules[_INTRINSICS]
