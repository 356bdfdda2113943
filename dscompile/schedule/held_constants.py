"""Constants in memory, for the many of an exponential activation, which registers have no room for beside the sums.

LLVM makes a vector of equal numbers by an instruction of its own (VBROADCASTSS), again and again where registers are
few. A load of a whole vector can be a part of the instruction that needs it. LLVM must not know what is there: text in
its own language, put beside the kernels, says that somebody else may have set it. With AVX-512, instructions broadcast.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import tvm_ffi
from tvm import tirx
from tvm.ir import StringImm

from dscompile.compute.held import NAME, held
from dscompile.schedule.vector_code import lanes_of
from dscompile.target import Target

Expr = Any
PrimFunc = Any

_LANES = 8  # float32 in a register of AVX2
_IMPORT = "pragma_import_llvm"
_CALL = type(held(0.0, tirx.const(0.0, "float32")))


def place_constants(lowered: Mapping[str, PrimFunc], target: Target) -> dict[str, PrimFunc]:
    """Functions of one module, their constants loads from memory if `target` is to have them there, else themselves."""
    in_memory = target.has("avx2") and not target.has("avx512f")
    loads: set[tuple[float, int]] = set()

    def placed(call: Expr) -> Expr:
        if getattr(call.op, "name", "") != NAME:
            return call
        constant = call.args[0]
        lanes = lanes_of(constant)
        if not in_memory or lanes < _LANES or lanes & (lanes - 1):  # LLVM takes other vectors apart
            return constant
        value = float(np.float32(constant.value.value))
        loads.add((value, lanes))
        return tirx.call_pure_extern(f"float32x{lanes}", f"{_name(value)}x{lanes}")

    result = {
        symbol: prim.with_body(tvm_ffi.structural_map(prim.body, (_CALL, placed))) for symbol, prim in lowered.items()
    }
    if loads:
        symbol, prim = next(iter(result.items()))
        text = StringImm("".join(_load(value, lanes) for value, lanes in sorted(loads)))
        result[symbol] = prim.with_body(tirx.AttrStmt(tirx.const(0, "int32"), _IMPORT, text, prim.body))
    return result


def _name(value: float) -> str:
    return f"dscompile_held_{struct.pack('>f', value).hex()}"


def _load(value: float, lanes: int) -> str:
    """A function that gives the constant in `lanes` lanes, all from the same register."""
    name, number = f"{_name(value)}x{lanes}", struct.pack(">d", value).hex().upper()
    indices = ", ".join(f"i32 {lane % _LANES}" for lane in range(lanes))
    return f"""
@{name}_memory = private externally_initialized constant <{_LANES} x float> splat (float 0x{number}), align 32
define <{lanes} x float> @{name}() {{
  %once = load <{_LANES} x float>, ptr @{name}_memory, align 32
  %all = shufflevector <{_LANES} x float> %once, <{_LANES} x float> poison, <{lanes} x i32> <{indices}>
  ret <{lanes} x float> %all
}}
"""
