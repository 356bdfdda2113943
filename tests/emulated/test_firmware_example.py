"""The program of examples/firmware, built by its Makefile and run by QEMU, says what the oracle says."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dscompile.api.networks import read_network
from dscompile.api.reference import oracle_outputs
from tests.emulated.conftest import require, require_compiler, require_emulator

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "firmware"
MODEL = ROOT / "tests" / "data" / "kws_ref_model_int8.tflite"
OWN_COMMAND = f"PYTHONPATH={ROOT} {sys.executable} -c 'from dscompile.cli.main import run; run()'"


def has_newlib() -> bool:
    done = subprocess.run(
        ["arm-none-eabi-gcc", "-x", "c", "-E", "-"], input="#include <string.h>\n", capture_output=True, text=True
    )
    return done.returncode == 0


def firmware(directory: Path) -> Path:
    """A copy of the example, its program built."""
    require_compiler("cortex-m4", "gcc")
    require_emulator("cortex-m4", "qemu")
    require("make", shutil.which("make") is not None)
    require("libnewlib-arm-none-eabi", has_newlib())
    place = Path(shutil.copytree(EXAMPLE, directory / "firmware", ignore=shutil.ignore_patterns("build")))
    make(place, "all")
    return place


def make(place: Path, goal: str) -> str:
    command = ["make", "-C", str(place), goal, f"DSCOMPILE={OWN_COMMAND}", f"MODEL={MODEL}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def array_of(source: str) -> np.ndarray:
    """The numbers of the first C array in a text."""
    return np.array([int(number) for number in re.findall(r"-?\d+", source[source.index("= {") : source.index("};")])])


@pytest.mark.slow
def test_the_example_hears_what_the_oracle_hears(tmp_path: Path):
    place = firmware(tmp_path)
    printed = make(place, "run")
    network = read_network(MODEL, None).network
    values = array_of((EXAMPLE / "input.h").read_text()).astype(np.int8).reshape(1, 49, 10, 1)
    output = oracle_outputs(network, {network.inputs[0]: values})[network.outputs[0]].ravel()
    source = (EXAMPLE / "main.c").read_text()
    labels = re.findall(r'"(\w+)"', source[source.index("labels[KWS_OUTPUT_SIZE] = {") : source.index("};")])
    assert len(labels) == 12
    percents = np.floor((output.astype(float) + 128) / 256 * 100 + 0.5).astype(int)
    lines = [f"{label} {percent} %" for label, percent in zip(labels, percents, strict=True)]
    lines.append(f"heard: {labels[int(output.argmax())]}")
    said = printed.splitlines()
    start = said.index(lines[0])
    assert said[start : start + 13] == lines
    assert lines[-1] == "heard: yes"
    readme = (EXAMPLE / "README.md").read_text()
    assert "".join(f"    {line}\n" for line in lines[-4:]) in readme

    sizes = subprocess.run(
        ["arm-none-eabi-size", "-A", place / "build" / "firmware.elf"], capture_output=True, text=True, check=True
    ).stdout
    section = {name: int(size) for name, size in re.findall(r"^\.(\w+)\s+(\d+)", sizes, re.MULTILINE)}
    header = (place / "build" / "kws" / "kws.h").read_text()
    weights = int(re.search(r"weights and biases ([\d ]+)\)", header)[1].replace(" ", ""))
    arena = int(re.search(r"KWS_ARENA_SIZE (\d+)u", header)[1])
    assert section["weights"] == weights  # all weights, and nothing else, are where KWS_WEIGHTS_ATTR says
    assert section["bss"] == arena
    assert section["data"] == 0

    page = (ROOT / "docs" / "firmware.md").read_text()
    shown = re.search(r"/\* One kws_run\(\): ([\d ]+) MAC, arena ([\d ]+) B", page)
    assert f"{shown[1]} MAC, arena {shown[2]} B" in header
    (place / "page.c").write_text(re.search(r"```c\n(.*?)```", page, re.DOTALL)[1])
    command = ["arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb", "-std=c99", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([*command, f"-I{place / 'build' / 'kws'}", "-c", "page.c"], cwd=place, check=True)
