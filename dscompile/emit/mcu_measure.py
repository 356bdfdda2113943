"""What the target's compiler makes of standalone C: bytes of code and weights, bytes of stack."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from dscompile.data import data_directory
from dscompile.emit.elf import loaded_bytes
from dscompile.emit.naked_frames import naked_frames
from dscompile.firmware.stack import stack_bound
from dscompile.firmware.toolchains import find_cross_toolchain
from dscompile.target import Target
from dscompile.toolchain import find_toolchain, run_tool

FLAGS = ("-std=c99", "-O2", "-ffreestanding", "-ffunction-sections", "-fdata-sections")
# More than here, of a frame, where the compiler may know memcpy: seen with gcc 12 for RV64GCV, 192 B in place of 160.
HOSTED_FRAME_BYTES = 32
RUNTIME_FRAME_BYTES = 64  # at most, of memcpy and of the compiler's own 64-bit and float arithmetic


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
        declared = data_directory("templates") / "firmware" / "include"  # string.h, where there is no C library
        return Compiler((*cross.command, *cross.flags, "-idirafter", str(declared)), cross.version, cross.kind == "gcc")
    host = find_toolchain(target)
    return Compiler((*host.compiler, *host.flags), host.version, "clang" not in host.version)


def measure(compiler: Compiler, directory: Path, prefix: str) -> Measured:
    """Compiles the sources in `directory`. Raises ToolError if the compiler fails."""
    stack = 0
    with tempfile.TemporaryDirectory(prefix="dscompile-") as scratch:
        objects = []
        for stem in (prefix, f"{prefix}_weights"):
            source = directory.resolve() / f"{stem}.c"
            graph = ["-fcallgraph-info=su", f"-fopt-info-ipa-optimized={stem}.merged"] if compiler.is_gcc else []
            command = [*compiler.command, *FLAGS, *graph, "-c", str(source), "-o", f"{stem}.o"]
            run_tool(command, Path(scratch), f"compiling {stem}.c")
            objects.append((Path(scratch) / f"{stem}.o").read_bytes())
        if compiler.is_gcc:
            calls, merged = (Path(scratch) / f"{prefix}.{suffix}" for suffix in ("ci", "merged"))
            naked = naked_frames((directory / f"{prefix}.c").read_text(encoding="utf-8"))
            bound = stack_bound([calls], f"{prefix}_run", [merged], naked)
            stack = bound.bytes + HOSTED_FRAME_BYTES + (RUNTIME_FRAME_BYTES if bound.gaps else 0)
    return Measured(loaded_bytes(objects[0]), loaded_bytes(objects[1]), stack)
