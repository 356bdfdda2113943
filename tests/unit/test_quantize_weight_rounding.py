"""Integer least squares, beside exhaustive search."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from dscompile.quantization.weight_rounding import (
    descend,
    errors,
    nearest_integers,
    nearest_plane,
    round_together,
)

Reals = NDArray[np.float64]


def one_group(moments: list[list[float]], weights: list[float], scale: float = 1.0) -> tuple[Reals, Reals, Reals]:
    """Moments [1, K, K], weights [1, K, 1] and scales [1, 1] of a single output."""
    return np.array([moments]), np.array(weights).reshape(1, -1, 1), np.full((1, 1), scale)


def best_of_all(moments: Reals, weights: Reals, scale: float, limit: int) -> tuple[float, list[float]]:
    """The least error over all integers up to the limit, and where it is."""
    axes = np.meshgrid(*[np.arange(-limit, limit + 1.0)] * len(weights), indexing="ij")
    integers = np.stack([axis.reshape(-1) for axis in axes], axis=1)
    left = weights - scale * integers
    lost = ((left @ moments) * left).sum(axis=1)
    return float(lost.min()), integers[int(lost.argmin())].tolist()


def samples_of(seed: int, inputs: int) -> Reals:
    """Correlated inputs [50, inputs]: the same signal in all, with some of their own."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((50, 1)) + 0.4 * rng.standard_normal((50, inputs))


def test_independent_inputs_give_the_nearest_integers() -> None:
    moments, weights, scales = one_group([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 5.0]], [0.4, -1.6, 2.7])
    assert round_together(moments, weights, scales, 127).reshape(-1).tolist() == [0.0, -2.0, 3.0]


def test_errors_of_inputs_that_go_together_cancel() -> None:
    # Both inputs are nearly the same, so only the sum of their weights counts: 0.4 + 0.4 is nearly 1, not 0.
    moments, weights, scales = one_group([[1.0, 0.99], [0.99, 1.0]], [0.4, 0.4])
    assert nearest_integers(weights, scales, 127).reshape(-1).tolist() == [0.0, 0.0]
    assert sorted(round_together(moments, weights, scales, 127).reshape(-1).tolist()) == [0.0, 1.0]


def test_the_nearest_plane_rounds_the_last_weight_first() -> None:
    # 0.6 becomes 1; the 0.4 too much goes to the first weight as -0.4 * 0.5: 0.6 - 0.2 = 0.4 becomes 0.
    moments, weights, scales = one_group([[1.0, 0.5], [0.5, 1.0]], [0.6, 0.6])
    assert nearest_plane(moments, weights, scales, 127).reshape(-1).tolist() == [0.0, 1.0]


def test_descent_leaves_a_bad_start() -> None:
    moments, weights, scales = one_group([[1.0, 0.5], [0.5, 2.0]], [3.2, -4.9])
    start = np.array([40.0, 40.0]).reshape(1, 2, 1)
    assert descend(moments, weights, scales, start, 127).reshape(-1).tolist() == [3.0, -5.0]


def test_limits_hold_and_the_others_make_up_for_what_is_cut_off() -> None:
    moments, weights, scales = one_group([[1.0, 0.9], [0.9, 1.0]], [9.0, 1.0])
    # 5 misses 4; the second input carries 0.9 of that: 1 + 3.6.
    assert round_together(moments, weights, scales, 5).reshape(-1).tolist() == [5.0, 5.0]


def test_every_group_and_output_has_its_own_moments_and_scale() -> None:
    moments = np.array([[[1.0, 0.99], [0.99, 1.0]], [[1.0, 0.0], [0.0, 1.0]]])
    weights = np.array([[[0.4, 4.0], [0.4, 4.0]], [[0.4, 1.1], [0.4, 1.1]]])
    scales = np.array([[1.0, 10.0], [1.0, 0.5]])
    found = round_together(moments, weights, scales, 127)
    assert found.shape == (2, 2, 2)
    assert sorted(found[0, :, 0].tolist()) == sorted(found[0, :, 1].tolist()) == [0.0, 1.0]
    assert found[1].tolist() == [[0.0, 2.0], [0.0, 2.0]]


@pytest.mark.parametrize("inputs", [1, 3, 5])
def test_small_problems_come_near_the_best_of_all_integers(inputs: int) -> None:
    ours, nearest, best = [], [], []
    for seed in range(40):
        x = samples_of(seed, inputs)
        moments = x.T @ x / len(x)
        weights = np.random.default_rng(100 + seed).standard_normal(inputs)
        arguments = moments[None], weights.reshape(1, -1, 1), np.full((1, 1), 0.7)
        least, integers = best_of_all(moments, weights, 0.7, 3)
        found = round_together(*arguments, 3)
        if inputs == 1:
            assert found.reshape(-1).tolist() == integers
        ours.append(float(errors(*arguments, found)[0, 0]))
        nearest.append(float(errors(*arguments, nearest_integers(*arguments[1:], 3))[0, 0]))
        best.append(least)
    assert all(mine <= plain + 1e-12 for mine, plain in zip(ours, nearest, strict=True))
    assert all(least <= mine + 1e-9 for mine, least in zip(ours, best, strict=True))
    assert np.mean(ours) <= 1.15 * np.mean(best)
    if inputs == 5:
        assert sum(mine <= least + 1e-9 for mine, least in zip(ours, best, strict=True)) >= 25
        assert np.mean(ours) < 0.5 * np.mean(nearest)


def test_depthwise_sized_problems_beat_nearest_integers_by_far() -> None:
    x = np.stack([samples_of(seed, 9) for seed in range(17)])
    moments = x.transpose(0, 2, 1) @ x / x.shape[1]
    weights = np.random.default_rng(3).standard_normal((17, 9, 2))
    scales = np.abs(weights).max(axis=1) / 15
    ours = errors(moments, weights, scales, round_together(moments, weights, scales, 15))
    plain = errors(moments, weights, scales, nearest_integers(weights, scales, 15))
    assert (ours <= plain).all()
    assert ours.sum() < 0.5 * plain.sum()
