"""The assembly for Cortex-M0+ on an emulated core: single layers against the oracle. Its C twin: test_mcu_cores.py."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from dscompile.api.reference import oracle_outputs
from dscompile.run.firmware import FirmwareModel
from dscompile.target import find_target
from tests.emulated.conftest import require
from tests.mcu import random_inputs, write
from tests.unit.test_mcu_cores import ALL, ROUNDINGS
from tests.unit.test_mcu_kernels import depthwise, int8

pytestmark = pytest.mark.sampled

# Constants that do not fit into 8 or 16 bits: distances between rows and ends of columns.
WIDE = {
    "depthwise_of_300_channels": depthwise(4, 3, 300),
    "separable_to_1500_channels": depthwise(2, 3, 5, then=1500),
    "depthwise_on_rows_of_70_000_bytes": depthwise(3, 700, 100, stride=(3, 9)),
}
CASES = ALL | WIDE


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_assembly_of_cortex_m0plus_equals_the_oracle(name, tmp_path):
    require("arm-none-eabi-gcc", shutil.which("arm-none-eabi-gcc") is not None)
    network = int8(CASES[name].network(), ROUNDINGS[len(name) % 4])
    device = FirmwareModel(write(network, tmp_path / "a", find_target("cortex-m0plus")))
    inputs = random_inputs(network, 3)
    expected = oracle_outputs(network, inputs)
    results = device.run(inputs)
    for name_of_output in network.outputs:
        np.testing.assert_array_equal(results[name_of_output], expected[name_of_output])


def test_assembly_of_cortex_m0plus_equals_the_oracle_on_an_odd_separable_layer(tmp_path):
    test_assembly_of_cortex_m0plus_equals_the_oracle("separable_of_odd_channels", tmp_path)
