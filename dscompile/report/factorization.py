"""What `dscompile factorize` found, as JSON and as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dscompile.report import text
from dscompile.report.record import Record

if TYPE_CHECKING:
    from dscompile.factorization.pipeline import Factorized, LayerReport


def factorize_record(path: str, found: Factorized, target: str | None) -> Record:
    """`factorize --json`. Cycles are null without a target, the bound where no slope of a layer is known."""
    return {
        "path": path,
        "name": found.network.name,
        "target": target,
        "macs": {"before": found.macs_before, "after": found.macs_after},
        "parameters": {"before": found.parameters_before, "after": found.parameters_after},
        "fitted": found.fitted,
        "layers": [_layer_record(layer, priced=target is not None) for layer in found.layers],
        "outputs": {
            "samples": found.change.samples,
            "error": found.change.error,
            "max_error": found.change.max_error,
            "top1": found.change.top1,
            "layers_sum": found.sum_at_outputs,
            "bound": found.bound,
            "unbounded_layer": found.unbounded,
        },
    }


def _layer_record(layer: LayerReport, *, priced: bool) -> Record:
    return {
        "name": layer.name,
        "kernel": list(layer.kernel),
        "in_channels": layer.in_channels,
        "out_channels": layer.out_channels,
        "full_rank": layer.full_rank,
        "cheaper_up_to": layer.cheaper_up_to,
        "rank": layer.rank,
        "discarded": layer.discarded,
        "discarded_share": layer.discarded_share,
        "macs": {"before": layer.macs_before, "after": layer.macs_after},
        "cycles": {"before": layer.price_before, "after": layer.price_after} if priced else None,
        "bound": layer.bound,
        "measured": layer.measured,
        "at_outputs": layer.at_outputs,
    }


def factorize_text(path: str, found: Factorized, target: str | None) -> str:
    """A table of layers, and what became of the network and its outputs."""
    change = found.change
    before, after = found.macs_before, found.macs_after
    head = [
        ("wrote", path),
        ("network", f"{text.number(before)} -> {text.number(after)} MAC, {text.percent(after / before)}"),
        ("parameters", f"{text.number(found.parameters_before)} -> {text.number(found.parameters_after)}"),
        ("kernels", "fitted to the samples" if found.fitted else "as decomposed"),
    ]
    bound = f"{found.bound:.3g}" if found.bound is not None else f"none: no slope of layer {found.unbounded} is known"
    outputs = [
        ("samples", text.number(change.samples)),
        ("change", f"{change.error:.3g} of the outputs, at most {change.max_error:.3g}"),
        ("top-1", f"{text.percent(change.top1)} the same" if change.top1 is not None else "-"),
        ("layers' sum", f"{found.sum_at_outputs:.3g}"),
        ("bound", bound),
    ]
    table = _table(found.layers, target)
    return "\n\n".join((text.fields(head, indent=""), table, "outputs\n" + text.fields(outputs)))


def _table(layers: Sequence[LayerReport], target: str | None) -> str:
    header = ["layer", "kernel", "rank", "of", "discarded", "share", "MAC", "of before"]
    header += ["cycles", "of before "] if target is not None else []
    header += ["bound", "error", "at outputs"]
    return text.table(header, [_row(layer, target) for layer in layers], right=header[2:])


def _row(layer: LayerReport, target: str | None) -> list[str]:
    kernel = text.shape((*layer.kernel, layer.in_channels, layer.out_channels))
    kept = layer.rank is None
    cells = [layer.name, kernel, "kept" if kept else str(layer.rank), str(layer.full_rank)]
    cells += ["", ""] if kept else [f"{layer.discarded:.4g}", text.percent(layer.discarded_share)]
    cells += [text.number(layer.macs_after), text.percent(layer.macs_after / layer.macs_before)]
    if target is not None:
        cells += [text.number(round(layer.price_after)), text.percent(layer.price_after / layer.price_before)]
    errors = (layer.bound, layer.measured, layer.at_outputs)
    return cells + (["", "", ""] if kept else [f"{error:.3g}" for error in errors])
