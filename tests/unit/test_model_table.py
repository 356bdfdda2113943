"""tools/model_table.py: what stands in the table of real models."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tools import model_table

ROOT = Path(__file__).parents[2]


@pytest.fixture
def table():
    return model_table


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
    assert row.cells[3:] == ("**12 differ**",)
    assert not row.ok


def test_one_file_is_done_anew_and_the_other_rows_stay(table, folder, tmp_path, capsys):
    page = tmp_path / "models.md"
    table.main(["--models", str(folder), "-t", "c99", "-o", str(page), "damaged.tflite"])
    assert "0 of 1 pass." in page.read_text()
    assert table.main(["--models", str(folder), "-t", "c99", "-o", str(page), "mww_alexa.tflite"]) == 1
    text = page.read_text()
    assert "1 of 2 pass." in text
    assert (
        text.index("| damaged.tflite") < text.index("| mww_alexa.tflite") < text.index("- `damaged.tflite`\n    - not")
    )
    assert table.main(["--models", str(folder), "-t", "x86", "-o", str(page), "mww_alexa.tflite"]) == 2
    assert "models.md has no table for x86" in capsys.readouterr().err
    assert page.read_text() == text


@pytest.mark.slow
@pytest.mark.parametrize(("factor", "passes"), [(1 + 3e-4, True), (1.01, False)], ids=["rounds", "differs"])
def test_the_oracle_judges_a_runtime_that_is_off_by_rounding(table, monkeypatch, factor, passes):
    opened = table.open_peer

    def inexact(name, path):
        peer = opened(name, path)
        return replace(peer, run=lambda inputs: [factor * output for output in peer.run(inputs)])

    monkeypatch.setattr(table, "open_peer", inexact)
    row = table._row(ROOT / "tests" / "data" / "vww_96_float.tflite", "vww_96_float.tflite", ["c99"])
    assert row.ok == passes
    assert ("from the oracle, litert 3.0e-04" in row.cells[3]) == passes
    assert ("1e-3." in table.page([row], ["c99"])) == passes


class Wrong:
    """A runtime that is off by one."""

    def __init__(self, peer):
        self.peer = peer

    def run(self, inputs):
        return [output + 1 for output in self.peer.run(inputs)]
