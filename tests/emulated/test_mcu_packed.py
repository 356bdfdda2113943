"""Packed weights on emulated cores: the oracle's bytes, what they save, and what unpacking costs."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from dscompile.api.reference import oracle_outputs
from dscompile.artifact import Artifact
from dscompile.frontend.load import load_network
from dscompile.ir.memory import MemoryMode
from dscompile.ir.network import Network
from dscompile.run.firmware import FirmwareModel
from dscompile.target import find_target
from tests.emulated.conftest import require
from tests.emulated.test_mcu_networks import assert_stack_is_what_the_header_says
from tests.mcu import random_inputs, write
from tests.packed_networks import plainly, stored, sums_of_all_lengths, tower
from tests.unit.test_mcu_packed import PACKED

KWS = Path(__file__).parents[1] / "data" / "kws_ref_model_int8.tflite"
CORES = ("cortex-m0plus", "cortex-m4", "rv32imc")
# Instructions of one inference beside those of the same network with a byte for each weight: at most this share.
COSTS = {
    ("cortex-m4", "int4"): 1.09,
    ("cortex-m0plus", "int4"): 0.97,
    ("cortex-m3", "int4"): 1.2,
    ("cortex-m55", "int4"): 1.05,
    ("cortex-m55", "2:4"): 0.99,
    ("cortex-m55", "int4-2:4"): 1.03,
    ("rv64gcv", "int4"): 1.02,
    ("rv64gcv", "2:4"): 0.94,
    ("rv64gcv", "int4-2:4"): 0.94,
    ("rv32imc", "int4"): 1.3,
    ("rv32imc", "2:4"): 0.9,
    ("rv32imc", "int4-2:4"): 0.93,
}


def require_compiler(core):
    compiler = "riscv64-unknown-elf-gcc" if core.startswith("rv") else "arm-none-eabi-gcc"
    require(compiler, shutil.which(compiler) is not None)


def checked(network: Network, core: str, directory: Path, memory: MemoryMode = "fast") -> tuple[int, Artifact]:
    """Instructions of an inference that gave the oracle's bytes."""
    artifact = write(network, directory, find_target(core), memory=memory)
    device = FirmwareModel(artifact)
    inputs = random_inputs(network, 3)
    expected = oracle_outputs(network, inputs)
    results = device.run(inputs)
    for name in network.outputs:
        np.testing.assert_array_equal(results[name], expected[name])
    assert_stack_is_what_the_header_says(device, artifact)
    assert device.instructions is not None
    return device.instructions, artifact


@cache
def keywords(storage):
    """The network of MLPerf Tiny's keyword spotting with other weights."""
    return stored(load_network(KWS).network, storage)


@pytest.mark.parametrize("core", CORES)
def test_packed_layers_of_all_shapes_equal_the_oracle_on_a_core(core, tmp_path):
    require_compiler(core)
    checked(stored(tower("tflite"), "int4"), core, tmp_path / "a")


@pytest.mark.slow
@pytest.mark.parametrize("core", [*CORES, "cortex-m3", "cortex-m7", "cortex-m33", "cortex-m55", "rv64gcv"])
@pytest.mark.parametrize("storage", PACKED)
def test_all_ways_of_packing_equal_the_oracle_on_all_cores(storage, core, tmp_path):
    require_compiler(core)
    checked(stored(tower("half-up" if core == "cortex-m0plus" else "tflite"), storage), core, tmp_path / "a")


@pytest.mark.slow
@pytest.mark.parametrize("core", ["cortex-m55", "rv64gcv"])
@pytest.mark.parametrize("storage", PACKED)
def test_vectors_equal_the_oracle_for_sums_of_all_lengths(storage, core, tmp_path):
    require_compiler(core)
    for rounding in ("tflite", "float32"):
        checked(stored(sums_of_all_lengths(rounding), storage), core, tmp_path / rounding)


@pytest.mark.slow
@pytest.mark.parametrize(("core", "storage"), COSTS)
def test_unpacking_costs_what_the_documentation_says(core, storage, tmp_path):
    require_compiler(core)
    packed, artifact = checked(keywords(storage), core, tmp_path / "packed")
    plain, whole = checked(plainly(keywords(storage)), core, tmp_path / "plain")
    assert packed <= COSTS[core, storage] * plain
    saved = sum(one.saved_bytes for one in artifact.manifest.packed)
    less = whole.manifest.sizes.weights - artifact.manifest.sizes.weights
    assert less >= saved if core == "cortex-m55" else less == saved  # whole vectors of bytes are filled up more
    if core in ("cortex-m55", "rv64gcv"):
        estimated = sum(layer.instructions or 0 for layer in artifact.manifest.layers)
        assert abs(estimated / packed - 1) < 0.02
    assert artifact.manifest.sizes.flash_bytes < whole.manifest.sizes.flash_bytes - 0.75 * saved


@pytest.mark.slow
@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m55"])
def test_streams_multiply_packed_weights_as_well(core, tmp_path):
    require_compiler(core)
    _, whole = checked(keywords("int4"), core, tmp_path / "fast")
    _, streamed = checked(keywords("int4"), core, tmp_path / "stream", "stream")
    assert streamed.manifest.streaming is not None
    assert streamed.manifest.arena.size_bytes < whole.manifest.arena.size_bytes
    layers = [(one.layer, one.storage) for one in whole.manifest.packed]
    assert [(one.layer, one.storage) for one in streamed.manifest.packed] == layers
