"""The kernels for Cortex-M0+, and for blocks in registers (RV32, Cortex-M3), on this machine beside the oracle."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from dscompile.ir.network import Network
from dscompile.ir.ops import NONE, RELU, RELU6, Pads
from dscompile.ir.tensor import Rounding
from dscompile.plan.mcu.convolutions import block_weights
from dscompile.plan.mcu.epilogues import IntegerEpilogue
from dscompile.plan.mcu.products import ConvKernel, DepthwiseKernel, SeparableKernel
from dscompile.run.selftest import SANITIZERS, run_selftest
from tests.mcu import assert_equals_oracle, here, planned, write
from tests.unit.test_mcu_kernels import CASES, Case, depthwise, int8

pytestmark = pytest.mark.sampled

ROUNDINGS: tuple[Rounding, ...] = get_args(Rounding)
CORES = ("cortex-m0plus", "cortex-m3", "rv32imc")

MORE = {
    "pointwise_of_one_channel": Case(5, 3, 1, 9, (1, 1)),
    "pointwise_to_one_channel": Case(3, 3, 9, 1, (1, 1)),
    "pointwise_of_300_channels_on_three_pixels": Case(1, 3, 300, 5, (1, 1)),
    "conv_7x7_stride_2_on_odd_sizes": Case(9, 11, 3, 17, (7, 7), (2, 2)),
    "conv_of_100_channels": Case(3, 4, 100, 100),
    "depthwise_of_one_channel": depthwise(5, 7, 1),
    "depthwise_stride_2_of_100_channels": depthwise(7, 9, 100, stride=(2, 2)),
    "depthwise_7x7_valid": depthwise(9, 8, 5, kernel=(7, 7), pads=Pads()),
    "depthwise_with_dilated_rows": depthwise(9, 5, 6, dilation=(2, 1)),
    "separable_of_100_channels": depthwise(5, 6, 100, then=3),
    "separable_5x5_linear": depthwise(7, 6, 12, kernel=(5, 5), then=10, activation=NONE),
    "separable_with_dilation": depthwise(8, 7, 6, dilation=(2, 2), then=9),
}
ALL = CASES | MORE


@pytest.mark.parametrize("name", MORE)
def test_portable_kernel(name):
    assert_equals_oracle(int8(MORE[name].network(), ROUNDINGS[len(name) % 4]), (0,))


@pytest.mark.parametrize("core", ["cortex-m0plus", "rv32imc"])
@pytest.mark.parametrize("name", ALL)
def test_kernel_of_a_core(name, core):
    assert_equals_oracle(int8(ALL[name].network(), ROUNDINGS[len(name) % 4]), (0,), here(core))


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_kernel_of_blocks_of_two_pixels_by_four_channels(name):
    assert_equals_oracle(int8(ALL[name].network(), ROUNDINGS[len(name) % 4]), (0,), here("cortex-m3"))


@pytest.mark.slow
@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("activation", [NONE, RELU, RELU6], ids=["linear", "relu", "relu6"])
@pytest.mark.parametrize("affine", [True, False], ids=["searched", "own_rounding"])
def test_every_rounding_is_exact(core, rounding, activation, affine):
    network = int8(depthwise(6, 6, 9, then=33, activation=activation).network(), rounding)
    assert_equals_oracle(network, (0, 1), here(core), affine=affine)


@pytest.mark.parametrize("core", CORES)
def test_float_network_takes_the_portable_kernels(core):
    network = CASES["separable_same"].network()
    (kernel,) = [f.kernel for f in planned(network, here(core)).functions]
    assert isinstance(kernel, SeparableKernel)
    assert (kernel.variant, kernel.depthwise.variant) == ("c99", "c99")
    assert_equals_oracle(network, (0,), here(core))


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("name", ["conv_5x5_valid_of_17_channels", "separable_of_odd_channels"])
def test_kernels_pass_the_sanitizers(name, core, tmp_path):
    artifact = write(int8(CASES[name].network(), "tflite"), tmp_path / "a", here(core))
    result = run_selftest(artifact, SANITIZERS)
    assert result.passed, result.message


def kernels(network: Network, core: str) -> list[object]:
    return [function.kernel for function in planned(network, here(core)).functions]


def test_m0plus_keeps_four_pixels_of_a_separable_layer_as_words_of_two():
    (kernel,) = kernels(int8(CASES["separable_same"].network(), "tflite"), "cortex-m0plus")
    assert isinstance(kernel, SeparableKernel)
    assert kernel.variant == kernel.depthwise.variant == "m0plus"
    assert kernel.column_bytes == 2 * 4 * 16
    assert isinstance(kernel.epilogue, IntegerEpilogue)
    assert kernel.epilogue.method == "narrow"


def test_m0plus_leaves_dilated_and_multiplied_depthwise_layers_to_the_portable_kernel():
    for name in ("depthwise_multiplier_2", "depthwise_linear_with_dilation"):
        (kernel,) = kernels(int8(CASES[name].network(), "tflite"), "cortex-m0plus")
        assert isinstance(kernel, DepthwiseKernel)
        assert kernel.variant == "c99"


def test_m0plus_leaves_windows_outside_of_the_image_to_the_portable_kernel():
    case = depthwise(3, 4, 3, pads=Pads(5, 0, 0, 0))
    (kernel,) = kernels(int8(case.network(), "tflite"), "cortex-m0plus")
    assert isinstance(kernel, DepthwiseKernel)
    assert kernel.variant == "c99"
    assert_equals_oracle(int8(case.network(), "tflite"), (0,), here("cortex-m0plus"))


def test_weights_of_minus_128_do_not_go_two_by_one_multiplication():
    network = int8(Case(3, 3, 4, 8, (1, 1)).network(), "tflite")
    name = next(key for key in network.weights if "kernel" in key)
    weights = network.weights[name].copy()
    weights.reshape(-1)[0] = -128
    (kernel,) = kernels(replace(network, weights={**network.weights, name: weights}), "cortex-m0plus")
    assert isinstance(kernel, ConvKernel)
    assert kernel.variant == "c99"


def test_a_block_that_fits_no_digits_is_no_block():
    target = replace(here("rv32imc"), kernels=("block4x4x4", "c99"))
    (kernel,) = [f.kernel for f in planned(int8(Case(3, 3, 4, 8).network(), "tflite"), target).functions]
    assert isinstance(kernel, ConvKernel)
    assert kernel.variant == "c99"


def test_weights_of_a_block_lie_side_by_side():
    weights = np.arange(10).reshape(2, 5)  # [depth, channel]
    assert block_weights(weights, 2).tolist() == [0, 1, 5, 6, 2, 3, 7, 8, 4, 9]
