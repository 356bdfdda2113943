"""dscompile stream."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import CommandLine

SPOTTING = """\
dscompile: 1
network:
  name: spotting
  input: {name: mfcc, shape: [1, 17, 4, 1]}
  defaults: {padding: valid, activation: relu}
  layers:
    - conv: {name: stem, out: 4, kernel: [4, 4], stride: [2, 1]}
    - separable: {name: block, out: 4, kernel: [3, 1]}
    - pool: {kind: average, over: all}
    - dense: {name: head, out: 3, activation: none}
  labels: [silence, unknown, "yes"]
weights: {seed: 7}
"""


@pytest.fixture
def spotting(folder: Path) -> Path:
    path = folder / "spotting.yaml"
    path.write_text(SPOTTING)
    return path


def test_it_tells_what_a_step_takes_and_the_result_can_be_built_and_verified(dscompile: CommandLine, spotting: Path):
    outcome = dscompile("stream", spotting)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines() == [
        "wrote    spotting_stream.yaml",
        "network  spotting_stream, 2 frames a step, results of the last 17",
        "step     104 MAC, of a window 600",
        "state    144 B",
        "filled   after 9 steps; before the first frame there are zeros",
        "whole    each step on all rows: pool, head.flatten, head",
    ]
    assert sorted(path.name for path in Path().iterdir()) == [
        "spotting.yaml",
        "spotting_stream.npz",
        "spotting_stream.yaml",
    ]
    assert dscompile("build", "spotting_stream.yaml", "-t", "c99", "-o", "c99").code == 0
    assert dscompile("verify", "c99").code == 0


def test_json_has_the_same_in_numbers(dscompile: CommandLine, spotting: Path):
    outcome = dscompile("stream", spotting, "--step", 4, "--axis", 1, "-o", "four.yaml", "--json")
    assert json.loads(outcome.out) == {
        "schema": 1,
        "path": "four.yaml",
        "name": "spotting_stream",
        "window": 17,
        "step": 4,
        "steps_to_fill": 5,
        "state_bytes": 128,
        "macs": {"window": 600, "step": 196},
        "whole": ["pool", "head.flatten", "head"],
    }


def test_padding_over_time_ends_with_the_layers_and_what_to_do(dscompile: CommandLine, spotting: Path):
    spotting.write_text(SPOTTING.replace("[3, 1]}", "[3, 1], padding: same}"))
    outcome = dscompile("stream", spotting)
    assert outcome.code == 3
    assert "error: layer block.depthwise: pads every window over time, by 1 before and 1 after it" in outcome.err
    assert "train the network without padding over time (padding: valid)" in outcome.err
    assert "--memory stream" in outcome.err
    assert not Path("spotting_stream.yaml").exists()


def test_a_step_that_does_not_fit_is_a_mistake_of_the_command_line(dscompile: CommandLine, spotting: Path):
    outcome = dscompile("stream", spotting, "--step", 3)
    assert outcome.code == 2
    assert "give a --step that is a multiple of 2" in outcome.err
