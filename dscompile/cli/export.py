"""dscompile export NET."""

from __future__ import annotations

import click

from dscompile import api
from dscompile.cli import output
from dscompile.cli.arguments import net_argument, weights_option
from dscompile.cli.settings import command as subcommand
from dscompile.report import text


@subcommand("export")
@net_argument
@click.option(
    "-o",
    "--output",
    "destination",
    type=click.Path(),
    metavar="FILE",
    help="An .onnx file, or .json: the same model as text, for Netron.  [default: <net>.onnx]",
)
@weights_option
def command(net: str, destination: str | None, weights: str | None) -> None:
    """Write a network as an ONNX model; an int8 one in QDQ format.

    Its opset is 17. Inputs and outputs keep their names, types and order.
    """
    result = api.export(net, destination, weights=weights)
    path, layers = str(result.path), len(result.network.layers)
    shown = text.fields(
        [("wrote", path), ("network", f"{result.network.name}, {text.plural(layers, 'layer')}")], indent=""
    )
    output.result(shown, {"path": path, "name": result.network.name, "layers": layers})
