"""From the sums of a channel to its bytes, as TE: exact in every rounding, on any target, in no hurry.

Schedules of fast kernels bring instructions of their own; this is what these must equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import te, tirx

from dscompile.compute.integer import cast_lanes, clamp, typed_const
from dscompile.plan.int8_kernels import Requantization

Tensor = Any
Expr = Any


def constants(requantization: Requantization, channels: int) -> list[Tensor]:
    """A placeholder [channels] for each constant of the requantization."""
    return [te.placeholder((channels,), name=p.name, dtype=p.dtype) for p in requantization.parameters]


def requantized(total: Expr, constants: Sequence[Expr], requantization: Requantization) -> Expr:
    """The int8 of an int32 sum; `constants` are its channel's, in the order of `requantization.parameters`.

    The formulas are those of plan/int8_kernels.py; fixed-point ones are computed in 64 bits.
    """
    low, high, zero_point = requantization.low, requantization.high, requantization.zero_point
    if requantization.scaling == "affine":
        scale, offset = constants
        real = tirx.call_llvm_pure_intrin("float32", "llvm.fma.f32", tirx.Cast("float32", total), scale, offset)
        return tirx.Cast("int8", _nearest(real, low, high))
    if requantization.scaling == "float32":
        real = tirx.Cast("float32", total + constants[0]) * constants[1]
        return tirx.Cast("int8", _nearest(real, low - zero_point, high - zero_point) + zero_point)
    return tirx.Cast("int8", clamp(scaled(total, constants, requantization), low, high))


def scaled(total: Expr, constants: Sequence[Expr], requantization: Requantization) -> Expr:
    """A sum as a number of the output by one of the fixed-point forms, not yet clamped: int32 or int64.

    Also of vectors of sums; `constants` are vectors then.
    """
    bias = constants[0]
    if requantization.scaling in ("integer", "stepped"):
        factor = bias + tirx.shift_left(total, typed_const(requantization.left, "int32"))
        if requantization.scaling == "stepped":
            negative = tirx.shift_right(factor, typed_const(31, "int32"))
            factor = factor + (constants[2] & ~negative)
        return _searched(factor, constants[1], requantization)
    multiplier, shift = (_wide(constant) for constant in constants[1:])
    found = fixed_point(_wide(total) + _wide(bias), multiplier, shift, requantization.scaling)
    return found + typed_const(requantization.zero_point, "int64")


def _nearest(real: Expr, low: int, high: int) -> Expr:
    """`real` clamped and rounded to an int32, halves to even; what lies outside of 32 bits is clamped first."""
    clamped = tirx.max(tirx.min(real, tirx.const(float(high), "float32")), tirx.const(float(low), "float32"))
    return tirx.Cast("int32", tirx.call_llvm_pure_intrin("float32", "llvm.roundeven.f32", clamped))


def _searched(factor: Expr, multiplier: Expr, requantization: Requantization) -> Expr:
    """The high half of one product, and a shift; all but the product in 32 bits."""
    right = requantization.right
    high = cast_lanes("int32", tirx.shift_right(_wide(factor) * _wide(multiplier), _int64(32)))
    return tirx.shift_right(
        typed_const(requantization.zero_point << right, "int32") + high, typed_const(right, "int32")
    )


def fixed_point(total: Expr, multiplier: Expr, shift: Expr, rounding: str) -> Expr:
    """total * multiplier * 2^(shift - 31) in int64, rounded as `rounding` says: tflite, half-up or single."""
    if rounding == "single":
        right = _int64(31) - shift
        return _right(total * multiplier + _left(_int64(1), right - 1), right)
    left, right = tirx.max(shift, _int64(0)), tirx.max(_int64(0) - shift, _int64(0))
    shifted = tirx.max(tirx.min(_left(total, left), _int64(2**31 - 1)), _int64(-(2**31)))
    product = _right(shifted * multiplier + _int64(2**30), _int64(31))
    half = _right(_left(_int64(1), right), _int64(1))
    if rounding == "half-up":
        return _right(product + half, right)
    # Halves away from zero: of negative products one less is added, where there is a half at all.
    less = _right(product, _int64(63)) & (_int64(0) - tirx.min(right, _int64(1)))
    return _right(product + half + less, right)


def _wide(value: Expr) -> Expr:
    return cast_lanes("int64", value)


def _int64(value: int) -> Expr:
    return typed_const(value, "int64")


def _left(value: Expr, bits: Expr) -> Expr:
    return tirx.shift_left(value, bits)


def _right(value: Expr, bits: Expr) -> Expr:
    return tirx.shift_right(value, bits)
