"""docs/schedules.md and its example: the code runs, the output shown is the output."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.native import target_here

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "schedules.md").read_text(encoding="utf-8")
EXAMPLE = ROOT / "examples" / "python" / "one_layer.py"


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def run_example(target: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(EXAMPLE), "--target", target]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=250)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_example_prints_what_the_page_shows():
    target_here("x86-avx512")
    output = run_example("x86-avx512")
    definition, table = blocks("text")
    assert definition in output
    row = re.compile(r"^ +(\d+) +(\d+) +[\d.]+ +[\d.]+ +\d+%$", re.MULTILINE)
    shown, printed = row.findall(table), row.findall(output)
    assert len(shown) == 8
    assert printed == shown
    for line in ("All 8 variants equal NumPy within 1e-5.", "One call passes over 0.93 MB of images."):
        assert line in table
        assert line in output


@pytest.mark.slow
def test_the_example_runs_on_this_machine():
    assert "All 8 variants equal NumPy within 1e-5." in run_example("host")


def test_the_code_of_the_page_runs():
    names: dict[str, object] = {}
    for code in blocks("python"):
        exec(compile(code, "docs/schedules.md", "exec"), names)
    assert names["microseconds"] > 0
    assert names["ratio"] > 0
