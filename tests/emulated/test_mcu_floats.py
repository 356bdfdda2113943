"""Layers whose factors are floats, in assembly on emulated cores. Their C twins: tests/unit/test_mcu_floats.py."""

from __future__ import annotations

import pytest

from tests.emulated.test_mcu_fused import assert_exact_on
from tests.packed_networks import stored
from tests.unit.test_mcu_floats import CORES, IMAGES, LAYERS, SUMS, in_floats, in_powers, with_a_tiny_scale
from tests.unit.test_mcu_kernels import int8
from tests.unit.test_mcu_rows import memory_for_rows  # noqa: F401 -- a fixture
from tests.unit.test_mcu_turned import turning_is_free  # noqa: F401 -- a fixture


@pytest.mark.slow
@pytest.mark.sampled
@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("name", [*LAYERS, *SUMS])
def test_factors_in_float32_on_a_core(name, core, tmp_path):
    assert_exact_on(core, in_floats(name), tmp_path / "a", affine=False)


@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m33", "cortex-m55", "rv64gcv"])
def test_halves_go_to_even_on_a_core(core, tmp_path):
    assert_exact_on(core, in_powers(in_floats("separable_of_odd_channels")), tmp_path / "a")


@pytest.mark.parametrize("core", CORES)
def test_results_that_leave_32_bits_are_clamped_on_a_core(core, tmp_path):
    assert_exact_on(core, with_a_tiny_scale(in_floats("depthwise_3x3_same")), tmp_path / "a", affine=False)


@pytest.mark.slow
@pytest.mark.sampled
@pytest.mark.usefixtures("memory_for_rows", "turning_is_free")
@pytest.mark.parametrize("name", IMAGES)
def test_depthwise_layers_of_other_images_on_a_cortex_m4(name, tmp_path):
    assert_exact_on("cortex-m4", in_powers(int8(IMAGES[name][1](), "float32")), tmp_path / "a")


@pytest.mark.parametrize("core", ["cortex-m3", "cortex-m0plus", "rv32imc"])
def test_some_channels_are_rounded_as_floats_on_a_core_without_them(core, tmp_path):
    assert_exact_on(core, in_powers(in_floats("separable_of_odd_channels"), every=3), tmp_path / "a")


def test_weights_of_four_bits_on_a_core(tmp_path):
    assert_exact_on("cortex-m4", stored(in_floats("pointwise_of_100_channels"), "int4"), tmp_path / "a", affine=False)
