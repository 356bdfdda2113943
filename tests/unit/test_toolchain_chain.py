"""The chain of C compilers: the first that is there and makes code for the target."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dscompile import toolchain
from dscompile.errors import ExitCode, ToolError
from dscompile.target import Target, find_target
from dscompile.toolchain import find_toolchain


def compilers(folder: Path, monkeypatch: pytest.MonkeyPatch, **machines: str) -> None:
    """Programs of these names (`_` for `-`) on an otherwise empty PATH, each saying what machine it compiles for."""
    for name, machine in machines.items():
        path = folder / name.replace("_", "-")
        path.write_text(f"#!/bin/sh\necho {machine}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def without_zig(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain, "zig_command", lambda: None)


@pytest.fixture
def arm64() -> Target:
    return find_target("arm64-neon")


def test_the_cross_compiler_comes_first(arm64: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compilers(tmp_path, monkeypatch, aarch64_linux_gnu_gcc="aarch64-linux-gnu", gcc="aarch64-linux-gnu")
    found = find_toolchain(arm64)
    assert (found.compiler, found.flags, found.is_zig) == (("aarch64-linux-gnu-gcc",), ("-march=armv8-a",), False)
    assert found.static_flags == ("-static", "-march=armv8-a")


def test_gcc_is_taken_on_an_arm_machine_alone(arm64: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_zig(monkeypatch)
    compilers(tmp_path, monkeypatch, gcc="aarch64-redhat-linux")
    assert find_toolchain(arm64).compiler == ("gcc",)
    compilers(tmp_path, monkeypatch, gcc="x86_64-linux-gnu")
    with pytest.raises(ToolError, match="C compiler 'aarch64-linux-gnu-gcc' of target arm64-neon is not installed"):
        find_toolchain(arm64)


def test_zig_comes_last_and_links_static_programs_with_musl(
    arm64: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compilers(tmp_path, monkeypatch, gcc="x86_64-linux-gnu")
    monkeypatch.setattr(toolchain, "zig_command", lambda: ("zig",))
    found = find_toolchain(arm64)
    assert (found.compiler, found.is_zig) == (("zig", "cc"), True)
    assert found.flags == ("-target", "aarch64-linux-gnu", "-mcpu=generic", "-fno-sanitize=all", "-g0")
    assert found.static_flags[:3] == ("-static", "-target", "aarch64-linux-musl")
    assert found.binutil("ar") == ("zig", "ar")


def test_without_any_compiler_the_commands_that_install_one_are_said(
    arm64: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compilers(tmp_path, monkeypatch)
    without_zig(monkeypatch)
    with pytest.raises(ToolError) as caught:
        find_toolchain(arm64)
    assert caught.value.code == ExitCode.TOOL_MISSING
    assert caught.value.diagnostics[0].help == (
        "install the cross toolchain, on Debian and Ubuntu: apt install gcc-aarch64-linux-gnu; "
        "or pip install 'dscompile[cross]' (zig, on any machine)"
    )


def test_a_compiler_for_another_machine_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compilers(tmp_path, monkeypatch, gcc="aarch64-linux-gnu")
    with pytest.raises(ToolError, match="the C compiler 'gcc' makes no code for target x86-avx2"):
        find_toolchain(find_target("x86-avx2"))


def test_a_compiler_that_does_not_say_its_machine_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tcc").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "tcc").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert find_toolchain(replace(find_target("x86-avx2"), compiler="tcc")).compiler == ("tcc",)


def test_zig_is_pips_or_one_on_the_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(toolchain.importlib.util, "find_spec", lambda name: object())
    assert toolchain.zig_command() == (sys.executable, "-m", "ziglang")
    monkeypatch.setattr(toolchain.importlib.util, "find_spec", lambda name: None)
    compilers(tmp_path, monkeypatch)
    assert toolchain.zig_command() is None
    compilers(tmp_path, monkeypatch, zig="")
    assert toolchain.zig_command() == (str(tmp_path / "zig"),)
