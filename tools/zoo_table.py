"""Fills the table of docs/zoo.md: networks of the zoo at their full size, built for five targets and verified.

    python -m tools.zoo_table [--int8] [-t TARGET]... [--most-emulated MMAC] [-o FILE.md] [NAME ...]

NAMEs choose networks, without any it is all of them. Their cells of the targets (-t) are made anew, and all others of
the page (-o) stay, so that it can be done piece by piece. Each network is built with its seeded weights and verified:
`dscompile verify` compares what the artifact computes, on this machine or in an emulator, with the oracle. Of targets
that an emulator runs, networks of more multiply-accumulates than --most-emulated are only built, and those whose
weights or arena the memories of a microcontroller cannot hold are not. --int8 does the same with networks that
`dscompile quantize` makes with random inputs; their rows are called NAME_int8. The exit code is 1 if a row that was
made shows a failure.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import dscompile
from dscompile.api.models import Model
from dscompile.frontend.zoo import zoo_names, zoo_path
from dscompile.ir.network import Network
from dscompile.report.text import number
from tools.tables import Row, rows_of, with_table

ROOT = Path(__file__).resolve().parents[1]
TARGETS = ("x86-avx2", "x86", "c99", "arm64", "cortex-m4")
ONLY_BUILT = ("x86",)  # one of its variants is x86-avx2, which is verified
COLUMNS = ("built and verified", "MMAC", "parameters", *TARGETS)
MOST_EMULATED_MMAC = 50.0
SAMPLES = 4  # of random inputs, for the ranges of an int8 network


def main(arguments: Sequence[str]) -> int:
    """Makes the rows."""
    options = _options(arguments)
    unknown = set(options.names) - set(zoo_names())
    if unknown:
        print(f"error: the zoo has no {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    if rows_of(options.output.read_text(encoding="utf-8"), COLUMNS) is None:
        print(f"error: {options.output} has no table of {', '.join(COLUMNS)}", file=sys.stderr)
        return 2
    ok = True
    for name in options.names or zoo_names():
        with tempfile.TemporaryDirectory(prefix="dscompile-table-") as scratch:
            path = quantized(name, Path(scratch)) if options.int8 else zoo_path(name)
            for target in options.targets:
                print(f"{path.stem} for {target} ...", file=sys.stderr, flush=True)
                cell = outcome(path, target, options.most_emulated, Path(scratch))
                row = _keep(options.output, path, target, cell)
                print(f"  {row.line}", file=sys.stderr, flush=True)
                ok = ok and row.ok
    return 0 if ok else 1


def quantized(name: str, directory: Path) -> Path:
    """The net.yaml of an int8 network, which is one of the zoo with ranges of random inputs."""
    network = dscompile.check(zoo_path(name)).inspection.network
    generator = np.random.default_rng(0)
    samples = {
        tensor.name: generator.uniform(-1, 1, (SAMPLES, *tensor.border_shape[1:])).astype(np.float32)
        for tensor in map(network.tensor, network.inputs)
    }
    np.savez(directory / "samples.npz", **samples)
    output = directory / f"{name}_int8.yaml"
    return dscompile.quantize(zoo_path(name), directory / "samples.npz", output, weight_rounding="nearest").path


def outcome(path: Path, target: str, most_emulated_mmac: float, scratch: Path) -> str:
    """A cell: the largest error, "exact", "built", "too large"; what is wrong is in bold, or begins with "refused"."""
    inspection = dscompile.inspect(path, target)
    assert inspection.target is not None
    assert inspection.arena is not None
    board = inspection.target.board
    if board is not None:
        needed = _weight_bytes(inspection.network), inspection.arena.size_bytes
        room = board.memory(board.sections.constants).size_bytes, board.memory(board.sections.data).size_bytes
        if needed[0] > room[0] or needed[1] > room[1]:
            return "too large"
    try:
        with tempfile.TemporaryDirectory(dir=scratch) as directory:
            model = dscompile.build(path, target, Path(directory) / "artifact")
            assert isinstance(model, Model)
            if target in ONLY_BUILT or (model.is_emulated and inspection.macs > most_emulated_mmac * 1e6):
                return "built"
            found = dscompile.verify(model.path)
    except dscompile.DscompileError as error:
        return f"refused: {error.diagnostics[0].message}"
    integers = all(tensor.dtype != "float32" for tensor in model.artifact.manifest.outputs)
    if not found.ok:
        return f"**{sum(check.mismatches for check in found.checks)} differ**"
    return "exact" if integers else f"{found.max_rel_error:.1e}"


def _weight_bytes(network: Network) -> int:
    return sum(values.nbytes for values in network.weights.values())


def _keep(page: Path, path: Path, target: str, cell: str) -> Row:
    """Writes a cell into the page, which another run may have changed in the meantime."""
    text = page.read_text(encoding="utf-8")
    rows = rows_of(text, COLUMNS) or {}
    inspection = dscompile.check(path).inspection
    old = rows[path.stem].cells[2:] if path.stem in rows else ("",) * len(TARGETS)
    cells = (cell if name == target else kept for name, kept in zip(TARGETS, old, strict=True))
    row = Row(path.stem, (f"{inspection.macs / 1e6:.2f}", number(inspection.parameters), *cells))
    order = [name for base in zoo_names() for name in (base, f"{base}_int8")]
    page.write_text(with_table(text, COLUMNS, {**rows, row.name: row}, order), encoding="utf-8")
    return row


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tools.zoo_table", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="networks of the zoo (default: all)")
    parser.add_argument("--int8", action="store_true", help="quantize them first")
    parser.add_argument(
        *("-t", "--target"), dest="targets", action="append", choices=TARGETS, help="repeats (default: all)"
    )
    parser.add_argument(
        "--most-emulated",
        type=float,
        default=MOST_EMULATED_MMAC,
        metavar="MMAC",
        help=f"largest network to run in an emulator (default: {MOST_EMULATED_MMAC:.0f})",
    )
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "docs" / "zoo.md", help="default: docs/zoo.md")
    options = parser.parse_args(arguments)
    options.targets = options.targets or list(TARGETS)
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
