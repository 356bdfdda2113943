"""Requantization by one multiplication: for each channel two integers that replace the network's own rounding exactly.

An int8 layer maps the 32-bit sum of a channel to one of at most 256 levels, by a function that never falls: a
staircase of at most 255 thresholds. Whatever the rounding, its thresholds lie on a line to within one sum. So for each
channel we search integers (bias, multiplier) such that

    zero_point + (((bias + (sum << left)) * multiplier) >> 32 >> right)

lies on the right side of every threshold between the smallest and the largest sum that can occur. `left` and `right`
are the same for all channels of a layer. The result is exact by construction; where no such integers are found, the
layer keeps its own rounding.

Halves rounded away from zero are two lines: the thresholds of negative results come later by one unit of the first
rounding. Layers that have both signs take a third integer, `step`, which is added to bias + (sum << left) where that is
not negative, that is, from the threshold of the zero point on; both lines have the same multiplier.
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
_USUAL_RIGHT = 14  # tried first: layers with the same shift share code (plan/mcu_bodies.py)


@dataclass(frozen=True)
class Range:
    """The smallest and the largest sum of every channel, both [C]."""

    low: Integers
    high: Integers


@dataclass(frozen=True)
class Affine:
    """What was found: bias [C] and multiplier [C] in 32 bits, the two shifts, and step [C] if one line does not do."""

    bias: Integers
    multiplier: Integers
    left: int
    right: int
    step: Integers | None = None


def search_affine(
    staircase: Staircase, sums: Range, slopes: NDArray[np.float64], zero_point: int, clamp: Clamp
) -> Affine | None:
    """The affine form of `staircase` on `sums`, with steps if it needs them, or None.

    `staircase` maps sums [n, C] to levels [n, C] and never falls; `slopes` [C] are levels per unit of the sum. Channels
    that have only one level must have `sums` of 0 (see `constant_channels`).
    """
    thresholds = find_thresholds(staircase, sums, clamp)
    reach = int(max(np.abs(sums.low).max(), np.abs(sums.high).max(), 1))
    most = 30 - reach.bit_length()
    for stepped in (False, True):
        for shifts in _shifts(most, slopes):
            found = _search(thresholds, sums, slopes, zero_point, shifts, stepped=stepped)
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

    @property
    def crossed(self) -> NDArray[np.bool_]:
        """[n, C]: whether a channel crosses the threshold of a level between its smallest and its largest sum."""
        levels = self.levels[:, None]
        return np.asarray((levels > self.first) & (levels <= self.last))

    def of(self, channels: Integers) -> Thresholds:
        """Those of some channels."""
        return Thresholds(self.levels, self.sums[:, channels], self.first[channels], self.last[channels], self.clamp)


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


@dataclass(frozen=True)
class _Shifts:
    """The two shifts of a layer."""

    left: int
    right: int

    @property
    def unit(self) -> int:
        """What (bias + (sum << left)) * multiplier counts as one level."""
        return 1 << (32 + self.right)


def _shifts(most: int, slopes: NDArray[np.float64]) -> Iterator[_Shifts]:
    """Shifts to try, `left` at most `most`: those with the usual `right`, then the finest of all."""
    for left in range(most + 1):
        if _right_shift(left, slopes) == _USUAL_RIGHT:
            yield _Shifts(left, _USUAL_RIGHT)
    for left in range(most, max(most - _SHIFTS, -1), -1):
        right = _right_shift(left, slopes)
        if right >= 0:
            yield _Shifts(left, min(right, _LARGEST_RIGHT))


def _search(
    thresholds: Thresholds,
    sums: Range,
    slopes: NDArray[np.float64],
    zero_point: int,
    shifts: _Shifts,
    *,
    stepped: bool,
) -> Affine | None:
    found: list[tuple[int, int, int]] = []
    for channel, slope in enumerate(slopes):
        start = max(1, round(float(slope) * 2.0 ** (32 + shifts.right - shifts.left)))
        if sums.low[channel] == sums.high[channel] == 0:  # one level: the middle of it
            level = int(thresholds.first[channel]) - zero_point
            found.append(((2 * level + 1) << (shifts.right + 1), _WORD >> 1, 0))
            continue
        one = one_line(thresholds, sums, channel, zero_point)
        lines = two_lines(one) if stepped else (one,)
        integers = _fit(lines, start, shifts)
        if integers is None:
            return None
        found.append(integers)
    bias, multiplier, step = np.array(found, np.int64).T
    return Affine(bias, multiplier, shifts.left, shifts.right, step if stepped else None)


@dataclass(frozen=True)
class Line:
    """What one line must meet: `sums[i]` reach `levels[i]` (less the zero point) in `at_least`, not in `less_than`.

    `low` and `high` are the smallest and the largest sum on it.
    """

    at_least: tuple[Integers, Integers]
    less_than: tuple[Integers, Integers]
    low: int
    high: int

    def biases(self, multipliers: Integers, shifts: _Shifts) -> tuple[Integers, Integers]:
        """For each multiplier the biases [begin, end) that meet everything within 32 bits; none where begin >= end."""
        levels, sums = self.at_least
        room = _WORD - 1 - (max(abs(self.low), abs(self.high)) << shifts.left)
        begin, end = np.full(len(multipliers), -room), np.full(len(multipliers), room + 1)
        if len(levels):
            needed = (levels * shifts.unit - (sums << shifts.left) * multipliers[:, None]).max(axis=1)
            begin = np.maximum(begin, -(-needed // multipliers))
        levels, sums = self.less_than
        if len(levels):
            limit = (levels * shifts.unit - (sums << shifts.left) * multipliers[:, None]).min(axis=1)
            end = np.minimum(end, -(-limit // multipliers))
        return begin, end


def one_line(thresholds: Thresholds, sums: Range, channel: int, zero_point: int) -> Line:
    """All thresholds of a channel, and the ends of its range unless the clamp keeps these in."""
    low, high = int(sums.low[channel]), int(sums.high[channel])
    first, last = int(thresholds.first[channel]), int(thresholds.last[channel])
    crossed = (thresholds.levels > first) & (thresholds.levels <= last)
    levels = thresholds.levels[crossed] - zero_point
    reached = thresholds.sums[crossed, channel]
    at_least, less_than = (levels, reached), (levels, reached - 1)
    if first > thresholds.clamp.low or not len(levels):
        at_least = np.append(levels, first - zero_point), np.append(reached, low)
    if last < thresholds.clamp.high or not len(levels):
        less_than = np.append(levels, last + 1 - zero_point), np.append(reached - 1, high)
    return Line(at_least, less_than, low, high)


def two_lines(one: Line) -> tuple[Line, Line]:
    """The same, split at the zero point: the first line also tells by its sign which of the two is right."""
    levels, reached = one.at_least
    crossing = reached[levels == 0]
    split = int(crossing[0]) if len(crossing) else one.low if (levels > 0).any() else one.high + 1

    def side(requirement: tuple[Integers, Integers], chosen: NDArray[np.bool_]) -> tuple[Integers, Integers]:
        return requirement[0][chosen], requirement[1][chosen]

    below = side(one.at_least, levels <= 0), side(one.less_than, one.less_than[0] <= 0)
    above = side(one.at_least, levels > 0), side(one.less_than, one.less_than[0] > 0)
    if split <= one.high:  # the sums from here on are not negative on either line
        sign = np.array([0]), np.array([split])
        below = (_joined(below[0], sign), below[1])
        above = (_joined(above[0], sign), above[1])
    return Line(*below, one.low, one.high), Line(*above, split, max(split, one.high))


def _joined(one: tuple[Integers, Integers], other: tuple[Integers, Integers]) -> tuple[Integers, Integers]:
    return np.append(one[0], other[0]), np.append(one[1], other[1])


def _fit(lines: tuple[Line, ...], start: int, shifts: _Shifts) -> tuple[int, int, int] | None:
    """(bias, multiplier, step) with one multiplier for all lines, the widest choice of biases, and the middle of it.

    With unit = 2^(32 + right), a level k with threshold t needs (bias + (t << left)) * multiplier >= k * unit, and
    (bias + ((t - 1) << left)) * multiplier < k * unit. So do the ends of the range, unless the clamp keeps them in.
    """
    for multipliers in _candidates(start):
        windows = [line.biases(multipliers, shifts) for line in lines]
        widths = np.min([end - begin for begin, end in windows], axis=0)
        best = int(np.argmax(widths))
        if widths[best] > 0:
            middles = [int((begin[best] + end[best]) >> 1) for begin, end in windows]
            step = middles[-1] - middles[0]
            return (middles[0], int(multipliers[best]), step) if abs(step) < _WORD else None
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
