"""Kernels of odd shapes, fused sums and concatenations on emulated cores, where the inner loops are assembly."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from dscompile.api.reference import oracle_outputs
from dscompile.ir.network import Network
from dscompile.plan.mcu import ways
from dscompile.run.firmware import FirmwareModel
from dscompile.target import find_target
from tests.emulated.conftest import require
from tests.emulated.test_mcu_assembly import WIDE
from tests.mcu import random_inputs, write
from tests.unit.test_mcu_concat import NETWORKS
from tests.unit.test_mcu_kernels import CASES
from tests.unit.test_mcu_residual import BLOCKS, CORES, int8

pytestmark = pytest.mark.sampled


def assert_exact_on(core: str, network: Network, directory: Path, *, affine: bool = True) -> None:
    compiler = "riscv64-unknown-elf-gcc" if core.startswith("rv") else "arm-none-eabi-gcc"
    require(compiler, shutil.which(compiler) is not None)
    device = FirmwareModel(write(network, directory, find_target(core), affine=affine))
    inputs = random_inputs(network, 3)
    expected, results = oracle_outputs(network, inputs), device.run(inputs)
    for name in network.outputs:
        np.testing.assert_array_equal(results[name], expected[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES | WIDE)
def test_int8_kernel_on_cortex_m4(name, tmp_path):
    assert_exact_on("cortex-m4", int8((CASES | WIDE)[name].network(), "tflite"), tmp_path / "a")


@pytest.mark.slow
@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("name", BLOCKS)
def test_int8_sum_in_a_convolution_on_a_core(name, core, tmp_path):
    assert_exact_on(core, int8(BLOCKS[name].network(), "tflite"), tmp_path / "a")


@pytest.mark.slow
@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("name", NETWORKS)
def test_parts_of_a_concatenation_on_a_core(name, core, tmp_path, monkeypatch):
    monkeypatch.setattr(ways, "_ways", lambda slices: (slices,))
    assert_exact_on(core, int8(NETWORKS[name](), "tflite"), tmp_path / "a")
