"""Requantization by one float32 multiply-add: for each channel a scale and an offset that replace its rounding exactly.

As in plan/requantization.py, a channel's levels are a staircase over its sums, whose thresholds lie on a line to within
one sum. Here the line is in float32,

    clamp(rint(fma(float32(sum), scale, offset)))                         halves to even

which vector units compute in three instructions. Every step of this expression never falls as the sum grows (scale is
not negative), so it is the staircase for every sum if it is on the right side of every threshold and at both ends; that
is what `_is_exact` evaluates, without a rounding of its own. Where no such numbers are found, other forms remain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dscompile.ir.fixed_point import Clamp
from dscompile.plan.requantization import (
    Integers,
    Range,
    Staircase,
    Thresholds,
    find_thresholds,
    largest_rows,
)

Reals = NDArray[np.float64]
Floats = NDArray[np.float32]

_REACHES = (0, 8, 256)  # scales tried: so many float32 numbers on either side of the slope
_STEEPER = np.array([factor / 8 for factor in range(9, 65)])  # for channels of few levels
_FLATTEST = 16  # channels tried before all others
_SLACK = 2.0**-14  # float32 rounds levels by less: where no offset fits to within that, none is exact
_INT32 = 2.0**31  # what is rounded to an integer must stay below


@dataclass(frozen=True)
class FloatAffine:
    """Scale and offset of every channel, both [C]; the results stay in 32 bits before the clamp."""

    scale: Floats
    offset: Floats


def search_float_affine(staircase: Staircase, sums: Range, slopes: Reals, clamp: Clamp) -> FloatAffine | None:
    """The float32 form of `staircase` on `sums`, or None.

    `staircase` maps sums [n, C] to levels [n, C] and never falls; `slopes` [C] are levels per unit of the sum. Channels
    of one level get the scale 0, whatever their sums.
    """
    return fit_float_affine(find_thresholds(staircase, sums, clamp), sums, slopes)


def fit_float_affine(thresholds: Thresholds, sums: Range, slopes: Reals) -> FloatAffine | None:
    """The float32 form of a staircase with these thresholds, or None; see `search_float_affine`.

    A few channels are tried before the others: the flattest, whose thresholds lie nearest to a sum.
    """
    channels = np.flatnonzero(~thresholds.constant)
    channels = channels[np.argsort(slopes[channels], kind="stable")]
    scale, offset = np.zeros(len(slopes), np.float32), thresholds.first.astype(np.float32)
    for some in (channels[:_FLATTEST], channels[_FLATTEST:]):
        found = _fit(thresholds.of(some), sums.of(some), slopes[some])
        if found is None:
            return None
        scale[some], offset[some] = found.scale, found.offset
    return FloatAffine(scale, offset)


def _fit(thresholds: Thresholds, sums: Range, slopes: Reals) -> FloatAffine | None:
    """For channels that have thresholds."""
    scale, offset = np.zeros(len(slopes), np.float32), np.zeros(len(slopes), np.float32)
    left = np.arange(len(slopes))
    for candidates in _candidates(slopes):
        if not len(left):
            break
        fitted = _fitted(thresholds.of(left), sums.of(left), candidates[:, left])
        if fitted.hopeless.any():
            return None
        scale[left], offset[left] = fitted.found.scale, fitted.found.offset
        hopeful = left[fitted.possible]
        exact = _is_exact(thresholds.of(hopeful), sums.of(hopeful), FloatAffine(scale[hopeful], offset[hopeful]))
        left = np.setdiff1d(left, hopeful[exact])
    return None if len(left) else FloatAffine(scale, offset)


def multiply_add(sums: Integers, scale: Floats, offset: Floats) -> Floats:
    """fma(float32(sum), scale, offset), rounded once to float32.

    The product is exact in float64. Their sum is rounded to an odd float64 where it is not: rounding that to float32
    is then rounding the true sum (Boldo and Melquiond, Emulation of FMA and correctly rounded sums, 2008).
    """
    product = sums.astype(np.float32).astype(np.float64) * scale.astype(np.float64)
    addend = np.broadcast_to(offset.astype(np.float64), product.shape)
    total = product + addend
    part = total - product
    error = (product - (total - part)) + (addend - part)  # what the addition lost (Knuth's two-sum)
    even = (total.view(np.int64) & 1) == 0
    odd = np.nextafter(total, np.copysign(np.inf, error))
    return np.where((error != 0) & even, odd, total).astype(np.float32)


def _candidates(slopes: Reals) -> Iterator[Floats]:
    """Sets of scales to try, [n, C] each: around the slope, nearest first, then steeper ones."""
    nearest = slopes.astype(np.float32)
    for reach in _REACHES:
        steps = np.arange(-reach, reach + 1, dtype=np.int32)[:, None]
        yield np.maximum(nearest.view(np.int32) + steps, 1).view(np.float32)
    yield (slopes * _STEEPER[:, None]).astype(np.float32)


@dataclass(frozen=True)
class _Fitted:
    """For every channel [C] the best of its candidates, and what is known of them all.

    `possible`: perhaps exact, float32 permitting. `hopeless`: neither this scale nor any other is.
    """

    found: FloatAffine
    possible: NDArray[np.bool_]
    hopeless: NDArray[np.bool_]


def _fitted(thresholds: Thresholds, sums: Range, candidates: Floats) -> _Fitted:
    """Of the candidates [n, C], which never fall, the scale with the widest interval for its offset, and its middle.

    The width is a concave function of the scale: where it is largest between two candidates, it is smaller beyond.
    """
    at_least, less_than = _bounds(thresholds, sums)
    ends = candidates[0].astype(np.float64), candidates[-1].astype(np.float64)
    at_least = at_least.of(largest_rows(at_least.at(ends[0]), at_least.at(ends[1])))
    less_than = less_than.of(largest_rows(-less_than.at(ends[0]), -less_than.at(ends[1])))

    def window(index: Integers) -> tuple[Floats, Reals, Reals]:
        scale = candidates[index, np.arange(candidates.shape[1])]
        exact = scale.astype(np.float64)
        return scale, at_least.at(exact).max(axis=0), less_than.at(exact).min(axis=0)

    def width(index: Integers) -> Reals:
        _, lowest, highest = window(index)
        return highest - lowest

    best = _first_largest(width, *candidates.shape)
    scale, lowest, highest = window(best)
    possible = highest - lowest > -_SLACK
    found = FloatAffine(scale, ((lowest + highest) / 2).astype(np.float32))
    return _Fitted(found, possible, ~possible & (best > 0) & (best < len(candidates) - 1))


def _first_largest(value: Callable[[Integers], Reals], count: int, columns: int) -> Integers:
    """[C]: for each column the first index below `count` of the largest value, which rises up to there and then falls.

    `value` maps indexes [C] to values [C].
    """
    low, high = np.zeros(columns, np.int64), np.full(columns, count - 1)
    while (low < high).any():
        middle = (low + high) >> 1
        rising = (low < high) & (value(np.minimum(middle + 1, count - 1)) > value(middle))
        low, high = np.where(rising, middle + 1, low), np.where(rising, high, middle)
    return low


@dataclass(frozen=True)
class _Bounds:
    """Lines [n, C]: what the expression may or must reach (`levels`, infinite where nothing is asked) at `sums`."""

    levels: Reals
    sums: Reals

    def at(self, scale: Reals) -> Reals:
        """[n, C]: the offsets that these bounds ask for, with the scales [C]."""
        return self.levels - self.sums * scale

    def of(self, rows: Integers) -> _Bounds:
        """Some rows of each column."""
        return _Bounds(np.take_along_axis(self.levels, rows, 0), np.take_along_axis(self.sums, rows, 0))


def _bounds(thresholds: Thresholds, sums: Range) -> tuple[_Bounds, _Bounds]:
    """What the expression must be at least, and less than: at every threshold, and at the ends inside the clamp."""
    crossed, clamp = thresholds.crossed, thresholds.clamp
    levels = np.broadcast_to(thresholds.levels[:, None] - 0.5, crossed.shape)
    first = np.where(thresholds.first > clamp.low, thresholds.first - 0.5, -np.inf)
    last = np.where(thresholds.last < clamp.high, thresholds.last + 0.5, np.inf)
    at_least = _Bounds(
        np.vstack([np.where(crossed, levels, -np.inf), first]), _as_float(np.vstack([thresholds.sums, sums.low]))
    )
    less_than = _Bounds(
        np.vstack([np.where(crossed, levels, np.inf), last]), _as_float(np.vstack([thresholds.sums - 1, sums.high]))
    )
    return at_least, less_than


def _as_float(sums: Integers) -> Reals:
    return sums.astype(np.float32).astype(np.float64)


def _is_exact(thresholds: Thresholds, sums: Range, found: FloatAffine) -> NDArray[np.bool_]:
    """[C]: whether the expression is the staircase: at and before every threshold, and at both ends."""

    def levels(values: Integers) -> Floats:
        rounded = np.rint(multiply_add(values, found.scale, found.offset))
        return np.clip(rounded, thresholds.clamp.low, thresholds.clamp.high)

    wanted = thresholds.levels[:, None]
    reached = (levels(thresholds.sums) >= wanted) & (levels(thresholds.sums - 1) < wanted)
    ends = np.stack([sums.low, sums.high])
    fits = np.abs(multiply_add(ends, found.scale, found.offset)).max(axis=0) < _INT32
    at_ends = (levels(ends) == np.stack([thresholds.first, thresholds.last])).all(axis=0)
    return np.asarray((reached | ~thresholds.crossed).all(axis=0) & at_ends & fits)
