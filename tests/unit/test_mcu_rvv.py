"""The kernels for vectors of RISC-V on this machine, where their C twins run, beside the oracle; what they take."""

from __future__ import annotations

import pytest

from dscompile.ir.network import Network
from dscompile.ir.ops import NONE
from dscompile.plan.mcu.epilogues import IntegerEpilogue
from dscompile.plan.mcu.products import ConvKernel, DepthwiseKernel, SeparableKernel
from dscompile.run.selftest import SANITIZERS, run_selftest
from tests.mcu import assert_equals_oracle, here, planned, write
from tests.unit.test_mcu_cores import ROUNDINGS
from tests.unit.test_mcu_kernels import CASES, Case, int8
from tests.unit.test_mcu_mve import TWINS

pytestmark = pytest.mark.sampled
CORE = "rv64gcv"
FEW = (
    "separable_linear_of_three_channels",
    "separable_of_13_by_25",
    "depthwise_9x3_in_twelve_rows",
    "depthwise_between_rows_of_padding",
    "conv_linear_to_9_channels",
    "conv_5x5_valid_of_17_channels",
    "pointwise_to_one_channel",
)


@pytest.mark.parametrize("name", FEW)
def test_twin_of_the_kernel_equals_the_oracle(name):
    assert_equals_oracle(int8(TWINS[name].network(), "tflite"), (0,), here(CORE))


@pytest.mark.slow
@pytest.mark.parametrize("name", TWINS)
def test_twin_of_the_kernel_equals_the_oracle_in_every_rounding(name):
    assert_equals_oracle(int8(TWINS[name].network(), ROUNDINGS[len(name) % 4]), (0,), here(CORE))


@pytest.mark.parametrize("name", ["conv_5x5_valid_of_17_channels", "separable_of_13_by_25"])
def test_twins_pass_the_sanitizers(name, tmp_path):
    artifact = write(int8(TWINS[name].network(), "tflite"), tmp_path / "a", here(CORE))
    result = run_selftest(artifact, SANITIZERS)
    assert result.passed, result.message


def only_kernel(network: Network) -> object:
    (kernel,) = [function.kernel for function in planned(network, here(CORE)).functions]
    return kernel


def test_three_pixels_of_a_rectified_layer_go_at_once_and_two_of_a_linear_one():
    for case, method, group in (
        (Case(5, 5, 8, 12), "affine", 3),
        (Case(5, 5, 40, 12, activation=NONE), "stepped", 2),
    ):
        kernel = only_kernel(int8(case.network(), "tflite"))
        assert isinstance(kernel, ConvKernel)
        assert isinstance(kernel.epilogue, IntegerEpilogue)
        assert (kernel.variant, kernel.epilogue.method, kernel.group) == ("rvv", method, group)


def test_both_parts_of_a_separable_layer_are_vectors():
    kernel = only_kernel(int8(CASES["separable_same"].network(), "tflite"))
    assert isinstance(kernel, SeparableKernel)
    assert (kernel.variant, kernel.depthwise.variant) == ("rvv", "rvv")


def test_multiplied_depthwise_and_float_layers_are_left_to_others():
    multiplied = only_kernel(int8(CASES["depthwise_multiplier_2"].network(), "tflite"))
    assert isinstance(multiplied, DepthwiseKernel)
    assert multiplied.variant == "block"
    real = only_kernel(CASES["separable_same"].network())
    assert isinstance(real, SeparableKernel)
    assert (real.variant, real.depthwise.variant) == ("c99", "c99")
