"""What README.md and docs/ promise."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from dscompile.cli.main import COMMANDS
from tests.cli.conftest import TINY, CommandLine

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_table_of_commands_lists_exactly_the_commands():
    assert re.findall(r"^\| `dscompile (\w+)", README, re.MULTILINE) == list(COMMANDS)
    sections = re.findall(r"^## (\w+)", (ROOT / "docs" / "commands.md").read_text(), re.MULTILINE)
    assert sections == list(COMMANDS)


def test_the_error_in_the_readme_is_what_check_prints(dscompile: CommandLine, folder: Path):
    (folder / "net.yaml").write_text(TINY.replace("separable:", "seperable:"))
    shown = re.search(r"^    error: .*?(?=\n\n##)", README, re.MULTILINE | re.DOTALL)
    assert shown is not None
    assert dscompile("check", "net.yaml").err == re.sub("^    ", "", shown[0], flags=re.MULTILINE) + "\n"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files(page: Path):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.slow
def test_the_c_program_of_the_readme_runs(dscompile: CommandLine, folder: Path):
    outcome = dscompile("build", ROOT / "tests" / "data" / "vww_96_float.tflite", "-q")
    assert outcome.code == 0
    shown = re.search(r"```c\n(.*?)```", README, re.DOTALL)
    assert shown is not None
    (folder / "app.c").write_text(shown[1])
    command = re.search(r"^    (gcc app\.c build/vww.*)$", README, re.MULTILINE)
    assert command is not None
    subprocess.run([*command[1].split(), "-Wall", "-Werror"], check=True, cwd=folder)
    done = subprocess.run(["./a.out"], cwd=folder, capture_output=True, text=True, check=True)
    assert re.fullmatch(r"person: [01]\.\d{3}\n", done.stdout)
