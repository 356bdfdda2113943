"""Instructions per multiply-accumulate on a Cortex-M4, of networks that nobody tuned the kernels for."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dscompile import api
from dscompile.api.networks import read_network
from dscompile.frontend.load import load_network
from dscompile.ir.network import Network
from dscompile.ir.tensor import Rounding
from dscompile.passes import canonicalize
from dscompile.run.firmware import FirmwareModel
from dscompile.target import find_target
from tests.emulated.conftest import require
from tests.mcu import random_inputs, write
from tests.unit.test_mcu_kernels import int8

ROOT = Path(__file__).parents[2]
# Instructions of one inference for each multiply-accumulate, with everything that is none.
MOST = 1.35
# Of networks of the zoo: width, resolution, and what a table of docs/standalone-c.md says, with hundredths to spare.
ZOO = {
    "mobilenet_v1": (0.5, "96", 0.98),
    "ds_cnn": (None, None, 1.04),
    "shufflenet_v2": (0.5, "64", 1.10),
    "mnasnet_a1": (0.35, "96", 1.16),
    "blazeface": (None, None, 1.16),
    "mobilenet_v2": (0.35, "96", 1.20),
    "mobilenet_v3_small": (0.25, "96", 1.28),
    "mobilenet_v3_large": (0.25, "96", 1.28),
    "blazeface_short_range": (None, None, 1.28),
    "shufflenet_v1": (0.25, "64", 1.62),
}


def zoo_network(name: str, folder: Path, rounding: Rounding = "tflite") -> Network:
    """A network of the zoo, quantized with random weights and inputs."""
    width, resolution, _ = ZOO[name]
    path = api.zoo_write(name, str(folder), width=width, resolution=resolution)
    return int8(canonicalize(read_network(str(path), None, input_shapes=None).network), rounding)


def assert_few_instructions(network: Network, folder: Path, most: float = MOST) -> None:
    require("arm-none-eabi-gcc", shutil.which("arm-none-eabi-gcc") is not None)
    artifact = write(network, folder / "a", find_target("cortex-m4"), measured=False)
    device = FirmwareModel(artifact)
    device.run(random_inputs(network, 0))
    assert device.instructions is not None
    assert device.instructions <= most * artifact.manifest.macs


@pytest.mark.slow
def test_micro_speech_takes_few_instructions_a_product(tmp_path):
    network = load_network(ROOT / "tests" / "data" / "micro_speech_quantized.tflite").network
    assert_few_instructions(network, tmp_path)


@pytest.mark.slow
@pytest.mark.models
def test_a_residual_network_takes_few_instructions_a_product(model_path, tmp_path):
    assert_few_instructions(load_network(model_path("pretrainedResnet_quant.tflite")).network, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ZOO)
def test_networks_of_the_zoo_take_few_instructions_a_product(name, tmp_path):
    assert_few_instructions(zoo_network(name, tmp_path), tmp_path, ZOO[name][2])


@pytest.mark.slow
def test_results_in_float32_take_few_instructions_more(tmp_path):
    """Hardly a layer of this rounding has a searched line for all channels."""
    assert_few_instructions(zoo_network("shufflenet_v2", tmp_path, "float32"), tmp_path, 1.15)
