"""dscompile targets list | show."""

from __future__ import annotations

import click

from dscompile import api
from dscompile.board import Board
from dscompile.cli import output
from dscompile.cli.completion import complete_target
from dscompile.cli.settings import command as subcommand
from dscompile.cli.settings import group as command_group
from dscompile.gpu import Gpu
from dscompile.report import records, text
from dscompile.target import Target, runs_here


@command_group("targets")
def command() -> None:
    """The machines that artifacts can be built for.

    A target is a name from this list or a path to a target file of your own (docs/targets.md).
    """


@command.add_command
@subcommand("list")
def list_command() -> None:
    """List all targets."""
    targets = api.targets_list()
    rows = [(target.name, _vector(target), _here(target), target.description) for target in targets]
    output.result(text.table(("target", "vector", "runs here", "what"), rows), records.targets_record(targets))


@command.add_command
@subcommand("show")
@click.argument("name", shell_complete=complete_target)
def show_command(name: str) -> None:
    """Show what is known about the target NAME."""
    target = api.targets_show(name)
    output.result(_details(target), records.target_record(target))


def _vector(target: Target) -> str:
    return f"{target.lanes} floats" if target.registers else ""


def _here(target: Target) -> str:
    if target.variants:
        best = api.targets_best(target.name)
        return f"as {best.name}" if best else "no"
    return "yes" if runs_here(target) else "no"


def _details(target: Target) -> str:
    pairs = [("description", target.description), ("runs here", _here(target))]
    if target.variants:
        when = {"build": "when it is built", "run": "when it runs, in one library"}[target.choice]
        pairs += [("variants", ", ".join(target.variants)), ("chosen", when)]
        return f"{target.name}\n{text.fields(pairs)}"
    if target.board is not None:
        return f"{target.name}\n{text.fields(pairs + _board(target, target.board))}"
    if target.gpu is not None:
        return f"{target.name}\n{text.fields(pairs + _gpu(target, target.gpu))}"
    caches = target.caches
    levels = (("L1d", caches.l1d_bytes), ("L2", caches.l2_bytes), ("L3", caches.l3_bytes))
    pairs += [
        ("family", target.family),
        ("LLVM core", target.mcpu),
        ("features", " ".join(sorted(target.features))),
        ("vector", f"{target.vector_bytes} B, {target.lanes} floats, {target.registers} registers"),
        ("FMA", f"{target.fma_per_cycle} per cycle, latency {target.fma_latency} cycles"),
        ("caches", ", ".join(f"{name} {text.short_size(size)}" for name, size in levels if size)),
        ("compiler", _compilers(target)),
        ("emulator", f"{target.emulator.program} -cpu {target.emulator.cpu}" if target.emulator else "none"),
        ("alignment", f"arena {target.arena_alignment} B"),
    ]
    return f"{target.name}\n{text.fields(pairs)}"


def _compilers(target: Target) -> str:
    flags = " ".join(target.compiler_flags)
    chain = [f"{name} {flags}".strip() for name in (target.compiler, *target.other_compilers)]
    if target.zig is not None:
        chain.append(f"zig cc -target {target.zig.triple} -mcpu={target.zig.cpu}")
    return " or ".join(chain)


def _board(target: Target, board: Board) -> list[tuple[str, str]]:
    """What there is to know about a microcontroller."""
    compilers = [
        f"{board.gcc.prefix}gcc {' '.join(board.gcc.flags)}" if board.gcc else "",
        f"zig cc -target {board.zig.triple} -mcpu={board.zig.cpu}" if board.zig else "",
    ]
    emulators = [
        f"{board.qemu.program} -M {board.qemu.machine}" if board.qemu else "",
        f"unicorn {board.unicorn.model}" if board.unicorn else "",
    ]
    memories = [
        f"{m.name} {text.short_size(m.size_bytes)} at 0x{m.origin:08x}"
        + (f" ({text.plural(m.wait_states, 'wait state')})" if m.wait_states else "")
        for m in board.memories
    ]
    return [
        ("family", target.family),
        ("features", " ".join(sorted(target.features)) or "none"),
        ("float unit", board.float_unit),
        ("kernels", ", then ".join(target.kernels)),
        ("memories", ", ".join(memories)),
        *([] if board.clock_hz is None else [("clock", f"{board.clock_hz / 1e6:g} MHz")]),
        ("compilers", " or ".join(filter(None, compilers))),
        ("emulators", " or ".join(filter(None, emulators)) or "none"),
        ("alignment", f"arena {target.arena_alignment} B"),
    ]


def _gpu(target: Target, gpu: Gpu) -> list[tuple[str, str]]:
    """What there is to know about a GPU: what one multiprocessor holds, then the rates of the reference device."""
    shared = gpu.shared_per_multiprocessor_bytes, gpu.shared_per_block_bytes, gpu.shared_reserved_bytes
    clock = f"{gpu.clock_hz / 1e6:.0f} MHz"
    return [
        ("family", target.family),
        ("architecture", ", ".join(gpu.archs)),
        ("threads", f"{gpu.threads_per_multiprocessor} per multiprocessor, {gpu.threads_per_block} per block"),
        ("blocks", f"{gpu.blocks_per_multiprocessor} per multiprocessor"),
        ("registers", f"{gpu.registers_per_multiprocessor} per multiprocessor, {gpu.registers_per_thread} per thread"),
        ("shared", "{} per multiprocessor, {} per block and {} reserved".format(*map(text.short_size, shared))),
        ("device", f"{gpu.device}, {gpu.multiprocessors} multiprocessors"),
        ("FMA", f"{gpu.fma_per_clock} per multiprocessor and clock, {clock}, {gpu.peak_flops / 1e12:.1f} Tflop/s"),
        (
            "tensor FMA",
            f"{gpu.tensor_fma_per_clock} of halves, {gpu.tensor_peak_flops / 1e12:.0f} Tflop/s",
        ),
        ("memory", f"{gpu.dram_bytes_per_s / 1e9:.0f} GB/s, L2 {text.short_size(gpu.l2_bytes)}"),
        ("compiler", _compilers(target)),
        ("alignment", f"arena {target.arena_alignment} B"),
    ]
