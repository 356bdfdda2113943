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
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dscompile.ir.fixed_point import Clamp

Integers = NDArray[np.int64]
Staircase = Callable[[Integers], Integers]

_WORD = 1 << 31
_LARGEST_RIGHT = 20  # zero_point << right and what is added to it must stay in 32 bits
_FEW, _CANDIDATES = 8, 400  # multipliers tried on either side of the slope, per channel and shift
_CACHED = 1 << 14  # elements that are looked at together, so that they stay in a cache
_NOTHING = 1 << 62  # of where nothing is asked: larger than any level less a product
_SHIFTS = 6  # values of `left` tried, from the largest possible down
_USUAL_RIGHT = 14  # tried first: layers with the same shift share code (plan/mcu/bodies.py)


@dataclass(frozen=True)
class Range:
    """The smallest and the largest sum of every channel, both [C]."""

    low: Integers
    high: Integers

    @property
    def reach(self) -> int:
        """The largest magnitude of a sum of any channel, 1 at least."""
        return int(max(np.abs(self.low).max(), np.abs(self.high).max(), 1))

    def of(self, channels: Integers) -> Range:
        """Those of some channels."""
        return Range(self.low[channels], self.high[channels])


@dataclass(frozen=True)
class Affine:
    """What was found: bias [C] and multiplier [C] in 32 bits, the two shifts, and step [C] if one line does not do.

    `folded`: the zero point is in the bias and not to be added.
    """

    bias: Integers
    multiplier: Integers
    left: int
    right: int
    step: Integers | None = None
    folded: bool = False


def search_folded(staircase: Staircase, sums: Range, slopes: NDArray[np.float64], clamp: Clamp) -> Affine | None:
    """The affine form of `staircase` on `sums` by one line, with the zero point in the bias, or None.

    Parameters as in `search_affine`.
    """
    layer = _Layer(find_thresholds(staircase, sums, clamp), sums, slopes, 0, stepped=False)
    found = _first_found(layer)
    return replace(found, folded=True) if found is not None else None


def search_affine(
    staircase: Staircase,
    sums: Range,
    slopes: NDArray[np.float64],
    zero_point: int,
    clamp: Clamp,
    *,
    finest: Shifts | None = None,
    limits: Shifts | None = None,
) -> Affine | None:
    """The affine form of `staircase` on `sums`, with steps if it needs them, or None.

    `limits` has the largest `left` that will do, and a `right` to be tried before the finest. `finest` has the
    largest `left` that will do, and the `right` to be tried first with it; then there are no steps, and `zero_point`
    need not be the layer's own.

    `staircase` maps sums [n, C] to levels [n, C] and never falls; `slopes` [C] are levels per unit of the sum. Channels
    that have only one level must have `sums` of 0 (see `constant_channels`).
    """
    thresholds = find_thresholds(staircase, sums, clamp)
    return fit_affine(thresholds, sums, slopes, zero_point, finest=finest, limits=limits)


def fit_affine(
    thresholds: Thresholds,
    sums: Range,
    slopes: NDArray[np.float64],
    zero_point: int,
    *,
    finest: Shifts | None = None,
    limits: Shifts | None = None,
) -> Affine | None:
    """The affine form of a staircase with these thresholds, or None; see `search_affine`."""
    layer = _Layer(thresholds, sums, slopes, zero_point, stepped=False)
    found = _first_found(layer, finest, limits)
    if found is not None or finest is not None:
        return found
    return _first_found(replace(layer, stepped=True), limits=limits)


