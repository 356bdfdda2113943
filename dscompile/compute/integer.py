"""Integers as TensorIR expressions: typed constants, clamps, and the roundings that int8 networks are made of."""

from __future__ import annotations

from typing import Any

from tvm import tirx

Expr = Any


def typed_const(value: float, dtype: str) -> Expr:
    """A constant of a type; integers take whole numbers."""
    return tirx.const(value if dtype.startswith("float") else int(value), dtype)


def cast(dtype: str, x: Expr) -> Expr:
    """`x` as another type."""
    return tirx.Cast(dtype, x)


def cast_lanes(dtype: str, x: Expr) -> Expr:
    """`x`, a number or a vector, with elements of another type."""
    _, vector, lanes = str(x.dtype if hasattr(x, "dtype") else x.ty.dtype).partition("x")
    return tirx.Cast(f"{dtype}{vector}{lanes}", x)


def clamp(x: Expr, low: float, high: float) -> Expr:
    """min(max(x, low), high) in the type of x."""
    dtype = str(x.ty.dtype).partition("x")[0]
    return tirx.min(tirx.max(x, typed_const(low, dtype)), typed_const(high, dtype))


def divide_by_power(x: Expr, exponent: Expr) -> Expr:
    """x / 2^exponent in int64, rounded to nearest, halves away from zero."""
    one = tirx.const(1, "int64")
    mask = tirx.shift_left(one, exponent) - one
    threshold = tirx.shift_right(mask, one) + tirx.Cast("int64", x < tirx.const(0, "int64"))
    return tirx.shift_right(x, exponent) + tirx.Cast("int64", (x & mask) > threshold)


def round_to_even(x: Expr) -> Expr:
    """A float32 rounded to a whole number, halves to even."""
    return tirx.call_llvm_pure_intrin("float32", "llvm.roundeven.f32", x)


def round_away(x: Expr) -> Expr:
    """A float32 rounded to a whole number, halves away from zero."""
    return tirx.call_llvm_pure_intrin("float32", "llvm.round.f32", x)
