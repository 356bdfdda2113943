"""Cycles of the inner loops of compiled kernels, as llvm-mca estimates them from a model of the core.

What is estimated is one loop of a kernel: the innermost one that multiplies most per pass. llvm-mca simulates the
core's ports and latencies for a hundred passes of it, with every load in the L1 cache and every branch predicted.
Borders, other loops and caches are left out, so the figures are a limit to compare schedules by, and no time.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dscompile.errors import ToolError
from dscompile.plan.program import Program
from dscompile.report.progress import Event, Progress
from dscompile.target import Target
from dscompile.toolchain import find_toolchain, run_tool

_NEWEST, _OLDEST = 25, 17  # before LLVM 17 a Neoverse N1 was simulated as a Cortex-A57
_PASSES = 100
_FUNCTION = re.compile(r"^[0-9a-f]+ <([^>]+)>:$")
_INSTRUCTION = re.compile(r"^ *([0-9a-f]+):\t(.+)$")
_TARGET = re.compile(r"\b([0-9a-f]+) <[^>]*>")
_BRANCH = re.compile(r"^(j[a-z]+|b\.[a-z]+|b|cbn?z|tbn?z)\b")
_CALL = re.compile(r"^(call|bl|blr)\b")
_TRIPLES = {"x86": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}
_REGION = re.compile(r"Code Region - (\S+)\s+Iterations:\s+\d+\s+Instructions:\s+\d+\s+Total Cycles:\s+(\d+)")

# What an instruction multiplies and adds, by its text (Intel SDM vol. 2; Arm ARM, C7). AT&T syntax for x86.
_MULTIPLIES = (
    (re.compile(r"^vfn?m(add|sub)\w*ps .*%zmm"), 16),
    (re.compile(r"^vfn?m(add|sub)\w*ps .*%ymm"), 8),
    (re.compile(r"^vfn?m(add|sub)\w*ps .*%xmm"), 4),
    (re.compile(r"^vfn?m(add|sub)\w*ss "), 1),
    (re.compile(r"^vpdpbusds? .*%zmm"), 64),
    (re.compile(r"^vpdpbusds? .*%ymm"), 32),
    (re.compile(r"^vdpbf16ps .*%zmm"), 32),
    (re.compile(r"^fml[as] v\d+\.4s"), 4),
    (re.compile(r"^fml[as] v\d+\.2s"), 2),
    (re.compile(r"^fmadd s"), 1),
    (re.compile(r"^[su]dot v\d+\.4s"), 16),
    (re.compile(r"^[su]mmla v\d+\.4s"), 32),
    (re.compile(r"^bfmmla v\d+\.4s"), 16),
    (re.compile(r"^[su]mlal2? v\d+\.8h"), 8),
    (re.compile(r"^[su]mlal2? v\d+\.4s"), 4),
)


@dataclass(frozen=True)
class Loop:
    """The innermost loop of a kernel that multiplies most: its instructions, and multiply-accumulates in a pass."""

    body: tuple[str, ...]
    macs: int


@dataclass(frozen=True)
class LoopCycles:
    """A step and its inner loop: instructions, multiply-accumulates and cycles of one pass; `kernel` is its symbol."""

    step: str
    kernel: str
    instructions: int
    macs: int
    cycles: float

    @property
    def macs_per_cycle(self) -> float:
        """Multiply-accumulates in a cycle."""
        return self.macs / self.cycles


def estimate_cycles(program: Program, progress: Progress) -> tuple[LoopCycles, ...]:
    """The inner loop of every step of a program that has one with multiplications.

    Compiles all kernels. Raises ToolError if llvm-mca or the disassembler of the target is missing or fails.
    """
    command = (find_mca(), *mca_options(program.target))
    from dscompile.schedule.native import compile_functions  # imports tvm, which takes a second

    task = f"compiling {len(program.functions)} kernels"
    code = compile_functions(
        program.functions, program.target, lambda done, total, _symbol: progress(Event(task, done, total))
    )
    loops = inner_loops(_disassembly(code, program.target))
    cycles = _simulated(command, loops)
    rows = []
    for step in program.steps:
        kernels = [call.symbol for call in step.calls if call.symbol in loops]
        if kernels:
            kernel = max(kernels, key=lambda symbol: loops[symbol].macs)
            loop = loops[kernel]
            rows.append(LoopCycles(step.name, kernel, len(loop.body), loop.macs, cycles[kernel]))
    return tuple(rows)


def find_mca() -> str:
    """The llvm-mca to call. Raises ToolError (exit 5) if none is there that knows the cores."""
    for name in ("llvm-mca", *(f"llvm-mca-{version}" for version in range(_NEWEST, _OLDEST - 1, -1))):
        if shutil.which(name) is not None:
            version = re.search(r"LLVM version (\d+)", run_tool([name, "--version"], Path.cwd(), f"asking {name}"))
            if version is not None and int(version[1]) >= _OLDEST:
                return name
    raise ToolError(
        f"estimating cycles needs llvm-mca of LLVM {_OLDEST} or newer, which is not installed",
        help="on Debian and Ubuntu: apt install llvm-19",
    )


def mca_options(target: Target) -> tuple[str, ...]:
    """The machine and the core that llvm-mca simulates for a target."""
    attributes = (f"-mattr={','.join(target.attributes)}",) if target.attributes else ()
    return (f"-mtriple={_TRIPLES.get(target.family, target.family)}", f"-mcpu={simulated_core(target)}", *attributes)


def simulated_core(target: Target) -> str:
    """LLVM's name of the core whose model is used: the target's own unless its file names another."""
    return target.simulated or target.mcpu


def inner_loops(disassembly: str) -> Mapping[str, Loop]:
    """Function -> its innermost loop with most multiplications, for functions that have one. Takes objdump's text."""
    found = {}
    for symbol, instructions in _functions(disassembly):
        loops = [_loop(instructions, first, last) for first, last in _innermost(instructions)]
        best = max((loop for loop in loops if loop is not None), key=lambda loop: loop.macs, default=None)
        if best is not None and best.macs:
            found[symbol] = best
    return found


