"""Requantization by two products of 32 bits, for cores without a longer multiplication (Cortex-M0+).

As in plan/requantization.py, each channel gets integers that put its sums on the right side of every threshold of the
network's own rounding:

    level = (bias + sum * high + ((sum * low) >> left)) >> right

The factor high + low / 2^left stands for a multiplier of about 22 bits: enough, because the sums of a channel have
that many. `left` and `right` are such that nothing leaves 32 bits for any sum that can occur. Layers of two lines take
`step`, which is added before the last shift where that gives the zero point or more. Exact by construction; where no
such integers are found, the layer is requantized as on other cores.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from dscompile.ir.fixed_point import Clamp
from dscompile.plan.requantization import (
    Integers,
    Line,
    Range,
    Staircase,
    Thresholds,
    find_thresholds,
    one_line,
    two_lines,
)

_WORD = 1 << 31
_HALF = 1 << 16
_REACHES = (8, 400)  # multipliers tried on either side of the slope
_SHIFTS = 4  # values of `right` tried, from the largest possible down
_ENOUGH = 0.7  # of the channels, for which another `right` is not worth its search


@dataclass(frozen=True)
class Narrow:
    """What was found: bias [C], multiplier [C] as (high << 16) + low, the two shifts, and step [C] for two lines.

    All integers have 32 bits.
    """

    bias: Integers
    multiplier: Integers
    left: int
    right: int
    step: Integers | None = None


@dataclass(frozen=True)
class _Form:
    """What all channels of a layer share."""

    zero_point: int
    left: int
    right: int
    stepped: bool


def search_narrow(
    staircase: Staircase, sums: Range, slopes: NDArray[np.float64], zero_point: int, clamp: Clamp
) -> Narrow | None:
    """The narrow form of `staircase` on `sums`, or None. Parameters as in `requantization.search_affine`."""
    thresholds = find_thresholds(staircase, sums, clamp)
    for form in _forms(thresholds, sums, slopes, zero_point):
        found = _search(thresholds, sums, slopes, form)
        if found is not None:
            return found
    return None


def search_narrow_most(
    staircase: Staircase, sums: Range, slopes: NDArray[np.float64], zero_point: int, clamp: Clamp
) -> tuple[Narrow, NDArray[np.bool_]] | None:
    """The narrow form by one line that is right for most channels, and for which, [C]; None if 32 bits hold none.

    Parameters as in `search_narrow`, which has found none that is right for all.
    """
    thresholds = find_thresholds(staircase, sums, clamp)
    best: tuple[Narrow, NDArray[np.bool_]] | None = None
    for form in _forms(thresholds, sums, slopes, zero_point):
        if form.stepped:
            break
        found = list(_channels(thresholds, sums, slopes, form))
        fits = np.array([channel is not None for channel in found])
        if best is None or fits.sum() > best[1].sum():
            bias, multiplier, _ = np.array([channel or (0, 0, 0) for channel in found], np.int64).T
            best = Narrow(bias, multiplier, form.left, form.right), fits
        if fits.mean() >= _ENOUGH:
            break
    return best


def _forms(thresholds: Thresholds, sums: Range, slopes: NDArray[np.float64], zero_point: int) -> Iterator[_Form]:
    """What to try: one line, then two, with the largest right shifts that can be."""
    left = min(31 - sums.reach.bit_length(), 16)
    levels = float((np.maximum(np.abs(sums.low), np.abs(sums.high)) * slopes).max()) + abs(zero_point) + 2
    constant = (sums.low == 0) & (sums.high == 0)
    if constant.any():  # their bias is all that they have: the middle of a level must fit, wherever the others lie
        levels = max(levels, float(np.abs(thresholds.first[constant] + 0.5).max()))
    most = min(int(np.floor(np.log2(_WORD / levels))), int(np.floor(np.log2(_HALF / 2 / max(slopes.max(), 1e-9)))))
    for stepped in (False, True):
        for right in range(min(most, 30), max(most - _SHIFTS, 0), -1):
            yield _Form(zero_point, left, right, stepped)


def _search(thresholds: Thresholds, sums: Range, slopes: NDArray[np.float64], form: _Form) -> Narrow | None:
    constants = list(takewhile(bool, _channels(thresholds, sums, slopes, form)))
    if len(constants) < len(slopes):
        return None
    bias, multiplier, step = np.array(constants, np.int64).T
    return Narrow(bias, multiplier, form.left, form.right, step if form.stepped else None)


def _channels(
    thresholds: Thresholds, sums: Range, slopes: NDArray[np.float64], form: _Form
) -> Iterator[tuple[int, int, int] | None]:
    """`_channel` of one after the other."""
    return (_channel(thresholds, sums, channel, float(slope), form) for channel, slope in enumerate(slopes))


def _channel(
    thresholds: Thresholds, sums: Range, channel: int, slope: float, form: _Form
) -> tuple[int, int, int] | None:
    """(bias, multiplier, step) of one channel: the multiplier with the widest choice of biases, and its middle."""
    if sums.low[channel] == sums.high[channel] == 0:  # one level: the middle of it
        return (2 * int(thresholds.first[channel]) + 1) << (form.right - 1), 0, 0
    one = one_line(thresholds, sums, channel, form.zero_point)
    lines = two_lines(one) if form.stepped else (one,)
    start = round(slope * 2.0 ** (form.right + form.left))
    for reach in _REACHES:
        multipliers = start + np.arange(-reach, reach + 1, dtype=np.int64)
        multipliers = multipliers[(multipliers > 0) & (multipliers >> form.left < _HALF // 2)]
        windows = [_biases(line, multipliers, form) for line in lines]
        widths = np.min([end - begin for begin, end in windows], axis=0)
        if (widths > 0).any():
            best = int(np.argmax(widths))
            middles = [int((begin[best] + end[best]) >> 1) for begin, end in windows]
            factor, step = int(multipliers[best]), middles[-1] - middles[0]
            halves = ((factor >> form.left) << 16) + (factor & ((1 << form.left) - 1))
            return (middles[0], halves, step) if abs(step) < _WORD else None
    return None


def _biases(line: Line, multipliers: Integers, form: _Form) -> tuple[Integers, Integers]:
    """For each multiplier the biases [begin, end) that meet everything within 32 bits; none where begin >= end.

    With p(s) = s * high + ((s * low) >> left), a level k with threshold t needs bias + p(t) >= k << right, and
    bias + p(t - 1) < k << right. The levels of a line are less the zero point.
    """
    room = _WORD - 2 - np.abs(_product(np.array([line.low, line.high]), multipliers, form.left)).max(axis=1)
    begin, end = -room, room + 1
    levels, sums = line.at_least
    if len(levels):
        needed = ((levels + form.zero_point) << form.right) - _product(sums, multipliers, form.left)
        begin = np.maximum(begin, needed.max(axis=1))
    levels, sums = line.less_than
    if len(levels):
        limit = ((levels + form.zero_point) << form.right) - _product(sums, multipliers, form.left)
        end = np.minimum(end, limit.min(axis=1))
    return begin, end


def _product(sums: Integers, multipliers: Integers, left: int) -> Integers:
    """[multipliers, sums]: floor(sum * multiplier / 2^left), which equals s * high + ((s * low) >> left)."""
    product: Integers = (sums * multipliers[:, None]) >> left
    return product
