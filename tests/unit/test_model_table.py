"""tools/model_table.py: what stands in the table of real models."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def table():
    spec = importlib.util.spec_from_file_location("model_table", ROOT / "tools" / "model_table.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folder(tmp_path):
    shutil.copy(ROOT / "tests" / "data" / "mww_alexa.tflite", tmp_path)
    (tmp_path / "damaged.tflite").write_bytes(b"\0\0\0\0TFL3")
    return tmp_path


def test_models_that_pass_and_models_that_are_refused_have_a_row(table, folder, tmp_path):
    page = tmp_path / "models.md"
    assert table.main(["--models", str(folder), "-t", "c99", "-o", str(page)]) == 1
    text = page.read_text()
    assert "| mww_alexa.tflite | int8, state | 0.02 | 24 481 | exact |" in text
    assert "| damaged.tflite | | | | refused |" in text
    assert "- `damaged.tflite`\n    - not a valid TFLite file" in text
    assert "1 of 2 pass." in text


def test_chosen_files_go_to_stdout(table, folder, capsys):
    assert table.main(["--models", str(folder), "-t", "c99", "mww_alexa.tflite"]) == 0
    assert "| mww_alexa.tflite |" in capsys.readouterr().out


def test_unknown_files_are_named(table, folder, capsys):
    assert table.main(["--models", str(folder), "none.tflite"]) == 2
    assert "has no none.tflite" in capsys.readouterr().err


def test_a_wrong_output_shows_in_its_cell(table, folder, monkeypatch):
    peer = table.open_peer
    monkeypatch.setattr(table, "open_peer", lambda name, path: Wrong(peer(name, path)))
    row = table._row(folder / "mww_alexa.tflite", "mww_alexa.tflite", ["c99"])
    assert row.results == {"c99": "**12 differ**"}
    assert not row.ok


class Wrong:
    """A runtime that is off by one."""

    def __init__(self, peer):
        self.peer = peer

    def run(self, inputs):
        return [output + 1 for output in self.peer.run(inputs)]
