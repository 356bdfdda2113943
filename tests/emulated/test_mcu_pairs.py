"""Products of int16 in pairs on emulated cores. Their C twins: tests/unit/test_mcu_dense.py and test_mcu_pairs.py."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from dscompile.api.reference import oracle_outputs
from dscompile.ir.network import Array, Network
from dscompile.ir.ops import NONE
from dscompile.plan.mcu.products import DepthwiseKernel, SeparableKernel
from dscompile.run.firmware import FirmwareModel
from dscompile.target import find_target
from tests.emulated.conftest import require
from tests.mcu import planned, random_inputs, write
from tests.unit.test_mcu_dense import dense_layers, extreme_inputs
from tests.unit.test_mcu_kernels import depthwise, int8
from tests.unit.test_mcu_pairs import DEPTH, wide_layers


def assert_core_equals_oracle(network: Network, core: str, inputs: Sequence[dict[str, Array]], folder: Path) -> None:
    require("arm-none-eabi-gcc", shutil.which("arm-none-eabi-gcc") is not None)
    device = FirmwareModel(write(network, folder / "a", find_target(core)))
    for each in inputs:
        results = device.run(each)
        for output, expected in oracle_outputs(network, each).items():
            np.testing.assert_array_equal(results[output], expected)


@pytest.mark.parametrize(("core", "extreme"), [("cortex-m4", False), ("cortex-m4", True), ("cortex-m33", False)])
def test_assembly_of_dense_layers_equals_the_oracle(core, extreme, tmp_path):
    network = dense_layers("tflite", extreme=extreme)
    assert_core_equals_oracle(network, core, [random_inputs(network, 1), *extreme_inputs(network)], tmp_path)


@pytest.mark.parametrize("depth", [DEPTH, 600], ids=["sharing", "apart"])
def test_assembly_of_products_of_many_large_weights_equals_the_oracle(depth, tmp_path):
    network = wide_layers(depth, 127)
    assert_core_equals_oracle(network, "cortex-m4", [random_inputs(network, 1)], tmp_path)


LINEAR = {
    "whole_windows_alone": depthwise(20, 22, 9, kernel=(3, 2), activation=NONE),
    "large_windows_before_a_product": depthwise(6, 7, 8, kernel=(5, 5), activation=NONE, then=5),
}


@pytest.mark.parametrize("name", LINEAR)
def test_assembly_of_linear_depthwise_layers_equals_the_oracle(name, tmp_path):
    """Halves away from zero are two lines: channels have a step."""
    network = int8(LINEAR[name].network(), "tflite")
    (kernel, *_) = (function.kernel for function in planned(network, find_target("cortex-m4")).functions)
    depthwise_part = kernel.depthwise if isinstance(kernel, SeparableKernel) else kernel
    assert isinstance(depthwise_part, DepthwiseKernel)
    assert (depthwise_part.variant, depthwise_part.epilogue.method) == ("dsp", "stepped")
    assert_core_equals_oracle(network, "cortex-m4", [random_inputs(network, seed) for seed in (0, 1)], tmp_path)
