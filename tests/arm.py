"""Networks and kernels for 64-bit Arm: built, run under qemu-aarch64, their instructions and machine code."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dscompile.api.reference import oracle_outputs
from dscompile.emit.native import write_artifact
from dscompile.emit.selftest import selftest_input
from dscompile.ir.network import Network
from dscompile.ir.tensor import Precision
from dscompile.run.emulators.qemu_user import InstructionCounts, run_counted
from dscompile.target import Target
from dscompile.toolchain import find_toolchain, run_tool
from tests.native import planned

SELFTEST_RUNS = 2  # the self-test calls a network twice


@dataclass(frozen=True)
class NetworkRun:
    """A network that passed its self-test, or not; `counts` are of one inference, by function of the library."""

    passed: bool
    message: str
    macs: int
    counts: Mapping[str, InstructionCounts]

    @property
    def instructions_per_mac(self) -> float:
        return sum(counts.total for counts in self.counts.values()) / SELFTEST_RUNS / self.macs

    @property
    def spills_per_mac(self) -> float:
        return sum(counts.spills for counts in self.counts.values()) / SELFTEST_RUNS / self.macs


def run_network(
    network: Network, target: Target, cpus: tuple[str, ...] = ("max",), precision: Precision = "float32"
) -> NetworkRun:
    """Builds a network and runs its self-test, which compares one inference with the oracle, on every one of `cpus`."""
    from dscompile.schedule.native import compile_functions

    program = planned(network, target, precision)
    inputs = selftest_input(network)
    kernels = compile_functions(program.functions, target)
    with tempfile.TemporaryDirectory(prefix="dscompile-") as scratch:
        expected = oracle_outputs(network, inputs)
        artifact = write_artifact(program, kernels, inputs, expected, Path(scratch) / "artifact", origin="test")
        name = artifact.manifest.c_name
        command = ["-std=c99", "-O1", "-static", "selftest.c", f"lib{name}.a", "-lm", "-o", "selftest"]
        find_toolchain(target).compile(command, artifact.directory, "linking the self-test")
        runs = [run_counted(artifact.directory / "selftest", cpu=cpu) for cpu in cpus]
    own = {symbol: counts for symbol, counts in runs[0].counts.items() if symbol.startswith(f"{name}_")}
    message = "".join((run.stdout + run.stderr).decode() for run in runs)
    return NetworkRun(all(run.status == 0 for run in runs), message, program.macs, own)


@dataclass(frozen=True)
class StackMoves:
    """Of an innermost loop: instructions, and how many of them read or write the stack."""

    kernel: str
    moves: int
    instructions: int


def stack_moves(network: Network, target: Target, precision: Precision = "float32") -> list[StackMoves]:
    """Every innermost loop of a network's kernels that reads or writes the stack, in the order of the kernels.

    Kernels are compiled together, as a build does.
    """
    from dscompile.schedule.native import compile_functions

    functions = planned(network, target, precision).functions
    objdump = find_toolchain(target).binutil("objdump")
    with tempfile.TemporaryDirectory(prefix="dscompile-") as scratch:
        Path(scratch, "kernels.o").write_bytes(compile_functions(functions, target))
        text = run_tool([*objdump, "-d", "--no-show-raw-insn", "kernels.o"], Path(scratch), "disassembling the kernels")
    parts = re.split(r"^[0-9a-f]+ <(.+)>:$", text, flags=re.MULTILINE)
    listings = dict(zip(parts[1::2], parts[2::2], strict=True))
    kinds = {function.symbol: function.kernel.kind for function in functions}
    loops = [(kind, loop) for symbol, kind in kinds.items() for loop in innermost_loops(listings[symbol])]
    found = [StackMoves(kind, sum("[sp" in text for text in loop), len(loop)) for kind, loop in loops]
    return [loop for loop in found if loop.moves]


def innermost_loops(disassembly: str) -> list[list[str]]:
    """The instructions of every loop that has no other loop in it."""
    lines = [(int(m[1], 16), m[2]) for m in re.finditer(r"^\s*([0-9a-f]+):\t(.*)$", disassembly, re.MULTILINE)]
    spans = []
    for address, text in lines:
        jump = re.match(r"(?:b\.\w+|b|cbn?z\s+\w+,|tbn?z\s+\w+, #\d+,)\s+([0-9a-f]+) <", text)
        if jump and int(jump[1], 16) <= address:
            spans.append((int(jump[1], 16), address))
    inner = [s for s in spans if not any(s != o and s[0] <= o[0] and o[1] <= s[1] for o in spans)]
    return [[text for address, text in lines if first <= address <= last] for first, last in inner]


def vectors_on_stack(loop: list[str]) -> list[str]:
    """Instructions that move whole vector registers to or from the stack."""
    return [text for text in loop if re.match(r"(ld|st)[pu]?r?\s+q\d+,.*\[sp", text)]
