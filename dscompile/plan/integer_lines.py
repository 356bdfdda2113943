"""Int8 products of many numbers with few factors: for each factor a line, whose slope and start come from it.

Where a factor is the same for many numbers, what depends on it alone is computed once:

    slope = ((factor - factor_zero) * multiplier) >> 9        start = bias - ((slope * x_zero) >> 8)

A number is then two instructions away from its result: level = start + ((slope * x) >> 8), and a shift to the right. We
search (multiplier, bias) such that this is the network's own result for all 65,536 pairs, so what is found is exact.

Halves rounded away from zero are two lines, one unit of the first rounding apart. Shifted to the right by `sign_shift`
as an unsigned number, a level is that unit if it is negative, besides a small part of itself, which a steeper line
makes good.

Nothing leaves 32 bits: differences of bytes are at most 255, so a slope is below 255 * 2^31 / 2^9 < 2^30, a product of
two differences, the multiplier and 2^-17 at most 2^30, and a zero point before the last shift at most 2^29.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dscompile.ir.fixed_point import Clamp
from dscompile.plan.integer_sums import BYTES, Integers, fitting_bias

_LARGEST_RIGHT = 22  # a zero point before the last shift, and what is added to it, must stay in 32 bits
_PLACES = 17  # of a slope, and of a level, that are shifted out of them
_NEAREST = (0, 1, -1)  # multipliers around the real one,
_STEEPER = [2.0**-exponent for exponent in range(31, 17, -1)]  # and steeper ones


@dataclass(frozen=True)
class LineProduct:
    """What was found: clamp((level + zero) >> right).

    If `sign_shift` is not 0, the level is lessened by itself >> sign_shift, as an unsigned number, before.
    """

    multiplier: int
    bias: int
    zero: int
    right: int
    sign_shift: int = 0


def search_lines(
    levels: Integers, slope: float, x_zero: int, factor_zero: int, zero_point: int, clamp: Clamp
) -> LineProduct | None:
    """The lines of `levels` [factor + 128][x + 128], or None; `slope` is in levels per unit of a product."""
    exponent = math.frexp(slope)[1]
    right = min(31 - _PLACES - exponent, _LARGEST_RIGHT)
    unit = right + exponent  # bits of the first rounding's unit, where a network rounds twice
    if right < 0 or not 0 < unit < _LARGEST_RIGHT:
        return None
    for sign_shift in (0, 32 - unit, 31 - unit, 33 - unit):
        tilt = 1 + 2.0**-sign_shift if sign_shift else 1
        for multiplier in _multipliers(slope * tilt * 2.0 ** (right + _PLACES)):
            products = _products(multiplier, x_zero, factor_zero)
            if not sign_shift:
                bias = fitting_bias(levels - zero_point, products, right, _less(clamp, zero_point))
            else:
                bias = _bias_by_sign(levels - zero_point, products, right, sign_shift, _less(clamp, zero_point))
            if bias is not None:
                return LineProduct(multiplier, bias, zero_point + (sign_shift > 0) << right, right, sign_shift)
    return None


def _less(clamp: Clamp, number: int) -> Clamp:
    return Clamp(clamp.low - number, clamp.high - number)


def _multipliers(real: float) -> Iterator[int]:
    found = [round(real) + more for more in _NEAREST] + [round(real * (1 + more)) for more in _STEEPER]
    yield from (multiplier for multiplier in found if 0 < multiplier < 1 << 31)


def _products(multiplier: int, x_zero: int, factor_zero: int) -> Integers:
    """Levels [factor + 128][x + 128] without the bias."""
    slopes = (BYTES - factor_zero) * multiplier >> 9
    products: Integers = (np.multiply.outer(slopes, BYTES) >> 8) - (slopes * x_zero >> 8)[:, None]
    return products


def _bias_by_sign(levels: Integers, products: Integers, right: int, sign_shift: int, clamp: Clamp) -> int | None:
    """The bias with which pairs of levels up to 0 are negative, others are not, and all are right when lessened."""
    below = levels <= 0
    lessened = products - (products >> sign_shift) - (below.astype(np.int64) << 32 - sign_shift)
    bias = fitting_bias(levels - 1, lessened, right, _less(clamp, 1))
    if bias is None:
        return None
    bias = min(bias, -1 - int(products[below].max(initial=-(1 << 30))))
    made = products + bias
    made -= (made & 0xFFFFFFFF) >> sign_shift
    made = np.clip((made >> right) + 1, clamp.low, clamp.high)
    return bias if np.array_equal(made, levels) else None
