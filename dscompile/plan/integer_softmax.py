"""Exponentials of an int8 softmax as a table: a difference of two int8 has only 256 values.

The arithmetic is that of TFLite's reference kernel and gemmlowp: Q5.26 -> Q0.31 by a polynomial around -1/8 on
(-1/4, 0], and a factor for every bit of the rest.
"""

from __future__ import annotations

import numpy as np

from dscompile.ir.network import Array

_INT32_MIN, _INT32_MAX = -(1 << 31), (1 << 31) - 1
_FRACTION_BITS = 26
_QUARTER = 1 << (_FRACTION_BITS - 2)
_EXP_OF_MINUS_EIGHTH = 1895147668  # as Q0.31
_THIRD = 715827883
# Bit of a difference in Q5.26 -> exp(-2^(bit - 26)) as Q0.31.
_FACTORS = {24: 1672461947, 25: 1302514674, 26: 790015084, 27: 290630308, 28: 39332535, 29: 720401, 30: 242}


def softmax_powers(multiplier: int, shift: int, smallest: int) -> Array:
    """[256] int32: exp of 0, -1, -2, ... times multiplier * 2^(shift - 31) / 2^26 as Q0.31; 0 below `smallest`."""
    return np.array([_power(-step, multiplier, shift, smallest) for step in range(256)], np.int32)


def _power(difference: int, multiplier: int, shift: int, smallest: int) -> int:
    if difference < smallest:
        return 0
    scaled = _high_product(difference << max(shift, 0), multiplier)
    return _exp(_half_away(scaled, max(-shift, 0)))


def _exp(value: int) -> int:
    """exp(value) for value <= 0 in Q5.26 as Q0.31."""
    if value == 0:
        return _INT32_MAX
    remainder = (value & (_QUARTER - 1)) - _QUARTER
    result = _exp_near_zero(remainder << (31 - _FRACTION_BITS))
    for bit, factor in _FACTORS.items():
        if (remainder - value) >> bit & 1:
            result = _high_product(result, factor)
    return result


def _exp_near_zero(value: int) -> int:
    """exp(value) for value in [-1/4, 0) in Q0.31: exp(-1/8) times the Taylor polynomial of degree 4 around -1/8."""
    x = value + (1 << 28)
    square = _high_product(x, x)
    cube, fourth = _high_product(square, x), _high_product(square, square)
    terms = x + _half_away(_high_product(_half_away(fourth, 2) + cube, _THIRD) + square, 1)
    return min(_EXP_OF_MINUS_EIGHTH + _high_product(terms, _EXP_OF_MINUS_EIGHTH), _INT32_MAX)


def _high_product(a: int, b: int) -> int:
    """The upper half of 2 * a * b, halves rounded up, saturated."""
    return max(_INT32_MIN, min(_INT32_MAX, (a * b + (1 << 30)) >> 31))


def _half_away(value: int, exponent: int) -> int:
    """value / 2^exponent, halves away from zero."""
    rounded = (abs(value) + ((1 << exponent) >> 1)) >> exponent
    return rounded if value >= 0 else -rounded
