"""A step of keyword spotting beside its whole window on an emulated Cortex-M4: instructions and memory."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from dscompile.api.reference import oracle_outputs
from dscompile.api.sliding import slid
from dscompile.ir.network import Network
from dscompile.run.firmware import FirmwareModel
from dscompile.target import find_target
from tests.emulated.conftest import require
from tests.mcu import random_inputs, write
from tests.sliding import keyword_network, quantized


def counted(network: Network, directory: Path) -> tuple[int, int]:
    """Instructions of an inference, and bytes of arena and state; the outputs must be the oracle's."""
    artifact = write(network, directory, find_target("cortex-m4"))
    device = FirmwareModel(artifact)
    inputs = {name: array for name, array in random_inputs(network, 5).items() if name in network.user_inputs}
    results, expected = device.run(inputs), oracle_outputs(network, inputs)
    for output in network.user_outputs:
        np.testing.assert_array_equal(results[output], expected[output])
    assert device.instructions is not None
    state = sum(-(-slot.tensor.size_bytes // 16) * 16 for slot in artifact.manifest.slots)
    return device.instructions, artifact.manifest.arena.size_bytes + state


@pytest.mark.slow
@pytest.mark.every_case
def test_two_new_frames_take_about_a_tenth_of_the_instructions_of_a_window_of_49(tmp_path: Path) -> None:
    require("arm-none-eabi-gcc", shutil.which("arm-none-eabi-gcc") is not None)
    network = quantized(keyword_network(64))
    window, window_bytes = counted(network, tmp_path / "window")
    step, step_bytes = counted(slid(network).network, tmp_path / "step")
    assert (window <= 1_780_000, step <= 184_000, window >= 9.7 * step) == (True, True, True)
    assert (window_bytes <= 7_248, step_bytes <= 8_304) == (True, True)
