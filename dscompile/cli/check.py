"""dscompile check NET."""

from __future__ import annotations

from dscompile import api
from dscompile.cli import output
from dscompile.cli.arguments import input_shape_option, net_argument, weights_option
from dscompile.cli.describe import network_fields
from dscompile.cli.settings import command as subcommand
from dscompile.report import records, text


@subcommand("check")
@net_argument
@weights_option
@input_shape_option
def command(net: str, weights: str | None, input_shapes: dict[str, tuple[int, ...]]) -> None:
    """Check a network: schema, shapes, weights, and budgets as far as no build is needed.

    Everything that is wrong is reported in one run. Never imports tvm.
    """
    checked = api.check(net, weights=weights, input_shapes=input_shapes)
    for remark in checked.notes:
        output.note(remark)
    output.result(
        f"{checked.path}: ok\n{text.fields(network_fields(checked.inspection))}",
        records.check_record(str(checked.path), checked.inspection, checked.notes),
    )
