"""Every network of the zoo as standalone C, in int8 and float32, at the ends of its inputs' ranges."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dscompile.frontend.load import load_network
from dscompile.frontend.zoo import zoo_names
from tests.extremes import wrong_at_extremes
from tests.mcu import HostModel, write
from tests.quantized_networks import quantized
from tests.unit.test_zoo_builds import small_version

TOLERANCE = 1e-4  # of an output's largest magnitude: tens of layers in float32, each beside one in float64


@pytest.mark.slow
@pytest.mark.sampled
@pytest.mark.parametrize("precision", ["int8", "float32"])
@pytest.mark.parametrize("name", zoo_names())
@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
def test_a_network_is_the_oracles_at_extremes(name: str, precision: str, tmp_path: Path) -> None:
    """Int8 to the bit: seeded weights, and ranges of one run, some too narrow, so that sums and results saturate."""
    network = load_network(small_version(name, tmp_path, (32, 32))).network
    if precision == "int8":
        network = quantized(network, seed=0)
    model = HostModel(write(network, tmp_path / "a", measured=False), flags=("-O2",))
    assert wrong_at_extremes(model, network, TOLERANCE) == []
