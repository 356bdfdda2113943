"""tools/beside.sh, which runs lint beside the tests."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "beside.sh"


def run(first: str, other: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(SCRIPT), first, "bash", "-c", other], capture_output=True, text=True, check=False)


def test_both_run_at_the_same_time(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    wait = "for _ in {1..1000}; do [ -e %s ] && exit 0; sleep 0.01; done; exit 9"
    done = run(f"touch {ours}; {wait % theirs}", f"touch {theirs}; {wait % ours}")
    assert done.returncode == 0, done


def test_what_the_first_says_comes_last() -> None:
    done = run("echo linted; echo warned >&2", "sleep 0.2; echo tested")
    assert (done.returncode, done.stdout) == (0, "tested\nlinted\nwarned\n")


def test_a_failure_of_the_first_is_told_at_once_and_at_the_end() -> None:
    done = run("echo wrong; exit 3", "sleep 0.5; echo tested")
    told = "\nerror: 'echo wrong; exit 3' failed with code 3:\nwrong\n"
    assert (done.returncode, done.stdout) == (3, f"{told}tested\n{told}")


@pytest.mark.parametrize(("first", "code"), [("true", 5), ("exit 3", 5)])
def test_a_failure_of_the_other_is_its_code(first: str, code: int) -> None:
    assert run(first, f"exit {code}").returncode == code
