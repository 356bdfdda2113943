"""Requantization by two products of 32 bits, for cores without a longer multiplication (Cortex-M0+).

As in plan/requantization.py, each channel gets integers that put its sums on the right side of every threshold of the
network's own rounding:

    level = (bias + sum * high + ((sum * low) >> left)) >> right

The factor high + low / 2^left stands for a multiplier of about 22 bits: enough, because the sums of a channel have
that many. `left` and `right` are such that nothing leaves 32 bits for any sum that can occur. Exact by construction;
where no such integers are found, the layer is requantized as on other cores.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dscompile.ir.fixed_point import Clamp
from dscompile.plan.requantization import Integers, Range, Staircase, Thresholds, find_thresholds

_WORD = 1 << 31
_HALF = 1 << 16
_REACHES = (8, 400)  # multipliers tried on either side of the slope
_SHIFTS = 4  # values of `right` tried, from the largest possible down


@dataclass(frozen=True)
class Narrow:
    """What was found: bias [C] in 32 bits, multiplier [C] as (high << 16) + low in 32 bits, and the two shifts."""

    bias: Integers
    multiplier: Integers
    left: int
    right: int


def search_narrow(
    staircase: Staircase, sums: Range, slopes: NDArray[np.float64], zero_point: int, clamp: Clamp
) -> Narrow | None:
    """The narrow form of `staircase` on `sums`, or None. Parameters as in `requantization.search_affine`."""
    thresholds = find_thresholds(staircase, sums, clamp)
    reach = int(max(np.abs(sums.low).max(), np.abs(sums.high).max(), 1))
    left = min(31 - reach.bit_length(), 16)
    levels = float((np.maximum(np.abs(sums.low), np.abs(sums.high)) * slopes).max()) + abs(zero_point) + 2
    most = min(int(np.floor(np.log2(_WORD / levels))), int(np.floor(np.log2(_HALF / 2 / max(slopes.max(), 1e-9)))))
    for right in range(min(most, 30), max(most - _SHIFTS, 0), -1):
        found = _search(thresholds, sums, slopes, left, right)
        if found is not None:
            return found
    return None


def _search(thresholds: Thresholds, sums: Range, slopes: NDArray[np.float64], left: int, right: int) -> Narrow | None:
    constants = []
    for channel, slope in enumerate(slopes):
        found = _channel(thresholds, sums, channel, float(slope), left, right)
        if found is None:
            return None
        constants.append(found)
    bias, multiplier = np.array(constants, np.int64).T
    return Narrow(bias, multiplier, left, right)


def _channel(
    thresholds: Thresholds, sums: Range, channel: int, slope: float, left: int, right: int
) -> tuple[int, int] | None:
    """(bias, multiplier) of one channel.

    With p(s) = s * high + ((s * low) >> left), a level k with threshold t needs bias + p(t) >= k << right, and
    bias + p(t - 1) < k << right. So do the ends of the range, unless the clamp keeps them in.
    """
    low, high = int(sums.low[channel]), int(sums.high[channel])
    first, last = int(thresholds.first[channel]), int(thresholds.last[channel])
    if low == high == 0:  # one level: the middle of it
        return (2 * first + 1) << (right - 1), 0
    crossed = (thresholds.levels > first) & (thresholds.levels <= last)
    levels, reached = thresholds.levels[crossed], thresholds.sums[crossed, channel]
    at_least, less_than = (levels, reached), (levels, reached - 1)
    if first > thresholds.clamp.low or not len(levels):
        at_least = np.append(levels, first), np.append(reached, low)
    if last < thresholds.clamp.high or not len(levels):
        less_than = np.append(levels, last + 1), np.append(reached - 1, high)
    start = round(slope * 2.0 ** (right + left))
    for reach in _REACHES:
        multipliers = start + np.arange(-reach, reach + 1, dtype=np.int64)
        multipliers = multipliers[multipliers > 0]
        lowest = ((at_least[0] << right) - _product(at_least[1], multipliers, left)).max(axis=1)
        highest = ((less_than[0] << right) - _product(less_than[1], multipliers, left)).min(axis=1)
        ends = _product(np.array([low, high]), multipliers, left)
        fits = (lowest < highest) & (multipliers >> left < _HALF // 2)
        fits &= np.maximum(np.abs(lowest), np.abs(highest)) + np.abs(ends).max(axis=1) < _WORD - 1
        fits &= (multipliers & ((1 << left) - 1)) * max(abs(low), abs(high)) < _WORD
        if fits.any():
            best = int(np.argmax(np.where(fits, highest - lowest, -1)))
            factor = int(multipliers[best])
            halves = ((factor >> left) << 16) + (factor & ((1 << left) - 1))
            return int((lowest[best] + highest[best]) >> 1), halves
    return None


def _product(sums: Integers, multipliers: Integers, left: int) -> Integers:
    """[multipliers, sums]: floor(sum * multiplier / 2^left), which equals s * high + ((s * low) >> left)."""
    product: Integers = (sums * multipliers[:, None]) >> left
    return product
