"""Writes docs/models.md: every real model, built for three targets and compared with its own runtime.

    python -m tools.model_table [--models DIR] [-o FILE.md] [-t TARGET]... [NAME ...]

NAMEs choose files; without any, all .tflite and .onnx files below the directory are taken ($DSCOMPILE_MODELS, or
../shared/models beside the checkout). Of a page that is there already (-o), NAMEs' rows are made anew and the others
are kept, so that a file at a time can be done. Each is imported, built for each target, run (in an emulator where this
machine is another one), and compared with LiteRT's reference kernels (int8), LiteRT or onnxruntime on the same inputs.
A model that cannot be built is listed with all reasons. The exit code is 1 if any output differs by more than verify
allows.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

import dscompile
from dscompile.api.models import Model
from dscompile.api.reference import oracle_outputs
from dscompile.ir.network import Array, Network
from dscompile.report.peers import open_peer, reference_for
from dscompile.report.text import number
from dscompile.report.vectors import seeded_inputs
from tools import tables
from tools.tables import Row

ROOT = Path(__file__).resolve().parents[1]
TARGETS = ("x86", "c99", "arm64")
TOLERANCE = 1e-4
ROUNDING = 1e-3  # what rounding can make of float32 outputs; more is another function
STEPS = 12  # of a network with state
OPEN_SHAPES = {
    "ch_ppocr_mobile_v2.0_cls_mobile.onnx": {"x": (1, 3, 48, 192)},
    "ch_PP-OCRv4_det_infer.onnx": {"x": (1, 3, 480, 640)},
}
"""What files with open sizes are built for: the pictures that they are trained on."""


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
    output = options.output or (None if options.names else ROOT / "docs" / "models.md")
    rows: dict[str, Row] | None = {}
    if options.names and output is not None and output.exists():
        rows = rows_of(output.read_text(encoding="utf-8"), options.targets)
        if rows is None:
            print(f"error: {output} has no table for {', '.join(options.targets)}", file=sys.stderr)
            return 2
    for path in chosen:
        print(f"{path.name} ...", file=sys.stderr, flush=True)
        row = _row(path, str(path.relative_to(folder)), options.targets)
        rows[row.name] = row
        print(f"  {row.line}", file=sys.stderr, flush=True)
    names = [str(path.relative_to(folder)) for path in files]
    text = page([rows[name] for name in names if name in rows], options.targets)
    if output is None:
        print(text)
    else:
        output.write_text(text, encoding="utf-8")
    return 0 if all(row.ok for row in rows.values()) else 1


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
        return Row(name, ("", "", "", *("refused" for _ in targets)), reasons)
    network, inspection = checked.inspection.network, checked.inspection
    results = []
    for target in targets:
        with tempfile.TemporaryDirectory(prefix="dscompile-table-") as scratch:
            try:
                model = dscompile.build(path, target, Path(scratch) / "artifact", input_shapes=shapes)
                assert isinstance(model, Model)
                results.append(compared(model, path, network))
            except dscompile.DscompileError as error:
                results.append(f"refused: {error.diagnostics[0].message}")
            finally:
                shutil.rmtree(Path(scratch) / "artifact", ignore_errors=True)
    kind = ("int8" if network.is_quantized else "float32") + (", state" if network.states else "")
    return Row(name, (kind, f"{inspection.macs / 1e6:.2f}", number(inspection.parameters), *results))


def compared(model: Model, path: Path, network: Network) -> str:
    """The largest error beside the file's own runtime, in words, and in bold if that is too much.

    Where floats are further apart than verify allows, the oracle, which sums in float64, is asked which of the two is
    off: its distance from ours must be allowed then, and that from the runtime so small that it can be rounding.
    """
    manifest = model.artifact.manifest
    peer = open_peer(reference_for(path, manifest.rounding), path)
    floats = [tensor.name for tensor in manifest.outputs if tensor.dtype == "float32"]
    stream = model.stream()
    feeds = [seeded_inputs(manifest.inputs, seed) for seed in range(_runs(model, network))]
    ours = [stream.run(inputs) for inputs in feeds]
    names = [tensor.name for tensor in manifest.outputs]
    theirs = [dict(zip(names, peer.run(list(inputs.values())), strict=True)) for inputs in feeds]
    different = sum(
        int((got[name] != want[name]).sum())
        for got, want in zip(ours, theirs, strict=True)
        for name in names
        if name not in floats
    )
    if not floats and manifest.rounding is not None:
        return f"**{different} differ**" if different else "exact"
    worst = largest_error(ours, theirs, floats)
    if worst <= TOLERANCE and not different:
        return f"{worst:.1e}"
    if not (different or network.states):
        right = [oracle_outputs(network, inputs) for inputs in feeds]
        own, other = largest_error(ours, right, floats), largest_error(theirs, right, floats)
        if own <= TOLERANCE and other <= ROUNDING:
            return f"{own:.1e} from the oracle, {peer.name} {other:.1e}"
    return f"**{worst:.1e}**"


def _runs(model: Model, network: Network) -> int:
    return STEPS if network.states else (1 if model.is_emulated else 3)


def largest_error(
    results: Sequence[Mapping[str, Array]], references: Sequence[Mapping[str, Array]], names: Sequence[str]
) -> float:
    """The largest difference of any output of any run, relative to the largest magnitude of the reference's."""
    worst = 0.0
    for result, reference in zip(results, references, strict=True):
        for name in names:
            wanted = reference[name].astype(np.float64)
            error = float(np.abs(result[name].astype(np.float64) - wanted).max()) / max(np.abs(wanted).max(), 1e-30)
            worst = error if not error <= worst else worst  # a NaN is the worst
    return worst


def rows_of(text: str, targets: Sequence[str]) -> dict[str, Row] | None:
    """The rows of a page by name, with their reasons; None if its table is of other targets."""
    reasons: dict[str, list[str]] = {}
    for name, block in re.findall(r"^- `(.+)`\n((?:    - .+\n)*)", text, re.MULTILINE):
        reasons[name] = re.findall(r"^    - (.+)$", block, re.MULTILINE)
    rows = tables.rows_of(text, _columns(targets))
    if rows is None:
        return None
    return {name: replace(row, reasons=tuple(reasons.get(name, ()))) for name, row in rows.items()}


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
        f"{built} of {len(rows)} pass. Made by `python -m tools.model_table`, row by row; do not edit.",
        "",
        *tables.table(_columns(targets), rows),
    ]
    if any("from the oracle" in cell for row in rows for cell in row.cells):
        lines += [
            "",
            "Where the two are further apart than 1e-4, the oracle, which sums in float64, says by how much each is",
            "off; such a row passes if the artifact is within 1e-4 of the oracle, and the runtime within 1e-3.",
        ]
    refused = [row for row in rows if row.reasons]
    if refused:
        lines += ["", "## Why files are refused", ""]
        for row in refused:
            lines += [f"- `{row.name}`", *(f"    - {reason}" for reason in row.reasons)]
    return "\n".join(lines) + "\n"


def _columns(targets: Sequence[str]) -> tuple[str, ...]:
    return ("file", "type", "MMAC", "parameters", *targets)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
