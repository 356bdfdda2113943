"""What the target's compiler makes of standalone C: bytes of code and weights, bytes of stack."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from dscompile.emit.elf import loaded_bytes
from dscompile.firmware.toolchains import find_cross_toolchain
from dscompile.target import Target
from dscompile.toolchain import find_toolchain, run_tool

FLAGS = ("-std=c99", "-O2", "-ffreestanding", "-ffunction-sections", "-fdata-sections")


@dataclass(frozen=True)
class Measured:
    """Bytes in flash of `<net>.c` and of `<net>_weights.c`, and of stack below a call of run (0: not known)."""

    code_bytes: int
    weights_bytes: int
    stack_bytes: int


@dataclass(frozen=True)
class Compiler:
    """The command that compiles for a target, its version, and whether it is GCC, which tells stack use."""

    command: tuple[str, ...]
    version: str
    is_gcc: bool


def target_compiler(target: Target) -> Compiler:
    """The compiler of a target: a cross compiler for microcontrollers. Raises ToolError if it is missing."""
    if target.board is not None:
        cross = find_cross_toolchain(target)
        return Compiler((*cross.command, *cross.flags), cross.version, cross.kind == "gcc")
    host = find_toolchain(target)
    return Compiler((*host.compiler, *host.flags), host.version, "clang" not in host.version)


def measure(compiler: Compiler, directory: Path, prefix: str) -> Measured:
    """Compiles the sources in `directory`. Raises ToolError if the compiler fails."""
    stack = ["-fstack-usage"] if compiler.is_gcc else []
    with tempfile.TemporaryDirectory(prefix="dscompile-") as scratch:
        objects = []
        for stem in (prefix, f"{prefix}_weights"):
            source = directory.resolve() / f"{stem}.c"
            command = [*compiler.command, *FLAGS, *stack, "-c", str(source), "-o", f"{stem}.o"]
            run_tool(command, Path(scratch), f"compiling {stem}.c")
            objects.append((Path(scratch) / f"{stem}.o").read_bytes())
        usage = (Path(scratch) / f"{prefix}.su").read_text(encoding="utf-8") if stack else ""
    return Measured(loaded_bytes(objects[0]), loaded_bytes(objects[1]), stack_bytes(usage, prefix))


def stack_bytes(usage: str, prefix: str) -> int:
    """An upper bound from GCC's .su file: run, a step, a kernel, and the two deepest of all other functions.

    Calls nest no deeper than that: a kernel calls a part of itself, which calls a helper, which calls inlined ones.
    """
    levels = {"run": 0, "step": 0, "kernel": 0}
    others: list[int] = []
    for function, size in re.findall(r":(\w+)\t(\d+)\t", usage):
        used = int(size)
        if function.startswith(f"{prefix}_run"):
            levels["run"] = max(levels["run"], used)
        elif function.startswith("step_"):
            levels["step"] = max(levels["step"], used)
        elif re.fullmatch(rf"{prefix}_\w+_\d+", function) and "_multiply_" not in function and "_taps_" not in function:
            levels["kernel"] = max(levels["kernel"], used)
        else:
            others.append(used)
    return sum(levels.values()) + sum(sorted(others)[-2:])
