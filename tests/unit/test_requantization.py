"""Requantization by a searched multiplication: the same levels as the rounding it stands for, for every sum."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from dscompile.ir.fixed_point import Clamp, quantize_multiplier, requantize
from dscompile.ir.tensor import Rounding
from dscompile.plan.requantization import (
    Range,
    constant_channels,
    find_thresholds,
    largest_rows,
    search_affine,
    search_folded,
)


def staircase_of(factors, zero_point, clamp, rounding):
    fixed = [quantize_multiplier(float(factor)) for factor in factors]
    multipliers = np.array([f.multiplier for f in fixed], np.int64)
    shifts = np.array([f.shift for f in fixed], np.int64)

    def staircase(sums):
        if rounding == "float32":
            scaled = np.rint(sums.astype(np.float32) * factors.astype(np.float32)).astype(np.int64)
        else:
            scaled = requantize(sums, multipliers, shifts, rounding)
        return np.clip(scaled + zero_point, clamp.low, clamp.high)

    return staircase


def applied(found, sums, zero_point, clamp):
    shifted = found.bias + (sums << found.left)
    assert np.abs(shifted).max() < 2**31
    if found.step is not None:
        shifted = np.where(shifted < 0, shifted, shifted + found.step)
        assert np.abs(shifted).max() < 2**31
    level = (shifted * found.multiplier) >> 32
    return np.clip(((zero_point << found.right) + level) >> found.right, clamp.low, clamp.high)


@pytest.mark.parametrize("rounding", get_args(Rounding))
@pytest.mark.parametrize(
    ("zero_point", "clamp"), [(-128, Clamp(-128, 127)), (-100, Clamp(-100, 60)), (-128, Clamp(-128, 0))]
)
def test_every_sum_of_a_rectified_layer_gets_its_level(rounding, zero_point, clamp):
    factors = np.random.default_rng(3).uniform(0.0005, 0.004, 6)
    high = np.array([60_000, 90_000, 70_000, 2_000, 120_000, 300], np.int64)
    staircase = staircase_of(factors, zero_point, clamp, rounding)
    found = search_affine(staircase, Range(-high, high), factors, zero_point, clamp)
    assert found is not None
    for channel, reach in enumerate(high):
        sums = np.zeros((2 * int(reach) + 1, len(high)), np.int64)
        sums[:, channel] = np.arange(-reach, reach + 1)
        want, got = staircase(sums), applied(found, sums, zero_point, clamp)
        assert np.array_equal(got[:, channel], want[:, channel])


def test_long_sums_of_a_linear_layer_may_fill_31_bits_when_shifted():
    # Channel 71 of the last pointwise layer of MobileNetV2 (TFLite), beside the longest sums of that layer.
    factors = np.array([1798942003 / 2**39, 1798942003 / 2**39])
    high, clamp = np.array([3_576_529, 4_551_963], np.int64), Clamp(-128, 127)
    low = np.array([-3_584_381, -4_551_963], np.int64)
    staircase = staircase_of(factors, -1, clamp, "tflite")
    found = search_affine(staircase, Range(low, high), factors, -1, clamp)
    assert found is not None
    assert found.left == 31 - int(high.max()).bit_length()
    thresholds = find_thresholds(staircase, Range(low, high), clamp).sums
    for sums in (thresholds, thresholds - 1, np.stack([low, high])):
        sums = np.clip(sums, low, high)
        assert np.array_equal(applied(found, sums, -1, clamp), staircase(sums))


def test_the_zero_point_can_be_in_the_bias_of_a_rectified_layer():
    factors, high, clamp = np.array([0.0005, 0.004]), np.array([60_000, 90_000], np.int64), Clamp(-100, 60)
    staircase = staircase_of(factors, -100, clamp, "tflite")
    found = search_folded(staircase, Range(-high, high), factors, clamp)
    assert found is not None
    assert found.folded
    assert found.step is None
    sums = np.stack([np.linspace(-reach, reach, 60_001).astype(np.int64) for reach in high], axis=1)
    assert np.array_equal(applied(found, sums, 0, clamp), staircase(sums))


def test_two_lines_have_no_zero_point_in_the_bias():
    factors, clamp = np.random.default_rng(3).uniform(0.0005, 0.004, 6), Clamp(-128, 127)
    reach = np.full(6, 100_000, np.int64)
    assert search_folded(staircase_of(factors, 4, clamp, "tflite"), Range(-reach, reach), factors, clamp) is None


LINEAR = [
    (4, Clamp(-128, 127)),
    (-17, Clamp(-128, 127)),
    (0, Clamp(-100, 90)),
    (38, Clamp(-60, 38)),
    (-128, Clamp(-120, 100)),
    (127, Clamp(-128, 127)),
]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("zero_point", "clamp"), LINEAR)
def test_every_sum_of_a_linear_layer_gets_its_level(zero_point, clamp, seed):
    """Ranges around zero, of one sign only, from the very threshold of the zero point, and of few levels."""
    factors = np.random.default_rng(seed).uniform(0.0005, 0.004, 7)
    low = np.array([-60_000, -90_000, 10, -50_000, 0, -300, -1], np.int64)
    high = np.array([60_000, 40_000, 70_000, -9, 90_000, 300, 120_000], np.int64)
    staircase = staircase_of(factors, zero_point, clamp, "tflite")
    constant = constant_channels(staircase, Range(low, high))
    low, high = np.where(constant, 0, low), np.where(constant, 0, high)
    level = staircase(np.zeros((1, 7), np.int64))

    def without_constants(sums):
        return np.where(constant, level, staircase(sums))

    found = search_affine(without_constants, Range(low, high), factors, zero_point, clamp)
    if found is None:
        assert not clamp.low <= zero_point <= clamp.high
        return
    for channel in range(len(factors)):
        sums = np.zeros((int(high[channel] - low[channel]) + 1, 7), np.int64)
        sums[:, channel] = np.arange(low[channel], high[channel] + 1)
        want, got = without_constants(sums), applied(found, sums, zero_point, clamp)
        np.testing.assert_array_equal(got[:, channel], want[:, channel])


def test_halves_away_from_zero_take_a_step_and_halves_up_do_not():
    factors, clamp = np.random.default_rng(0).uniform(0.0005, 0.004, 5), Clamp(-128, 127)
    reach = np.full(5, 80_000, np.int64)
    for rounding in get_args(Rounding):
        found = search_affine(staircase_of(factors, 3, clamp, rounding), Range(-reach, reach), factors, 3, clamp)
        assert found is not None
        assert (found.step is not None) == (rounding == "tflite")


def test_a_channel_of_one_level_is_found_and_served():
    factors = np.array([1e-9, 0.001])
    clamp = Clamp(-128, 127)
    staircase = staircase_of(factors, 5, clamp, "single")
    sums = Range(np.array([-1000, -1000]), np.array([1000, 1000]))
    assert constant_channels(staircase, sums).tolist() == [True, False]
    still = Range(np.array([0, -1000]), np.array([0, 1000]))
    found = search_affine(staircase, still, factors, 5, clamp)
    assert found is not None
    assert applied(found, np.zeros((1, 2), np.int64), 5, clamp)[0, 0] == 5


def test_a_clamp_of_one_level_has_no_thresholds():
    clamp, sums = Clamp(127, 127), Range(np.array([-1000, 5]), np.array([1000, 90]))
    staircase = staircase_of(np.array([0.01, 0.2]), 127, clamp, "tflite")
    found = find_thresholds(staircase, sums, clamp)
    assert found.sums.shape == found.crossed.shape == (0, 2)
    assert found.constant.all()
    still = Range(np.zeros(2, np.int64), np.zeros(2, np.int64))
    affine = search_affine(staircase, still, np.array([0.01, 0.2]), 127, clamp)
    assert affine is not None
    assert applied(affine, np.zeros((1, 2), np.int64), 127, clamp).tolist() == [[127, 127]]


def test_a_staircase_with_a_kink_is_refused_rather_than_bent():
    clamp = Clamp(-128, 127)

    def kinked(sums):
        return np.clip(np.where(sums < 0, sums // 100, sums // 300), clamp.low, clamp.high)

    reach = np.array([20_000], np.int64)
    assert search_affine(kinked, Range(-reach, reach), np.array([0.01]), 0, clamp) is None


def sorted_thresholds(staircase, sums, levels):
    """By looking at every sum between the ends."""
    found = np.zeros((len(levels), len(sums.low)), np.int64)
    for channel, (low, high) in enumerate(zip(sums.low, sums.high, strict=True)):
        values = np.zeros((high - low + 1, len(sums.low)), np.int64)
        values[:, channel] = np.arange(low, high + 1)
        found[:, channel] = low + np.searchsorted(staircase(values)[:, channel], levels)
    return found


@pytest.mark.parametrize("rounding", get_args(Rounding))
def test_thresholds_are_those_of_every_sum(rounding):
    factors = np.array([0.0007, 0.004, 0.03, 0.9, 1.7, 40.3, 300.7, 1e-9, 0.001])
    low = np.array([-90_000, 50, -3_000, -200, -200, -5, -2, -1000, -20_000], np.int64)
    high = np.array([60_000, 40_000, 9_000, 180, 180, 5, 2, 1000, -19_990], np.int64)
    sums, clamp = Range(low, high), Clamp(-100, 127)
    staircase = staircase_of(factors, 4, clamp, rounding)
    found = find_thresholds(staircase, sums, clamp)
    want = sorted_thresholds(staircase, sums, found.levels)
    rises = staircase(np.stack([low, high]))
    assert found.crossed.sum(axis=0).tolist() == (rises[1] - rises[0]).tolist()
    np.testing.assert_array_equal(found.sums, np.where(found.crossed, want, high + 1))


def test_thresholds_that_lie_on_no_line_are_found_too():
    rng = np.random.default_rng(5)
    edges = np.sort(rng.integers(-4000, 4000, 255))
    edges[100:140] = edges[100]

    def crooked(sums):
        return np.searchsorted(edges, sums, side="right") - 128

    sums, clamp = Range(np.array([-3000, -5000, 77]), np.array([3000, 5000, 78])), Clamp(-128, 127)
    found = find_thresholds(crooked, sums, clamp)
    want = sorted_thresholds(crooked, sums, found.levels)
    np.testing.assert_array_equal(found.sums, np.where(found.crossed, want, sums.high + 1))


def test_the_staircase_is_looked_at_twice_and_a_little_where_its_rounding_is_one_line():
    factors = np.random.default_rng(3).uniform(0.0005, 0.004, 100)
    reach, seen = np.full(100, 90_000), []
    staircase = staircase_of(factors, 3, Clamp(-128, 127), "single")

    def watched(sums):
        seen.append(len(sums))
        return staircase(sums)

    find_thresholds(watched, Range(-reach, reach), Clamp(-128, 127))
    assert sum(seen) < 2 * 255 + 60


def test_what_is_left_out_of_linear_functions_is_never_the_largest(rng):
    values, slopes = rng.integers(-1000, 1000, (2, 60, 7))
    rows = largest_rows(values, values + 10 * slopes)
    assert len(rows) < 60
    for point in range(11):
        at = values + point * slopes
        np.testing.assert_array_equal(np.take_along_axis(at, rows, 0).max(axis=0), at.max(axis=0))


@pytest.mark.parametrize("rounding", get_args(Rounding))
def test_what_one_channel_gets_does_not_depend_on_the_others(rounding):
    """All channels are fitted at once, those that fail one by one. The steepest, here the last, decides the shifts."""
    factors = np.append(np.random.default_rng(9).uniform(0.001, 0.0019, 11), 0.00199)
    high = np.append(np.random.default_rng(8).integers(60_000, 64_000, 11), 65_000)
    clamp, compared = Clamp(-128, 127), 0
    whole = search_affine(staircase_of(factors, 3, clamp, rounding), Range(-high, high), factors, 3, clamp)
    assert whole is not None
    for channel in range(11):
        two, reach = factors[[channel, 11]], high[[channel, 11]]
        found = search_affine(staircase_of(two, 3, clamp, rounding), Range(-reach, reach), two, 3, clamp)
        assert found is not None
        if (found.left, found.right) == (whole.left, whole.right):
            assert (found.bias[0], found.multiplier[0]) == (whole.bias[channel], whole.multiplier[channel])
            compared += 1
    assert compared > 3
