"""Random small networks, built and run, against the oracle. The failing seed stands in the test's name."""

from __future__ import annotations

import pytest

from tests.native import TARGETS, assert_equals_oracle, target_here
from tests.networks import random_network

FAST = [(seed, TARGETS[seed % 2]) for seed in range(4)]
SLOW = [(seed, target) for seed in range(4, 34) for target in TARGETS]


@pytest.mark.parametrize(("seed", "target"), FAST, ids=str)
def test_a_built_network_equals_the_oracle(seed, target):
    assert_equals_oracle(random_network(seed), target_here(target), seed)


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "target"), SLOW, ids=str)
def test_many_built_networks_equal_the_oracle(seed, target):
    assert_equals_oracle(random_network(seed), target_here(target), seed)
