"""Instructions of x86's vector units as TIR expressions, named as in Intel's manual, each with what it means.

That is written in plain operations: what a target without the instruction gets, and tests run where the CPU lacks it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import tirx

from dscompile.schedule.vector_code import lanes_of
from dscompile.target import Target

Expr = Any


def splat(value: float, dtype: str, lanes: int) -> Expr:
    """A constant in every lane."""
    return tirx.Broadcast(tirx.const(value, dtype), lanes)


def shuffle(vectors: Sequence[Expr], indices: Sequence[int]) -> Expr:
    """Elements of the vectors laid end to end."""
    operands = list(vectors)
    while sum(lanes_of(vector) for vector in operands) < len(indices):  # what TVM wants of a shuffle
        operands += vectors
    return tirx.Shuffle(operands, [tirx.const(index, "int32") for index in indices])


def widened(values: Expr, dtype: str) -> Expr:
    """Every element as another type: VPMOVSXBW and the like."""
    return tirx.Cast(f"{dtype}x{lanes_of(values)}", values)


def vpmaddwd(a: Expr, b: Expr, target: Target) -> Expr:
    """[int32] a[2i] b[2i] + a[2i + 1] b[2i + 1] of two vectors of int16."""
    lanes = lanes_of(a)
    if lanes == 16 and target.has("avx2"):
        return tirx.call_llvm_pure_intrin("int32x8", "llvm.x86.avx2.pmadd.wd", a, b)
    if lanes == 32 and target.has("avx512bw"):
        return tirx.call_llvm_pure_intrin("int32x16", "llvm.x86.avx512.pmaddw.d.512", a, b)
    even, odd = range(0, lanes, 2), range(1, lanes, 2)
    first, second = (
        widened(shuffle([a], which), "int32") * widened(shuffle([b], which), "int32") for which in (even, odd)
    )
    return first + second


def in_order(total: Expr) -> Expr:
    """A vector of int32 sums to which what follows is added, and not to something else first.

    LLVM adds products to each other before they are added to a sum, because that is a shorter chain, and then has more
    of them than registers. A fence, which is no instruction, is in its way.
    """
    floats = tirx.reinterpret(f"float32x{lanes_of(total)}", total)
    fenced = tirx.call_llvm_pure_intrin(f"float32x{lanes_of(total)}", "llvm.arithmetic.fence", floats)
    return tirx.reinterpret(f"int32x{lanes_of(total)}", fenced)


def vpdpbusd(total: Expr, pixels: Expr, weights: Expr, target: Target) -> Expr:
    """[int32] total[i] + the sum of four products: unsigned bytes of pixels[i], signed ones of weights[i]."""
    lanes = lanes_of(total)
    if lanes == 16 and target.has("avx512_vnni"):
        operands = (tirx.reinterpret("int8x64", vector) for vector in (pixels, weights))
        return tirx.call_llvm_pure_intrin("int32x16", "llvm.x86.avx512.vpdpbusd.512", total, *operands)
    for byte in range(4):
        unsigned = tirx.shift_right(pixels, splat(8 * byte, "int32", lanes)) & splat(255, "int32", lanes)
        left = tirx.shift_left(weights, splat(24 - 8 * byte, "int32", lanes))
        total = total + unsigned * tirx.shift_right(left, splat(24, "int32", lanes))
    return total


def cvtps2dq(real: Expr, target: Target) -> Expr:
    """Float32 to the nearest int32, halves to even; what lies outside of 32 bits is not for it."""
    lanes = lanes_of(real)
    if lanes == 8 and target.has("avx2"):
        return tirx.call_llvm_pure_intrin("int32x8", "llvm.x86.avx.cvt.ps2dq.256", real)
    return tirx.call_llvm_pure_intrin(f"int32x{lanes}", "llvm.lrint", real)


def fmadd(a: Expr, b: Expr, addend: Expr) -> Expr:
    """a * b + addend, rounded once: float32."""
    return tirx.call_llvm_pure_intrin(f"float32x{lanes_of(a)}", "llvm.fma", a, b, addend)


def vpshufb(entries: Expr, index: Expr) -> Expr:
    """[int8] entries[index % 16] in each half of 16 bytes, 0 where the index is negative. AVX2."""
    return tirx.call_llvm_pure_intrin("int8x32", "llvm.x86.avx2.pshuf.b", entries, index)


def vpsubsb(values: Expr, less: int) -> Expr:
    """values - less, at least -128: int8."""
    lanes = lanes_of(values)
    return tirx.call_llvm_pure_intrin(f"int8x{lanes}", "llvm.ssub.sat", values, splat(less, "int8", lanes))


def narrowed_together(lanes: int) -> int:
    """How many vectors `saturated_bytes` likes best."""
    return 4 if lanes == 8 else 1


def saturated_bytes(vectors: Sequence[Expr], more: int, target: Target) -> Expr:
    """Vectors of int32 plus `more` as int8, one behind the other, each number as near as the type allows.

    Four vectors of 8 take two VPACKSSDW, as many VPADDSW if there is something to add, a VPACKSSWB, and a VPERMD that
    puts the halves of registers in order. LLVM finds VPMOVSDB by itself.
    """
    lanes, count = lanes_of(vectors[0]), len(vectors)
    if lanes == 8 and target.has("avx2"):
        a, b, c, d = (vectors[index % count] for index in range(4))  # what is missing is anything
        low = _words(a, b, more)
        high = low if count <= 2 else _words(c, d, more)
        mixed = tirx.call_llvm_pure_intrin("int8x32", "llvm.x86.avx2.packsswb", low, high)
        words = shuffle([tirx.reinterpret("int32x8", mixed)], (0, 4, 1, 5, 2, 6, 3, 7))
        return part(tirx.reinterpret("int8x32", words), 0, 8 * count)
    joined = vectors[0] if count == 1 else shuffle(vectors, range(lanes * count))
    total = lanes * count
    bounded = tirx.max(tirx.min(joined, splat(127 - more, "int32", total)), splat(-128 - more, "int32", total))
    return tirx.Cast(f"int8x{total}", bounded + splat(more, "int32", total) if more else bounded)


def _words(a: Expr, b: Expr, more: int) -> Expr:
    """VPACKSSDW, and VPADDSW."""
    words = tirx.call_llvm_pure_intrin("int16x16", "llvm.x86.avx2.packssdw", a, b)
    if not more:
        return words
    return tirx.call_llvm_pure_intrin("int16x16", "llvm.sadd.sat", words, splat(more, "int16", 16))


def part(values: Expr, first: int, count: int) -> Expr:
    """`count` elements of a vector from `first` on."""
    return values if lanes_of(values) == count else shuffle([values], range(first, first + count))
