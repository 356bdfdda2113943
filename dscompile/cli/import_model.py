"""dscompile import MODEL."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dscompile import api
from dscompile.cli import output
from dscompile.cli.arguments import input_shape_option, rounding_option
from dscompile.cli.describe import tensor_fields
from dscompile.cli.settings import command as subcommand
from dscompile.report import records, text

if TYPE_CHECKING:
    from dscompile.ir.tensor import Rounding


@subcommand("import")
@click.argument("model", type=click.Path())
@click.option(
    "-o",
    "--output",
    "destination",
    type=click.Path(),
    metavar="NET.YAML",
    help="The net.yaml to write; its weights go beside it.  [default: <model>.yaml]",
)
@rounding_option
@input_shape_option
def command(
    model: str, destination: str | None, rounding: Rounding | None, input_shapes: dict[str, tuple[int, ...]]
) -> None:
    """Turn an .onnx, .tflite, .pt2, .keras or .h5 MODEL into a net.yaml and its weights.

    The network keeps the model's input and output names, order and layout.
    """
    imported = api.import_model(model, destination, rounding=rounding, input_shapes=input_shapes)
    for remark in imported.notes:
        output.note(remark)
    fields = [("wrote", str(imported.path)), *tensor_fields(imported.network)]
    output.result(
        text.fields(fields, indent=""),
        records.import_record(str(imported.path), imported.network, imported.notes),
    )
