"""Int8 softmax in fixed point, as TFLite's reference kernel and gemmlowp define it."""

from __future__ import annotations

import math

import numpy as np

from dscompile.ir.ops import Softmax
from dscompile.oracle.int8_arithmetic import (
    Integers,
    divide_by_power,
    doubling_high_product,
    multiplier_of,
    saturate,
)
from dscompile.oracle.int8_operands import Int8Operands

# Differences to the row's maximum are fixed-point numbers with 5 bits before the point: Q5.26.
_DIFFERENCE_BITS = 5
_FRACTION = 31 - _DIFFERENCE_BITS
# Sums of exponentials are accumulated with 12 bits before the point.
_SUM_BITS = 12

_ONE = (1 << 31) - 1
_EXP_OF_MINUS_EIGHTH = 1895147668
_THIRD = 715827883
# exp(-2^k) as Q0.31, for k = -2 .. 4.
_POWERS = (
    (-2, 1672461947),
    (-1, 1302514674),
    (0, 790015084),
    (1, 290630308),
    (2, 39332535),
    (3, 720401),
    (4, 242),
)


def softmax(op: Softmax, operands: Int8Operands) -> Integers:
    """exp(beta * (x - max)) / sum over the last axis; the result has scale 1 / 256 and zero point -128."""
    x = operands.integers()
    rows = x.reshape(-1, x.shape[-1])
    real = min(op.beta * operands.given().scale * (1 << _FRACTION), 2.0**31 - 1)
    multiplier, shift = multiplier_of(real)
    smallest = -math.floor(((1 << _DIFFERENCE_BITS) - 1) * 2.0**_FRACTION / 2.0**shift)
    differences = rows - rows.max(axis=1, keepdims=True)
    counted = differences >= smallest
    scaled = doubling_high_product(np.where(counted, differences, 0) << max(shift, 0), multiplier)
    scaled = divide_by_power(scaled, max(-shift, 0))
    powers = exp_of_negative(scaled)
    sums = np.where(counted, divide_by_power(powers, _SUM_BITS), 0).sum(axis=1)
    result = np.full(rows.shape, -128, np.int64)
    for row, total in enumerate(sums.tolist()):
        bits_before_point = _SUM_BITS - (32 - total.bit_length())
        fraction = np.array((total << (32 - total.bit_length())) - (1 << 31), np.int64)
        quotient = doubling_high_product(reciprocal_of_one_plus(fraction), powers[row])
        rounded = divide_by_power(quotient, bits_before_point + 31 - 8)
        result[row] = np.where(counted[row], rounded - 128, -128)
    return np.clip(result, -128, 127).reshape(x.shape)


def exp_of_negative(a: Integers) -> Integers:
    """exp(a) for a <= 0 in Q5.26 -> Q0.31: a polynomial on (-1/4, 0], then a factor for every set bit above."""
    quarter = 1 << (_FRACTION - 2)
    remainder = (a & (quarter - 1)) - quarter
    result = _exp_near_zero(remainder << _DIFFERENCE_BITS)
    whole = remainder - a
    for exponent, factor in _POWERS:
        result = np.where(whole & (1 << (_FRACTION + exponent)), doubling_high_product(result, factor), result)
    return np.where(a == 0, _ONE, result)


def _exp_near_zero(a: Integers) -> Integers:
    """exp(a) for a in [-1/4, 0) as Q0.31: exp(-1/8) times the Taylor polynomial of degree 4 around -1/8."""
    x = a + (1 << 28)
    square = doubling_high_product(x, x)
    cube = doubling_high_product(square, x)
    fourth = doubling_high_product(square, square)
    higher = doubling_high_product(divide_by_power(fourth, 2) + cube, _THIRD) + square
    total = x + divide_by_power(higher, 1)
    return saturate(_EXP_OF_MINUS_EIGHTH + doubling_high_product(total, _EXP_OF_MINUS_EIGHTH), 32)


def reciprocal_of_one_plus(a: Integers) -> Integers:
    """1 / (1 + a) for a in [0, 1) as Q0.31, by three Newton steps from 48/17 - 32/17 * d with d = (1 + a) / 2."""
    half = (a + _ONE + 1) >> 1
    x = 1515870810 + doubling_high_product(half, -1010580540)
    for _ in range(3):
        error = (1 << 29) - doubling_high_product(half, x)
        x = x + saturate(doubling_high_product(x, error) << 2, 32)
    return saturate(x << 1, 32)
