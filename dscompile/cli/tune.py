"""dscompile tune NET."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from dscompile import api
from dscompile.cli import output
from dscompile.cli.arguments import net_argument, weights_option
from dscompile.cli.completion import complete_target
from dscompile.cli.progress import shown_progress
from dscompile.cli.settings import command as subcommand
from dscompile.cli.settings import current_settings
from dscompile.cli.tune_display import shown_tuning
from dscompile.report import text
from dscompile.tuner.report import outcome_record, outcome_report

if TYPE_CHECKING:
    from dscompile.api import TuneResult

_UNITS_S: Mapping[str, float] = {"s": 1.0, "m": 60.0, "h": 3600.0}


class _Duration(click.ParamType[float]):
    """A time such as 90s, 10m or 1.5h; a bare number is in seconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", str(value).strip())
        if match is None or float(match[1]) <= 0:
            self.fail(f"'{value}' is no time; write 90s, 10m or 1h", param, ctx)
        return float(match[1]) * _UNITS_S[match[2] or "s"]


class _Builders(click.ParamType["str | int"]):
    """A number of processes, or tcp://HOST:PORT."""

    name = "builders"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str | int:
        if isinstance(value, str) and re.fullmatch(r"(tcp|tls)://\S+", value):
            return value
        if isinstance(value, str) and value.isdecimal() and int(value) > 0:
            return int(value)
        self.fail(f"'{value}' is neither a number of processes nor the address of a Dask scheduler", param, ctx)


@subcommand("tune")
@net_argument
@click.option(
    "-t",
    "--target",
    default="host",
    show_default=True,
    metavar="TARGET",
    shell_complete=complete_target,
    help="What to tune for, one at a time.",
)
@click.option(
    "-o",
    "--output",
    "destination",
    type=click.Path(dir_okay=False),
    default="tuning.json",
    show_default=True,
    metavar="FILE",
    help="The records, written or extended.",
)
@click.option(
    "--trials",
    type=click.IntRange(min=1),
    default=api.DEFAULT_TRIALS,
    show_default=True,
    help="Candidates of each distinct layer, at most.",
)
@click.option("--budget", "budget_s", type=_Duration(), metavar="TIME", help="When to stop: 90s, 10m, 1h.")
@click.option("--farm", metavar="HOST:PORT", help="The tracker of a device farm; otherwise this machine measures.")
@click.option("--key", metavar="KEY", help="Which devices of the farm.")
@click.option(
    "--builders",
    type=_Builders(),
    metavar="N|tcp://HOST:PORT",
    help="Processes that compile candidates, or a Dask cluster.  [default: all cores but one]",
)
@click.option("--report", is_flag=True, help="Only show what earlier tuning found; measure nothing.")
@weights_option
def command(
    net: str,
    target: str,
    destination: str,
    trials: int,
    budget_s: float | None,
    farm: str | None,
    key: str | None,
    builders: str | int | None,
    report: bool,
    weights: str | None,
) -> None:
    """Find the fastest tiles of every layer by measuring, and write them down for 'build --tuning FILE'.

    What was measured is kept beside FILE: run the command again to go on, nothing is measured twice. Without a farm,
    targets that run here are timed here, and those of 64-bit Arm are tuned by executed instructions in QEMU.
    """
    if report:
        result = api.tune_report(net, target, destination, weights=weights)
        _show(result)
        return
    try:
        with shown_progress() as progress, shown_tuning() as observe:
            result = api.tune(
                net,
                target,
                destination,
                trials=trials,
                budget_s=budget_s,
                weights=weights,
                farm=farm,
                key=key,
                builders=builders,
                seed=current_settings().seed,
                progress=progress,
                observe=observe,
            )
    except KeyboardInterrupt:
        output.note(f"what was measured is kept in {destination} and beside it; the same command goes on from there")
        raise
    _show(result)
    if not current_settings().quiet:
        click.echo(
            f"{text.plural(result.measured, 'candidate')} measured in {result.elapsed_s:.0f} s, "
            f"devices busy {text.percent(result.busy_share)} of it",
            err=True,
        )


def _show(result: TuneResult) -> None:
    """The report, or with --json the record."""
    for remark in result.notes:
        output.note(remark)
    record = {
        "path": str(result.path),
        "journal": str(result.journal),
        "device": result.device,
        "measured": result.measured,
        "elapsed_s": result.elapsed_s,
        "busy_share": result.busy_share,
        **outcome_record(result.outcome),
    }
    output.result(f"{outcome_report(result.outcome, current_settings().verbose)}\nrecords: {result.path}", record)
