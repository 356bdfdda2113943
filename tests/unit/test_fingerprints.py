"""The header of one build with the code of another: standalone C does not compile, a library says it when asked."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from dscompile.artifact import Artifact
from dscompile.emit.mcu import write_artifact
from dscompile.emit.selftest import selftest_input
from dscompile.errors import UnsupportedError
from dscompile.ir.network import Network
from tests.golden.mcu_networks import sums
from tests.mcu import planned, write
from tests.tiny_programs import Tiny, single

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
ASKING = """\
#include "tiny.h"
int main(void) { return tiny_fingerprint == TINY_FINGERPRINT ? 0 : 3; }
"""


def network() -> Network:
    return sums("net", "tflite")


def retrained() -> Network:
    """The same network with another bias: the same interface, the same code but for a number."""
    bias = network().weights["pointwise.bias"] + 1
    return replace(network(), weights={**network().weights, "pointwise.bias": bias})


@pytest.fixture
def builds(tmp_path: Path) -> tuple[Artifact, Artifact]:
    return write(network(), tmp_path / "one"), write(retrained(), tmp_path / "two")


def compiled(source: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["gcc", "-std=c99", "-fsyntax-only", str(source)], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("part", ["net.c", "net_weights.c"])
def test_a_source_does_not_compile_with_the_header_of_another_build(
    builds: tuple[Artifact, Artifact], part: str
) -> None:
    one, two = builds
    assert compiled(one.directory / part).returncode == 0
    shutil.copy(one.directory / part, two.directory / part)
    done = compiled(two.directory / part)
    assert done.returncode != 0
    assert '#error "net.h and this file come from different builds"' in done.stderr


@pytest.mark.parametrize(("header", "library", "status"), [("one", "one", 0), ("one", "two", 3)])
def test_a_program_can_ask_whether_its_header_is_that_of_its_library(
    header: str, library: str, status: int, tmp_path: Path
) -> None:
    one = single("tiny")
    more = {name: values + 1 for name, values in one.program.constants.items()}
    two = Tiny(replace(one.program, constants=more), one.kernels)
    artifacts = {"one": one.write(tmp_path / "one"), "two": two.write(tmp_path / "two")}
    (tmp_path / "app.c").write_text(ASKING)
    program = str(tmp_path / "app")
    command = [f"-I{artifacts[header].directory}", str(tmp_path / "app.c"), str(artifacts[library].static_library)]
    subprocess.run(["gcc", *command, "-o", program], check=True)
    assert subprocess.run([program], check=False).returncode == status


def test_an_arena_of_two_gibibytes_is_refused(tmp_path: Path) -> None:
    program = replace(planned(network()), arena_bytes=2**31)
    with pytest.raises(UnsupportedError, match="arena needs 2147483648 B; standalone C counts with 31 bits, up to"):
        write_artifact(program, selftest_input(network()), {}, tmp_path / "net", origin="test")
