"""Running an artifact as its user will: `selftest.c`, compiled and linked with its library or its sources."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dscompile.artifact import Artifact
from dscompile.errors import ToolError
from dscompile.run.native import require_host
from dscompile.run.program import Launcher, build_selftest
from dscompile.toolchain import find_toolchain

SANITIZERS = ("-g", "-fsanitize=address,undefined,float-cast-overflow", "-fno-sanitize-recover=all")
_FLAGS = ("-std=c99", "-O2")


@dataclass(frozen=True)
class SelftestResult:
    """Whether the self-test passed, and what it said."""

    passed: bool
    message: str


def run_selftest(artifact: Artifact, flags: Sequence[str] = (), timeout_s: float = 300.0) -> SelftestResult:
    """Compiles the artifact's selftest.c with its target's compiler and `flags`, such as SANITIZERS, and runs it.

    A wrong result, a sanitizer's report or a crash is a result that has not passed. Raises ToolError if the target
    does not run here, the compiler is missing or fails, or the test does not end in `timeout_s` seconds.
    """
    require_host(artifact)
    toolchain = find_toolchain(artifact.manifest.target)
    directory = artifact.directory.resolve()
    with tempfile.TemporaryDirectory(prefix="dscompile-") as scratch:
        program = Path(scratch) / "selftest"
        sources = [
            f"-I{directory}",
            str(directory / artifact.selftest.name),
            *(str(directory / source.name) for source in artifact.sources),
        ]
        toolchain.compile([*_FLAGS, *flags, *sources, "-lm", "-o", str(program)], Path(scratch), "compiling selftest.c")
        return _run(program, timeout_s)


def run_selftest_with(launcher: Launcher, artifact: Artifact) -> SelftestResult:
    """The artifact's selftest.c as a static program, run by `launcher`: an emulator or another machine.

    Raises ToolError if the compiler is missing or fails, or the launcher cannot run it.
    """
    with tempfile.TemporaryDirectory(prefix="dscompile-") as scratch:
        done = launcher.execute(build_selftest(artifact, Path(scratch)))
    said = (done.stdout + done.stderr).decode("utf-8", "replace").strip()
    if done.status < 0:
        said = f"{said}\nended by {done.ending}".strip()
    return SelftestResult(done.status == 0, said)


def _run(program: Path, timeout_s: float) -> SelftestResult:
    try:
        done = subprocess.run(
            [str(program)],
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"the self-test did not end in {timeout_s:g} s") from error
    except OSError as error:
        raise ToolError(f"cannot run the self-test: {error.strerror}") from error
    said = (done.stdout + done.stderr).strip()
    if done.returncode < 0:
        return SelftestResult(False, f"{said}\nended by signal {-done.returncode}".strip())
    return SelftestResult(done.returncode == 0, said)
