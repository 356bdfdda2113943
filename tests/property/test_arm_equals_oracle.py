"""Random networks for 64-bit Arm, built and run under qemu-aarch64 on an old core and a new one, against the oracle."""

from __future__ import annotations

import pytest

from dscompile.passes import canonicalize
from dscompile.plan.bands import find_segments
from tests.arm import run_network
from tests.native import ARM, target_here
from tests.networks import random_network
from tests.towers import banding_target, random_tower

CPUS = ("max", "cortex-a72")


@pytest.mark.parametrize("seed", [pytest.param(seed, marks=pytest.mark.slow if seed else ()) for seed in range(16)])
def test_a_built_network_equals_the_oracle(seed):
    run = run_network(random_network(seed), target_here(ARM), CPUS)
    assert run.passed, run.message


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 4, 5, 100])
def test_a_network_in_bands_of_rows_equals_the_oracle(seed):
    network = random_tower(seed)
    small = banding_target(network, target_here(ARM))
    assert any(segment.rows for segment in find_segments(canonicalize(network), small))
    run = run_network(network, small, CPUS)
    assert run.passed, run.message
