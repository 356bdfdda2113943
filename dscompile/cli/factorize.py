"""dscompile factorize NET."""

from __future__ import annotations

import click

from dscompile import api
from dscompile.cli import output
from dscompile.cli.arguments import net_argument, netfile_output_option, weights_option
from dscompile.cli.completion import complete_target
from dscompile.cli.progress import shown_progress
from dscompile.cli.settings import command as subcommand
from dscompile.cli.settings import current_settings
from dscompile.report.factorization import factorize_record, factorize_text

_FACTORS = {"k": 10**3, "m": 10**6, "g": 10**9}


def _amount(_context: click.Context, _parameter: click.Parameter, value: str | None) -> int | None:
    """A count such as 8000000, 8M or 1.5G as a whole number."""
    if value is None:
        return None
    factor = _FACTORS.get(value[-1:].lower(), 1)
    try:
        number = float(value[:-1] if factor > 1 else value) * factor
    except ValueError:
        number = 0.0
    if not 1 <= number < 2**63:
        raise click.BadParameter(f"'{value}' is no amount such as 8000000, 8M or 1.5G")
    return round(number)


@subcommand("factorize")
@net_argument
@click.option(
    "--rank", type=click.IntRange(min=1), metavar="R", help="One rank for every layer that gets cheaper by it."
)
@click.option("--even-if-dearer", is_flag=True, help="With --rank, also for layers that do not.")
@click.option(
    "--max-error",
    type=click.FloatRange(0, min_open=True),
    metavar="E",
    help="Least cost with a relative change of the outputs of at most E.  [default: 0.1, if nothing else is given]",
)
@click.option(
    "--max-macs", callback=_amount, metavar="M", help="Least change with at most M MAC, such as 8M, in the network."
)
@click.option(
    "--max-cycles", callback=_amount, metavar="N", help="Least change with at most N cycles by the target's roofline."
)
@click.option(
    "-t",
    "--target",
    metavar="TARGET",
    shell_complete=complete_target,
    help="Show cycles by this target's roofline, and save those rather than MAC.",
)
@click.option(
    "--calibrate",
    type=click.Path(),
    metavar="DATA.NPZ",
    help="Typical inputs, for each an array [N, ...]: measure on them, and fit kernels to them.  [default: random]",
)
@click.option("--no-fit", is_flag=True, help="Leave kernels as the decomposition makes them.")
@netfile_output_option("<net>_factorized.yaml")
@weights_option
def command(
    net: str,
    rank: int | None,
    even_if_dearer: bool,
    max_error: float | None,
    max_macs: int | None,
    max_cycles: int | None,
    target: str | None,
    calibrate: str | None,
    no_fit: bool,
    destination: str | None,
    weights: str | None,
) -> None:
    """Turn standard convolutions into sums of separable ones.

    A layer of rank R becomes R depthwise filters for each input channel and a pointwise convolution, by singular
    values. Columns: discarded, the sum of the squared singular values left out; bound and error, the layer's own error
    relative to its sums, as bounded and as measured; at outputs, what it changes there.
    """
    with shown_progress() as progress:
        result = api.factorize(
            net,
            destination,
            rank=rank,
            max_error=max_error,
            max_macs=max_macs,
            max_cycles=max_cycles,
            even_if_dearer=even_if_dearer,
            target=target,
            calibrate=calibrate,
            fit=not no_fit,
            weights=weights,
            seed=current_settings().seed,
            progress=progress,
        )
    arguments = (str(result.path), result.factorized, result.target)
    output.result(factorize_text(*arguments), factorize_record(*arguments))
