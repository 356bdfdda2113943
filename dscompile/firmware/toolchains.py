"""Compilers for microcontrollers: a GNU cross toolchain where there is one, otherwise `zig cc`, which pip installs."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dscompile.board import Board
from dscompile.errors import ToolError, UsageError
from dscompile.target import Target
from dscompile.toolchain import ZIG_ADVICE, run_tool, zig_command

Kind = Literal["gcc", "zig"]

_DEBIAN_PACKAGES = {
    "arm-none-eabi-": "gcc-arm-none-eabi",
    "riscv64-unknown-elf-": "gcc-riscv64-unknown-elf",
}


@dataclass(frozen=True)
class CrossToolchain:
    """A compiler for bare metal with the flags of a core.

    `runtime` ends the command of a link that needs the compiler's own library (divisions, floats), `no_runtime` of one
    that does not.
    """

    kind: Kind
    command: tuple[str, ...]
    flags: tuple[str, ...]
    runtime: tuple[str, ...]
    no_runtime: tuple[str, ...]

    def run(self, arguments: Sequence[str], directory: Path, task: str) -> None:
        """Runs the compiler in `directory`. Raises ToolError, which says that `task` failed."""
        run_tool([*self.command, *self.flags, *arguments], directory, task)

    @property
    def version(self) -> str:
        """The first line of the compiler's --version."""
        return run_tool([*self.command, "--version"], Path.cwd(), "asking the compiler for its version").splitlines()[0]


def require_board(target: Target) -> Board:
    """The board of a microcontroller target. Raises UsageError for any other target."""
    if target.board is None:
        raise UsageError(
            f"target {target.name} is no microcontroller: its target file has no 'memories'",
            help="name one of the targets that 'dscompile targets list' shows with a core of Arm or RISC-V",
        )
    return target.board


def find_cross_toolchain(target: Target, kind: Kind | None = None) -> CrossToolchain:
    """The toolchain for a microcontroller: gcc if it is installed, otherwise zig; or the one that `kind` asks for.

    Raises UsageError if the target is no microcontroller, ToolError (exit 5) with the commands that install one.
    """
    board = require_board(target)
    candidates: list[CrossToolchain | None] = []
    if kind in (None, "gcc"):
        candidates.append(_gcc(board))
    if kind in (None, "zig"):
        candidates.append(_zig(board))
    for toolchain in candidates:
        if toolchain is not None:
            return toolchain
    raise ToolError(f"no C compiler for {target.name} is installed{_which(kind)}", help=_advice(board, kind))


def host_compilers() -> tuple[tuple[str, ...], ...]:
    """How to call every C compiler for this machine: gcc, clang and zig, as far as they are there."""
    named = tuple((name,) for name in ("gcc", "clang") if shutil.which(name) is not None)
    other = (("cc",),) if not named and shutil.which("cc") is not None else ()
    zig = zig_command()
    return (*named, *other, *(((*zig, "cc"),) if zig is not None else ()))


def host_compiler() -> tuple[str, ...]:
    """A C compiler for this machine, for the helpers of the emulators. Raises ToolError if there is none."""
    for command in host_compilers():
        return command
    raise ToolError(
        "counting instructions needs a C compiler for this machine, and none is installed",
        help=f"{ZIG_ADVICE}, or apt install gcc libc6-dev (Debian and Ubuntu)",
    )


def _gcc(board: Board) -> CrossToolchain | None:
    if board.gcc is None or shutil.which(f"{board.gcc.prefix}gcc") is None:
        return None
    return CrossToolchain(
        "gcc", (f"{board.gcc.prefix}gcc",), board.gcc.flags, ("-nodefaultlibs", "-lgcc"), ("-nodefaultlibs",)
    )


def _zig(board: Board) -> CrossToolchain | None:
    command = zig_command()
    if board.zig is None or command is None:
        return None
    # zig assumes -ffreestanding here, which would make every memcpy of four bytes a call.
    flags: tuple[str, ...] = ("-target", board.zig.triple, f"-mcpu={board.zig.cpu}", "-fhosted", "-fno-sanitize=all")
    if board.zig.triple.startswith("riscv64"):
        flags = (*flags, "-mcmodel=medany")  # the other model ends 2 GiB from address 0, where QEMU's memory begins
    return CrossToolchain("zig", (*command, "cc"), flags, (), ("-nostdlib",))


def _which(kind: Kind | None) -> str:
    return "" if kind is None else f" ({kind} was asked for)"


def _advice(board: Board, kind: Kind | None) -> str:
    ways = []
    if board.zig is not None and kind in (None, "zig"):
        ways.append(ZIG_ADVICE)
    if board.gcc is not None and kind in (None, "gcc"):
        package = _DEBIAN_PACKAGES.get(board.gcc.prefix)
        ways.append(f"apt install {package} (Debian and Ubuntu)" if package else f"install {board.gcc.prefix}gcc")
    return ", or ".join(ways) or "name one under 'toolchain' in the target file"
