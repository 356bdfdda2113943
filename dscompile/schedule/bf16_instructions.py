"""Instructions that multiply bfloat16, as functions in LLVM's language that every call of is inlined.

TVM 0.27 cannot say bfloat16 to LLVM, so kernels hold the bits as uint16 and call these functions; `link` puts their
text beside the kernels. Each has a twin in plain operations, for targets without the instruction: its specification.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tvm import tirx
from tvm.ir import StringImm

from dscompile.schedule.vector_code import lanes_of
from dscompile.target import Target

Expr = Any
PrimFunc = Any

BFMMLA_WORD, DPBF16_WORD = 4, 2  # neighboring input channels that each instruction sums
_FEATURES = {BFMMLA_WORD: "bf16", DPBF16_WORD: "avx512_bf16"}
_ATTRIBUTE = "dscompile.bf16"
_IMPORT = "pragma_import_llvm"


def bfmmla(total: Expr, x: Expr, w: Expr) -> Expr:
    """[x0 w0, x0 w1, x1 w0, x1 w1] added to `total` (float32x4): rows of 4 bfloat16 of x and w, two to a register."""
    return tirx.call_pure_extern("float32x4", "dscompile_bfmmla", total, x, w)


def dpbf16(total: Expr, x: Expr, w: Expr) -> Expr:
    """VDPBF16PS: total[i] + x[2 i] w[2 i] + x[2 i + 1] w[2 i + 1], of float32x16 and two uint16x32."""
    return tirx.call_pure_extern("float32x16", "dscompile_dpbf16", total, x, w)


def rounded(x: Expr) -> Expr:
    """The bits of the bfloat16 next to each float32, at ties the even one: 8 (BFCVTN) or 16 (VCVTNEPS2BF16) of them."""
    lanes = lanes_of(x)
    return tirx.call_pure_extern(f"uint16x{lanes}", f"dscompile_bf16x{lanes}", x)


def multiplies(prim: PrimFunc, word: int, target: Target) -> PrimFunc:
    """`prim`, marked as one that calls the functions of a word; the instructions, or where there are none the twins."""
    return prim.with_attr(_ATTRIBUTE, _INSTRUCTIONS[word] if target.has(_FEATURES[word]) else _TWINS[word])


def link(lowered: Mapping[str, PrimFunc]) -> dict[str, PrimFunc]:
    """Functions of one module with the text that those so marked call."""
    linked, missing = dict(lowered), {str(p.attrs[_ATTRIBUTE]) for p in lowered.values() if _ATTRIBUTE in p.attrs}
    for symbol, prim in lowered.items():
        if _ATTRIBUTE in prim.attrs:
            plain = prim.without_attr(_ATTRIBUTE)
            for text in sorted(missing):
                plain = plain.with_body(tirx.AttrStmt(tirx.const(0, "int32"), _IMPORT, StringImm(text), plain.body))
            linked[symbol], missing = plain, set()
    return linked


_INSTRUCTIONS = {
    BFMMLA_WORD: """
declare <4 x float> @llvm.aarch64.neon.bfmmla(<4 x float>, <8 x bfloat>, <8 x bfloat>)
define <4 x float> @dscompile_bfmmla(<4 x float> %total, <8 x i16> %x, <8 x i16> %w) {
  %a = bitcast <8 x i16> %x to <8 x bfloat>
  %b = bitcast <8 x i16> %w to <8 x bfloat>
  %sum = call <4 x float> @llvm.aarch64.neon.bfmmla(<4 x float> %total, <8 x bfloat> %a, <8 x bfloat> %b)
  ret <4 x float> %sum
}
define <8 x i16> @dscompile_bf16x8(<8 x float> %x) {
  %near = fptrunc <8 x float> %x to <8 x bfloat>
  %bits = bitcast <8 x bfloat> %near to <8 x i16>
  ret <8 x i16> %bits
}
""",
    DPBF16_WORD: """
