"""The C toolchain: finding compilers and binutils, and running them so that a failure says what to do."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dscompile.errors import ToolError
from dscompile.target import Target

_SHOWN_LINES = 12


@dataclass(frozen=True)
class Toolchain:
    """A C compiler with its flags for a target, and the binutils that belong to it."""

    compiler: tuple[str, ...]
    flags: tuple[str, ...]

    def compile(self, arguments: Sequence[str], directory: Path, task: str) -> None:
        """Runs the compiler in `directory`. Raises ToolError, which says that `task` failed."""
        run_tool([*self.compiler, *self.flags, *arguments], directory, task)

    def binutil(self, name: str) -> str:
        """The `ar` or `objcopy` that belongs to the compiler (it knows where its own are)."""
        return run_tool([*self.compiler, f"-print-prog-name={name}"], Path.cwd(), f"looking for {name}").strip()

    @property
    def version(self) -> str:
        """The first line of the compiler's --version."""
        text = run_tool([*self.compiler, "--version"], Path.cwd(), "asking the compiler for its version")
        return text.splitlines()[0].strip() if text.strip() else "unknown"


def find_toolchain(target: Target) -> Toolchain:
    """The toolchain of a target. Raises ToolError (exit 5) saying what to install if its compiler is missing."""
    command = tuple(shlex.split(target.compiler))
    if not command or shutil.which(command[0]) is None:
        raise ToolError(
            f"the C compiler '{target.compiler}' of target {target.name} is not installed",
            help=install_advice(command[0] if command else "gcc"),
        )
    return Toolchain(command, target.compiler_flags)


def disassemble(code: bytes, symbol: str, target: Target) -> str:
    """The machine code of a function in an object file, as the toolchain's objdump shows it.

    Raises ToolError if there is none.
    """
    objdump = find_toolchain(target).binutil("objdump")
    style = ["-M", "intel"] if target.family == "x86" else []
    with tempfile.TemporaryDirectory(prefix="dscompile-") as scratch:
        Path(scratch, "kernel.o").write_bytes(code)
        options = [f"--disassemble={symbol}", "--no-show-raw-insn", "--reloc", *style]
        return run_tool([objdump, *options, "kernel.o"], Path(scratch), "disassembling the kernel")


def run_tool(command: Sequence[str], directory: Path, task: str) -> str:
    """Runs a tool to its end and returns what it printed.

    Raises ToolError if it is missing, or with the first lines of its complaint if it fails.
    """
    try:
        done = subprocess.run(
            list(command),
            cwd=directory,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except FileNotFoundError as error:
        raise ToolError(
            f"{task} needs '{command[0]}', which is not installed", help=install_advice(command[0])
        ) from error
    except OSError as error:
        raise ToolError(f"{task} failed: cannot run '{command[0]}': {error.strerror}") from error
    if done.returncode:
        raise ToolError(f"{task} failed: {_ending(command[0], done.returncode)}{_complaint(done)}")
    return done.stdout


def install_advice(tool: str) -> str:
    """What to install to get a compiler or one of its binutils."""
    name = Path(tool).name
    cross = re.fullmatch(r"(.+)-(gcc|ar|objcopy|ld)", name)
    if cross:
        return f"install the cross toolchain, on Debian and Ubuntu: apt install gcc-{cross[1].replace('_', '-')}"
    package = {"gcc": "gcc", "cc": "gcc", "ar": "binutils", "objcopy": "binutils", "ld": "binutils"}.get(name, name)
    return (
        f"install it (on Debian and Ubuntu: apt install {package}), or name another under 'toolchain' in a target file"
    )


def _ending(tool: str, code: int) -> str:
    name = Path(tool).name
    return f"{name} was ended by signal {-code}" if code < 0 else f"{name} ended with code {code}"


def _complaint(done: subprocess.CompletedProcess[str]) -> str:
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
    shown = lines[:_SHOWN_LINES]
    if len(lines) > len(shown):
        shown.append(f"... and {len(lines) - len(shown)} more lines")
    return "".join(f"\n    {line}" for line in shown)
