"""Instructions and cycles of the steps of networks for microcontrollers: `dscompile bench --layers`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from dscompile.cli.main import main
from dscompile.frontend.load import load_network
from dscompile.run.emulators import open_machine
from dscompile.run.emulators.thumb import is_wide
from dscompile.run.firmware import FirmwareModel
from dscompile.target import find_target
from tests.emulated.conftest import require
from tests.mcu import random_inputs, write

DATA = Path(__file__).parents[1] / "data"
NETWORKS = ("kws_ref_model_int8", "vww_96_int8", "micro_speech_quantized")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    require("arm-none-eabi-gcc", shutil.which("arm-none-eabi-gcc") is not None)
    pytest.importorskip("unicorn")
    made = {}

    def build(name, core="cortex-m4"):
        if (name, core) not in made:
            network = load_network(DATA / f"{name}.tflite").network
            artifact = write(network, tmp_path_factory.mktemp("steps") / "a", find_target(core))
            made[name, core] = (artifact, random_inputs(network, 1))
        return made[name, core]

    return build


@pytest.mark.parametrize("name", NETWORKS)
def test_steps_sum_up_to_the_inference_and_cost_more_cycles_than_instructions(built, name):
    artifact, inputs = built(name)
    device = FirmwareModel(artifact)
    device.run(inputs)
    counts = device.count_steps(inputs)
    assert len(counts) == len(artifact.manifest.layers)
    whole = sum(count.instructions for count in counts)
    assert abs(whole - device.instructions) < 40 * len(counts)  # the hook and its calls
    for count in counts:
        assert count.instructions <= count.cycles.least <= count.cycles.most < 4 * count.instructions


def test_blocks_of_a_step_hold_just_the_instructions_that_are_counted(built):
    artifact, inputs = built("kws_ref_model_int8")
    device = FirmwareModel(artifact)
    counts = device.count_steps(inputs)
    with open_machine(device._elf, artifact.manifest.target, "unicorn") as machine:
        blocks = machine.watch_steps(len(counts))
        assert (
            machine.run(
                "firmware_network_profiled",
                writes={"firmware_input0": next(iter(inputs.values())).tobytes()},
                mark="firmware_step_done",
            ).result
            == 0
        )
    for step, count in enumerate(counts):
        found = list(blocks.of_step(step))
        assert sum(_instructions(code) * times for code, times, _ in found) == count.instructions
        assert all(jumps <= times for _, times, jumps in found)


def _instructions(code):
    at = found = 0
    while at < len(code):
        at += 4 if is_wide(int.from_bytes(code[at : at + 2], "little")) else 2
        found += 1
    return found


def test_a_core_without_a_model_has_instructions_and_no_cycles(built):
    artifact, inputs = built("micro_speech_quantized", "cortex-m3")
    counts = FirmwareModel(artifact).count_steps(inputs)
    assert all(count.instructions > 0 and count.cycles is None for count in counts)


def test_bench_shows_the_range_of_cycles_of_every_layer(built, capsys):
    artifact, _ = built("micro_speech_quantized")
    assert main(["bench", str(artifact.directory), "--layers", "-q"]) == 0
    printed = capsys.readouterr().out
    assert "cycles from" in printed
    assert "cycles by the core's manual with memory that never waits, not measured:" in printed
    assert main(["bench", str(artifact.directory), "--layers", "--json", "-q"]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert [step["name"] for step in result["steps"]] == [layer.name for layer in artifact.manifest.layers]
    assert all(step["instructions"] <= step["least_cycles"] <= step["most_cycles"] for step in result["steps"])


def test_bench_of_a_core_without_a_model_shows_instructions_alone(built, capsys):
    artifact, _ = built("micro_speech_quantized", "cortex-m3")
    assert main(["bench", str(artifact.directory), "--layers", "-q"]) == 0
    printed = capsys.readouterr().out
    assert "cycles" not in printed
    assert artifact.manifest.layers[0].name in printed