def search_most(
    staircase: Staircase, sums: Range, slopes: NDArray[np.float64], zero_point: int, clamp: Clamp
) -> tuple[Affine, NDArray[np.bool_]] | None:
    """The affine form by one line that is right for most channels, and for which, [C]; None if 32 bits hold none.

    Parameters as in `search_affine`, which has found none that is right for all.
    """
    layer = _Layer(find_thresholds(staircase, sums, clamp), sums, slopes, zero_point, stepped=False)
    most = 30 - sums.reach.bit_length()
    tried = [
        (shifts, *_fit_all(layer, layer.starts(shifts), shifts)) for shifts in _shifts(most, slopes, None, _USUAL_RIGHT)
    ]
    if not tried:
        return None
    shifts, (bias, multiplier, _), fits = max(tried, key=lambda each: int(each[2].sum()))
    return Affine(bias, multiplier, shifts.left, shifts.right), fits


def _first_found(layer: _Layer, finest: Shifts | None = None, limits: Shifts | None = None) -> Affine | None:
    """By the first shifts that do."""
    most, usual = 30 - layer.sums.reach.bit_length(), _USUAL_RIGHT
    if limits is not None:
        most, usual = min(most, limits.left), limits.right
    if finest is not None:
        most = min(most, finest.left)
    doubtful = list[int]()
    for shifts in _shifts(most, layer.slopes, finest, usual):
        if limits is not None and shifts.left > limits.left:
            continue  # the last resort
        found = _search(layer, shifts, doubtful)
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
    def constant(self) -> NDArray[np.bool_]:
        """[C]: channels that give the same level whatever their sum."""
        return np.asarray(self.first == self.last)

    @property
    def crossed(self) -> NDArray[np.bool_]:
        """[n, C]: whether a channel crosses the threshold of a level between its smallest and its largest sum."""
        levels = self.levels[:, None]
        return np.asarray((levels > self.first) & (levels <= self.last))

    def of(self, channels: Integers) -> Thresholds:
        """Those of some channels."""
        return Thresholds(self.levels, self.sums[:, channels], self.first[channels], self.last[channels], self.clamp)