def _functions(disassembly: str) -> Iterator[tuple[str, list[tuple[int, str]]]]:
    """Symbol and instructions (address, text) of every function."""
    symbol, instructions = "", list[tuple[int, str]]()
    for line in disassembly.splitlines():
        if heading := _FUNCTION.match(line):
            yield symbol, instructions
            symbol, instructions = heading[1], []
        elif instruction := _INSTRUCTION.match(line):
            text = re.split(r"\s+(?:# |//)", instruction[2])[0]  # the comment
            instructions.append((int(instruction[1], 16), " ".join(text.split())))
    yield symbol, instructions


def _innermost(instructions: Sequence[tuple[int, str]]) -> Iterator[tuple[int, int]]:
    """Indices of the first and the last instruction of every loop that has none inside."""
    index = {address: number for number, (address, _) in enumerate(instructions)}
    loops = []
    for last, (address, text) in enumerate(instructions):
        goal = _TARGET.search(text) if _BRANCH.match(text) else None
        if goal is not None and int(goal[1], 16) <= address and int(goal[1], 16) in index:
            loops.append((index[int(goal[1], 16)], last))
    for first, last in loops:
        if not any(other != (first, last) and first <= other[0] and other[1] <= last for other in loops):
            yield first, last


def _loop(instructions: Sequence[tuple[int, str]], first: int, last: int) -> Loop | None:
    body = [text for _, text in instructions[first : last + 1]]
    if any(_CALL.match(text) for text in body):
        return None
    macs = sum(next((count for pattern, count in _MULTIPLIES if pattern.match(text)), 0) for text in body)
    return Loop(tuple(body), macs)


def _disassembly(code: bytes, target: Target) -> str:
    objdump = find_toolchain(target).binutil("objdump")
    with tempfile.TemporaryDirectory(prefix="dscompile-") as scratch:
        Path(scratch, "kernels.o").write_bytes(code)
        command = [*objdump, "--disassemble", "--no-show-raw-insn", "kernels.o"]
        return run_tool(command, Path(scratch), "disassembling the kernels")


def _simulated(command: Sequence[str], loops: Mapping[str, Loop]) -> Mapping[str, float]:
    """Cycles of one pass of every loop."""
    if not loops:
        return {}
    lines = []
    for number, (symbol, loop) in enumerate(loops.items()):
        label = f".Lloop{number}"
        lines += [f"# LLVM-MCA-BEGIN {symbol}", f"{label}:"]
        lines += [_TARGET.sub(label, text) for text in loop.body]
        lines.append("# LLVM-MCA-END")
    with tempfile.TemporaryDirectory(prefix="dscompile-") as scratch:
        Path(scratch, "loops.s").write_text("\n".join(lines) + "\n")
        options = [f"-iterations={_PASSES}", "-all-views=false", "-summary-view", "loops.s"]
        said = run_tool([*command, *options], Path(scratch), "simulating the inner loops")
    cycles = {symbol: int(total) / _PASSES for symbol, total in _REGION.findall(said)}
    if set(cycles) != set(loops):
        raise ToolError(f"{command[0]} did not say how many cycles {', '.join(set(loops) - set(cycles))} takes")
    return cycles
