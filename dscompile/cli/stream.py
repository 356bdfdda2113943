"""dscompile stream NET."""

from __future__ import annotations

import click

from dscompile import api
from dscompile.cli import output
from dscompile.cli.arguments import input_shape_option, net_argument, netfile_output_option, weights_option
from dscompile.cli.settings import command as subcommand
from dscompile.report.sliding import stream_record, stream_text


@subcommand("stream")
@net_argument
@netfile_output_option("<net>_stream.yaml")
@click.option(
    "--step",
    type=click.IntRange(min=1),
    metavar="FRAMES",
    help="New frames of a step.  [default: as many as strides over time make necessary]",
)
@click.option(
    "--axis",
    type=click.IntRange(min=0),
    metavar="N",
    help="The axis of the input along which frames follow each other, the batch being 0.  "
    "[default: the first one longer than 1, channels last]",
)
@weights_option
@input_shape_option
def command(
    net: str,
    destination: str | None,
    step: int | None,
    axis: int | None,
    weights: str | None,
    input_shapes: dict[str, tuple[int, ...]],
) -> None:
    """Turn a network over a window of frames into one that takes new frames alone.

    What layers still need of the frames before is kept as state. After every step the results are those of the network
    on the window of the last frames, of int8 networks bit for bit. Layers must not pad time.
    """
    result = api.stream(net, destination, step=step, axis=axis, weights=weights, input_shapes=input_shapes)
    path = str(result.path)
    output.result(stream_text(path, result.slid), stream_record(path, result.slid))
