"""Random small networks as standalone C, compiled for this machine, against the oracle."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from dscompile.ir.network import Network
from dscompile.ir.tensor import Rounding
from dscompile.target import Target
from tests.mcu import assert_equals_oracle, differences, here, write
from tests.networks import random_network
from tests.quantized_networks import random_int8_network
from tests.sanitized import SanitizedModel

ROUNDINGS: tuple[Rounding, ...] = get_args(Rounding)
CORES = ("c99", "cortex-m4", "cortex-m0plus", "rv32imc", "cortex-m3", "cortex-m55", "rv64gcv")


@pytest.mark.parametrize("seed", range(4))
def test_float_network_as_c_equals_the_oracle(seed):
    assert_equals_oracle(random_network(seed), (0,))


@pytest.mark.parametrize("seed", range(8))
def test_int8_network_as_c_equals_the_oracle(seed):
    network = random_int8_network(seed, ROUNDINGS[seed % 4])
    assert_equals_oracle(network, (0,), here(CORES[seed % 7]), affine=seed % 6 != 0)


def assert_clean(network: Network, target: Target | None, compiler: str, directory: Path) -> None:
    """The network's C under sanitizers: nothing is reported, and the outputs are the oracle's."""
    artifact = write(network, directory / "artifact", target, measured=False)
    assert differences(SanitizedModel(artifact, compiler, directory), network, range(3)) == []


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("seed", range(4))
def test_network_as_c_is_clean_under_sanitizers(seed, compiler, tmp_path):
    network = random_int8_network(seed, ROUNDINGS[seed]) if seed else random_network(seed)
    assert_clean(network, here(CORES[seed % 7]), compiler, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("seed", range(4, 40))
def test_many_int8_networks_as_c_are_clean_under_sanitizers(seed, compiler, tmp_path):
    assert_clean(random_int8_network(seed, ROUNDINGS[seed % 4]), here(CORES[seed % 7]), compiler, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("seed", range(1, 20))
def test_many_float_networks_as_c_are_clean_under_sanitizers(seed, compiler, tmp_path):
    assert_clean(random_network(seed), None, compiler, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4, 60))
def test_many_float_networks_as_c_equal_the_oracle(seed):
    assert_equals_oracle(random_network(seed), (0,))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8, 80))
def test_many_int8_networks_as_c_equal_the_oracle(seed):
    network = random_int8_network(seed, ROUNDINGS[seed % 4])
    assert_equals_oracle(network, (0,), here(CORES[seed % 7]), affine=seed % 6 != 0)
