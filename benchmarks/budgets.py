"""What networks take on emulated cores, held to the budgets of budgets.json.

    python -m benchmarks.budgets                 # measures all and compares; exit code 1 if a budget is exceeded
    python -m benchmarks.budgets --update        # writes what was measured, and says what changed
    python -m benchmarks.budgets -t cortex-m4 -n kws_ref_model_int8

Instructions of one inference are counted in an emulator, for the inputs of seed 0; arena, code and weights are bytes
of the manifest. The same compiler gives the same numbers on every machine; nothing is timed. Networks are those of
tests/data.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import dscompile
from dscompile.errors import DscompileError
from dscompile.report.text import number, table

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "benchmarks" / "budgets.json"
SLACK = 1.005  # a compiler of another release, the iterations of a softmax


@dataclass(frozen=True)
class Cost:
    """One inference: executed instructions; bytes of the arena, of code and of weights."""

    instructions: int
    arena: int
    code: int
    weights: int


Budgets = Mapping[str, Mapping[str, Cost]]
"""Target -> network -> what it may take."""


def read_budgets(path: Path = FILE) -> dict[str, dict[str, Cost]]:
    """The budgets of a file."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return {target: {name: Cost(**cost) for name, cost in costs.items()} for target, costs in content.items()}


def write_budgets(budgets: Budgets, path: Path = FILE) -> None:
    """The file, a network to a line."""
    sections = []
    for target, costs in sorted(budgets.items()):
        rows = [f"    {json.dumps(name)}: {json.dumps(asdict(cost))}" for name, cost in sorted(costs.items())]
        sections.append(f"  {json.dumps(target)}: {{\n" + ",\n".join(rows) + "\n  }")
    path.write_text("{\n" + ",\n".join(sections) + "\n}\n", encoding="utf-8")


def measure(target: str, network: str) -> Cost:
    """Builds a network of tests/data for a target and counts an inference. Raises DscompileError."""
    with tempfile.TemporaryDirectory() as folder:
        source = ROOT / "tests" / "data" / f"{network}.tflite"
        model = dscompile.build(str(source), target=target, output=str(Path(folder) / "artifact"), tuning=None)
        assert not isinstance(model, tuple)
        (count,) = dscompile.bench(model.path)
        manifest = model.artifact.manifest
        return Cost(count.instructions, manifest.arena.size_bytes, manifest.sizes.text, manifest.sizes.weights)


def exceeded(budget: Cost, cost: Cost) -> Iterator[str]:
    """What is more than its budget, a sentence each."""
    for name, allowed, measured in _pairs(budget, cost):
        if measured > allowed * SLACK:
            more = 100 * (measured / allowed - 1)
            yield f"{name}: {number(measured)}, {more:.1f} % more than the budget of {number(allowed)}"


def differences(budget: Cost | None, cost: Cost) -> Iterator[str]:
    """What an update changes."""
    if budget is None:
        yield "new"
        return
    for name, allowed, measured in _pairs(budget, cost):
        if measured != allowed:
            yield f"{name} {number(allowed)} -> {number(measured)} ({100 * (measured / allowed - 1):+.2f} %)"


def _pairs(budget: Cost, cost: Cost) -> Iterator[tuple[str, int, int]]:
    for field in fields(Cost):
        yield field.name, getattr(budget, field.name), getattr(cost, field.name)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="benchmarks.budgets", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("-t", "--target", action="append", help="only this target; may be repeated")
    parser.add_argument("-n", "--network", action="append", help="only this network of tests/data; may be repeated")
    parser.add_argument("--update", action="store_true", help="write what was measured to budgets.json")
    options = parser.parse_args(arguments)
    budgets = read_budgets()
    rows, complaints = [], []
    for target in options.target or budgets:
        for network in options.network or budgets.get(target, {}):
            budget = budgets.get(target, {}).get(network)
            try:
                cost = measure(target, network)
            except DscompileError as error:
                complaints.append(f"{target}, {network}: {error}")
                continue
            rows.append((target, network, *(number(value) for value in asdict(cost).values())))
            if options.update:
                complaints += [f"{target}, {network}: {what}" for what in differences(budget, cost)]
                budgets.setdefault(target, {})[network] = cost
            elif budget is None:
                complaints.append(f"{target}, {network}: has no budget; --update gives it one")
            else:
                complaints += [f"{target}, {network}: {what}" for what in exceeded(budget, cost)]
    print(table(("target", "network", "instructions", "arena B", "code B", "weights B"), rows))
    print("\n".join(complaints), file=sys.stderr)
    if options.update:
        write_budgets(budgets)
    return 1 if complaints and not options.update else 0


if __name__ == "__main__":
    sys.exit(main())
