"""Intrinsics of definitions as CUDA has them: dot4 adds to its sum, and LLVM's names become those of CUDA's library."""

from __future__ import annotations

from typing import Any

import tvm
import tvm_ffi
from tvm import tirx

from dscompile.compute.dot_product import NAME

Expr = Any

_OF_LLVM = {"llvm.fma": "__fmaf_rn", "llvm.roundeven": "rintf", "llvm.round": "roundf"}
_CALL = type(tirx.call_intrin("int32", tvm.ir.Op.get(NAME), tirx.const(0, "int32"), tirx.const(0, "int32")))


def lower_intrinsics(body: Any) -> Any:
    """A lowered function, its dot4 as __dp4a, roundings, fused multiply-adds and fenced products as CUDA's.

    Products of floats that are not called fused are left to nvcc, which may fuse them with an addition.
    """
    body = tvm_ffi.structural_map(body, (tirx.Add, _with_sum))
    return tvm_ffi.structural_map(body, (_CALL, _renamed))


def _with_sum(addition: Expr) -> Expr:
    """sum + dot4(x, w) is one instruction."""
    for total, term in ((addition.a, addition.b), (addition.b, addition.a)):
        if _is_dot4(term):
            return tirx.call_pure_extern("int32", "__dp4a", *term.args, total)
    return addition


def _renamed(call: Expr) -> Expr:
    if _is_dot4(call):
        return tirx.call_pure_extern("int32", "__dp4a", *call.args, tirx.const(0, "int32"))
    if getattr(call.op, "name", "") == "tirx.call_llvm_pure_intrin":
        number, *arguments = call.args
        name = tvm.target.codegen.llvm_get_intrinsic_name(int(number))
        if name.startswith("llvm.arithmetic.fence"):
            (product,) = arguments
            return tirx.call_pure_extern("float32", "__fmul_rn", product.a, product.b)
        return tirx.call_pure_extern("float32", _OF_LLVM[name.removesuffix(".f32")], *arguments)
    return call


def _is_dot4(expression: Expr) -> bool:
    return isinstance(expression, _CALL) and getattr(expression.op, "name", "") == NAME
