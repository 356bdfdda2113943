"""Sums whose halves are no plane on emulated cores, for all pairs of bytes. In C: tests/unit/test_mcu_add.py."""

from __future__ import annotations

import pytest

from dscompile.ir.ops import Binary
from tests.emulated.test_mcu_pairs import assert_core_equals_oracle
from tests.unit.test_mcu_add import HALVES, IMAGES, PAIRS, sum_in_a_convolution, sum_of_pairs


@pytest.mark.parametrize("rounding", HALVES)
def test_all_pairs_in_a_step_of_its_own(rounding, tmp_path):
    pairs = {f"{name}0": array for name, array in PAIRS.items()}
    assert_core_equals_oracle(sum_of_pairs(HALVES[rounding], rounding, Binary("add")), "cortex-m4", [pairs], tmp_path)


@pytest.mark.parametrize("rounding", HALVES)
def test_all_pairs_in_a_convolution(rounding, tmp_path):
    network = sum_in_a_convolution(HALVES[rounding], rounding, Binary("add"))
    assert_core_equals_oracle(network, "cortex-m4", [IMAGES], tmp_path)
