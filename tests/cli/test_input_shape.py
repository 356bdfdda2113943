"""The option --input-shape of the commands that read a network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dscompile.frontend.load import load_network
from tests.cli.conftest import CommandLine
from tests.import_onnx_models import saved
from tests.unit.test_input_shapes import dynamic


@pytest.mark.parametrize("text", ["x:1x3x6x5", "x:1,3,6,5"])
def test_commands_take_the_option(dscompile: CommandLine, text: str, tmp_path: Path):
    path = saved(dynamic(), tmp_path)
    for command in ("check", "inspect"):
        outcome = dscompile(command, path, "--input-shape", text, "--json")
        assert outcome.code == 0, outcome.err
        assert json.loads(outcome.out)["macs"] == 6 * 5 * 4 * 27
    outcome = dscompile("import", path, "--input-shape", text, "-o", tmp_path / "net.yaml")
    assert outcome.code == 0, outcome.err
    assert load_network(tmp_path / "net.yaml").network.shape("x") == (1, 6, 5, 3)


@pytest.mark.parametrize("text", ["x", "x:", "x:1x", "x:1xHxW", ":1x3", "1x3x6x5"])
def test_an_option_that_is_no_name_and_shape_is_explained(dscompile: CommandLine, text: str, tmp_path: Path):
    outcome = dscompile("check", saved(dynamic(), tmp_path), "--input-shape", text)
    assert outcome.code == 2
    assert f"'{text}' is not a name and a shape, such as image:1x3x480x640" in outcome.err
