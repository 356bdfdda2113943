"""Random networks, built and run on poisoned memory, against the oracle. The failing seed stands in the test's name."""

from __future__ import annotations

from typing import get_args

import pytest

from dscompile.ir.tensor import Rounding
from dscompile.passes import canonicalize
from dscompile.plan.bands import find_segments
from tests.native import TARGETS, assert_equals_oracle, target_here
from tests.networks import random_network
from tests.quantized_networks import quantized_tower, random_int8_network
from tests.towers import banding_target, random_tower

SLOW_SEEDS = range(4, 34)
ROUNDINGS: tuple[Rounding, ...] = get_args(Rounding)


@pytest.mark.parametrize(("seed", "target"), [(seed, TARGETS[seed % 2]) for seed in range(4)])
def test_a_built_network_equals_the_oracle(seed, target):
    assert_equals_oracle(random_network(seed), target_here(target), seed)


# Tower 44 has a stride wider than its kernel; in 100, bands of different heights pack the same weights differently.
@pytest.mark.parametrize(("seed", "target"), [(4, "x86-avx2"), (44, "x86-avx512"), (100, "x86-avx512")])
def test_a_network_in_bands_of_rows_equals_the_oracle(seed, target):
    network = random_tower(seed)
    small = banding_target(network, target_here(target))
    assert any(segment.rows for segment in find_segments(canonicalize(network), small))
    assert_equals_oracle(network, small, seed)


@pytest.mark.parametrize(("seed", "target"), [(seed, TARGETS[seed % 2]) for seed in range(6)])
def test_an_int8_network_equals_the_oracle_in_every_byte(seed, target):
    assert_equals_oracle(random_int8_network(seed, ROUNDINGS[seed % 4]), target_here(target), seed)


@pytest.mark.parametrize(("seed", "target"), [(36, "x86-avx2"), (49, "x86-avx512")])
def test_an_int8_network_in_bands_of_rows_equals_the_oracle(seed, target):
    network = quantized_tower(seed, ROUNDINGS[seed % 4])
    small = banding_target(network, target_here(target))
    assert any(segment.rows for segment in find_segments(canonicalize(network), small))
    assert_equals_oracle(network, small, seed)


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("seed", range(4, 34))
def test_many_int8_networks_in_bands_of_rows_equal_the_oracle(seed, target):
    network = quantized_tower(seed, ROUNDINGS[seed % 4])
    assert_equals_oracle(network, banding_target(network, target_here(target)), seed)


@pytest.mark.parametrize(("seed", "target"), [(0, "arm64-neon"), (5, "arm64-dotprod"), (3, "arm64-i8mm")])
def test_an_int8_network_on_arm64_equals_the_oracle_in_every_byte(seed, target):
    assert_equals_oracle(random_int8_network(seed, ROUNDINGS[seed % 4]), target_here(target), seed)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["arm64-neon", "arm64-dotprod", "arm64-i8mm"])
@pytest.mark.parametrize("seed", range(6, 18))
def test_many_int8_networks_on_arm64_equal_the_oracle_in_every_byte(seed, target):
    assert_equals_oracle(random_int8_network(seed, ROUNDINGS[seed % 4]), target_here(target), seed)


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("seed", range(6, 66))
def test_many_int8_networks_equal_the_oracle_in_every_byte(seed, target):
    assert_equals_oracle(random_int8_network(seed, ROUNDINGS[seed % 4]), target_here(target), seed)


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("seed", SLOW_SEEDS)
def test_many_built_networks_equal_the_oracle(seed, target):
    assert_equals_oracle(random_network(seed), target_here(target), seed)


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("seed", SLOW_SEEDS)
def test_many_networks_in_bands_of_rows_equal_the_oracle(seed, target):
    network = random_tower(seed)
    assert_equals_oracle(network, banding_target(network, target_here(target)), seed)
