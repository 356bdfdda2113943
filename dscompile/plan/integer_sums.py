"""Int8 additions by two multiplications: integers that replace the network's own arithmetic exactly.

An int8 sum is a function of two bytes. Whatever the rounding, it is nearly a plane cut into levels, so we search
integers (first, second, bias) such that

    clamp((a * first + b * second + bias) >> right)

is the network's result. All 65,536 pairs are checked, so what is found is exact.

Halves that are rounded away from zero or to even are no plane, which only few networks notice: a pair, or rather four
that contradict each other, must come that close to a half. Two more instructions make them right, see `Halves`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dscompile.ir.fixed_point import Clamp

Integers = NDArray[np.int64]

To = Literal["away", "even"]

_LARGEST_RIGHT = 22
_RIGHTS = range(_LARGEST_RIGHT, _LARGEST_RIGHT - 3, -1)
_STEPS = sorted(range(-2, 3), key=abs)  # factors tried around the real ones
_STEEPER = [2.0**-exponent for exponent in range(20, 11, -1)]  # and, of the slopes
_UNITS = range(-13, -20, -1)  # of halves: exponents of how far their rounding may reach, in levels
BYTES = np.arange(-128, 128, dtype=np.int64)


@dataclass(frozen=True)
class Halves:
    """How halves are rounded where no plane does it, in terms of total = a * first + b * second + bias.

    away: of a total around 0, total - ((unsigned)total >> shift) is one unit less where it is negative; all are a
          little smaller besides, which steeper factors make good. Then `start`, zero point and a half, is added.
    even: total - (((total >> right) & 1) << shift) takes from odd levels what lies next to an even one.
    """

    to: To
    shift: int
    start: int = 0

    def rounded(self, totals: Integers, right: int) -> Integers:
        """What is shifted to the right."""
        if self.to == "away":
            return totals - ((totals & 0xFFFFFFFF) >> self.shift) + self.start
        return totals - ((totals >> right & 1) << self.shift)


@dataclass(frozen=True)
class Plane:
    """What was found."""

    first: int
    second: int
    bias: int
    right: int
    halves: Halves | None = None

    def levels(self, clamp: Clamp) -> Integers:
        """Its results [a + 128][b + 128]."""
        totals = _tilted((self.first, self.second)) + self.bias
        if self.halves is not None:
            totals = self.halves.rounded(totals, self.right)
        return np.asarray(np.clip(totals >> self.right, clamp.low, clamp.high))


@dataclass(frozen=True)
class Sum:
    """What is searched for: levels [a + 128][b + 128], the zero point among them; levels per unit of a and of b."""

    levels: Integers
    zero_point: int
    slopes: tuple[float, float]
    clamp: Clamp


def search_plane(wanted: Sum, halves: To) -> Plane | None:
    """The plane of a sum, with `halves` if it must be; None if there is none."""
    for right in _RIGHTS:
        for factors in _factors(wanted.slopes, right):
            tilted = _tilted(factors)
            bias = fitting_bias(wanted.levels, tilted, right, wanted.clamp)
            if bias is not None and _fits(factors, bias):
                return Plane(*factors, bias, right)
    search = _plane_away if halves == "away" else _plane_to_even
    tries = product(_RIGHTS, _UNITS)
    return next(filter(None, (search(wanted, right, right + unit) for right, unit in tries)), None)


def _plane_away(wanted: Sum, right: int, unit: int) -> Plane | None:
    """The plane of a sum whose negative totals are 2^unit less."""
    halves = Halves("away", 32 - unit, (2 * wanted.zero_point + 1) << (right - 1))
    steeper = 1 / (1 - 2.0**-halves.shift)
    slopes = (wanted.slopes[0] * steeper, wanted.slopes[1] * steeper)
    for factors in _factors(slopes, right):
        tilted = _tilted(factors)
        near = sum(_biases(wanted.levels, tilted, right, wanted.clamp)) // 2 - halves.start  # where signs are right
        more = fitting_bias(wanted.levels, halves.rounded(tilted + near, right), right, wanted.clamp)
        if more is not None and _fits(factors, near + more, halves.start, 1 << unit):
            plane = Plane(*factors, near + more, right, halves)
            if np.array_equal(plane.levels(wanted.clamp), wanted.levels):
                return plane
    return None


def _plane_to_even(wanted: Sum, right: int, unit: int) -> Plane | None:
    """The plane of a sum whose even levels reach 2^unit further to both sides."""
    halves = Halves("even", unit + 1)
    odd = np.where(wanted.levels % 2 > 0, 1 << unit, -1 << unit)  # odd levels are narrower by that, even ones wider
    for factors in _factors(wanted.slopes, right):
        lowest, highest = _biases(wanted.levels, _tilted(factors), right, wanted.clamp, odd)
        bias = ((lowest + highest) >> 1) + (1 << unit)  # all levels begin early; the rounding is the odd ones' delay
        if lowest < highest and _fits(factors, bias):
            return Plane(*factors, bias, right, halves)
    return None


def _factors(slopes: tuple[float, float], right: int) -> Iterator[tuple[int, int]]:
    start = [round(slope * 2.0**right) for slope in slopes]
    for steps in product(_STEPS, repeat=2):
        yield start[0] + steps[0], start[1] + steps[1]
    for more in _STEEPER:
        yield round(slopes[0] * (1 + more) * 2.0**right), round(slopes[1] * (1 + more) * 2.0**right)


def _tilted(factors: tuple[int, int]) -> Integers:
    return BYTES[:, None] * factors[0] + BYTES[None, :] * factors[1]


def _fits(factors: tuple[int, int], *added: int) -> bool:
    """Whether 32 bits hold a total, and what is added to it."""
    return 128 * (abs(factors[0]) + abs(factors[1])) + sum(abs(number) for number in added) < 1 << 31


def fitting_bias(levels: Integers, tilted: Integers, right: int, clamp: Clamp) -> int | None:
    """The middle of the biases that bring every pair to its level; beyond the clamp one side is free."""
    lowest, highest = _biases(levels, tilted, right, clamp)
    return (lowest + highest) >> 1 if lowest < highest else None


def _biases(
    levels: Integers, tilted: Integers, right: int, clamp: Clamp, narrower: Integers | int = 0
) -> tuple[int, int]:
    """The lowest bias that lifts all pairs to their levels, and the first that lifts one too high.

    `narrower` is how much later a level begins, and how much earlier it ends.
    """
    begins = (levels << right) + narrower - tilted
    ends = ((levels + 1) << right) - narrower - tilted
    lowest = np.where(levels > clamp.low, begins, -(1 << 40)).max()
    highest = np.where(levels < clamp.high, ends, 1 << 40).min()
    return int(lowest), int(highest)