declare <16 x float> @llvm.x86.avx512bf16.dpbf16ps.512(<16 x float>, <32 x bfloat>, <32 x bfloat>)
declare <16 x bfloat> @llvm.x86.avx512bf16.cvtneps2bf16.512(<16 x float>)
define <16 x float> @dscompile_dpbf16(<16 x float> %total, <32 x i16> %x, <32 x i16> %w) {
  %a = bitcast <32 x i16> %x to <32 x bfloat>
  %b = bitcast <32 x i16> %w to <32 x bfloat>
  %sum = call <16 x float> @llvm.x86.avx512bf16.dpbf16ps.512(<16 x float> %total, <32 x bfloat> %a, <32 x bfloat> %b)
  ret <16 x float> %sum
}
define <16 x i16> @dscompile_bf16x16(<16 x float> %x) {
  %near = call <16 x bfloat> @llvm.x86.avx512bf16.cvtneps2bf16.512(<16 x float> %x)
  %bits = bitcast <16 x bfloat> %near to <16 x i16>
  ret <16 x i16> %bits
}
""",
}


def _rounding_twin(lanes: int) -> str:
    floats, words = f"<{lanes} x float>", f"<{lanes} x i32>"
    return f"""
define <{lanes} x i16> @dscompile_bf16x{lanes}({floats} %x) {{
  %bits = bitcast {floats} %x to {words}
  %upper = lshr {words} %bits, splat (i32 16)
  %last = and {words} %upper, splat (i32 1)
  %half = add {words} %bits, splat (i32 32767)
  %sum = add {words} %half, %last
  %near = lshr {words} %sum, splat (i32 16)
  %quiet = or {words} %upper, splat (i32 64)
  %is_number = fcmp ord {floats} %x, zeroinitializer
  %chosen = select <{lanes} x i1> %is_number, {words} %near, {words} %quiet
  %narrow = trunc {words} %chosen to <{lanes} x i16>
  ret <{lanes} x i16> %narrow
}}
"""


def _bfmmla_twin() -> str:
    lines = []
    for k in range(4):
        rows, columns = (f"i32 {k}, i32 {k}, i32 {4 + k}, i32 {4 + k}", f"i32 {k}, i32 {4 + k}, i32 {k}, i32 {4 + k}")
        lines += [
            f"  %x{k} = shufflevector <8 x float> %a, <8 x float> poison, <4 x i32> <{rows}>",
            f"  %w{k} = shufflevector <8 x float> %b, <8 x float> poison, <4 x i32> <{columns}>",
            f"  %product{k} = fmul <4 x float> %x{k}, %w{k}",
            f"  %sum{k} = fadd <4 x float> {'%total' if k == 0 else f'%sum{k - 1}'}, %product{k}",
        ]
    widened = "\n".join(
        f"  %{name}_bits = zext <8 x i16> %{source} to <8 x i32>\n"
        f"  %{name}_upper = shl <8 x i32> %{name}_bits, splat (i32 16)\n"
        f"  %{name} = bitcast <8 x i32> %{name}_upper to <8 x float>"
        for name, source in (("a", "x"), ("b", "w"))
    )
    body = "\n".join(lines)
    return f"""
define <4 x float> @dscompile_bfmmla(<4 x float> %total, <8 x i16> %x, <8 x i16> %w) {{
{widened}
{body}
  ret <4 x float> %sum3
}}
"""


_TWINS = {
    BFMMLA_WORD: _bfmmla_twin() + _rounding_twin(8),
    DPBF16_WORD: """
define <16 x float> @dscompile_dpbf16(<16 x float> %total, <32 x i16> %x, <32 x i16> %w) {
  %a = bitcast <32 x i16> %x to <16 x i32>
  %b = bitcast <32 x i16> %w to <16 x i32>
  %a_even = shl <16 x i32> %a, splat (i32 16)
  %b_even = shl <16 x i32> %b, splat (i32 16)
  %a_odd = and <16 x i32> %a, splat (i32 -65536)
  %b_odd = and <16 x i32> %b, splat (i32 -65536)
  %x_even = bitcast <16 x i32> %a_even to <16 x float>
  %w_even = bitcast <16 x i32> %b_even to <16 x float>
  %x_odd = bitcast <16 x i32> %a_odd to <16 x float>
  %w_odd = bitcast <16 x i32> %b_odd to <16 x float>
  %odd = fmul <16 x float> %x_odd, %w_odd
  %even = fmul <16 x float> %x_even, %w_even
  %first = fadd <16 x float> %total, %odd
  %sum = fadd <16 x float> %first, %even
  ret <16 x float> %sum
}
"""
    + _rounding_twin(16),
}
