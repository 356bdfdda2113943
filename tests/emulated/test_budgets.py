"""Networks keep the budgets of benchmarks/budgets.json on emulated cores, and the file changes only when told to."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import budgets
from benchmarks.budgets import Cost, exceeded, main, measure, read_budgets, write_budgets
from dscompile.errors import ToolError
from tests.emulated.conftest import require

BUDGETS = read_budgets()
COST = Cost(1_000_000, 8_896, 7_444, 26_720)


@pytest.mark.slow
@pytest.mark.every_case
@pytest.mark.parametrize("target", sorted(BUDGETS))
def test_networks_keep_their_budgets(target: str) -> None:
    programs = {
        "cortex": "arm-none-eabi-gcc",
        "rv32im": "riscv64-unknown-elf-gcc",
        "rv64gc": "riscv64-unknown-elf-gcc",
        "arm64-": "aarch64-linux-gnu-gcc",
    }
    program = programs[target[:6]]
    require(program, shutil.which(program) is not None)
    for network, budget in BUDGETS[target].items():
        assert not list(exceeded(budget, measure(target, network))), f"{network}: python -m benchmarks.budgets --update"


def test_a_little_is_a_compiler_and_more_is_said() -> None:
    assert not list(exceeded(COST, replace(COST, instructions=1_004_000, code=7_000)))
    assert list(exceeded(COST, replace(COST, instructions=1_020_000, arena=9_168))) == [
        "instructions: 1 020 000, 2.0 % more than the budget of 1 000 000",
        "arena: 9 168, 3.1 % more than the budget of 8 896",
    ]


def test_a_file_of_budgets_comes_back(tmp_path: Path) -> None:
    wanted = {"cortex-m4": {"b": COST, "a": replace(COST, code=1)}, "arm64": {"a": COST}}
    write_budgets(wanted, tmp_path / "budgets.json")
    assert read_budgets(tmp_path / "budgets.json") == wanted
    assert (tmp_path / "budgets.json").read_text().splitlines()[1] == '  "arm64": {'


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with one budget, and a measurement of 2 % more instructions than that."""
    path = tmp_path / "budgets.json"
    write_budgets({"cortex-m4": {"net": COST}}, path)
    monkeypatch.setattr(budgets.read_budgets, "__defaults__", (path,))
    monkeypatch.setattr(budgets.write_budgets, "__defaults__", (path,))
    monkeypatch.setattr(budgets, "measure", lambda target, network: replace(COST, instructions=1_020_000))
    return path


def test_more_than_a_budget_fails_and_leaves_the_file(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = file.read_bytes()
    assert main([]) == 1
    assert "cortex-m4, net: instructions: 1 020 000, 2.0 % more" in capsys.readouterr().err
    assert file.read_bytes() == before


def test_an_update_says_what_changes(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--update"]) == 0
    assert capsys.readouterr().err == "cortex-m4, net: instructions 1 000 000 -> 1 020 000 (+2.00 %)\n"
    assert read_budgets(file)["cortex-m4"]["net"].instructions == 1_020_000
    assert main([]) == 0
    assert main(["-n", "other"]) == 1
    assert "cortex-m4, other: has no budget; --update gives it one" in capsys.readouterr().err
    assert main(["-n", "other", "--update"]) == 0
    assert "cortex-m4, other: new" in capsys.readouterr().err


def test_a_missing_tool_fails(file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(target: str, network: str) -> Cost:
        raise ToolError("no compiler")

    monkeypatch.setattr(budgets, "measure", missing)
    assert main([]) == 1
    assert "cortex-m4, net: error: no compiler" in capsys.readouterr().err
