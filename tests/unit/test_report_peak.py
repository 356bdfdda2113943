"""The FMA peak of a core."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dscompile.errors import ToolError
from dscompile.report.peak import PeakProbe
from dscompile.target import find_target, resolve_target


def test_the_peak_is_the_median_of_plausible_samples():
    probe = PeakProbe(resolve_target("host"))
    samples = [probe.sample() for _ in range(3)]
    assert probe.gflops == sorted(samples)[1]
    # A core of this decade: at least 2 GHz, less stolen time, times 16 operations; less than 1 TFLOP/s.
    assert all(1.0 < sample < 1000.0 for sample in samples)


def test_a_missing_compiler():
    with pytest.raises(ToolError, match="the C compiler 'no-such-gcc' of target x86-avx2 is not installed"):
        PeakProbe(replace(find_target("x86-avx2"), compiler="no-such-gcc"))
