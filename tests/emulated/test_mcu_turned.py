"""Assembly for turned images on an emulated Cortex-M4. Its C twin: tests/unit/test_mcu_turned.py."""

from __future__ import annotations

import pytest

from tests.emulated.test_mcu_pairs import assert_core_equals_oracle
from tests.mcu import random_inputs
from tests.unit.test_mcu_kernels import int8
from tests.unit.test_mcu_rows import memory_for_rows  # noqa: F401 -- a fixture
from tests.unit.test_mcu_turned import BLOCKS, turning_is_free  # noqa: F401 -- a fixture


@pytest.mark.usefixtures("memory_for_rows", "turning_is_free")
@pytest.mark.parametrize("name", BLOCKS)
def test_assembly_for_turned_images_equals_the_oracle(name, tmp_path):
    network = int8(BLOCKS[name], "tflite")
    assert_core_equals_oracle(network, "cortex-m4", [random_inputs(network, seed) for seed in (0, 1)], tmp_path)
