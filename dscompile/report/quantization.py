"""What `dscompile quantize` found, as JSON and as text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dscompile.report import text
from dscompile.report.record import Record

if TYPE_CHECKING:
    from dscompile.ir.storage import Storage
    from dscompile.quantization.measure import Agreement, LayerReport
    from dscompile.quantization.pipeline import Quantized, Step


def quantize_record(path: str, quantized: Quantized) -> Record:
    """`quantize --json`. Signal to noise of something that lost nothing is null."""
    network, settings = quantized.network, quantized.settings
    storage = {layer.name: layer.storage for layer in network.layers}
    return {
        "path": path,
        "name": network.name,
        "method": settings.method,
        "keep": settings.keep if settings.method == "percentile" else None,
        "rounding": settings.rounding,
        "weight_rounding": settings.weight_rounding,
        "weight_type": settings.weight_type,
        "sparsity": settings.sparsity,
        "calibration_samples": quantized.calibration_samples,
        "steps": [
            {"name": step.name, "before_db": step.before_db, "after_db": step.after_db, "kept": step.kept}
            for step in quantized.steps
        ],
        "layers": [
            {
                "name": layer.name,
                "kind": layer.kind,
                "low": layer.low,
                "high": layer.high,
                "scale": layer.scale,
                "zero_point": layer.zero_point,
                "sqnr_db": layer.sqnr_db,
                "kernel_sqnr_db": layer.kernel_sqnr_db,
                "clipped": layer.clipped,
                "storage": storage[layer.name],
            }
            for layer in quantized.layers
        ],
        "agreement": _agreement_record(quantized.agreement),
        "against": _agreement_record(quantized.against) if quantized.against is not None else None,
    }


def _agreement_record(agreement: Agreement) -> Record:
    return {
        "samples": agreement.samples,
        "top1": agreement.top1,
        "max_error": agreement.max_error,
        "cosine": agreement.cosine,
        "sqnr_db": agreement.sqnr_db,
    }


def quantize_text(path: str, quantized: Quantized) -> str:
    """Tables of layers, of improvements, and of the outputs' agreement with float32."""
    settings = quantized.settings
    how = f"percentile, {settings.keep:g} of the values" if settings.method == "percentile" else settings.method
    head = [
        ("wrote", path),
        ("ranges", f"{how}; {text.plural(quantized.calibration_samples, 'calibration sample')}"),
        ("rounding", settings.rounding),
    ]
    parts = [text.fields(head, indent=""), _layers(quantized)]
    if quantized.steps:
        parts.append(_steps(quantized.steps))
    parts.append(_agreements(quantized))
    return "\n\n".join(parts)


def _layers(quantized: Quantized) -> str:
    """A column for the storage of weights only where some layer has another than a byte each."""
    storage = {layer.name: layer.storage for layer in quantized.network.layers}
    packed = any(each != "plain" for each in storage.values())
    header = ("layer", "kind", "low", "high", "SQNR dB", "kernel dB", "clipped", *(("weights",) if packed else ()))
    rows = [
        (
            layer.name,
            layer.kind,
            f"{layer.low:.4g}",
            f"{layer.high:.4g}",
            decibels(layer.sqnr_db),
            decibels(layer.kernel_sqnr_db) if layer.kernel_sqnr_db is not None else "",
            f"{100 * layer.clipped:.3f} %",
            *((_weight_type(layer, storage[layer.name]),) if packed else ()),
        )
        for layer in quantized.layers
    ]
    return text.table(header, rows, right=header[2:])


def _weight_type(layer: LayerReport, storage: Storage) -> str:
    if layer.kernel_sqnr_db is None:
        return ""
    return "int8" if storage == "plain" else storage


def _steps(steps: Sequence[Step]) -> str:
    header = ("tried", "outputs before", "after", "")
    rows = [
        (
            step.name,
            f"{decibels(step.before_db)} dB",
            f"{decibels(step.after_db)} dB",
            "kept" if step.kept else "left out",
        )
        for step in steps
    ]
    return text.table(header, rows, right=header[1:3])


def _agreements(quantized: Quantized) -> str:
    header = ("outputs beside float32", "samples", "top-1", "max error", "cosine", "SQNR dB")
    named = [("calibration data", quantized.agreement)]
    if quantized.against is not None:
        named.append(("other data", quantized.against))
    rows = [
        (
            name,
            text.number(found.samples),
            text.percent(found.top1) if found.top1 is not None else "-",
            f"{found.max_error:.4g}",
            f"{found.cosine:.6f}",
            decibels(found.sqnr_db),
        )
        for name, found in named
    ]
    return text.table(header, rows, right=header[1:])


def decibels(value: float) -> str:
    """31.25 -> "31.2"; "exact" where nothing is lost."""
    if math.isinf(value):
        return "exact" if value > 0 else "-inf"
    return f"{value:.1f}"
