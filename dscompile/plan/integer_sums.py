"""Int8 additions by two multiplications: integers that replace the network's own arithmetic exactly.

An int8 sum is a function of two bytes. Whatever the rounding, it is a plane cut into levels, so we search integers
(first, second, bias) such that

    clamp((a * first + b * second + bias) >> right)

is the network's result. All 65,536 pairs are checked, so what is found is exact. Ties that are rounded away from zero
want a plane that is a little steeper than the real one. Where nothing is found, as for ties that are rounded to even,
the layer keeps its own arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from dscompile.ir.fixed_point import Clamp

Integers = NDArray[np.int64]

_LARGEST_RIGHT = 22
_STEPS = sorted(range(-2, 3), key=abs)  # factors tried around the real ones
_STEEPER = [2.0**-exponent for exponent in range(20, 11, -1)]  # and, of the slopes
BYTES = np.arange(-128, 128, dtype=np.int64)


@dataclass(frozen=True)
class Plane:
    """What was found."""

    first: int
    second: int
    bias: int
    right: int


def search_plane(levels: Integers, slopes: tuple[float, float], clamp: Clamp) -> Plane | None:
    """The plane of `levels` [a + 128][b + 128] or None; `slopes` are levels per unit of a and of b."""
    for right in range(_LARGEST_RIGHT, _LARGEST_RIGHT - 3, -1):
        for first, second in _factors(slopes, right):
            bias = fitting_bias(levels, BYTES[:, None] * first + BYTES[None, :] * second, right, clamp)
            if bias is not None and 128 * (abs(first) + abs(second)) + abs(bias) < 1 << 31:
                return Plane(first, second, bias, right)
    return None


def _factors(slopes: tuple[float, float], right: int) -> Iterator[tuple[int, int]]:
    start = [round(slope * 2.0**right) for slope in slopes]
    for steps in product(_STEPS, repeat=2):
        yield start[0] + steps[0], start[1] + steps[1]
    for more in _STEEPER:
        yield round(slopes[0] * (1 + more) * 2.0**right), round(slopes[1] * (1 + more) * 2.0**right)


def fitting_bias(levels: Integers, tilted: Integers, right: int, clamp: Clamp) -> int | None:
    """The middle of the biases that bring every pair to its level; beyond the clamp one side is free."""
    lowest = np.where(levels > clamp.low, (levels << right) - tilted, -(1 << 40)).max()
    highest = np.where(levels < clamp.high, ((levels + 1) << right) - tilted, 1 << 40).min()
    return int((lowest + highest) >> 1) if lowest < highest else None
