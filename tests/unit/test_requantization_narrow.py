"""Requantization by 32-bit products against the rounding it replaces, at every sum."""

from __future__ import annotations

import numpy as np
import pytest

from dscompile.ir.fixed_point import Clamp, quantize_multiplier, requantize
from dscompile.ir.network import NetworkBuilder
from dscompile.ir.ops import Conv2D
from dscompile.ir.tensor import Quantization, Tensor
from dscompile.plan.requantization import Integers, Range
from dscompile.plan.requantization_narrow import Narrow, search_narrow
from tests.mcu import assert_equals_oracle, here

WORD = 1 << 31


def levels(found: Narrow, sums: Integers, zero_point: int = 0) -> Integers:
    """The template's formula on sums [n, C], with every step checked to fit 32 bits."""
    high, low = found.multiplier >> 16, found.multiplier & 0xFFFF
    parts = [sums * high, sums * low]
    total = found.bias + parts[0] + (parts[1] >> found.left)
    for part in (*parts, found.bias + parts[0], total, found.multiplier):
        assert np.abs(part).max() < WORD
    if found.step is not None:
        total = np.where(total < zero_point << found.right, total, total + found.step)
        assert np.abs(total).max() < WORD
        assert np.abs(found.step).max() < WORD
    return total >> found.right


def staircase_of(factors: list[float], zero_point: int, clamp: Clamp, rounding: str, bias: int):
    fixed = [quantize_multiplier(factor) for factor in factors]
    multipliers = np.array([f.multiplier for f in fixed])
    shifts = np.array([f.shift for f in fixed])

    def staircase(sums: Integers) -> Integers:
        scaled = requantize(sums + bias, multipliers, shifts, rounding)  # type: ignore[arg-type]
        return np.clip(scaled + zero_point, clamp.low, clamp.high)

    return staircase


@pytest.mark.parametrize("rounding", ["tflite", "half-up", "single"])
@pytest.mark.parametrize(
    ("factors", "reach"),
    [([0.0031, 0.0047, 0.0009], 90_000), ([0.0004, 0.00071], 400_000), ([0.02, 0.011], 20_000), ([0.9, 0.4], 300)],
)
def test_narrow_form_equals_the_rounding_at_every_sum(factors, reach, rounding):
    clamp = Clamp(-128, 127)
    staircase = staircase_of(factors, -128, clamp, rounding, 137)
    sums = Range(np.full(len(factors), -reach), np.full(len(factors), reach - 5))
    found = search_narrow(staircase, sums, np.array(factors), -128, clamp)
    assert found is not None
    every = np.arange(-reach, reach - 4)[:, None].repeat(len(factors), 1)
    np.testing.assert_array_equal(np.clip(levels(found, every), clamp.low, clamp.high), staircase(every))


@pytest.mark.parametrize("zero_point", [-100, -3, 0, 90])
@pytest.mark.parametrize("bias", [137, -21_000])
@pytest.mark.parametrize(
    ("factors", "reach"), [([0.0031, 0.0047, 0.0009], 40_000), ([0.0004, 0.00071], 200_000), ([0.02, 0.011], 20_000)]
)
def test_halves_away_from_zero_are_two_lines_of_32_bit_products(factors, reach, bias, zero_point):
    clamp = Clamp(-128, 127)
    staircase = staircase_of(factors, zero_point, clamp, "tflite", bias)
    sums = Range(np.full(len(factors), -reach), np.full(len(factors), reach - 5))
    found = search_narrow(staircase, sums, np.array(factors), zero_point, clamp)
    assert found is not None
    every = np.arange(-reach, reach - 4)[:, None].repeat(len(factors), 1)
    np.testing.assert_array_equal(np.clip(levels(found, every, zero_point), clamp.low, clamp.high), staircase(every))


def test_a_line_for_each_sign_takes_a_step():
    staircase = staircase_of([0.0031], -3, Clamp(-128, 127), "tflite", 0)
    sums = Range(np.array([-39_000]), np.array([39_000]))
    found = search_narrow(staircase, sums, np.array([0.0031]), -3, Clamp(-128, 127))
    assert found is not None
    assert found.step is not None


def test_clamp_of_relu6_and_another_zero_point():
    clamp = Clamp(-20, 80)
    staircase = staircase_of([0.0021], -20, clamp, "tflite", -900)
    found = search_narrow(staircase, Range(np.array([-70_000]), np.array([90_000])), np.array([0.0021]), -20, clamp)
    assert found is not None
    every = np.arange(-70_000, 90_001)[:, None]
    np.testing.assert_array_equal(np.clip(levels(found, every), -20, 80), staircase(every))


def test_channel_of_one_level_needs_no_product():
    found = search_narrow(
        lambda sums: np.full(sums.shape, 5), Range(np.array([0]), np.array([0])), np.array([0.01]), 0, Clamp(-128, 127)
    )
    assert found is not None
    assert found.multiplier.tolist() == [0]
    assert levels(found, np.array([[0]])).tolist() == [[5]]


def test_a_staircase_that_is_no_line_has_no_narrow_form():
    def bent(sums: Integers) -> Integers:
        return np.clip(np.where(sums > 0, sums, sums // 50), -128, 127)

    assert search_narrow(bent, Range(np.array([-5000]), np.array([90])), np.array([1.0]), 0, Clamp(-128, 127)) is None


@pytest.mark.parametrize("zero_point", [-128, -25, 0, 127])
@pytest.mark.parametrize("bias", [-588041, 588041])
def test_a_channel_that_is_always_clamped_has_a_bias_of_32_bits(bias, zero_point):
    """Its level, 127 or -128, lies far from the zero point by which the shift was chosen."""
    net = NetworkBuilder("clamped", "float32")
    net.input(Tensor("x", (1, 2, 2, 1), "int8", Quantization((0.000254405,), 68)))
    weights = {
        "kernel": np.array([[[[24]]]], np.int8),
        "kernel_scale": np.array([0.00449726], np.float32),
        "bias": np.array([bias], np.int32),
    }
    net.add("conv", Conv2D(1, (1, 1)), ["x"], quantization=Quantization((0.00363745,), zero_point), **weights)
    assert_equals_oracle(net.build(["conv"]), (0, 1), here("cortex-m0plus"))
