"""What only a real process shows: imports, pipes, signals, terminals."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import TINY

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-c", "from dscompile.cli.main import run; run()"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": ""}


def execute(*arguments: str, cwd: Path, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, **options
    )


def imported_by(tmp_path: Path, *arguments: str) -> set[str]:
    """The modules that a command has imported when it ends."""
    (tmp_path / "net.yaml").write_text(TINY)
    script = (
        "import json, sys\n"
        "from dscompile.cli.main import main\n"
        f"code = main({list(arguments)!r})\n"
        "print(json.dumps([code, sorted(sys.modules)]), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=60
    )
    code, modules = json.loads(done.stderr.splitlines()[-1])
    assert code == 0
    return set(modules)


@pytest.mark.parametrize(
    "arguments",
    [("check", "net.yaml"), ("inspect", "net.yaml"), ("inspect", "net.yaml", "-t", "x86-avx2"), ("targets", "list")],
    ids=" ".join,
)
def test_these_commands_import_nothing_heavy(tmp_path: Path, arguments: tuple[str, ...]):
    modules = imported_by(tmp_path, *arguments)
    for heavy in ("tvm", "onnx", "onnxruntime", "tflite", "rich", "jinja2", "openvino", "ai_edge_litert"):
        assert heavy not in modules, heavy


def test_help_does_not_even_import_numpy(tmp_path: Path):
    assert "numpy" not in imported_by(tmp_path, "--help")


def test_importing_the_package_imports_nothing(tmp_path: Path):
    script = (
        "import sys; import dscompile; print(sorted(m for m in sys.modules if m.startswith(('dscompile', 'numpy'))))"
    )
    done = subprocess.run([sys.executable, "-c", script], env=ENVIRONMENT, capture_output=True, text=True)
    assert done.stdout == "['dscompile', 'dscompile.version']\n"


def test_check_costs_little_more_than_the_libraries_it_needs(tmp_path: Path):
    """In processor time, which other processes disturb less than they do the clock; the best of several runs."""
    (tmp_path / "net.yaml").write_text(TINY)

    def processor_seconds(command: list[str]) -> float:
        measured = f"import os, subprocess; subprocess.run({command!r}, capture_output=True); t = os.times(); " + (
            "print(t.children_user + t.children_system)"
        )
        runs = [
            subprocess.run(
                [sys.executable, "-c", measured], cwd=tmp_path, env=environment, capture_output=True, text=True
            )
            for _ in range(5)
        ]
        return min(float(run.stdout) for run in runs)

    environment = {**ENVIRONMENT, "PYTHONPYCACHEPREFIX": str(tmp_path / "cache")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    libraries = processor_seconds([sys.executable, "-c", "import numpy, click, ruamel.yaml"])
    whole = processor_seconds([*COMMAND, "check", "net.yaml"])
    assert whole < 2.5 * libraries + 0.1


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path):
    process = subprocess.Popen(
        [*COMMAND, "zoo", "show", "mobilenet_v2"], cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(60) == 141


def test_errors_are_colored_only_on_a_terminal(tmp_path: Path):
    assert execute("chekc", cwd=tmp_path).stderr.startswith("error: ")
    assert on_terminal(tmp_path, ENVIRONMENT).startswith("\x1b[1;31merror:\x1b[0m ")
    assert on_terminal(tmp_path, {**ENVIRONMENT, "NO_COLOR": "1"}).startswith("error: ")


def on_terminal(tmp_path: Path, environment: dict[str, str]) -> str:
    """What an unknown command prints on a terminal."""
    control, terminal = pty.openpty()
    with os.fdopen(control, "rb", buffering=0) as screen:
        process = subprocess.Popen([*COMMAND, "chekc"], cwd=tmp_path, env=environment, stderr=terminal)
        os.close(terminal)
        process.wait(60)
        return screen.read(4096).decode()


def test_completion_script_for_bash(tmp_path: Path):
    done = subprocess.run(
        COMMAND, cwd=tmp_path, env={**ENVIRONMENT, "_DSCOMPILE_COMPLETE": "bash_source"}, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "complete -o nosort -F _dscompile_completion dscompile" in done.stdout
