"""Sums whose halves are no plane on emulated cores, for all pairs of bytes. In C: tests/unit/test_mcu_add.py."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from dscompile.ir.network import Array, Network
from dscompile.ir.ops import Binary
from dscompile.oracle import run
from dscompile.run.firmware import FirmwareModel
from dscompile.target import find_target
from tests.emulated.conftest import require
from tests.mcu import write
from tests.unit.test_mcu_add import HALVES, IMAGES, PAIRS, sum_in_a_convolution, sum_of_pairs


def assert_exact_on_cortex_m4(network: Network, inputs: dict[str, Array], folder: Path) -> None:
    require("arm-none-eabi-gcc", shutil.which("arm-none-eabi-gcc") is not None)
    device = FirmwareModel(write(network, folder / "a", find_target("cortex-m4")))
    results = device.run(inputs)
    for name, expected in run(network, inputs).items():
        np.testing.assert_array_equal(results[name], expected)


@pytest.mark.parametrize("rounding", HALVES)
def test_all_pairs_in_a_step_of_its_own(rounding, tmp_path):
    pairs = {f"{name}0": array for name, array in PAIRS.items()}
    assert_exact_on_cortex_m4(sum_of_pairs(HALVES[rounding], rounding, Binary("add")), pairs, tmp_path)


@pytest.mark.parametrize("rounding", HALVES)
def test_all_pairs_in_a_convolution(rounding, tmp_path):
    assert_exact_on_cortex_m4(sum_in_a_convolution(HALVES[rounding], rounding, Binary("add")), IMAGES, tmp_path)
