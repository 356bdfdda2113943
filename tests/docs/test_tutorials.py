"""Every block of the tutorials, as it stands, in an empty folder and in order."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pages import DOCS, ROOT, Block, blocks
from tests.tools import require_tools

TUTORIALS = sorted((DOCS / "tutorials").glob("*.md"))
NEEDS = {"cuda": ("nvcc",), "mobile": ("qemu-aarch64", "aarch64-linux-gnu-gcc", "cmake")}
FILES = {"c", "c++", "cmake", "dockerfile", "python", "yaml"}


def script(page: list[Block], folder: Path) -> str:
    """The shell blocks of a page as one script; before each, the files are written that come before it."""
    lines = ["set -eu", "trap 'kill $(jobs -p) 2>/dev/null || :' EXIT"]
    for number, block in enumerate(page):
        if block.title:
            stored = folder / ".blocks" / str(number)
            stored.parent.mkdir(exist_ok=True)
            stored.write_text(block.text)
            lines += [f"mkdir -p {Path(block.title).parent}", f"cp {stored} {block.title}"]
        elif block.language == "sh" and not block.reason:
            lines += [f"echo '--- {number}'", block.text]
    return "\n".join(lines)


@pytest.mark.slow
@pytest.mark.every_case
@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_runs(path: Path, tmp_path: Path) -> None:
    page = blocks(path)
    if not page:
        return  # the list of the tutorials
    require_tools(*NEEDS.get(path.stem, ()))
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    text = script(page, tmp_path)
    done = subprocess.run(
        ["bash", "-c", text], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    printed = done.stdout.split("--- ")
    for number, block in enumerate(page):
        if block.language == "text":
            shown = next(part for part in printed if part.startswith(f"{number - 1}\n"))
            assert block.text in shown


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_every_block_of_a_tutorial_is_run_or_says_why_not(path: Path) -> None:
    for number, block in enumerate(blocks(path)):
        assert block.language in {"sh", "text", *FILES}, block
        assert block.title or block.language in {"sh", "text"}, "a file needs a title"
        if block.language == "text":
            assert blocks(path)[number - 1].language == "sh"
