"""Dense layers by int16 pairs on emulated cores. Their C twin: tests/unit/test_mcu_dense.py."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from dscompile.api.reference import oracle_outputs
from dscompile.run.firmware import FirmwareModel
from dscompile.target import find_target
from tests.emulated.conftest import require
from tests.mcu import random_inputs, write
from tests.unit.test_mcu_dense import dense_layers, extreme_inputs


@pytest.mark.parametrize(("core", "extreme"), [("cortex-m4", False), ("cortex-m4", True), ("cortex-m33", False)])
def test_assembly_of_dense_layers_equals_the_oracle(core, extreme, tmp_path):
    require("arm-none-eabi-gcc", shutil.which("arm-none-eabi-gcc") is not None)
    network = dense_layers("tflite", extreme=extreme)
    device = FirmwareModel(write(network, tmp_path / "a", find_target(core)))
    for inputs in [random_inputs(network, 1), *extreme_inputs(network)]:
        results = device.run(inputs)
        for output, expected in oracle_outputs(network, inputs).items():
            np.testing.assert_array_equal(results[output], expected)
