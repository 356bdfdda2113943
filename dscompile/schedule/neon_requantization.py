"""Requantization in NEON registers: four sums at a time, exact in every scaling of plan/int8_kernels.py.

Each scaling is a few instructions from sums to numbers of the output, all int32x4; others, common to all, narrow these
to bytes. Whatever lies far outside of a byte saturates on the way. Sums with their bias must fit 32 bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import tirx

from dscompile.plan.int8_kernels import Requantization
from dscompile.schedule import neon
from dscompile.schedule.vector_code import Code, lanes_of

Expr = Any


def scaled(code: Code, total: Expr, constants: Sequence[Expr], requantization: Requantization) -> Expr:
    """Four sums as numbers of the output; `constants` are those of their channels.

    Only `affine` ones contain the zero point already.
    """
    match requantization.scaling:
        case "affine":
            scale, offset = constants
            return neon.fcvtns(neon.fmla(offset, neon.scvtf(total), scale))
        case "integer":
            bias, multiplier = constants
            return _searched(_raised(total, bias, requantization), multiplier, requantization)
        case "stepped":
            bias, multiplier, step = constants
            factor = code.value(_raised(total, bias, requantization), "factor")
            negative = tirx.shift_right(factor, neon.splat(31, "int32", 4))
            return _searched(factor + (step & ~negative), multiplier, requantization)
        case "float32":
            bias, scale = constants
            return neon.fcvtns(neon.scvtf(total + bias) * scale)
        case "single":
            return _rounded_once(code, total, constants)
        case "half-up":
            product, right = _high_product(code, total, constants)
            return neon.srshl(product, right, "int32x4")
        case "tflite":
            product, right = _high_product(code, total, constants)
            # Halves away from zero: one less of what is negative and about to be shifted.
            less = tirx.shift_right(product & right, neon.splat(31, "int32", 4))
            return neon.srshl(neon.sqadd(product, less, "int32x4"), right, "int32x4")


def narrowed(low: Expr, high: Expr, requantization: Requantization) -> Expr:
    """Eight scaled sums as int8x8, the zero point added where it is not contained."""
    halves = neon.join(neon.sqxtn(low, "int16x4"), neon.sqxtn(high, "int16x4"), 4)
    if requantization.scaling != "affine" and requantization.zero_point:
        halves = neon.sqadd(halves, neon.splat(requantization.zero_point, "int16", 8), "int16x8")
    return neon.sqxtn(halves, "int8x8")


def clamped(values: Expr, requantization: Requantization) -> Expr:
    """A vector of int8 between the bounds; narrowing has already kept it within those of the type."""
    lanes = lanes_of(values)
    if requantization.low > -128:
        values = tirx.max(values, neon.splat(requantization.low, "int8", lanes))
    if requantization.high < 127:
        values = tirx.min(values, neon.splat(requantization.high, "int8", lanes))
    return values


def _raised(total: Expr, bias: Expr, requantization: Requantization) -> Expr:
    """Bias + (total << left)."""
    return bias + tirx.shift_left(total, neon.splat(requantization.left, "int32", 4))


def _searched(factor: Expr, multiplier: Expr, requantization: Requantization) -> Expr:
    """(factor * multiplier) >> 32 >> right; SQDMULH leaves one bit more."""
    return tirx.shift_right(neon.sqdmulh(factor, multiplier), neon.splat(requantization.right + 1, "int32", 4))


def _high_product(code: Code, total: Expr, constants: Sequence[Expr]) -> tuple[Expr, Expr]:
    """(((total + bias) << left) * multiplier) >> 31, rounded half up, and minus the bits it is to be shifted right."""
    bias, multiplier, shift = constants
    zero = neon.splat(0, "int32", 4)
    left, right = tirx.max(shift, zero), code.value(tirx.min(shift, zero), "right")
    product = neon.sqrdmulh(neon.sqshl(total + bias, left), multiplier)
    return code.value(product, "product"), right


def _rounded_once(code: Code, total: Expr, constants: Sequence[Expr]) -> Expr:
    """((total + bias) * multiplier + half) >> (31 - shift), in 64 bits."""
    bias, multiplier, shift = constants
    biased = code.value(total + bias, "biased")
    halves = []
    for pair in ((0, 1), (2, 3)):
        product = neon.smull(neon.shuffle([biased], pair), neon.shuffle([multiplier], pair), "int64x2")
        right = tirx.Cast("int64x2", neon.shuffle([shift], pair)) - neon.splat(31, "int64", 2)
        halves.append(neon.sqxtn(neon.srshl(product, right, "int64x2"), "int32x2"))
    return neon.join(halves[0], halves[1], 2)
