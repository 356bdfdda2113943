"""Memory modes on an emulated Cortex-M4: arena, stack and instructions of trained networks, the oracle's bytes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from dscompile.api.reference import oracle_outputs
from dscompile.frontend.load import load_network
from dscompile.ir.memory import MemoryMode
from dscompile.run.firmware import FirmwareModel
from dscompile.target import find_target
from tests.emulated.conftest import require
from tests.emulated.test_mcu_networks import assert_stack_is_what_the_header_says
from tests.mcu import random_inputs, write

DATA = Path(__file__).parents[1] / "data"
# Network and mode -> bytes of arena, of arena and stack, millions of instructions, at most.
LIMITS: dict[tuple[str, MemoryMode], tuple[int, int, float]] = {
    ("kws_ref_model_int8", "balanced"): (9_168, 9_600, 2.95),
    ("kws_ref_model_int8", "stream"): (5_200, 6_500, 3.70),
    ("vww_96_int8", "fast"): (28_384, 28_900, 4.90),
    ("vww_96_int8", "balanced"): (28_384, 28_900, 4.90),
    ("vww_96_int8", "stream"): (18_512, 23_600, 5.10),
}


@pytest.mark.slow
def test_the_stack_of_streamed_rows_is_within_the_headers_bound(tmp_path: Path) -> None:
    """GCC makes one of functions that are equal; their frames count although the call graph has none of them."""
    require("arm-none-eabi-gcc", shutil.which("arm-none-eabi-gcc") is not None)
    network = load_network(DATA / "kws_ref_model_int8.tflite").network
    artifact = write(network, tmp_path / "a", find_target("cortex-m3"), memory="stream")
    device = FirmwareModel(artifact)
    device.run(random_inputs(network, 1))
    assert_stack_is_what_the_header_says(device, artifact)


@pytest.mark.slow
@pytest.mark.every_case
@pytest.mark.parametrize(("name", "memory"), LIMITS, ids=str)
def test_a_trained_network_takes_so_much_in_a_mode(name: str, memory: MemoryMode, tmp_path: Path) -> None:
    require("arm-none-eabi-gcc", shutil.which("arm-none-eabi-gcc") is not None)
    network = load_network(DATA / f"{name}.tflite").network
    artifact = write(network, tmp_path / "a", find_target("cortex-m4"), memory=memory)
    device = FirmwareModel(artifact)
    inputs = random_inputs(network, 5)
    results, expected = device.run(inputs), oracle_outputs(network, inputs)
    for output in network.outputs:
        np.testing.assert_array_equal(results[output], expected[output])
    arena, both, instructions = LIMITS[name, memory]
    assert artifact.manifest.arena.size_bytes <= arena
    assert device.stack_bytes is not None
    assert artifact.manifest.arena.size_bytes + device.stack_bytes <= both
    assert device.instructions is not None
    assert device.instructions <= instructions * 1e6