def find_thresholds(staircase: Staircase, sums: Range, clamp: Clamp) -> Thresholds:
    """For all channels and levels at once; where a level is not crossed, its sum is one more than the largest.

    Those of the lowest and the highest level crossed are found by bisection. The others are sought from where they lie
    on a line between these two, in steps that double: the staircase itself decides on which side of a sum each lies.
    """
    first, last = staircase(sums.low[None])[0], staircase(sums.high[None])[0]
    levels = np.arange(clamp.low + 1, clamp.high + 1, dtype=np.int64)
    outermost = np.stack([first + 1, last])
    crossed = outermost[0] <= outermost[1]
    middle, span = (sums.low + sums.high)[None] >> 1, int((sums.high - sums.low).max())
    begin, end = _sought(staircase, sums, outermost, middle, np.stack([crossed, crossed]), step=span)
    share = (levels[:, None] - outermost[0]) / np.maximum(outermost[1] - outermost[0], 1)
    guess = begin + np.ceil(share * (end - begin)).astype(np.int64) - 1  # a sum too small where it is not right
    between = (levels[:, None] > first) & (levels[:, None] <= last)
    rows = max(1, _CACHED // len(first))
    parts = [
        _sought(staircase, sums, levels[part, None], guess[part], between[part], step=1)
        for part in (slice(row, row + rows) for row in range(0, max(len(levels), 1), rows))
    ]
    return Thresholds(levels, np.concatenate(parts), first, last, clamp)


def _sought(
    staircase: Staircase, sums: Range, levels: Integers, guess: Integers, sought: NDArray[np.bool_], *, step: int
) -> Integers:
    """The smallest sum [n, C] that reaches each of `levels`, [n, C] or [n, 1]; `high + 1` where none is `sought`.

    From `guess` on in steps that double, the first of which is `step`, but never beyond the middle of what is left.
    """
    below = np.where(sought, sums.low, sums.high)  # does not reach the level
    above = np.broadcast_to(sums.high + 1, below.shape).copy()  # reaches it
    levels = np.broadcast_to(levels, below.shape)
    tried = np.clip(guess, below + 1, above - 1)
    rows = np.flatnonzero((above - below > 1).any(axis=1))
    while len(rows):
        low, high, middle = below[rows], above[rows], tried[rows]
        unknown = high - low > 1
        reached = staircase(middle) >= levels[rows]
        high, low = np.where(unknown & reached, middle, high), np.where(unknown & ~reached, middle, low)
        half = (low + high) >> 1
        tried[rows] = np.where(reached, np.maximum(high - step, half), np.minimum(low + step, half))
        below[rows], above[rows] = low, high
        rows, step = rows[(high - low > 1).any(axis=1)], 2 * step
    return above


def largest_rows(first: NDArray[Any], second: NDArray[Any]) -> Integers:
    """Rows [k, C] among which the largest of every column is, anywhere between two points.

    Each element of [n, C] is a linear function of a point, `first` and `second` its values at the two. What is left out
    is smaller all the way than a function that is kept.
    """
    most = np.maximum(first, second)
    count = int((most >= np.minimum(first, second).max(axis=0)).sum(axis=0).max())
    rows: Integers = np.argpartition(most, len(most) - count, axis=0)[len(most) - count :]
    return rows


def _right_shift(left: int, slopes: NDArray[np.float64]) -> int:
    """The largest shift with which the largest slope has a multiplier below 2^31."""
    right = 40
    while right >= 0 and float(slopes.max()) * 2.0 ** (32 + right - left) >= _WORD - 2 * _CANDIDATES:
        right -= 1
    return right


@dataclass(frozen=True)
class Shifts:
    """The two shifts of a layer."""

    left: int
    right: int

    @property
    def unit(self) -> int:
        """What (bias + (sum << left)) * multiplier counts as one level."""
        return 1 << (32 + self.right)


def _shifts(most: int, slopes: NDArray[np.float64], first: Shifts | None, usual: int) -> Iterator[Shifts]:
    """Shifts to try, `left` at most `most`: that of `first`, those with the `usual` right, then the finest of all.

    Without `first`, one more is the last resort: shifted sums may then fill 31 bits, and biases what these leave.
    """
    if first is not None and first.right <= _right_shift(most, slopes):
        yield Shifts(most, first.right)
    for left in range(most + 1):
        if _right_shift(left, slopes) == usual:
            yield Shifts(left, usual)
    for left in range(most, max(most - _SHIFTS, -1), -1):
        right = _right_shift(left, slopes)
        if right >= 0:
            yield Shifts(left, min(right, _LARGEST_RIGHT))
    last = _right_shift(most + 1, slopes)
    if first is None and most >= -1 and last >= 0:
        yield Shifts(most + 1, min(last, _LARGEST_RIGHT))


@dataclass(frozen=True)
class _Layer:
    """What is searched: the thresholds of all channels, on one line or on two (`stepped`)."""

    thresholds: Thresholds
    sums: Range
    slopes: NDArray[np.float64]
    zero_point: int
    stepped: bool

    def lines(self, channel: int) -> tuple[Line, ...]:
        """What the line of a channel must meet, or its two lines."""
        one = one_line(self.thresholds, self.sums, channel, self.zero_point)
        return two_lines(one) if self.stepped else (one,)

    @cached_property
    def all_lines(self) -> tuple[_Lines, ...]:
        """`lines` of all channels at once."""
        return _all_lines(self)

    def starts(self, shifts: Shifts) -> Integers:
        """[C]: the multipliers nearest to the slopes."""
        return np.maximum(np.rint(self.slopes * 2.0 ** (32 + shifts.right - shifts.left)).astype(np.int64), 1)


def _search(layer: _Layer, shifts: Shifts, doubtful: list[int]) -> Affine | None:
    """All channels or none; the one that fails becomes the last of `doubtful`, which are tried before the others."""
    starts = layer.starts(shifts)
    for channel in doubtful:
        if _fit(layer.lines(channel), int(starts[channel]), shifts) is None:
            return None
    found, fits = _fit_all(layer, starts, shifts)
    for channel in map(int, np.flatnonzero(~fits)):
        integers = _fit(layer.lines(channel), int(starts[channel]), shifts)
        if integers is None:
            doubtful.append(channel)
            return None
        found[:, channel] = integers
    bias, multiplier, step = found
    return Affine(bias, multiplier, shifts.left, shifts.right, step if layer.stepped else None)


def _fit_all(layer: _Layer, starts: Integers, shifts: Shifts) -> tuple[Integers, NDArray[np.bool_]]:
    """(bias, multiplier, step) [3, C] as `_fit` finds them among the first few candidates, and where it does, [C]."""
    step = np.maximum(1, starts >> 28)
    windows = [_Windows.of(line, starts - _FEW * step, starts + _FEW * step, shifts) for line in layer.all_lines]
    widest, chosen = np.zeros_like(starts), np.zeros((2 + len(windows), len(starts)), np.int64)
    for number in range(-_FEW, _FEW + 1):
        multipliers = starts + number * step
        valid = (multipliers > 0) & (multipliers < _WORD)
        biases = [window.biases(np.maximum(multipliers, 1)) for window in windows]
        widths = np.min([end - begin for begin, end in biases], axis=0)
        better = valid & (widths > widest)
        widest = np.where(better, widths, widest)
        tried = np.stack([multipliers, *((begin + end) >> 1 for begin, end in biases)])
        chosen[: len(tried)] = np.where(better, tried, chosen[: len(tried)])
    multiplier, bias, step = chosen[0], chosen[1], chosen[len(windows)] - chosen[1]
    fits = (widest > 0) & (np.abs(step) < _WORD)
    still = (layer.sums.low == 0) & (layer.sums.high == 0)  # one level: the middle of it
    middle = (2 * (layer.thresholds.first - layer.zero_point) + 1) << (shifts.right + 1)
    whole = np.stack([middle, np.full_like(middle, _WORD >> 1), np.zeros_like(middle)])
    return np.where(still, whole, np.stack([bias, multiplier, step])), fits | still


@dataclass(frozen=True)
class _Lines:
    """`Line` for one line of all channels: levels and sums [n, C], and where they are asked for, [n, C].

    `reach` [C] is the largest magnitude of the sums on the line.
    """

    at_least: tuple[Integers, Integers, NDArray[np.bool_]]
    less_than: tuple[Integers, Integers, NDArray[np.bool_]]
    reach: Integers


def _all_lines(layer: _Layer) -> tuple[_Lines, ...]:
    """See `_Layer.lines`."""
    thresholds, low, high = layer.thresholds, layer.sums.low, layer.sums.high
    crossed, reached = thresholds.crossed, thresholds.sums
    levels = np.broadcast_to(thresholds.levels[:, None] - layer.zero_point, crossed.shape)
    first, last = thresholds.first - layer.zero_point, thresholds.last - layer.zero_point
    none = ~crossed.any(axis=0)
    least = np.vstack([levels, first]), np.vstack([reached, low])
    less = np.vstack([levels, last + 1]), np.vstack([reached - 1, high])
    asked = np.vstack([crossed, none | (thresholds.first > thresholds.clamp.low)])
    asked_less = np.vstack([crossed, none | (thresholds.last < thresholds.clamp.high)])
    reach = np.maximum(np.abs(low), np.abs(high))
    if not layer.stepped:
        return (_Lines((*least, asked), (*less, asked_less), reach),)
    crossing = asked & (least[0] == 0)
    positive = (asked & (least[0] > 0)).any(axis=0)
    at_zero = np.take_along_axis(least[1], crossing.argmax(axis=0)[None], 0)[0]
    split = np.where(crossing.any(axis=0), at_zero, np.where(positive, low, high + 1))
    sign = np.vstack([least[0], np.zeros_like(split)]), np.vstack([least[1], split])
    two = (
        ((asked & (least[0] <= 0), less[0] <= 0), reach),
        ((asked & (least[0] > 0), less[0] > 0), np.maximum(np.abs(split), np.abs(np.maximum(split, high)))),
    )
    return tuple(
        _Lines((*sign, np.vstack([chosen, split <= high])), (*less, asked_less & chosen_less), reach)
        for (chosen, chosen_less), reach in two
    )


@dataclass(frozen=True)
class _Windows:
    """Which biases a line of all channels allows: `level - sum * multiplier` [n, C] must not, and must lie above."""

    at_least: tuple[Integers, Integers]
    less_than: tuple[Integers, Integers]
    room: Integers

    @classmethod
    def of(cls, lines: _Lines, first: Integers, last: Integers, shifts: Shifts) -> _Windows:
        """For multipliers [C] from `first` to `last`: what cannot matter there is left out."""

        def pruned(levels: Integers, sums: Integers, asked: NDArray[np.bool_], sign: int) -> tuple[Integers, Integers]:
            levels = np.where(asked, levels * shifts.unit, -sign * _NOTHING)
            sums = np.where(asked, sums << shifts.left, 0)
            rows = largest_rows(sign * (levels - sums * first), sign * (levels - sums * last))
            return np.take_along_axis(levels, rows, 0), np.take_along_axis(sums, rows, 0)

        room = _WORD - 1 - (lines.reach << shifts.left)
        return cls(pruned(*lines.at_least, 1), pruned(*lines.less_than, -1), room)

    def biases(self, multipliers: Integers) -> tuple[Integers, Integers]:
        """[begin, end) for each channel, as of `Line.biases`."""
        needed = (self.at_least[0] - self.at_least[1] * multipliers).max(axis=0)
        limit = (self.less_than[0] - self.less_than[1] * multipliers).min(axis=0)
        begin, end = np.maximum(-self.room, -(-needed // multipliers)), -(-limit // multipliers)
        return begin, np.minimum(self.room + 1, end)


@dataclass(frozen=True)
class Line:
    """What one line must meet: `sums[i]` reach `levels[i]` (less the zero point) in `at_least`, not in `less_than`.

    `low` and `high` are the smallest and the largest sum on it.
    """

    at_least: tuple[Integers, Integers]
    less_than: tuple[Integers, Integers]
    low: int
    high: int

    def biases(self, multipliers: Integers, shifts: Shifts) -> tuple[Integers, Integers]:
        """For each multiplier the biases [begin, end) that meet everything within 32 bits; none where begin >= end."""
        room = _WORD - 1 - (max(abs(self.low), abs(self.high)) << shifts.left)
        begin, end = np.full(len(multipliers), -room), np.full(len(multipliers), room + 1)
        needed = _largest(*self.at_least, multipliers, shifts)
        if needed is not None:
            begin = np.maximum(begin, -(-needed // multipliers))
        levels, sums = self.less_than
        limit = _largest(-levels, -sums, multipliers, shifts)
        if limit is not None:
            end = np.minimum(end, -(limit // multipliers))
        return begin, end


def _largest(levels: Integers, sums: Integers, multipliers: Integers, shifts: Shifts) -> Integers | None:
    """For each multiplier, in rising order, the largest of levels [n] less sums [n] times it; None of nothing."""
    if not len(levels):
        return None
    levels, sums = levels * shifts.unit, sums << shifts.left
    ends = (levels - sums * multipliers[0])[:, None], (levels - sums * multipliers[-1])[:, None]
    rows = largest_rows(*ends)[:, 0]
    largest: Integers = (levels[rows] - sums[rows] * multipliers[:, None]).max(axis=1)
    return largest


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


def _fit(lines: tuple[Line, ...], start: int, shifts: Shifts) -> tuple[int, int, int] | None:
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
