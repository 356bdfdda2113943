"""dscompile bench DIR..."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from dscompile import api
from dscompile.cli import output
from dscompile.cli.arguments import runner_option
from dscompile.cli.progress import shown_progress
from dscompile.cli.settings import command as subcommand
from dscompile.cli.settings import current_settings
from dscompile.errors import BudgetError, ExitCode
from dscompile.report import budgets, records, text
from dscompile.report.timing import BenchResult, CountResult, StepInstructions, TrafficResult
from dscompile.report.traffic import traffic_table

if TYPE_CHECKING:
    from dscompile.report.timing import StepTiming, Timing

_NO_GPU = "no GPU here, so nothing is timed; bytes of one inference, counted on the CPU"
_STEP_HEADER = ("layer", "kind", "MAC", "instructions", "per MAC")
_CYCLES_HEADER = ("cycles from", "to")
_CYCLES_NOTE = "cycles by the core's manual with memory that never waits, not measured"
_LAYER_HEADER = ("layer", "kind", "MAC", "of MAC", "us", "of time", "GMAC/s")
_COUNT_HEADER = ("what", "instructions", "per MAC", "stack B", "counted by")
_HEADER = ("what", "median us", "p95 us", "min us", "runs", "GMAC/s", "of peak", "ratio")


@subcommand("bench")
@click.argument("directories", nargs=-1, required=True, type=click.Path(), metavar="DIR...")
@click.option(
    "--against",
    multiple=True,
    metavar="DIR|onnxruntime|openvino|litert",
    help="Another artifact, or a runtime (with --model), measured in turns with DIR. Repeats.",
)
@click.option("--model", type=click.Path(), metavar="FILE", help="The .onnx or .tflite that the runtimes run.")
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="That share an inference.",
)
@click.option("--repeats", type=click.IntRange(min=1), help="Measured runs of each.  [default: a second's worth]")
@click.option("--layers", is_flag=True, help="Also the time of every layer, or its instructions in an emulator.")
@runner_option
def command(
    directories: tuple[str, ...],
    against: tuple[str, ...],
    model: str | None,
    threads: int,
    repeats: int | None,
    layers: bool,
    runner: str | None,
) -> ExitCode:
    """Measure the speed of artifacts, alone or beside other runtimes; count instructions on emulated devices.

    Artifacts for GPUs are timed on the GPU of this machine. Without one, the bytes that their kernels move are counted
    on the CPU, and nothing is timed.

    All take turns in one process, with the FMA peak of the core measured in between. Ratio is a contender's median over
    the artifact's: above 1, the artifact is faster. Exit code 4 if a median exceeds the latency budget that the
    network's file sets, 1 if files of an artifact were changed or are missing: then nothing is measured.
    """
    with shown_progress() as progress:
        results = api.bench(
            directories,
            against=against,
            model=model,
            threads=threads,
            repeats=repeats,
            layers=layers,
            runner=runner,
            seed=current_settings().seed,
            progress=progress,
        )
    output.result(_report(results, layers), records.bench_record(results))
    return _check_budgets(results)


def _check_budgets(results: Sequence[BenchResult | CountResult | TrafficResult]) -> ExitCode:
    code = ExitCode.OK
    for result in results:
        if not isinstance(result, BenchResult):
            if result.latency_budget_us is not None:
                output.note(f"{result.path}: the latency budget is not checked; an emulator keeps no time")
            continue
        try:
            budgets.check_latency(result)
        except BudgetError as error:
            output.failure(error)
            code = error.code
    return code


def _report(results: Sequence[BenchResult | CountResult | TrafficResult], layers: bool) -> str:
    timed = [result for result in results if isinstance(result, BenchResult)]
    counted = [result for result in results if isinstance(result, CountResult)]
    lines = []
    if timed:
        lines.append(text.table(_HEADER, [row for result in timed for row in _rows(result)], right=_HEADER[1:]))
        if timed[0].peak_gflops is not None:
            lines.append(f"FMA peak of a core, measured in between: {timed[0].peak_gflops:.1f} GFLOP/s")
    lines += [f"\n{result.path}\n{_layers(result, result.steps)}" for result in timed if result.steps is not None]
    if counted:
        lines.append(text.table(_COUNT_HEADER, [_count(result) for result in counted], right=_COUNT_HEADER[1:4]))
    for result in counted:
        if layers:
            lines.append(f"\n{result.path}\n{_counted_steps(result.steps)}")
    moved = [result for result in results if isinstance(result, TrafficResult)]
    lines += [f"{result.path}: {_NO_GPU}\n{traffic_table(result.traffic)}" for result in moved]
    return "\n".join(lines)


def _layers(result: BenchResult, steps: Sequence[StepTiming]) -> str:
    """A row for every step; the layers that one computes together stand below it, without times of their own."""
    whole_us = sum(step.median_us for step in steps) or 1.0
    rows = []
    for step in steps:
        speed = f"{step.macs / step.median_us / 1e3:.2f}" if step.macs and step.median_us else ""
        time = (f"{step.median_us:.1f}", text.percent(step.median_us / whole_us), speed)
        rows.append((step.name, step.kind, *_macs(result, step.macs), *time))
        rows += [(f"  {part.name}", "", *_macs(result, part.macs), "", "", "") for part in step.parts]
    return text.table(_LAYER_HEADER, rows, right=_LAYER_HEADER[2:])


def _macs(result: BenchResult, macs: int) -> tuple[str, str]:
    return (text.number(macs), text.percent(macs / result.macs)) if macs else ("", "")


def _count(result: CountResult) -> tuple[str, ...]:
    stack = "" if result.stack_bytes is None else text.number(result.stack_bytes)
    count = text.number(result.instructions)
    return (result.path, count, f"{result.instructions_per_mac:.3f}", stack, result.runner)


def _counted_steps(steps: Sequence[StepInstructions]) -> str:
    """A row for every step; below it what the manual of the core makes of the instructions, where that is known."""
    cycles = [
        (s.least_cycles, s.most_cycles) for s in steps if s.least_cycles is not None and s.most_cycles is not None
    ]
    if not cycles:
        return text.table(_STEP_HEADER, [_step(step) for step in steps], right=_STEP_HEADER[2:])
    rows = [
        (*_step(step), text.number(least), text.number(most)) for step, (least, most) in zip(steps, cycles, strict=True)
    ]
    least, most = (sum(column) for column in zip(*cycles, strict=True))
    header = (*_STEP_HEADER, *_CYCLES_HEADER)
    table = text.table(header, rows, right=header[2:])
    return f"{table}\n{_CYCLES_NOTE}: {text.number(least)} to {text.number(most)} in all"


def _step(step: StepInstructions) -> tuple[str, ...]:
    per_mac = "" if step.per_mac is None else f"{step.per_mac:.3f}"
    macs = text.number(step.macs) if step.macs else ""
    return (step.name, step.kind, macs, text.number(step.instructions), per_mac)


def _rows(result: BenchResult) -> Iterator[tuple[str, ...]]:
    share = result.peak_gflops_fraction
    of_peak = "" if share is None else text.percent(share)
    yield (result.path, *_numbers(result.timing), f"{result.gmac_per_second:.2f}", of_peak, "")
    for name, peer in result.peers.items():
        yield (f"  {name}", *_numbers(peer.timing), "", "", f"{peer.ratio:.2f}")


def _numbers(timing: Timing) -> tuple[str, str, str, str]:
    return (f"{timing.median_us:.1f}", f"{timing.p95_us:.1f}", f"{timing.min_us:.1f}", str(timing.repeats))
