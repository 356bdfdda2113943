"""dscompile inspect."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import CommandLine


def test_inspect_shows_every_layer_beside_standard_convolutions(dscompile: CommandLine, tiny: Path):
    outcome = dscompile("inspect", tiny)
    assert outcome.code == 0
    assert outcome.err == ""
    assert outcome.out == (
        "network  tiny: 7 layers, 10 689 MAC, 529 parameters\n"
        'input    "image" float32 NHWC [1, 9, 9, 3]\n'
        'output   "softmax" float32 [1, 4]\n'
        "\n"
        "TABLE"
    )


def test_inspect_with_a_target_shows_roofline_and_arena(dscompile: CommandLine, tiny: Path):
    outcome = dscompile("inspect", tiny, "-t", "x86-avx2")
    assert outcome.code == 0
    assert outcome.out == "TABLE"


def test_inspect_as_json_has_the_promised_keys(dscompile: CommandLine, tiny: Path):
    record = json.loads(dscompile("inspect", tiny, "--json").out)
    assert record["schema"] == 1
    assert (record["macs"], record["parameters"]) == (10_689, 529)
    assert (record["standard_macs"], record["standard_parameters"]) == (0, 0)
    assert record["arena"] is None
    assert record["layers"][1] == {}


def test_inspect_as_json_with_a_target_has_the_arena(dscompile: CommandLine, tiny: Path):
    record = json.loads(dscompile("inspect", tiny, "--json", "--target", "x86-avx512").out)
    arena = record["arena"]
    assert arena["size_bytes"] >= arena["lower_bound_bytes"] > 0
    assert {buffer["name"] for buffer in arena["buffers"]} >= {"input:image", "output:softmax", "stem"}
    assert all(buffer["offset_bytes"] + buffer["size_bytes"] <= arena["size_bytes"] for buffer in arena["buffers"])
    assert abs(sum(layer["roofline_share"] for layer in record["layers"]) - 1.0) < 1e-9
