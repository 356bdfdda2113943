"""Interleaved timing."""

from __future__ import annotations

import pytest

from dscompile.report.timing import BenchResult, Timing, interleave, summarize


def test_statistics_of_known_samples():
    assert summarize([5.0, 1.0, 3.0]) == Timing(median_us=3.0, p95_us=5.0, min_us=1.0, repeats=3)
    hundred = summarize([float(value) for value in range(1, 101)])
    assert hundred == Timing(median_us=50.0, p95_us=95.0, min_us=1.0, repeats=100)


def test_contenders_take_turns_of_equal_time():
    turns = []

    def sampler(name: str, latency_us: float):
        def sample(repeats: int) -> list[float]:
            turns.append((name, repeats))
            return [latency_us] * repeats

        return sample

    timings = interleave({"fast": sampler("fast", 2500.0), "slow": sampler("slow", 10_000.0)}, repeats=30)
    assert timings["fast"] == Timing(2500.0, 2500.0, 2500.0, 30)
    assert timings["slow"] == Timing(10_000.0, 10_000.0, 10_000.0, 30)
    assert turns[:2] == [("fast", 3), ("slow", 3)]  # how long do they take?
    assert turns[2:6] == [("fast", 20), ("slow", 5), ("fast", 10), ("slow", 5)]
    assert turns[6:] == [("slow", 5)] * 4


def test_without_repeats_each_runs_for_about_a_second_and_at_least_30_times():
    timings = interleave({"a": lambda repeats: [10_000.0] * repeats, "b": lambda repeats: [500_000.0] * repeats})
    assert (timings["a"].repeats, timings["b"].repeats) == (100, 30)


def test_between_rounds_reports_runs_done_and_in_all():
    seen = []
    interleave({"a": lambda repeats: [25_000.0] * repeats}, 5, lambda done, total: seen.append((done, total)))
    assert seen == [(0, 5), (2, 5), (4, 5)]


def test_speed_and_share_of_peak():
    result = BenchResult("d", "x86-avx2", 1, 500_000, Timing(100.0, 120.0, 90.0, 30), peak_gflops=40.0)
    assert result.gmac_per_second == pytest.approx(5.0)
    assert result.peak_gflops_fraction == pytest.approx(0.25)
    assert BenchResult("d", "x86-avx2", 1, 500_000, Timing(1.0, 1.0, 1.0, 1)).peak_gflops_fraction is None
