"""The C toolchain: finding compilers and binutils, and running them so that a failure says what to do."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dscompile.board import ZigTools
from dscompile.errors import ToolError
from dscompile.target import Target

_SHOWN_LINES = 12


ZIG_ADVICE = "pip install 'dscompile[cross]' (zig, on any machine)"


@dataclass(frozen=True)
class Toolchain:
    """A C compiler with its flags for a target, and the binutils that belong to it.

    `static_flags` are used instead of `flags` for programs that need nothing of the machine they run on. `is_zig`: the
    compiler is `zig cc`, with the linker and the archiver of LLVM.
    """

    compiler: tuple[str, ...]
    flags: tuple[str, ...]
    static_flags: tuple[str, ...] = ("-static",)
    is_zig: bool = False

    def compile(self, arguments: Sequence[str], directory: Path, task: str) -> None:
        """Runs the compiler in `directory`. Raises ToolError, which says that `task` failed."""
        run_tool([*self.compiler, *self.flags, *arguments], directory, task)

    def link_static(self, arguments: Sequence[str], directory: Path, task: str) -> None:
        """Makes a static program in `directory`. Raises ToolError, which says that `task` failed."""
        run_tool([*self.compiler, *self.static_flags, *arguments], directory, task)

    def binutil(self, name: str) -> tuple[str, ...]:
        """How to call the `ar` or `objdump` that belongs to the compiler (it knows where its own are)."""
        if self.is_zig:
            return (*self.compiler[:-1], name)
        return (run_tool([*self.compiler, f"-print-prog-name={name}"], Path.cwd(), f"looking for {name}").strip(),)

    @property
    def version(self) -> str:
        """The first line of the compiler's --version."""
        text = run_tool([*self.compiler, "--version"], Path.cwd(), "asking the compiler for its version")
        return text.splitlines()[0].strip() if text.strip() else "unknown"


def find_toolchain(target: Target) -> Toolchain:
    """The first compiler of a target's chain that is installed and makes code for its family.

    Raises ToolError (exit 5) saying what to install if there is none.
    """
    found = installed_toolchain(target)
    if found is None:
        raise ToolError(missing_compiler(target), help=compiler_advice(target))
    return found


def installed_toolchain(target: Target) -> Toolchain | None:
    """As `find_toolchain`; None if there is none."""
    for command in _installed(target):
        if _makes_code_for(command, target):
            return Toolchain(command, target.compiler_flags, ("-static", *target.compiler_flags))
    zig = zig_command() if target.zig is not None else None
    return None if target.zig is None or zig is None else _zig_toolchain(zig, target.zig)


def missing_compiler(target: Target) -> str:
    """What is wrong where `installed_toolchain` finds nothing."""
    if tuple(shlex.split(target.compiler)) in _installed(target):
        return f"the C compiler '{target.compiler}' makes no code for target {target.name}"
    return f"the C compiler '{target.compiler}' of target {target.name} is not installed"


def compiler_advice(target: Target) -> str:
    """How to get a compiler for a target."""
    command = shlex.split(target.compiler)
    advice = install_advice(command[0] if command else "gcc")
    return advice if target.zig is None else f"{advice}; or {ZIG_ADVICE}"


def shared_from_static(name: str) -> tuple[str, ...]:
    """Arguments of a compiler that makes lib<name>.so of what no compiler has seen: lib<name>.a and <name>_parallel.c.

    All are in its directory, and so is the header.
    """
    threads = ("-std=c99", "-O2", "-fPIC", f"{name}_parallel.c")
    whole = ("-Wl,--whole-archive", f"lib{name}.a", "-Wl,--no-whole-archive")
    return ("-shared", f"-Wl,-soname,lib{name}.so", "-o", f"lib{name}.so", *threads, *whole, "-lm", "-lpthread")


def _installed(target: Target) -> list[tuple[str, ...]]:
    """The compilers of a target's chain that are there."""
    commands = [tuple(shlex.split(name)) for name in (target.compiler, *target.other_compilers)]
    return [command for command in commands if command and shutil.which(command[0]) is not None]


def zig_command() -> tuple[str, ...] | None:
    """How to call zig: pip's package, or one on the PATH; None if there is neither."""
    if importlib.util.find_spec("ziglang") is not None:
        return (sys.executable, "-m", "ziglang")
    found = shutil.which("zig")
    return None if found is None else (found,)


def _zig_toolchain(zig: tuple[str, ...], tools: ZigTools) -> Toolchain:
    def flags(triple: str) -> tuple[str, ...]:
        return ("-target", triple, f"-mcpu={tools.cpu}", "-fno-sanitize=all", "-g0")

    return Toolchain(
        (*zig, "cc"), flags(tools.triple), ("-static", *flags(tools.static_triple or tools.triple)), is_zig=True
    )


def _makes_code_for(command: tuple[str, ...], target: Target) -> bool:
    """Whether a compiler's own machine is of the target's family; True where neither can be known."""
    machines = {"x86": ("x86_64", "amd64"), "arm64": ("aarch64", "arm64")}.get(target.family)
    if machines is None:
        return True
    try:
        said = subprocess.run([*command, "-dumpmachine"], capture_output=True, text=True, errors="replace", check=False)
    except OSError:
        return True
    return said.returncode != 0 or said.stdout.strip().lower().startswith(machines)


def disassemble(code: bytes, symbol: str, target: Target) -> str:
    """The machine code of a function in an object file, as the toolchain's objdump shows it.

    Raises ToolError if there is none.
    """
    objdump = find_toolchain(target).binutil("objdump")
    style = ["-M", "intel"] if target.family == "x86" else []
    with tempfile.TemporaryDirectory(prefix="dscompile-") as scratch:
        Path(scratch, "kernel.o").write_bytes(code)
        options = [f"--disassemble={symbol}", "--no-show-raw-insn", "--reloc", *style]
        return run_tool([*objdump, *options, "kernel.o"], Path(scratch), "disassembling the kernel")


def run_tool(command: Sequence[str], directory: Path, task: str) -> str:
    """Runs a tool to its end and returns what it printed.

    Raises ToolError if it is missing, or with the first lines of its complaint if it fails.
    """
    return finish_tool(command, directory, task).stdout


def finish_tool(command: Sequence[str], directory: Path, task: str) -> subprocess.CompletedProcess[str]:
    """Runs a tool as `run_tool` does, for those that tell about their work where others complain."""
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
    return done


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
