"""tools/zoo_table.py: what stands in the table of networks that were built and verified."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.tools import require_tools
from tools import zoo_table
from tools.tables import rows_of

HEAD = f"| {' | '.join(zoo_table.COLUMNS)} |\n|{'---|' * len(zoo_table.COLUMNS)}\n"


@pytest.fixture
def page(tmp_path):
    path = tmp_path / "zoo.md"
    path.write_text(f"# The zoo\n\n{HEAD}| ds_cnn | 1.00 | 2 | 3 | 4 | 5 | 6 | 7 |\n\nText behind.\n")
    return path


def run(page, *arguments):
    return zoo_table.main(["-o", str(page), *arguments])


def test_a_cell_is_made_anew_and_all_others_stay(page, monkeypatch):
    monkeypatch.setattr(zoo_table, "outcome", lambda path, target, *_: f"{path.stem} on {target}")
    assert run(page, "ds_cnn_m", "ds_cnn", "-t", "c99") == 0
    before, after = page.read_text().split(HEAD)
    assert before == "# The zoo\n\n"
    assert after == (
        "| ds_cnn | 2.66 | 22 604 | 3 | 4 | ds_cnn on c99 | 6 | 7 |\n"
        "| ds_cnn_m | 9.82 | 135 032 | | | ds_cnn_m on c99 | | |\n"
        "\nText behind.\n"
    )


def test_networks_stand_in_the_order_of_the_zoo_with_their_int8_form_behind_them(page, monkeypatch):
    monkeypatch.setattr(zoo_table, "outcome", lambda *_: "exact")
    monkeypatch.setattr(zoo_table, "quantized", renamed)
    assert run(page, "--int8", "ds_cnn", "-t", "c99") == 0
    assert run(page, "blazeface", "-t", "c99") == 0
    assert list(rows_of(page.read_text(), zoo_table.COLUMNS)) == ["blazeface", "ds_cnn", "ds_cnn_int8"]


def renamed(name, directory):
    path = directory / f"{name}_int8.yaml"
    path.write_text(zoo_table.zoo_path(name).read_text())
    return path


@pytest.mark.parametrize("cell", ["**3 differ**", "refused: no compiler"])
def test_what_is_wrong_makes_the_exit_code_1(page, monkeypatch, cell):
    monkeypatch.setattr(zoo_table, "outcome", lambda *_: cell)
    assert run(page, "ds_cnn", "-t", "c99") == 1
    assert cell in page.read_text()


def test_unknown_networks_and_pages_without_a_table_are_named(page, capsys):
    assert run(page, "ds_cnnn") == 2
    assert "error: the zoo has no ds_cnnn" in capsys.readouterr().err
    page.write_text("# Another page\n")
    assert run(page, "ds_cnn") == 2
    assert "has no table of built and verified, MMAC, parameters, x86-avx2" in capsys.readouterr().err


def test_what_the_memories_of_a_microcontroller_cannot_hold_is_not_built(tmp_path):
    weights = zoo_table.zoo_path("mobilenet_v1")
    assert zoo_table.outcome(weights, "cortex-m4", 1e9, tmp_path) == "too large"


def test_a_network_is_built_and_verified(tmp_path):
    assert float(zoo_table.outcome(zoo_table.zoo_path("ds_cnn"), "c99", 1.0, tmp_path)) < 1e-5


@pytest.mark.slow
def test_int8_networks_are_exact_and_large_ones_only_built_for_emulators(tmp_path):
    require_tools("qemu-system-arm", "arm-none-eabi-gcc")
    path = zoo_table.quantized("ds_cnn", tmp_path)
    assert zoo_table.outcome(path, "cortex-m4", 1.0, tmp_path) == "built"
    assert zoo_table.outcome(path, "cortex-m4", 3.0, tmp_path) == "exact"


def test_a_wrong_output_is_counted(tmp_path, monkeypatch):
    verify = zoo_table.dscompile.verify

    def wrong(path):
        found = verify(path)
        checks = tuple(replace(check, mismatches=2, ok=False) for check in found.checks)
        return replace(found, checks=checks)

    monkeypatch.setattr(zoo_table.dscompile, "verify", wrong)
    assert zoo_table.outcome(zoo_table.zoo_path("ds_cnn"), "c99", 1.0, tmp_path) == "**4 differ**"
