"""Generated C of tiny networks as whole files, and its style."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from dscompile.artifact import Artifact
from tests.golden.conftest import from_compiler
from tests.tiny_programs import several, single, write_both
from tests.tools import require_tools

ROOT = Path(__file__).parents[2]
PROGRAMS: dict[str, Callable[[Path], Artifact]] = {
    "single": lambda folder: single().write(folder),
    "several": lambda folder: several().write(folder),
    "variants": write_both,
}

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")


@pytest.fixture(scope="module", params=PROGRAMS)
def named(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Artifact]:
    return request.param, PROGRAMS[request.param](tmp_path_factory.mktemp("golden") / request.param)


def test_header_driver_and_selftest(named: tuple[str, Artifact], golden: Callable[[str, str], None]) -> None:
    name, artifact = named
    golden(f"native/{name}.h", from_compiler(artifact.header.read_text()))
    golden(f"native/{name}.c", artifact.driver.read_text())
    golden(f"native/{name}_selftest.c", artifact.selftest.read_text())


def test_generated_c_is_clang_format_clean(named: tuple[str, Artifact]) -> None:
    require_tools("clang-format")
    files = [str(path) for path in sorted(named[1].directory.glob("*.[ch]"))]
    command = ["clang-format", f"--style=file:{ROOT / '.clang-format'}", "--dry-run", "--Werror", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
