"""Requantization by one float32 multiply-add: for each channel a scale and an offset that replace its rounding exactly.

As in plan/requantization.py, a channel's levels are a staircase over its sums, whose thresholds lie on a line to within
one sum. Here the line is in float32,

    clamp(rint(fma(float32(sum), scale, offset)))                         halves to even

which vector units compute in three instructions. Every step of this expression never falls as the sum grows (scale is
not negative), so it is the staircase for every sum if it is on the right side of every threshold and at both ends; that
is what `_is_exact` evaluates, without a rounding of its own. Where no such numbers are found, other forms remain.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dscompile.ir.fixed_point import Clamp
from dscompile.plan.requantization import Integers, Range, Staircase, Thresholds, constant_channels, find_thresholds

Reals = NDArray[np.float64]
Floats = NDArray[np.float32]

_REACHES = (0, 8, 256)  # scales tried: so many float32 numbers on either side of the slope
_STEEPER = np.array([factor / 8 for factor in range(9, 65)])  # for channels of few levels
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
    level = staircase(sums.low[None])[0]
    scale, offset = np.zeros(len(level), np.float32), level.astype(np.float32)
    left = np.flatnonzero(~constant_channels(staircase, sums))
    thresholds = find_thresholds(staircase, sums, clamp)
    for candidates in _candidates(slopes):
        if not len(left):
            break
        found = _fitted(thresholds.of(left), Range(sums.low[left], sums.high[left]), candidates[:, left])
        scale[left], offset[left] = found.scale, found.offset
        left = left[~_is_exact(thresholds.of(left), Range(sums.low[left], sums.high[left]), found)]
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


def _fitted(thresholds: Thresholds, sums: Range, candidates: Floats) -> FloatAffine:
    """Of the candidates [n, C], the scale that leaves the widest interval for its offset, and the middle of that."""
    at_least, less_than = _bounds(thresholds, sums)
    best_scale, best_offset = candidates[0].copy(), np.zeros(candidates.shape[1])
    widest = np.full(candidates.shape[1], -np.inf)
    for scale in candidates:
        lowest = np.max(at_least.levels - at_least.sums * scale.astype(np.float64), axis=0)
        highest = np.min(less_than.levels - less_than.sums * scale.astype(np.float64), axis=0)
        better = highest - lowest > widest
        widest = np.where(better, highest - lowest, widest)
        best_scale = np.where(better, scale, best_scale)
        best_offset = np.where(better, (lowest + highest) / 2, best_offset)
    return FloatAffine(best_scale, best_offset.astype(np.float32))


@dataclass(frozen=True)
class _Bounds:
    """Lines [n, C]: what the expression may or must reach (`levels`, infinite where nothing is asked) at `sums`."""

    levels: Reals
    sums: Reals


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
