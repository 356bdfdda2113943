"""tools/install_emulators.sh, with programs of our own on its PATH."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = (
    "arm-none-eabi-gcc",
    "riscv64-unknown-elf-gcc",
    "aarch64-linux-gnu-gcc",
    "qemu-system-arm",
    "qemu-system-riscv32",
    "qemu-system-riscv64",
    "qemu-aarch64",
    "cmake",
    "g++",
    "clang",
    "cppcheck",
    "chromium",
    "llvm-mca-19",
)
COMMAND = (
    "apt-get install -y --no-install-recommends gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm "
    "gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf qemu-system-misc gcc-aarch64-linux-gnu "
    "libc6-dev-arm64-cross qemu-user cmake g++ clang libclang-rt-dev cppcheck llvm-19 chromium"
)


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A PATH with what the script itself needs; nobody is root."""
    for name in ("bash", "paste", "touch"):
        found = shutil.which(name)
        assert found is not None
        (tmp_path / name).symlink_to(found)
    put(tmp_path, "id", "echo 1000")
    return tmp_path


def put(directory: Path, name: str, body: str = "exit 0") -> None:
    path = directory / name
    path.write_text(f"#!{shutil.which('bash')}\n{body}\n")
    path.chmod(0o755)


def run(programs: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(programs / "bash"), str(ROOT / "tools" / "install_emulators.sh")],
        env={"PATH": str(programs), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_nothing_is_done_where_everything_is_there(programs: Path):
    for tool in TOOLS:
        put(programs, tool)
    done = run(programs, DSCOMPILE_REQUIRE_TOOLS="1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_without_root_the_command_is_said(programs: Path):
    put(programs, "arm-none-eabi-gcc")
    done = run(programs)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == (
        "not installed: riscv64-unknown-elf-gcc aarch64-linux-gnu-gcc qemu-system-arm qemu-system-riscv32 "
        "qemu-system-riscv64 qemu-aarch64 cmake g++ clang cppcheck chromium "
        "libclang-rt llvm-mca-19\n"
        f"  = help: on Debian and Ubuntu: sudo {COMMAND}\n"
    )


def test_where_tools_are_required_a_missing_one_is_an_error(programs: Path):
    done = run(programs, DSCOMPILE_REQUIRE_TOOLS="1")
    assert done.returncode == 1
    assert "not installed: arm-none-eabi-gcc" in done.stderr


def test_root_installs_what_is_missing(programs: Path):
    put(programs, "id", "echo 0")
    for tool in TOOLS:
        put(programs, tool)
    (programs / TOOLS[0]).unlink()
    (programs / "chmod").symlink_to(str(shutil.which("chmod")))
    put(
        programs,
        "apt-get",
        f'echo "$*" >> {programs}/log; touch {programs}/{TOOLS[0]}; chmod +x {programs}/{TOOLS[0]}',
    )
    done = run(programs, DSCOMPILE_REQUIRE_TOOLS="1")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"installing what is missing (arm-none-eabi-gcc): {COMMAND}\n"
    assert (programs / "log").read_text().splitlines() == ["update -qq", COMMAND.removeprefix("apt-get ") + " -qq"]


def test_a_clang_without_sanitizers_is_not_enough(programs: Path):
    for tool in TOOLS:
        put(programs, tool)
    put(programs, "clang", '[[ " $* " != *" -fsanitize=address,undefined "* ]]')
    done = run(programs, DSCOMPILE_REQUIRE_TOOLS="1")
    assert done.returncode == 1
    assert done.stderr == f"not installed: libclang-rt\n  = help: on Debian and Ubuntu: sudo {COMMAND}\n"


@pytest.mark.parametrize(
    ("program", "says", "is_enough"),
    [
        ("llvm-mca-21", "", True),
        ("llvm-mca", "Debian LLVM version 17.0.6", True),
        ("llvm-mca", "Debian LLVM version 14.0.6", False),
        ("llvm-mca-16", "Debian LLVM version 16.0.6", False),
    ],
)
def test_any_llvm_mca_with_models_of_the_cores_is_enough(programs: Path, program: str, says: str, is_enough: bool):
    for tool in TOOLS[:-1]:
        put(programs, tool)
    put(programs, program, f"echo '{says}'")
    done = run(programs, DSCOMPILE_REQUIRE_TOOLS="1")
    assert (done.returncode == 0) == is_enough
    assert ("not installed: llvm-mca-19\n" in done.stderr) != is_enough


def test_a_failing_apt_get_is_reported(programs: Path):
    put(programs, "id", "echo 0")
    put(programs, "apt-get", "exit 100")
    done = run(programs)
    assert done.returncode == 0
    assert done.stderr.startswith("warning: apt-get failed\nnot installed: arm-none-eabi-gcc")
    assert run(programs, DSCOMPILE_REQUIRE_TOOLS="1").returncode == 1
