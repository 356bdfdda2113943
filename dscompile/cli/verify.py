"""dscompile verify DIR."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dscompile import api
from dscompile.cli import output
from dscompile.cli.arguments import artifact_argument, runner_option
from dscompile.cli.progress import shown_progress
from dscompile.cli.settings import command as subcommand
from dscompile.cli.settings import current_settings
from dscompile.errors import ExitCode
from dscompile.report import records, text
from dscompile.report.traffic import traffic_table

if TYPE_CHECKING:
    from dscompile.report.comparison import Check, Verification


@subcommand("verify")
@artifact_argument
@click.option(
    "--against",
    type=click.Path(),
    metavar="MODEL",
    help="The .onnx or .tflite it came from: compare with onnxruntime or LiteRT too, on other inputs.",
)
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Share each inference.")
@runner_option
def command(directory: str, against: str | None, threads: int, runner: str | None) -> ExitCode:
    """Run an artifact and compare it with the NumPy oracle; exit code 1 if they differ.

    Before that, its files: exit code 1 and the names of all that were changed, are missing or were added.
    The oracle's outputs for a few inputs were stored by the build. selftest.c is compiled, linked with the library and
    run as its user would. Of a library with variants, all that can run are compared. Artifacts for other machines run
    in an emulator, or with --runner on a machine of their kind. Artifacts for GPUs run on the GPU of this machine;
    without one on its CPU, where one inference is repeated with every access to memory checked and counted.
    """
    with shown_progress() as progress:
        verification = api.verify(
            directory, against, threads=threads, runner=runner, seed=current_settings().seed, progress=progress
        )
    output.result(_report(verification), records.verify_record(verification))
    return ExitCode.OK if verification.ok else ExitCode.CHECK_FAILED


def _report(verification: Verification) -> str:
    header = ("compared with", "inputs", "elements", "mismatches", "max error", "relative", "")
    rows = [_row(check) for check in verification.checks]
    lines = [
        f"{verification.path}: {'ok' if verification.ok else 'WRONG'}",
        text.table(header, rows, right=header[1:6]),
    ]
    lines += [f"{check.against}: {check.detail}" for check in verification.checks if not check.ok]
    if verification.precision != "float32":
        lines.append(text.precision(verification.precision))
    if verification.traffic:
        lines.append(f"bytes of one inference, counted by {verification.runner}")
        lines.append(traffic_table(verification.traffic))
    if verification.instructions is not None:
        count = text.number(verification.instructions)
        lines.append(f"{count} instructions per inference, counted by {verification.runner}")
    return "\n".join(lines)


def _row(check: Check) -> tuple[str, ...]:
    verdict = "ok" if check.ok else "WRONG"
    if not check.elements:
        return (check.against, str(check.inputs), "", "", "", "", verdict)
    return (
        check.against,
        str(check.inputs),
        text.number(check.elements),
        text.number(check.mismatches),
        f"{check.max_abs_error:.1e}",
        f"{check.max_rel_error:.1e}",
        verdict,
    )
