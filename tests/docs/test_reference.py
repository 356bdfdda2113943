"""docs/reference is what the code says, and what the pages show exists."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from dscompile.cli.main import cli
from tests.pages import DOCS, ROOT, commands
from tools.reference.pages import PAGES

PROSE = [ROOT / "README.md", *sorted(DOCS.rglob("*.md")), *sorted((ROOT / "examples").rglob("*.md"))]
SLOW = {"c-header.md"}  # builds for three targets


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in PAGES])
def test_a_page_is_what_the_code_says(name: str) -> None:
    advice = "run `python -m tools.reference` and read the difference"
    assert (DOCS / "reference" / name).read_text(encoding="utf-8") == PAGES[name](), advice


def named(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that words begin with, and the rest."""
    command: click.Command = cli
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(click.Context(command), words[0])
        assert found is not None, f"there is no command '{words[0]}'"
        command, words = found, words[1:]
    return command, words


@pytest.mark.parametrize("page", PROSE, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_that_pages_show_exist_with_their_options(page: Path) -> None:
    for line in commands(page):
        words = shlex.split(re.split(r"\s(?:[|&>]|2>)", line)[0])
        command, rest = named(words)
        options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        for word in rest:
            if word.startswith("-") and word != "-":
                assert word.split("=")[0] in {*options, "-h", "--help", "--version"}, f"{line}: {word}"


def test_every_page_is_reachable() -> None:
    """From the site's navigation, decisions from their list."""
    listed = (DOCS / "decisions" / "index.md").read_text(encoding="utf-8")
    for page in sorted((DOCS / "decisions").glob("*.md")):
        assert page.name == "index.md" or f"({page.name})" in listed, page
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in sorted(DOCS.rglob("*.md")):
        path = page.relative_to(DOCS)
        assert path.parts[0] == "decisions" or re.search(
            rf"(: |- ){re.escape(str(path))}$", navigation, re.MULTILINE
        ), path


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > len(list(DOCS.rglob("*.md")))
    for page in pages:
        loaded = re.findall(r"<(?:script|img|iframe)[^>]* src=\"?(https?:[^\s\">]+)", page.read_text(encoding="utf-8"))
        loaded += re.findall(r"<link[^>]*stylesheet[^>]* href=\"?(https?:[^\s\">]+)", page.read_text(encoding="utf-8"))
        assert not loaded, f"{page}: {loaded}"
