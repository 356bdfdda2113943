"""Assembly of products whose columns stay in registers, and of groups, on an emulated Cortex-M4.

Its C twin: tests/unit/test_mcu_held.py.
"""

from __future__ import annotations

import pytest

from tests.emulated.test_mcu_pairs import assert_core_equals_oracle
from tests.mcu import random_inputs
from tests.unit.test_mcu_held import CHAINS, DEPTHS, RESULTS, ROWS, alone
from tests.unit.test_mcu_rows import memory_for_rows  # noqa: F401 -- a fixture


@pytest.mark.parametrize("name", RESULTS)
@pytest.mark.parametrize("depth", DEPTHS)
def test_assembly_of_columns_in_registers_equals_the_oracle(depth, name, tmp_path):
    network = alone(depth, name)
    assert_core_equals_oracle(network, "cortex-m4", [random_inputs(network, seed) for seed in (3, 4)], tmp_path)


@pytest.mark.parametrize("name", CHAINS)
def test_assembly_of_layers_after_each_other_equals_the_oracle(name, tmp_path):
    network = CHAINS[name]
    assert_core_equals_oracle(network, "cortex-m4", [random_inputs(network, seed) for seed in (3, 4)], tmp_path)


@pytest.mark.usefixtures("memory_for_rows")
@pytest.mark.parametrize("name", ROWS)
def test_assembly_of_columns_in_registers_for_rows_equals_the_oracle(name, tmp_path):
    network = ROWS[name]
    assert_core_equals_oracle(network, "cortex-m4", [random_inputs(network, seed) for seed in (3, 4)], tmp_path)
