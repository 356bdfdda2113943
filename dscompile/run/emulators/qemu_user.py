"""QEMU's user emulation of 64-bit Arm: a static program for Linux, run on this machine, every instruction counted."""

from __future__ import annotations

import shutil
import struct
import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dscompile.errors import ToolError
from dscompile.firmware.image import Image, read_image
from dscompile.run.emulators.a64 import Kind, is_vector_on_stack, kind_of
from dscompile.run.emulators.counting import helper_library, plugin_api

PROGRAM = "qemu-aarch64"
TIMEOUT_S = 1800.0
_RECORD = struct.Struct("=QQQ")  # of templates/run/qemu_blocks.c
_INSTRUCTION_BYTES = 4


@dataclass(frozen=True)
class InstructionCounts:
    """Executed instructions of one function, without those of functions that it calls.

    `multiply` are multiply-accumulates, of vectors or scalars. `spills` are the loads and stores among them that move
    whole vector registers to and from the stack.
    """

    multiply: int = 0
    load: int = 0
    store: int = 0
    other: int = 0
    spills: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.multiply + self.load + self.store + self.other


@dataclass(frozen=True)
class UserRun:
    """A program that ran to its end. `counts` has every function that was executed, by its symbol.

    `status` is what main() returned, or minus the number of the signal that ended it.
    """

    counts: Mapping[str, InstructionCounts]
    stdout: bytes
    stderr: bytes
    status: int

    @property
    def instructions(self) -> int:
        """Everything that was executed, start-up code and the C library included."""
        return sum(counts.total for counts in self.counts.values())


def run_counted(
    program: Path,
    arguments: Sequence[str] = (),
    *,
    cpu: str = "max",
    stdin: bytes = b"",
    timeout_s: float = TIMEOUT_S,
) -> UserRun:
    """Runs a program for 64-bit Arm Linux, linked with `-static` (and not as PIE), and counts what it executes.

    `cpu` is one of QEMU's names (`qemu-aarch64 -cpu help`); an instruction that it lacks ends the program with SIGILL.
    Raises ToolError if qemu-aarch64, pyelftools or a C compiler for this machine is missing, or QEMU refuses `cpu`.
    """
    require_qemu()
    image = read_image(program)
    plugin = helper_library("qemu_blocks", (f"-DPLUGIN_API={plugin_api(PROGRAM)}",))
    with tempfile.TemporaryDirectory(prefix="dscompile-") as scratch:
        blocks = Path(scratch) / "blocks"
        command = [PROGRAM, "-cpu", cpu, "-plugin", f"{plugin},blocks={blocks}", str(program), *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, check=False, timeout=timeout_s)
        content = blocks.read_bytes() if blocks.is_file() else b""
    if not content and done.returncode >= 0:
        message = done.stderr.decode("utf-8", "replace").strip()
        raise ToolError(f"{PROGRAM} -cpu {cpu} did not run {program.name}: {message}")
    return UserRun(_counts(image, content), done.stdout, done.stderr, done.returncode)


def require_qemu() -> None:
    """Raises ToolError (exit 5) saying what to install if qemu-aarch64 is missing."""
    if shutil.which(PROGRAM) is None:
        raise ToolError(f"{PROGRAM} is not installed", help="on Debian and Ubuntu: apt install qemu-user")


def _counts(image: Image, content: bytes) -> dict[str, InstructionCounts]:
    """Instructions by function, from the records of executed blocks."""
    kinds: Counter[tuple[str, Kind]] = Counter()
    spills: Counter[str] = Counter()
    for address, executions in _executed(content).items():
        symbol = image.code_symbol(address)
        name = f"0x{address:x}" if symbol is None else symbol.name
        word = image.word(address)
        kinds[name, kind_of(word)] += executions
        if is_vector_on_stack(word):
            spills[name] += executions
    return {
        name: InstructionCounts(
            multiply=kinds[name, "multiply"],
            load=kinds[name, "load"],
            store=kinds[name, "store"],
            other=kinds[name, "other"],
            spills=spills[name],
        )
        for name in sorted({name for name, _ in kinds})
    }


def _executed(content: bytes) -> Mapping[int, int]:
    """Address of an instruction -> how often it was executed."""
    executed: Counter[int] = Counter()
    for address, instructions, executions in _RECORD.iter_unpack(content):
        for index in range(instructions if executions else 0):
            executed[address + _INSTRUCTION_BYTES * index] += executions
    return executed
