"""Instructions of 64-bit Arm's vector unit as TIR expressions, named as in the Arm Architecture Reference Manual.

A q register is 16 bytes, a d register 8: `int32x4`, `int16x8`, `int8x16`, and their halves. LLVM gives intrinsics and
patterns their instructions; what is not obvious in that is said at each function.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import tirx

from dscompile.schedule.vector_code import lanes_of

Expr = Any


def splat(value: int, dtype: str, lanes: int) -> Expr:
    """A constant in every lane."""
    return tirx.Broadcast(tirx.const(value, dtype), lanes)


def element(vector: Expr, index: int, lanes: int) -> Expr:
    """One element in every lane: an operand `v.4b[index]` of the instructions that take one, else DUP."""
    return shuffle([vector], [index] * lanes)


def shuffle(vectors: Sequence[Expr], indices: Sequence[int]) -> Expr:
    """Elements of the vectors laid end to end."""
    operands = list(vectors)
    while sum(lanes_of(vector) for vector in operands) < len(indices):  # what TVM wants of a shuffle
        operands += vectors
    return tirx.Shuffle(operands, [tirx.const(index, "int32") for index in indices])


def join(low: Expr, high: Expr, lanes: int) -> Expr:
    """Two halves of `lanes` each. Of results of narrowing instructions this is free: the upper is written by XTN2."""
    return shuffle([low, high], range(2 * lanes))


def sdot(total: Expr, w: Expr, x: Expr) -> Expr:
    """total[i] + the sum of the four products of bytes of the words w[i] and x[i], all int32x4."""
    return _intrinsic("int32x4", "sdot.v4i32.v16i8", total, _bytes(w), _bytes(x))


def smmla(total: Expr, x: Expr, w: Expr) -> Expr:
    """[x0 w0, x0 w1, x1 w0, x1 w1] added to `total`: rows of 8 bytes of x and w, two to a register (int32x4)."""
    return _intrinsic("int32x4", "smmla.v4i32.v16i8", total, _bytes(x), _bytes(w))


def smull_bytes(a: Expr, b: Expr) -> Expr:
    """Products [int16x8] of two int8x8. Added to another, it is SMLAL."""
    return _intrinsic("int16x8", "smull.v8i16", a, b)


def smull(a: Expr, b: Expr, dtype: str) -> Expr:
    """Products twice as wide: of int16x4 to int32x4, of int32x2 to int64x2. Added to another, it is SMLAL."""
    return _intrinsic(dtype, "smull.v4i32" if dtype == "int32x4" else "smull.v2i64", a, b)


def sadalp(total: Expr, pairs: Expr) -> Expr:
    """The int32x4 `total` with the sums of neighbours of an int16x8 added."""
    return total + _intrinsic("int32x4", "saddlp.v4i32.v8i16", pairs)


def addp(a: Expr, b: Expr) -> Expr:
    """Sums of neighbours of a, then of b: int32x4."""
    return _intrinsic("int32x4", "addp.v4i32", a, b)


def scvtf(x: Expr) -> Expr:
    """int32x4 as float32x4."""
    return tirx.Cast("float32x4", x)


def fmla(addend: Expr, a: Expr, b: Expr) -> Expr:
    """Addend + a * b, rounded once: float32x4."""
    return tirx.call_llvm_pure_intrin("float32x4", "llvm.fma.v4f32", a, b, addend)


def fcvtns(x: Expr) -> Expr:
    """float32x4 to the nearest int32x4, halves to even, saturated."""
    return _intrinsic("int32x4", "fcvtns.v4i32.v4f32", x)


def sqxtn(x: Expr, dtype: str) -> Expr:
    """Elements half as wide, saturated: int64x2 to int32x2, int32x4 to int16x4, int16x8 to int8x8."""
    return _intrinsic(dtype, {"int32x2": "sqxtn.v2i32", "int16x4": "sqxtn.v4i16", "int8x8": "sqxtn.v8i8"}[dtype], x)


def sqadd(a: Expr, b: Expr, dtype: str) -> Expr:
    """Sums, saturated: int32x4 or int16x8."""
    return _intrinsic(dtype, {"int32x4": "sqadd.v4i32", "int16x8": "sqadd.v8i16"}[dtype], a, b)


def sqshl(x: Expr, left: Expr) -> Expr:
    """x << left, saturated: int32x4."""
    return _intrinsic("int32x4", "sqshl.v4i32", x, left)


def srshl(x: Expr, left: Expr, dtype: str) -> Expr:
    """x << left, or, where `left` is negative, shifted to the right and rounded, halves up: int32x4 or int64x2."""
    return _intrinsic(dtype, {"int32x4": "srshl.v4i32", "int64x2": "srshl.v2i64"}[dtype], x, left)


def sqrdmulh(a: Expr, b: Expr) -> Expr:
    """(a * b + 2^30) >> 31, saturated: int32x4."""
    return _intrinsic("int32x4", "sqrdmulh.v4i32", a, b)


def sqdmulh(a: Expr, b: Expr) -> Expr:
    """(a * b) >> 31, saturated: int32x4."""
    return _intrinsic("int32x4", "sqdmulh.v4i32", a, b)


def _bytes(words: Expr) -> Expr:
    return tirx.reinterpret("int8x16", words)


def _intrinsic(dtype: str, name: str, *operands: Expr) -> Expr:
    return tirx.call_llvm_pure_intrin(dtype, f"llvm.aarch64.neon.{name}", *operands)
