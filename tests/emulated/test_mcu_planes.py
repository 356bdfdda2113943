"""Assembly of depthwise layers by planes on an emulated Cortex-M4. Its C twin: tests/unit/test_mcu_planes.py."""

from __future__ import annotations

import pytest

from tests.emulated.test_mcu_pairs import assert_core_equals_oracle
from tests.mcu import random_inputs
from tests.unit.test_mcu_kernels import int8
from tests.unit.test_mcu_planes import LAYERS, little_shift  # noqa: F401 -- a fixture
from tests.unit.test_mcu_rows import memory_for_rows  # noqa: F401 -- a fixture


@pytest.mark.usefixtures("memory_for_rows")
@pytest.mark.parametrize("name", LAYERS)
def test_assembly_of_planes_equals_the_oracle(name, tmp_path):
    network = int8(LAYERS[name], "tflite")
    assert_core_equals_oracle(network, "cortex-m4", [random_inputs(network, seed) for seed in (3, 4)], tmp_path)


@pytest.mark.usefixtures("memory_for_rows", "little_shift")
@pytest.mark.parametrize("name", ["a_table_behind", "three_taps"])
def test_assembly_that_multiplies_sums_equals_the_oracle(name, tmp_path):
    network = int8(LAYERS[name], "single")
    assert_core_equals_oracle(network, "cortex-m4", [random_inputs(network, 3)], tmp_path)
