"""Requantization by one multiplication: for each channel two integers that replace the network's own rounding exactly.

An int8 layer maps the 32-bit sum of a channel to one of at most 256 levels, by a function that never falls: a
staircase of at most 255 thresholds. Whatever the rounding, its thresholds lie on a line to within one sum. So for each
channel we search integers (bias, multiplier) such that

    zero_point + (((bias + (sum << left)) * multiplier) >> 32 >> right)

lies on the right side of every threshold between the smallest and the largest sum that can occur. `left` and `right`
are the same for all channels of a layer. The result is exact by construction; where no such integers are found, the
layer keeps its own rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dscompile.ir.fixed_point import Clamp

Integers = NDArray[np.int64]
Staircase = Callable[[Integers], Integers]

_WORD = 1 << 31
_LARGEST_RIGHT = 20  # zero_point << right and what is added to it must stay in 32 bits
_FEW, _CANDIDATES = 8, 400  # multipliers tried on either side of the slope, per channel and shift
_SHIFTS = 6  # values of `left` tried, from the largest possible down


@dataclass(frozen=True)
class Range:
    """The smallest and the largest sum of every channel, both [C]."""

    low: Integers
    high: Integers


@dataclass(frozen=True)
class Affine:
    """What was found: bias [C] and multiplier [C] in 32 bits, and the two shifts."""

    bias: Integers
    multiplier: Integers
    left: int
    right: int


def search_affine(
    staircase: Staircase, sums: Range, slopes: NDArray[np.float64], zero_point: int, clamp: Clamp
) -> Affine | None:
    """The affine form of `staircase` on `sums`, or None.

    `staircase` maps sums [n, C] to levels [n, C] and never falls; `slopes` [C] are levels per unit of the sum. Channels
    that have only one level must have `sums` of 0 (see `constant_channels`).
    """
    thresholds = find_thresholds(staircase, sums, clamp)
    reach = int(max(np.abs(sums.low).max(), np.abs(sums.high).max(), 1))
    most = 30 - reach.bit_length()
    for left in range(most, max(most - _SHIFTS, -1), -1):
        right = _right_shift(left, slopes)
        if right >= 0:
            found = _search(thresholds, sums, slopes, zero_point, left, min(right, _LARGEST_RIGHT))
            if found is not None:
                return found
    return None


def constant_channels(staircase: Staircase, sums: Range) -> NDArray[np.bool_]:
    """[C]: channels that give the same level whatever their sum."""
    return np.asarray(staircase(sums.low[None])[0] == staircase(sums.high[None])[0])


@dataclass(frozen=True)
class Thresholds:
    """The smallest sum that reaches each of `levels`, [n, C]; `first` and `last` are the levels at the ends, [C]."""

    levels: Integers
    sums: Integers
    first: Integers
    last: Integers
    clamp: Clamp


def find_thresholds(staircase: Staircase, sums: Range, clamp: Clamp) -> Thresholds:
    """By bisection of [low, high] for all channels and levels at once."""
    levels = np.arange(clamp.low + 1, clamp.high + 1, dtype=np.int64)
    below = np.broadcast_to(sums.low, (len(levels), len(sums.low))).copy()
    above = np.broadcast_to(sums.high + 1, below.shape).copy()
    while (above - below > 1).any():
        middle = (below + above) >> 1
        reached = staircase(middle) >= levels[:, None]
        above = np.where(reached, middle, above)
        below = np.where(reached, below, middle)
    return Thresholds(levels, above, staircase(sums.low[None])[0], staircase(sums.high[None])[0], clamp)


def _right_shift(left: int, slopes: NDArray[np.float64]) -> int:
    """The largest shift with which the largest slope has a multiplier below 2^31."""
    right = 40
    while right >= 0 and float(slopes.max()) * 2.0 ** (32 + right - left) >= _WORD - 2 * _CANDIDATES:
        right -= 1
    return right


def _search(
    thresholds: Thresholds, sums: Range, slopes: NDArray[np.float64], zero_point: int, left: int, right: int
) -> Affine | None:
    biases, multipliers = [], []
    for channel, slope in enumerate(slopes):
        found = _channel(thresholds, sums, channel, float(slope), zero_point, left, right)
        if found is None:
            return None
        biases.append(found[0])
        multipliers.append(found[1])
    return Affine(np.array(biases, np.int64), np.array(multipliers, np.int64), left, right)


def _channel(
    thresholds: Thresholds, sums: Range, channel: int, slope: float, zero_point: int, left: int, right: int
) -> tuple[int, int] | None:
    """(bias, multiplier) of one channel.

    With unit = 2^(32 + right), a level k with threshold t needs (bias + (t << left)) * multiplier >= k * unit, and
    (bias + ((t - 1) << left)) * multiplier < k * unit. So do the ends of the range, unless the clamp keeps them in.
    """
    unit = 1 << (32 + right)
    low, high = int(sums.low[channel]), int(sums.high[channel])
    if low == high == 0:  # one level: the middle of it
        level = int(thresholds.first[channel]) - zero_point
        return (2 * level + 1) << (right + 1), _WORD >> 1
    first, last = int(thresholds.first[channel]), int(thresholds.last[channel])
    crossed = (thresholds.levels > first) & (thresholds.levels <= last)
    levels = thresholds.levels[crossed] - zero_point
    reached = thresholds.sums[crossed, channel]
    at_least, less_than = (levels, reached), (levels, reached - 1)
    if first > thresholds.clamp.low or not len(levels):
        at_least = np.append(levels, first - zero_point), np.append(reached, low)
    if last < thresholds.clamp.high or not len(levels):
        less_than = np.append(levels, last + 1 - zero_point), np.append(reached - 1, high)
    start = max(1, round(slope * 2.0 ** (32 + right - left)))
    for multipliers in _candidates(start):
        lowest = (at_least[0] * unit - (at_least[1] << left) * multipliers[:, None]).max(axis=1)
        highest = (less_than[0] * unit - (less_than[1] << left) * multipliers[:, None]).min(axis=1)
        begin, end = -(-lowest // multipliers), -(-highest // multipliers)
        fits = (begin < end) & (np.maximum(np.abs(begin), np.abs(end)) + (max(abs(low), abs(high)) << left) < _WORD)
        if fits.any():
            best = int(np.argmax(np.where(fits, end - begin, -1)))
            return int((begin[best] + end[best]) >> 1), int(multipliers[best])
    return None


def _candidates(start: int) -> Iterator[Integers]:
    """Multipliers to try: a few around the slope, then many, then steeper ones, for channels of few levels."""
    step = max(1, start >> 28)
    for reach in (_FEW, _CANDIDATES):
        multipliers = start + step * np.arange(-reach, reach + 1, dtype=np.int64)
        yield multipliers[(multipliers > 0) & (multipliers < _WORD)]
    steeper = np.array([start * factor // 4 for factor in range(5, 65) if start * factor // 4 < _WORD], np.int64)
    if len(steeper):
        yield steeper
