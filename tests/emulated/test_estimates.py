"""Estimated instructions and cycles beside what emulators count: within what the documentation promises."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dscompile.frontend.load import load_network
from dscompile.report.vectors import seeded_inputs
from dscompile.run.firmware import FirmwareModel
from dscompile.target import find_target
from tests.emulated.conftest import require, require_emulator
from tests.mcu import write

DATA = Path(__file__).parents[1] / "data"
NETWORKS = ("kws_ref_model_int8", "vww_96_int8", "micro_speech_quantized", "mww_alexa")
TOTAL, LAYER = 0.05, 0.15  # of the counted instructions
SMALL = 0.01  # layers with less of the network may be further off: calls, and what depends on the values
# Loops in C of a core without SIMD: a layer whose requantization is searched in vain, a dense layer of 4000 inputs.
LOOSE_LAYER = 0.25


@pytest.mark.sampled
@pytest.mark.slow
@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m3", "cortex-m55", "rv32imc", "rv64gcv"])
@pytest.mark.parametrize("model", NETWORKS)
def test_estimates_are_near_what_is_counted(model: str, core: str, tmp_path: Path) -> None:
    assert_near(model, core, tmp_path, LOOSE_LAYER)


@pytest.mark.slow
@pytest.mark.parametrize("model", NETWORKS)
def test_instructions_are_near_and_cycles_in_the_range_of_the_manual_on_a_cortex_m4(model: str, tmp_path: Path) -> None:
    device, inputs = assert_near(model, "cortex-m4", tmp_path, LAYER)
    cycles = [count.cycles for count in device.count_steps(inputs)]
    require_emulator("cortex-m4", "unicorn")
    estimated = sum(layer.cycles or 0 for layer in device.manifest.layers)
    assert sum(c.least for c in cycles if c) < estimated < sum(c.most for c in cycles if c)


@pytest.mark.slow
@pytest.mark.models
def test_a_residual_network_is_near_too(model_path, tmp_path: Path) -> None:
    assert_near(model_path("pretrainedResnet_quant.tflite"), "cortex-m4", tmp_path, LAYER)


def assert_near(model, core, directory, most):
    """Builds, counts and compares; the device and its inputs."""
    compiler = "arm-none-eabi-gcc" if core.startswith("cortex") else "riscv64-unknown-elf-gcc"
    require(compiler, shutil.which(compiler) is not None)
    network, target = (
        load_network(DATA / f"{model}.tflite" if isinstance(model, str) else model).network,
        find_target(core),
    )
    artifact = write(network, directory / "a", target)
    device, inputs = FirmwareModel(artifact), seeded_inputs(artifact.manifest.inputs, 0)
    device.run(inputs)
    counted = [count.instructions for count in device.count_steps(inputs)]
    estimated = [layer.instructions for layer in artifact.manifest.layers]
    assert sum(estimated) == pytest.approx(device.instructions, rel=TOTAL)
    for layer, count, guess in zip(artifact.manifest.layers, counted, estimated, strict=True):
        if count > SMALL * device.instructions:
            assert guess == pytest.approx(count, rel=most), layer.name
    return device, inputs
