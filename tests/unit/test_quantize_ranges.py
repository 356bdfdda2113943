"""From values to ranges, scales and zero points."""

from __future__ import annotations

import numpy as np
import pytest

from dscompile.errors import UnsupportedError
from dscompile.ir.tensor import Quantization
from dscompile.quantization.histogram import HALF_BINS, histogram_of
from dscompile.quantization.kernels import bias_bound, quantize_kernel
from dscompile.quantization.ranges import Range, choose_range, expressed, parameters


@pytest.mark.parametrize(
    ("low", "high", "scale", "zero_point"),
    [
        (0.0, 255.0, 1.0, -128),
        (0.0, 6.0, 6 / 255, -128),
        (-2.54, 2.56, 0.02, -1),
        (-255.0, 0.0, 1.0, 127),
        (-128.0, 127.0, 1.0, 0),
        (-10.0, 245.0, 1.0, -118),
        (-10.4, 244.6, 1.0, -118),
    ],
)
def test_scale_and_zero_point_by_hand(low: float, high: float, scale: float, zero_point: int) -> None:
    assert parameters(Range(low, high)) == Quantization((float(np.float32(scale)),), zero_point)


def test_a_tensor_that_is_always_zero_has_a_scale_all_the_same() -> None:
    assert parameters(Range(0.0, 0.0)) == Quantization((float(np.float32(1 / 255)),), -128)


def test_nudging_moves_a_range_by_at_most_half_a_step() -> None:
    for low in np.linspace(-3.0, 0.0, 61):
        wanted = Range(float(low), 2.0)
        got = expressed(parameters(wanted))
        step = (2.0 - low) / 255
        assert abs(got.low - wanted.low) <= 0.5001 * step
        assert abs(got.high - wanted.high) <= 0.5001 * step


@pytest.mark.parametrize(("low", "high"), [(0.5, 1.0), (-1.0, -0.5), (0.0, float("inf")), (float("nan"), 1.0)])
def test_a_range_without_zero_or_an_end_is_refused(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="a range must be finite and contain 0"):
        Range(low, high)


