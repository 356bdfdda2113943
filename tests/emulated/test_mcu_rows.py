"""Assembly for images in rows on an emulated Cortex-M4. Its C twin: tests/unit/test_mcu_rows.py."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from dscompile.api.reference import oracle_outputs
from dscompile.ir.ops import RELU, RELU6
from dscompile.run.firmware import FirmwareModel
from dscompile.target import find_target
from tests.emulated.conftest import require
from tests.mcu import random_inputs, write
from tests.unit.test_mcu_kernels import int8
from tests.unit.test_mcu_rows import CHAINS, chain, memory_for_rows  # noqa: F401 -- a fixture


@pytest.mark.slow
@pytest.mark.usefixtures("memory_for_rows")
@pytest.mark.parametrize("activation", [RELU, RELU6], ids=["relu", "relu6"])
@pytest.mark.parametrize("name", CHAINS)
def test_assembly_for_images_in_rows_equals_the_oracle(name, activation, tmp_path):
    require("arm-none-eabi-gcc", shutil.which("arm-none-eabi-gcc") is not None)
    network = int8(chain(name, activation), "single")
    device = FirmwareModel(write(network, tmp_path / "a", find_target("cortex-m4")))
    for seed in (3, 4):
        inputs = random_inputs(network, seed)
        results = device.run(inputs)
        for output, expected in oracle_outputs(network, inputs).items():
            np.testing.assert_array_equal(results[output], expected)
