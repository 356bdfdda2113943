"""What dot4 becomes: one rule per instruction that sums four products of bytes, and one for targets without any.

A rule sees vectors as wide as the schedule made them. It is asked while `lower_dot_products` runs, and knows the target
by what TVM tells of it. An instruction that other vector sets have is one more function in `_RULES`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tvm
from tvm import tirx
from tvm.target.codegen import target_has_features

from dscompile.compute.dot_product import NAME, by_shifts_and_products

Expr = Any
Rule = Callable[[Expr, Expr], Expr | None]


def lower_dot_products(module: Any, target: Any) -> Any:
    """The module with every intrinsic, dot4 among them, as `target` (TVM's) has it."""
    with target:
        return tirx.transform.LowerIntrin()(module)


def dot4_by_sdot(x: Expr, w: Expr) -> Expr | None:
    """Arm's SDOT: four words at a time. LLVM adds to the sum in the same instruction."""
    if str(w.ty.dtype) != "int32x4":
        return None
    return tirx.call_llvm_pure_intrin(
        "int32x4",
        "llvm.aarch64.neon.sdot.v4i32.v16i8",
        tirx.Broadcast(tirx.const(0, "int32"), 4),
        tirx.reinterpret("int8x16", w),
        tirx.reinterpret("int8x16", x),
    )


_RULES: tuple[tuple[str, Rule], ...] = (("dotprod", dot4_by_sdot),)  # LLVM's name of the feature, the rule


def _lower(call: Expr) -> Expr:
    x, w = call.args
    target = tvm.target.Target.current()
    for feature, rule in _RULES:
        if target_has_features(feature, target):
            lowered = rule(x, w)
            if lowered is not None:
                return lowered
    return by_shifts_and_products(x, w)


tirx.op.register_intrin_lowering(NAME, target="default", f=_lower)
