"""--memory and the `memory` of a net.yaml: what is streamed, what a budget that nothing keeps says, who has none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import CommandLine

CAMERA = """\
dscompile: 1
network:
  name: camera
  input: {name: image, shape: [1, 32, 32, 3]}
  layers:
    - conv: {name: stem, out: 8, kernel: 3}
    - separable: {name: block, out: 8, kernel: 3, repeat: 2}
    - pool: {name: mean, kind: average, over: all}
    - dense: {name: classifier, out: 2}
weights: {seed: 3}
"""


@pytest.fixture
def camera(folder: Path) -> Path:
    path = folder / "camera.yaml"
    path.write_text(CAMERA)
    return path


def arena_bytes(dscompile: CommandLine, net: Path, *options: str) -> int:
    outcome = dscompile("inspect", net, "-t", "c99", "-q", "--json", *options)
    assert outcome.code == 0
    return int(json.loads(outcome.out)["arena"]["size_bytes"])


def test_build_says_what_is_streamed(dscompile: CommandLine, camera: Path):
    outcome = dscompile("build", camera, "-t", "c99", "--memory", "stream", "-q")
    assert outcome.code == 0
    assert "  memory mode  stream: a stream from stem, " in outcome.out
    assert " more instructions (estimated); the input may come row by row\n" in outcome.out
    header = Path("build/camera-c99/camera.h").read_text()
    assert "camera_status camera_push_row(camera_arena *arena, const float row[CAMERA_ROW_SIZE]);" in header
    assert "camera_input(" not in header
    assert dscompile("verify", "build/camera-c99", "-q").code == 0


def test_without_an_option_the_net_yaml_says_the_mode(dscompile: CommandLine, camera: Path):
    whole, streamed = arena_bytes(dscompile, camera), arena_bytes(dscompile, camera, "--memory", "stream")
    assert streamed < whole / 2
    camera.write_text(CAMERA + "targets:\n  c99: {memory: stream}\n")
    assert arena_bytes(dscompile, camera) == streamed
    assert arena_bytes(dscompile, camera, "--memory", "fast") == whole


def test_json_says_what_is_streamed(dscompile: CommandLine, camera: Path):
    outcome = dscompile("inspect", camera, "-t", "c99", "--memory", "stream", "-q", "--json")
    streaming = json.loads(outcome.out)["streaming"]
    assert streaming["mode"] == "stream"
    assert streaming["streamed"] == ["stem"]
    assert streaming["takes_rows"] is True
    assert streaming["instructions"] > streaming["fastest_instructions"] > 0


def test_a_budget_is_kept_by_streams(dscompile: CommandLine, camera: Path):
    whole = arena_bytes(dscompile, camera)
    camera.write_text(CAMERA + f"targets:\n  c99: {{arena: {whole - 1000}}}\n")
    assert arena_bytes(dscompile, camera) <= whole - 1000


def test_a_budget_that_no_plan_keeps_names_the_smallest_arena_and_its_mode(dscompile: CommandLine, camera: Path):
    camera.write_text(CAMERA + "targets:\n  c99: {arena: 1 KiB}\n")
    outcome = dscompile("build", camera, "-t", "c99", "-q")
    assert outcome.code == 4
    smallest = arena_bytes_of(outcome.err)
    assert "in the memory mode 'stream'" in outcome.err
    assert not Path("build").exists()
    camera.write_text(CAMERA + f"targets:\n  c99: {{arena: {smallest}, memory: stream}}\n")
    assert dscompile("build", camera, "-t", "c99", "-q").code == 0


def arena_bytes_of(error: str) -> int:
    """The number of 'the smallest arena is 5 648 B'."""
    return int(error.split("the smallest arena is ")[1].split(" B")[0].replace(" ", ""))


def test_a_budget_below_the_smallest_mode_says_so(dscompile: CommandLine, camera: Path):
    camera.write_text(CAMERA + "targets:\n  c99: {arena: 1 KiB, memory: stream}\n")
    outcome = dscompile("build", camera, "-t", "c99", "-q")
    assert outcome.code == 4
    assert "no memory mode has a smaller arena" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "message", "help_text"),
    [
        (("-t", "x86"), "--memory stream: x86 has no memory modes", "targets of standalone C have them"),
        ((), "memory modes are those of a target", "name it with --target"),
    ],
)
def test_what_has_no_modes(
    dscompile: CommandLine, camera: Path, arguments: tuple[str, ...], message: str, help_text: str
):
    outcome = dscompile("inspect", camera, *arguments, "--memory", "stream")
    assert outcome.code == 2
    assert message in outcome.err
    assert help_text in outcome.err


def test_a_mode_that_does_not_exist(dscompile: CommandLine, camera: Path):
    camera.write_text(CAMERA + "targets:\n  c99: {memory: steam}\n")
    outcome = dscompile("check", camera)
    assert outcome.code == 3
    assert "camera.yaml:12:" in outcome.err
    assert "did you mean 'stream'?" in outcome.err


def test_a_mode_of_a_target_that_has_none(dscompile: CommandLine, camera: Path):
    camera.write_text(CAMERA + "targets:\n  x86: {memory: stream}\n")
    outcome = dscompile("check", camera)
    assert outcome.code == 3
    assert "camera.yaml:12:" in outcome.err
