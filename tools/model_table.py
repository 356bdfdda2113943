"""Writes docs/models.md: every real model, built for three targets and compared with its own runtime.

    python tools/model_table.py [--models DIR] [-o FILE.md] [-t TARGET]... [NAME ...]

NAMEs choose files; without any, all .tflite and .onnx files below the directory are taken ($DSCOMPILE_MODELS, or
../shared/models beside the checkout). Each is imported, built for each target, run (in an emulator where this machine
is another one), and compared with LiteRT's reference kernels (int8), LiteRT or onnxruntime on the same inputs. A model
that cannot be built is listed with all reasons. The exit code is 1 if any output differs by more than verify allows.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import dscompile
from dscompile.api.models import Model
from dscompile.ir.network import Array, Network
from dscompile.report.peers import open_peer, reference_for
from dscompile.report.text import number
from dscompile.report.vectors import seeded_inputs

ROOT = Path(__file__).resolve().parents[1]
TARGETS = ("x86", "c99", "arm64")
TOLERANCE = 1e-4
STEPS = 12  # of a network with state
OPEN_SHAPES = {
    "ch_ppocr_mobile_v2.0_cls_mobile.onnx": {"x": (1, 3, 48, 192)},
    "ch_PP-OCRv4_det_infer.onnx": {"x": (1, 3, 480, 640)},
}
"""What files with open sizes are built for: the pictures that they are trained on."""


@dataclass(frozen=True)
class Row:
    """A line of the table. `results` are its cells by target, `reasons` why the file cannot be built at all."""

    name: str
    network: Network | None
    macs: int
    parameters: int
    results: Mapping[str, str]
    reasons: tuple[str, ...]
    ok: bool


def main(arguments: Sequence[str]) -> int:
    """Makes the table."""
    options = _options(arguments)
    folder: Path = options.models
    files = sorted((*folder.rglob("*.tflite"), *folder.rglob("*.onnx")), key=lambda path: (path.suffix, str(path)))
    chosen = [path for path in files if not options.names or path.name in options.names]
    unknown = set(options.names) - {path.name for path in files}
    if unknown or not chosen:
        print(f"error: {folder} has no {', '.join(sorted(unknown)) or 'models'}", file=sys.stderr)
        return 2
    rows = []
    for path in chosen:
        print(f"{path.name} ...", file=sys.stderr, flush=True)
        rows.append(_row(path, str(path.relative_to(folder)), options.targets))
        print("  " + _line(rows[-1], options.targets), file=sys.stderr, flush=True)
    text = page(rows, options.targets)
    output = options.output or (None if options.names else ROOT / "docs" / "models.md")
    if output is None:
        print(text)
    else:
        output.write_text(text, encoding="utf-8")
    return 0 if all(row.ok for row in rows) else 1


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    beside = os.environ.get("DSCOMPILE_MODELS") or ROOT.parent / "shared" / "models"
    parser.add_argument("names", nargs="*", metavar="NAME", help="file names; without -o their table goes to stdout")
    parser.add_argument("--models", type=Path, default=Path(beside), help="where the models lie")
    help = f"repeats; default: {', '.join(TARGETS)}"
    parser.add_argument("-t", "--target", dest="targets", action="append", help=help)
    parser.add_argument("-o", "--output", type=Path, help="default: docs/models.md")
    options = parser.parse_args(arguments)
    options.targets = options.targets or list(TARGETS)
    return options


def _row(path: Path, name: str, targets: Sequence[str]) -> Row:
    shapes = OPEN_SHAPES.get(path.name)
    try:
        checked = dscompile.check(path, input_shapes=shapes)
    except dscompile.DscompileError as error:
        reasons = tuple(dict.fromkeys(found.message for found in error.diagnostics))
        return Row(name, None, 0, 0, {}, reasons, ok=False)
    network, inspection = checked.inspection.network, checked.inspection
    results, ok = {}, True
    for target in targets:
        with tempfile.TemporaryDirectory(prefix="dscompile-table-") as scratch:
            try:
                model = dscompile.build(path, target, Path(scratch) / "artifact", input_shapes=shapes)
                assert isinstance(model, Model)
                results[target], passed = compared(model, path, network)
                ok &= passed
            except dscompile.DscompileError as error:
                results[target], ok = f"refused: {error.diagnostics[0].message}", False
            finally:
                shutil.rmtree(Path(scratch) / "artifact", ignore_errors=True)
    return Row(name, network, inspection.macs, inspection.parameters, results, (), ok)


def compared(model: Model, path: Path, network: Network) -> tuple[str, bool]:
    """The largest error beside the file's own runtime, in words, and whether that is little enough."""
    manifest = model.artifact.manifest
    peer = open_peer(reference_for(path, manifest.rounding), path)
    stream, worst, different = model.stream(), 0.0, 0
    count = STEPS if network.states else (1 if model.is_emulated else 3)
    for seed in range(count):
        inputs = seeded_inputs(manifest.inputs, seed)
        got, want = stream.run(inputs), peer.run(list(inputs.values()))
        for tensor, reference in zip(manifest.outputs, want, strict=True):
            result: Array = got[tensor.name]
            if result.dtype != np.float32:
                different += int((result != reference).sum())
                continue
            scale = max(float(np.abs(reference).max()), 1e-30)
            error = float(np.abs(result.astype(np.float64) - reference.astype(np.float64)).max()) / scale
            worst = error if not error <= worst else worst  # a NaN is the worst
    if manifest.rounding is not None and all(tensor.dtype != "float32" for tensor in manifest.outputs):
        return ("exact", True) if not different else (f"**{different} differ**", False)
    passed = worst <= TOLERANCE and not different
    return (f"{worst:.1e}" if passed else f"**{worst:.1e}**"), passed


def page(rows: Sequence[Row], targets: Sequence[str]) -> str:
    """The page as Markdown."""
    built = sum(1 for row in rows if row.ok)
    lines = [
        "# Real models",
        "",
        "Files of the model collection, each imported, built for every target, run, and compared with its own runtime",
        "on the same bytes (LiteRT's reference kernels for int8 .tflite files, LiteRT for float ones, onnxruntime for",
        ".onnx). Numbers are the largest difference of any output, relative to its largest magnitude; *exact* means",
        "that no byte differs. Random inputs: three, one in an emulator, and twelve frames of networks with state.",
        f"{built} of {len(rows)} pass. Made by `python tools/model_table.py`; do not edit.",
        "",
        f"| file | type | MMAC | parameters | {' | '.join(targets)} |",
        f"|---|---|---|---|{'---|' * len(targets)}",
        *(_line(row, targets) for row in rows),
    ]
    refused = [row for row in rows if row.reasons]
    if refused:
        lines += ["", "## Why files are refused", ""]
        for row in refused:
            lines += [f"- `{row.name}`", *(f"    - {reason}" for reason in row.reasons)]
    return "\n".join(lines) + "\n"


def _line(row: Row, targets: Sequence[str]) -> str:
    if row.network is None:
        return f"| {row.name} | | | | {' | '.join('refused' for _ in targets)} |"
    kind = "int8" if row.network.is_quantized else "float32"
    if row.network.states:
        kind += ", state"
    cells = " | ".join(row.results.get(target, "") for target in targets)
    return f"| {row.name} | {kind} | {row.macs / 1e6:.2f} | {number(row.parameters)} | {cells} |"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
