"""Requantization by one float32 multiply-add: the same levels as the rounding it stands for, for every sum."""

from __future__ import annotations

from fractions import Fraction
from typing import get_args

import numpy as np
import pytest

from dscompile.ir.fixed_point import Clamp, quantize_multiplier, requantize
from dscompile.ir.tensor import Rounding
from dscompile.plan.affine_requantization import multiply_add, search_float_affine
from dscompile.plan.requantization import Range

FULL = Clamp(-128, 127)


def staircase_of(factors, biases, zero_point, clamp, rounding):
    fixed = [quantize_multiplier(float(factor)) for factor in factors]
    multipliers = np.array([f.multiplier for f in fixed], np.int64)
    shifts = np.array([f.shift for f in fixed], np.int64)

    def staircase(sums):
        total = sums + biases
        if rounding == "float32":
            scaled = np.rint(total.astype(np.float32) * factors.astype(np.float32)).astype(np.int64)
        else:
            scaled = requantize(total, multipliers, shifts, rounding)
        return np.clip(scaled + zero_point, clamp.low, clamp.high)

    return staircase


def assert_equal_everywhere(found, staircase, sums, clamp):
    """Brute force: every sum between the ends of every channel."""
    for channel, (low, high) in enumerate(zip(sums.low, sums.high, strict=True)):
        values = np.arange(low, high + 1)
        wide = np.zeros((len(values), len(sums.low)), np.int64)
        wide[:, channel] = values
        got = np.rint(multiply_add(values, found.scale[channel], found.offset[channel]))
        np.testing.assert_array_equal(np.clip(got, clamp.low, clamp.high), staircase(wide)[:, channel])


@pytest.mark.parametrize("rounding", get_args(Rounding))
@pytest.mark.parametrize(
    ("zero_point", "clamp"), [(-128, FULL), (3, FULL), (-100, Clamp(-100, 60)), (-128, Clamp(-128, 0)), (127, FULL)]
)
def test_every_sum_of_a_layer_gets_its_level(rounding, zero_point, clamp, rng):
    if rounding == "tflite" and zero_point > clamp.low:
        clamp = Clamp(zero_point, clamp.high)  # below its zero point it has another line, see the next test
    factors = rng.uniform(0.02, 0.1, 12)
    biases = rng.integers(-5_000, 5_000, 12)
    high = rng.integers(200, 15_000, 12)
    sums = Range(-high, high + 77)
    staircase = staircase_of(factors, biases, zero_point, clamp, rounding)
    found = search_float_affine(staircase, sums, factors, clamp)
    assert found is not None
    assert_equal_everywhere(found, staircase, sums, clamp)


@pytest.mark.parametrize("seed", range(30))
def test_what_is_found_is_right_where_float32_is_hardly_fine_enough(seed):
    rng = np.random.default_rng(seed)
    factors = rng.uniform(0.001, 0.01, 1)
    high = rng.integers(2_000, 100_000, 1)
    sums = Range(-high, high)
    rounding = get_args(Rounding)[seed % 4]
    staircase = staircase_of(factors, rng.integers(-5_000, 5_000, 1), int(rng.integers(-128, 128)), FULL, rounding)
    found = search_float_affine(staircase, sums, factors, FULL)
    if found is not None:
        assert_equal_everywhere(found, staircase, sums, FULL)


@pytest.mark.parametrize("rounding", get_args(Rounding))
def test_factors_above_1_skip_levels(rounding):
    factors = np.array([1.013, 1.37, 3.21, 40.3, 300.7])
    reach = np.full(5, 400)
    staircase = staircase_of(factors, np.zeros(5, np.int64), -5, FULL, rounding)
    found = search_float_affine(staircase, Range(-reach, reach), factors, FULL)
    assert found is not None
    assert_equal_everywhere(found, staircase, Range(-reach, reach), FULL)


def test_sums_beyond_2_to_the_24_are_rounded_before_they_are_scaled():
    def even(sums):  # float32 knows only every second number here
        return np.where(sums >= (1 << 24) + 3, 1, 0)

    sums = Range(np.array([1 << 24]), np.array([(1 << 24) + 5]))
    found = search_float_affine(even, sums, np.array([0.5]), FULL)
    assert found is not None
    assert_equal_everywhere(found, even, sums, FULL)


def test_sums_that_float32_cannot_tell_apart_are_refused():
    def odd(sums):
        return np.where(sums >= (1 << 25) + 1, 1, 0)

    sums = Range(np.array([1 << 25]), np.array([(1 << 25) + 2]))
    assert search_float_affine(odd, sums, np.array([0.5]), FULL) is None


def test_a_channel_of_one_level_ignores_its_sum():
    staircase = staircase_of(np.array([1e-9, 0.001]), np.zeros(2, np.int64), 5, FULL, "single")
    sums = Range(np.array([-1000, -1000]), np.array([1000, 1000]))
    found = search_float_affine(staircase, sums, np.array([1e-9, 0.001]), FULL)
    assert found is not None
    assert (found.scale[0], found.offset[0]) == (0.0, 5.0)
    assert_equal_everywhere(found, staircase, sums, FULL)


def test_a_staircase_with_a_kink_is_refused_rather_than_bent():
    def kinked(sums):
        return np.clip(np.where(sums < 0, sums // 100, sums // 300), -128, 127)

    reach = np.array([20_000])
    assert search_float_affine(kinked, Range(-reach, reach), np.array([0.01]), FULL) is None


def test_what_would_leave_32_bits_before_the_clamp_is_refused():
    def steep(sums):
        return np.clip(sums * (1 << 22), -128, 127)

    reach = np.array([2000])
    assert search_float_affine(steep, Range(-reach, reach), np.array([2.0**22]), FULL) is None


def test_multiply_add_is_rounded_once(rng):
    sums = np.concatenate([rng.integers(-(2**24), 2**24, 3000), rng.integers(-(2**31), 2**31, 3000)])
    scale = np.float32(rng.uniform(1e-9, 1e-2, sums.size))
    product = sums.astype(np.float32).astype(np.float64) * scale
    offset = np.float32(np.where(rng.random(sums.size) < 0.5, -product, rng.normal(0, 1e3, sums.size)))
    got = multiply_add(sums, scale, offset)
    for s, m, c, y in zip(sums.astype(np.float32), scale, offset, got, strict=True):
        exact = Fraction(float(s)) * Fraction(float(m)) + Fraction(float(c))
        near = [
            Fraction(float(v)) for v in (np.nextafter(y, np.float32(-np.inf)), y, np.nextafter(y, np.float32(np.inf)))
        ]
        errors = [abs(v - exact) for v in near]
        assert errors[1] == min(errors)


def test_multiply_add_where_float64_would_round_twice():
    # 1 + 2^-24 + 2^-60 lies above the middle of two float32 numbers; float64 loses the last term and rounds to even.
    assert multiply_add(np.array([1]), np.float32([2.0**-60]), np.float32([1.0]))[0] == 1.0
    scale, offset = np.float32([2.0**-24 * (1 + 2.0**-23)]), np.float32([1.0])
    assert multiply_add(np.array([1]), scale, offset)[0] == np.nextafter(np.float32(1), np.float32(2))