def test_histograms_know_extremes_exactly_and_count_everything() -> None:
    histogram = histogram_of(np.array([[-0.75, 0.0], [0.1, 1.5]]))
    assert (histogram.low, histogram.high, histogram.limit) == (-0.75, 1.5, 2.0)
    assert histogram.counts.sum() == 4
    assert histogram.counts[HALF_BINS] == 1
    assert histogram.counts[HALF_BINS * 7 // 4] == 1


def test_merging_histograms_is_the_histogram_of_all_values(rng: np.random.Generator) -> None:
    small, large = rng.standard_normal(1000), 37 * rng.standard_normal(1000)
    merged, whole = histogram_of(small).merged(histogram_of(large)), histogram_of(np.concatenate([small, large]))
    assert np.array_equal(merged.counts, whole.counts)
    assert (merged.limit, merged.low, merged.high) == (whole.limit, whole.low, whole.high)


def test_min_max_covers_everything_and_zero() -> None:
    assert choose_range(histogram_of(np.array([2.0, 5.0])), "min-max", 0.5) == Range(0.0, 5.0)
    assert choose_range(histogram_of(np.array([-2.0, -5.0])), "min-max", 0.5) == Range(-5.0, 0.0)


def test_percentile_leaves_the_top_of_one_sided_values_outside() -> None:
    chosen = choose_range(histogram_of(np.arange(10_000) / 10_000), "percentile", 0.99)
    assert chosen.low == 0
    assert chosen.high == pytest.approx(0.99, abs=1e-3)


def test_percentile_leaves_half_on_each_side() -> None:
    chosen = choose_range(histogram_of(np.linspace(-1.0, 3.0, 40_001)), "percentile", 0.9)
    assert chosen.low == pytest.approx(-0.8, abs=2e-3)
    assert chosen.high == pytest.approx(2.8, abs=2e-3)


def test_percentile_of_everything_is_min_max() -> None:
    histogram = histogram_of(np.array([-0.3, 0.1, 0.9]))
    assert choose_range(histogram, "percentile", 1.0) == Range(-0.3, 0.9)


def test_an_outlier_does_not_widen_a_percentile() -> None:
    values = np.concatenate([np.linspace(0, 1, 100_000), [1000.0]])
    assert choose_range(histogram_of(values), "percentile", 0.999).high == pytest.approx(1.0, abs=0.3)


def test_least_error_is_near_the_best_of_all_clips(rng: np.random.Generator) -> None:
    values = rng.standard_normal(20_000) ** 3 / 8

    def error(chosen: Range) -> float:
        q = parameters(chosen)
        integers = np.clip(np.rint(values / q.scale) + q.zero_point, -128, 127)
        return float(((values - q.scale * (integers - q.zero_point)) ** 2).sum())

    histogram = histogram_of(values)
    whole = choose_range(histogram, "min-max", 1.0)
    chosen = choose_range(histogram, "mse", 1.0)
    shares = np.linspace(0.3, 1.0, 36)
    brute = min(error(Range(whole.low * low, whole.high * high)) for low in shares for high in shares)
    assert error(chosen) < error(whole)
    assert error(chosen) < 1.05 * brute


def test_kernels_have_a_scale_for_each_output_channel() -> None:
    kernel = np.float32([[1.27, -25.4], [-0.635, 2.0]])
    made = quantize_kernel("dense", kernel, np.float32([0.5, -1.0]), 0.1)
    assert made.kernel.tolist() == [[127, -127], [-64, 10]]  # -63.5 goes to the even neighbor
    assert made.kernel_scale == pytest.approx([0.01, 0.2])
    assert made.bias.tolist() == [500, -50]


def test_a_large_bias_widens_the_scale_of_its_channel() -> None:
    kernel = np.float32([[1e-6, 1.0]])
    made = quantize_kernel("dense", kernel, np.float32([1000.0, 1000.0]), 1e-3)
    real = made.bias * made.kernel_scale.astype(np.float64) * 1e-3
    assert real == pytest.approx([1000.0, 1000.0])
    assert made.kernel.tolist() == [[0, 127]]  # against that bias, the weight is nothing
    assert abs(made.bias[0]) <= bias_bound("dense", 1)
    assert made.kernel_scale[1] == pytest.approx(1 / 127)


def test_channels_of_zeros_have_a_scale_and_keep_their_bias() -> None:
    made = quantize_kernel("dense", np.zeros((3, 2), np.float32), np.float32([0.0, -7.0]), 0.5)
    assert not made.kernel.any()
    assert made.bias.tolist() == [0, -65536]
    assert made.bias[1] * made.kernel_scale[1] * 0.5 == pytest.approx(-7.0)


def test_no_input_makes_an_accumulator_overflow() -> None:
    kernel = np.full((20_000, 1), 0.5, np.float32)
    made = quantize_kernel("dense", kernel, np.float32([1e9]), 1e-3)
    assert 20_000 * 127 * 255 + abs(int(made.bias[0])) < 1 << 31


def test_too_many_products_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="layer wide: its sums of 70000 products can overflow the 32 bits"):
        quantize_kernel("wide", np.ones((70_000, 1), np.float32), np.zeros(1, np.float32), 1.0)


def test_least_error_kernels_clip_a_lonely_weight(rng: np.random.Generator) -> None:
    kernel = rng.standard_normal((40_000, 2)).astype(np.float32)
    kernel[0, 0] = 6.0
    bias = np.zeros(2, np.float32)
    errors = [
        ((quantize_kernel("dense", kernel, bias, 1.0, least_error=flag).real_kernel() - kernel) ** 2).sum(axis=0)
        for flag in (False, True)
    ]
    assert errors[1][0] < 0.9 * errors[0][0]
    assert errors[1][1] <= errors[0][1]
