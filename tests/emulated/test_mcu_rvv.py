"""The kernels for vectors of RISC-V in QEMU: single layers against the oracle, with vectors of several lengths."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dscompile.api.reference import oracle_outputs
from dscompile.ir.network import Network
from dscompile.run.firmware import FirmwareModel
from dscompile.target import Target, find_target
from tests.emulated.conftest import require
from tests.emulated.test_mcu_mve import pooled
from tests.mcu import random_inputs, write
from tests.unit.test_mcu_kernels import CASES, int8
from tests.unit.test_mcu_mve import TWINS

pytestmark = pytest.mark.sampled


def core(bits: int = 128) -> Target:
    """The target, with vectors of so many bits."""
    target = find_target("rv64gcv")
    assert target.board is not None
    assert target.board.qemu is not None
    options = tuple(option.replace("vlen=128", f"vlen={bits}") for option in target.board.qemu.options)
    return replace(target, board=replace(target.board, qemu=replace(target.board.qemu, options=options)))


def assert_exact(network: Network, target: Target, directory: Path) -> int:
    """How many instructions it takes."""
    require("riscv64-unknown-elf-gcc", shutil.which("riscv64-unknown-elf-gcc") is not None)
    require("qemu-system-riscv64", shutil.which("qemu-system-riscv64") is not None)
    device = FirmwareModel(write(network, directory, target))
    inputs = random_inputs(network, 3)
    expected, results = oracle_outputs(network, inputs), device.run(inputs)
    for name in network.outputs:
        np.testing.assert_array_equal(results[name], expected[name])
    assert device.instructions is not None
    return device.instructions


@pytest.mark.slow
@pytest.mark.parametrize("name", TWINS)
def test_vectors_equal_the_oracle(name, tmp_path):
    assert_exact(int8(TWINS[name].network(), "tflite"), core(), tmp_path / "a")


def test_longer_vectors_take_fewer_instructions_for_the_same_result(tmp_path):
    network = int8(CASES["pointwise_of_100_channels"].network(), "tflite")
    counts = [assert_exact(network, core(bits), tmp_path / str(bits)) for bits in (128, 256, 512)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[1]


@pytest.mark.slow
@pytest.mark.every_case
@pytest.mark.parametrize("channels", [3, 21])
def test_pools_and_dense_layers_equal_the_oracle(channels, tmp_path):
    assert_exact(int8(pooled(channels), "tflite"), core(), tmp_path / "a")
