"""A build for 64-bit Arm where no compiler for it is: the static library, what is said, how the other one is made."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from dscompile import toolchain
from dscompile.target import machine_family
from tests.cli.conftest import TINY, CommandLine, dscompile
from tests.tools import require_tools

GCC, LIBC = "aarch64-linux-gnu-gcc", "/usr/aarch64-linux-gnu"
INSTALL = (
    "install the cross toolchain, on Debian and Ubuntu: apt install gcc-aarch64-linux-gnu; "
    "or pip install 'dscompile[cross]' (zig, on any machine)"
)
pytestmark = pytest.mark.skipif(machine_family() == "arm64", reason="this machine compiles for itself")
__all__ = ["dscompile"]  # the fixture


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("net")


@pytest.fixture
def net(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small network, in the current directory."""
    monkeypatch.chdir(folder)
    Path("tiny.yaml").write_text(TINY)
    return Path("tiny.yaml")


def without_compiler(patch: pytest.MonkeyPatch) -> None:
    Path("no-tools").mkdir(exist_ok=True)
    patch.setattr(toolchain, "zig_command", lambda: None)
    patch.setenv("PATH", str(Path("no-tools").resolve()))


@pytest.fixture
def built(net: Path, dscompile: CommandLine) -> tuple[Path, str]:
    """What a build for arm64 wrote, and what it said on stderr; it is built once for all tests."""
    directory, said = Path("my out/net"), Path("said.txt")
    if not said.exists():
        with pytest.MonkeyPatch.context() as patch:
            without_compiler(patch)
            outcome = dscompile("build", net, "-t", "arm64", "-o", directory)
        assert outcome.code == 0, outcome.err
        assert re.search(r"^  libraries +libtiny\.a$", outcome.out, re.MULTILINE)
        said.write_text(outcome.err)
    return directory, said.read_text()


def run(command: str) -> str:
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_build_makes_the_static_library_and_says_how_to_get_the_other(built: tuple[Path, str]) -> None:
    directory, said = built
    assert (
        f"note: the C compiler '{GCC}' of target arm64 is not installed: libtiny.a is made without tiny_run_parallel, "
        f"libtiny.so is not; {INSTALL}; this makes it then: cd 'my out/net' && {GCC} "
    ) in said
    assert sorted(path.name for path in directory.iterdir()) == [
        "libtiny.a", "manifest.json", "selftest.c", "tiny.c", "tiny.h", "tiny_parallel.c", "vectors.npz",
    ]  # fmt: skip
    manifest = json.loads((directory / "manifest.json").read_text())
    assert (manifest["compiler"]["c"], manifest["sizes"]["so"]) == ("none", 0)
    assert manifest["sizes"]["a"] == (directory / "libtiny.a").stat().st_size


def test_the_static_library_links_with_any_compiler_and_is_right(built: tuple[Path, str]) -> None:
    require_tools(GCC, "qemu-aarch64")
    run(f"{GCC} -static 'my out/net/selftest.c' 'my out/net/libtiny.a' -lm -o selftest")
    for cpu in ("cortex-a53", "max"):
        assert run(f"qemu-aarch64 -cpu {cpu} ./selftest").startswith("tiny selftest: ok")


@pytest.mark.slow
def test_the_line_that_is_printed_makes_the_shared_library(
    built: tuple[Path, str], net: Path, dscompile: CommandLine
) -> None:
    require_tools(GCC, "qemu-aarch64")
    directory, said = built
    found = re.search(r"this makes it then: (.*)$", said, re.MULTILINE)
    assert found is not None
    run(found[1])
    run(f"{GCC} {shlex.quote(str(directory))}/selftest.c -L{shlex.quote(str(directory))} -ltiny -lm -o selftest")
    environment = f"-L {LIBC} -E LD_LIBRARY_PATH={shlex.quote(str(directory.resolve()))}"
    assert run(f"qemu-aarch64 {environment} ./selftest").startswith("tiny selftest: ok")
    # Verification sees the same artifact as before, and the library offers what one that was linked at once does.
    assert dscompile("verify", directory).code == 0
    assert dscompile("build", net, "-t", "arm64", "-o", "linked").code == 0
    tables = [
        run(f"nm -D --defined-only {shlex.quote(str(path / 'libtiny.so'))}") for path in (directory, Path("linked"))
    ]
    names = [sorted(line.split()[-1] for line in table.splitlines()) for table in tables]
    assert names[0] == names[1]


@pytest.mark.slow
def test_what_runs_an_artifact_asks_for_the_tools_and_works_once_they_are_there(
    built: tuple[Path, str], dscompile: CommandLine
) -> None:
    require_tools(GCC, "qemu-aarch64")
    directory, _ = built
    with pytest.MonkeyPatch.context() as patch:
        without_compiler(patch)
        for command in ("verify", "bench"):
            outcome = dscompile(command, directory)
            assert outcome.code == 5
            assert "qemu-aarch64 is not installed" in outcome.err
            assert "apt install qemu-user" in outcome.err
        emulator = Path("no-tools/qemu-aarch64")
        emulator.write_text("#!/bin/sh\n")
        emulator.chmod(0o755)
        for command in ("verify", "bench"):
            outcome = dscompile(command, directory)
            assert outcome.code == 5
            assert "the C compiler 'aarch64-linux-gnu-gcc' of target arm64 is not installed" in outcome.err
            assert INSTALL in outcome.err
    for command in ("verify", "bench"):
        assert dscompile(command, directory).code == 0


@pytest.mark.slow
@pytest.mark.parametrize("target", ["arm64", "arm64-neon"])
def test_require_binary_refuses_and_leaves_what_was_there(net: Path, target: str, dscompile: CommandLine) -> None:
    with pytest.MonkeyPatch.context() as patch:
        without_compiler(patch)
        assert dscompile("build", net, "-t", target, "-o", "out").code == 0
        before = {file.name: file.read_bytes() for file in Path("out").iterdir()}
        outcome = dscompile("build", net, "-t", target, "-o", "out", "--require-binary")
    assert outcome.code == 5
    assert f"the C compiler 'aarch64-linux-gnu-gcc' of target {target} is not installed" in outcome.err
    assert INSTALL in outcome.err
    assert {file.name: file.read_bytes() for file in Path("out").iterdir()} == before


@pytest.mark.slow
def test_json_names_no_library(net: Path, dscompile: CommandLine) -> None:
    with pytest.MonkeyPatch.context() as patch:
        without_compiler(patch)
        outcome = dscompile("build", net, "-t", "arm64-dotprod", "--json")
    (record,) = json.loads(outcome.out)["artifacts"]
    assert (record["target"], record["library"]) == ("arm64-dotprod", None)


@pytest.mark.slow
def test_an_artifact_for_this_machine_takes_its_compiler(net: Path, dscompile: CommandLine) -> None:
    with pytest.MonkeyPatch.context() as patch:
        without_compiler(patch)
        outcome = dscompile("build", net, "-t", "x86-avx2")
    assert outcome.code == 5
    assert "the C compiler 'gcc' of target x86-avx2 is not installed" in outcome.err
    assert "apt install gcc" in outcome.err
