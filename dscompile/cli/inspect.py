"""dscompile inspect NET."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dscompile import api
from dscompile.cli import output
from dscompile.cli.arguments import net_argument, target_option, weights_option
from dscompile.cli.describe import network_fields
from dscompile.cli.settings import command as subcommand
from dscompile.report import records, text

if TYPE_CHECKING:
    from dscompile.report.inspection import ArenaMap, Inspection, LayerRow


@subcommand("inspect")
@net_argument
@target_option
@weights_option
def command(net: str, target: str | None, weights: str | None) -> None:
    """Show what every layer of a network is and costs.

    Columns: bytes a layer must read and write; FLOP/B, its arithmetic intensity; standard MAC, the cost of the standard
    convolution that a depthwise layer and its pointwise one replace. With a target also share, the layer's part of the
    network's roofline time, and bound, what limits it there. Never imports tvm.
    """
    inspection = api.inspect(net, target, weights=weights)
    parts = [text.fields(network_fields(inspection), indent=""), _layers(inspection), _comparison(inspection)]
    if inspection.arena is not None and inspection.target is not None:
        parts.append(_arena(inspection.arena, inspection.target.name))
    output.result("\n\n".join(parts), records.inspection_record(inspection))


def _layers(inspection: Inspection) -> str:
    header = ["layer", "kind", "input", "output", "MAC", "parameters", "bytes", "FLOP/B", "standard MAC"]
    if inspection.target is not None:
        header += ["share", "bound"]
    left = ("layer", "kind", "bound")
    rows = [_row(layer) for layer in inspection.layers]
    return text.table(header, rows, right=[name for name in header if name not in left])


def _row(layer: LayerRow) -> list[str]:
    row = [
        layer.name,
        layer.kind,
        text.shape(layer.input),
        text.shape(layer.output),
        text.number(layer.macs),
        text.number(layer.parameters),
        text.number(layer.size_bytes),
        f"{layer.flops_per_byte:.1f}",
        text.number(layer.standard_macs),
    ]
    if layer.share is not None and layer.limit is not None:
        row += [text.percent(layer.share), layer.limit]
    return row


def _comparison(inspection: Inspection) -> str:
    """Sums beside those of the same network with standard convolutions."""
    rows = [
        ("this network", text.number(inspection.macs), text.number(inspection.parameters)),
        (
            "with standard convolutions",
            text.number(inspection.standard_macs),
            text.number(inspection.standard_parameters),
        ),
        (
            "ratio",
            _ratio(inspection.standard_macs, inspection.macs),
            _ratio(inspection.standard_parameters, inspection.parameters),
        ),
    ]
    return text.table(("", "MAC", "parameters"), rows, right=("MAC", "parameters"))


def _ratio(standard: int, actual: int) -> str:
    return f"{standard / actual:.1f}x" if actual else "-"


def _arena(arena: ArenaMap, target: str) -> str:
    head = (
        f"arena on {target}: {text.size(arena.size_bytes)}, "
        f"no plan takes less than {text.size(arena.lower_bound_bytes)}; most is alive at {arena.peak_step}"
    )
    rows = [
        (
            buffer.name,
            text.number(buffer.offset_bytes),
            text.number(buffer.size_bytes),
            f"{buffer.first}..{buffer.last}",
        )
        for buffer in arena.buffers
    ]
    return f"{head}\n{text.table(('buffer', 'offset', 'bytes', 'steps'), rows, right=('offset', 'bytes', 'steps'))}"
