"""The hand-written application of examples/c, built with its Makefile against an artifact of the same name."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.tiny_programs import single

EXAMPLE = Path(__file__).parents[2] / "examples" / "c"
SANITIZED = "-std=c99 -g -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror -fsanitize=address,undefined"

pytestmark = pytest.mark.skipif(
    shutil.which("gcc") is None or shutil.which("make") is None, reason="gcc or make is not installed"
)


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the example with both programs built."""
    place = tmp_path_factory.mktemp("example")
    shutil.copytree(EXAMPLE, place / "c", ignore=shutil.ignore_patterns("app", "app-shared"))
    artifact = single("vww_96_float", labels=False).write(place / "artifact")
    for program in ("app", "app-shared"):
        command = ["make", program, "CC=gcc", f"CFLAGS={SANITIZED}", f"ARTIFACT={artifact.directory}"]
        done = subprocess.run(command, cwd=place / "c", capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return place / "c"


def run(program: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(program), *arguments], cwd=program.parent, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("program", ["app", "app-shared"])
def test_the_application_prints_the_best_classes_under_sanitizers(example: Path, program: str) -> None:
    image = np.zeros(12, "<f4")
    image[[3, 7]] = 2.0, 0.5
    image.tofile(example / "first.f32")
    np.zeros(12, "<f4").tofile(example / "second.f32")
    done = run(example / program, "first.f32", "second.f32")
    assert done.stderr == ""
    assert done.stdout == (
        "first.f32: 3 (4.5000) 7 (2.0000) 11 (1.5000)\nsecond.f32: 11 (1.5000) 10 (1.3750) 9 (1.2500)\n"
    )


@pytest.mark.parametrize("count", [0, 11, 13])
def test_files_of_another_size_are_refused(example: Path, count: int) -> None:
    np.zeros(count, "<f4").tofile(example / "bad.f32")
    done = run(example / "app", "bad.f32")
    assert (done.returncode, done.stderr) == (1, "bad.f32: must hold exactly 12 float32 values\n")


def test_missing_files_and_arguments_are_named(example: Path) -> None:
    assert run(example / "app", "nothing.f32").stderr == "nothing.f32: No such file or directory\n"
    assert run(example / "app").returncode == 2
