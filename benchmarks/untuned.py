"""How much slower an untuned network is: its tiles from records of other networks and by rule, beside the best known.

    python benchmarks/untuned.py tuning.json tuning.json.measured --network mobilenet_v2=nets/mobilenet_v2.yaml

Each network of the records is left out once. What was measured is the journal of `dscompile tune`, or a file with a
line for each choice: {"workload": {"kind": "dense", ...}, "choice": {"vectors": 8, ...}, "cost": 12.5}, with workloads
and choices as in files of tuning records (docs/tuning.md). How to read the tables: README.md.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if not __package__:
    sys.path.insert(0, str(ROOT))

from dscompile.artifact.fields import Fields  # noqa: E402
from dscompile.errors import BadInputError, DscompileError, Position, UsageError  # noqa: E402
from dscompile.plan.choices import Choice  # noqa: E402
from dscompile.plan.tuning import Decision, Learning, Tuning  # noqa: E402
from dscompile.plan.tuning_file import read_tuning, require_fits  # noqa: E402
from dscompile.plan.tuning_json import choice_from_json, choice_to_json, workload_from_json, workload_to_json  # noqa: E402
from dscompile.plan.tuning_records import TuningFile, TuningRecord  # noqa: E402
from dscompile.plan.workloads import Workload  # noqa: E402
from dscompile.report.text import table  # noqa: E402
from dscompile.target import Target, find_target  # noqa: E402

LIMIT = 1.10  # untuned over tuned
FARTHEST = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)
LEAST_GAINS = (1.0, 1.02, 1.05, 1.1)
WIDTHS = (False, True)  # whether images of other widths count
Costs = Mapping[tuple[Workload, Choice], float]


@dataclass(frozen=True)
class LayerResult:
    """A workload that `count` layers of a network have: the best choice, and what an untuned build takes.

    `cost` is None if what it takes was not measured.
    """

    record: TuningRecord
    count: int
    decision: Decision
    cost: float | None

    @property
    def slower(self) -> float:
        """Cost over the best one; not a number if it was not measured."""
        return math.nan if self.cost is None else self.cost / self.record.best_cost


@dataclass(frozen=True)
class NetworkResult:
    """A network, untuned. Ratios are over those of its workloads whose choices were all measured."""

    name: str
    layers: tuple[LayerResult, ...]

    @property
    def slower(self) -> float:
        """Cost of the network untuned over tuned."""
        return self._ratio([(layer.count, layer.cost) for layer in self._measured])

    @property
    def rule_slower(self) -> float:
        """The same of a network by rule alone."""
        return self._ratio([(layer.count, layer.record.rule_cost) for layer in self._measured])

    @property
    def unmeasured(self) -> int:
        """Workloads that are in neither ratio."""
        return len(self.layers) - len(self._measured)

    def sources(self) -> Counter[str]:
        """How many workloads took a record, a similar one, the rule."""
        return Counter(layer.decision.source for layer in self.layers)

    @property
    def _measured(self) -> list[LayerResult]:
        return [layer for layer in self.layers if layer.cost is not None]

    def _ratio(self, costs: Iterable[tuple[int, float | None]]) -> float:
        best = sum(layer.count * layer.record.best_cost for layer in self._measured)
        return sum(count * (cost or 0.0) for count, cost in costs) / best if best else math.nan


def left_out(
    file: TuningFile, target: Target, costs: Costs, name: str, counts: Mapping[Workload, int], tuning: Tuning
) -> NetworkResult:
    """The network `name` as a build with `tuning` would make it. `counts` says how many layers have a workload."""
    layers = []
    for record in file.records:
        if name not in record.networks:
            continue
        known = {record.rule: record.rule_cost, record.best: record.best_cost}
        decision = tuning.decide(record.workload, target)
        cost = known.get(decision.choice, costs.get((record.workload, decision.choice)))
        layers.append(LayerResult(record, counts.get(record.workload, 1), decision, cost))
    return NetworkResult(name, tuple(layers))


def without(file: TuningFile, name: str, learning: Learning, *, shared: bool) -> Tuning:
    """The tuning of the records of other networks; with `shared` also those that `name` has in common with others."""
    kept = [record for record in file.records if name not in record.networks or (shared and len(record.networks) > 1)]
    return replace(replace(file, records=tuple(kept)).tuning(), learning=learning)


def all_left_out(
    file: TuningFile,
    target: Target,
    costs: Costs,
    counts: Mapping[str, Mapping[Workload, int]],
    learning: Learning,
    *,
    shared: bool,
) -> tuple[NetworkResult, ...]:
    """Every network of the records, each left out once. Networks without `counts` have one layer of each workload."""
    names = sorted({name for record in file.records for name in record.networks})
    return tuple(
        left_out(file, target, costs, name, counts.get(name, {}), without(file, name, learning, shared=shared))
        for name in names
    )


def read_costs(path: Path, file: TuningFile, target: Target) -> Costs:
    """What was measured, by workload and choice; of several costs the least, in the unit of the records.

    Raises BadInputError, of a table of costs with the line that is wrong, UsageError if there is neither.
    """
    if path.is_dir():
        return _journal_costs(path, file, target)
    if not path.is_file():
        raise UsageError(f"there is no journal and no table of costs '{path}'")
    costs: dict[tuple[Workload, Choice], float] = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        problems: list[str] = []
        try:
            fields = Fields(json.loads(line), "", problems)
        except ValueError as error:
            raise BadInputError(f"not JSON: {error}", position=Position(str(path), number, 1)) from error
        fields.only(("workload", "choice", "cost"))
        workload, cost = workload_from_json(fields.child("workload")), fields.number("cost")
        choice = choice_from_json(workload.kind, fields.child("choice")) if workload is not None else None
        if not 0 < cost < math.inf:
            problems.append(f"'cost' must be above 0, not {cost}")
        if problems or workload is None or choice is None:
            raise BadInputError(problems[0], position=Position(str(path), number, 1))
        costs[workload, choice] = min(cost, costs.get((workload, choice), math.inf))
    return costs


def _journal_costs(directory: Path, file: TuningFile, target: Target) -> Costs:
    """What the journal of `dscompile tune` has, which notes times in seconds."""
    from dscompile.api.tuning import costs_label
    from dscompile.tuner.journal import Journal

    scale = 1e6 if file.unit == "us" else 1.0
    with Journal(directory, target, costs=costs_label(file.unit, file.machine)) as journal:
        return {
            (workload, choice): cost * scale
            for workload in journal.workloads
            for choice, cost in journal.known(workload).items()
            if cost is not None
        }


def count_workloads(path: str, target: Target) -> Mapping[Workload, int]:
    """How often an inference computes each workload."""
    from dscompile.api.networks import read_network
    from dscompile.passes import canonicalize
    from dscompile.plan.planning import plan

    counts: Counter[Workload] = Counter()
    network = read_network(path, None, load_weights=False).network
    for chosen in plan(canonicalize(network), target).chosen:
        counts[chosen.workload] += chosen.times
    return counts


def networks_table(results: Sequence[NetworkResult]) -> str:
    """A row for each network."""
    rows = [
        (
            one.name,
            str(len(one.layers)),
            f"{one.slower:.3f}",
            f"{one.rule_slower:.3f}",
            *(str(one.sources()[source]) for source in ("record", "neighbor", "rule")),
            str(one.unmeasured),
        )
        for one in results
    ]
    header = ("left out", "workloads", "untuned", "by rule", "record", "similar", "rule", "not measured")
    return table(header, rows, right=header[1:])


def layers_table(result: NetworkResult) -> str:
    """A row for each workload of a network, the worst first."""
    worst = sorted(result.layers, key=lambda layer: -layer.slower if layer.cost is not None else 0.0)
    rows = [
        (
            json.dumps(workload_to_json(layer.record.workload)),
            str(layer.count),
            f"{layer.slower:.3f}",
            f"{layer.record.gain:.3f}",
            layer.decision.source,
            json.dumps(choice_to_json(layer.decision.choice)),
            json.dumps(workload_to_json(layer.decision.near)) if layer.decision.near else "",
        )
        for layer in worst
    ]
    return table((result.name, "layers", "untuned", "by rule", "from", "choice", "near"), rows)


def sweep_table(
    file: TuningFile, target: Target, costs: Costs, counts: Mapping[str, Mapping[Workload, int]], *, shared: bool
) -> str:
    """What other settings of `Learning` would give: the worst network, and the mean of all."""
    rows = []
    for settings in product(WIDTHS, FARTHEST, LEAST_GAINS):
        other_widths, farthest, least_gain = settings
        learning = Learning(farthest, least_gain, other_widths=other_widths)
        results = all_left_out(file, target, costs, counts, learning, shared=shared)
        slower = [one.slower for one in results if not math.isnan(one.slower)]
        mean = sum(slower) / len(slower) if slower else math.nan
        similar = sum(one.sources()["neighbor"] for one in results)
        rows.append(
            (
                "other" if other_widths else "same",
                f"{farthest:g}",
                f"{least_gain:g}",
                f"{max(slower, default=math.nan):.3f}",
                f"{mean:.3f}",
                str(similar),
                str(sum(one.unmeasured for one in results)),
            )
        )
    header = ("widths", "farthest", "least gain", "worst", "mean", "similar", "not measured")
    return table(header, rows, right=header)


def main(arguments: Sequence[str] | None = None) -> int:
    """1 if a network is slower untuned than LIMIT allows, or nothing of one was measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("records", type=Path, help="a file of tuning records that names networks")
    parser.add_argument("costs", type=Path, help="the journal of dscompile tune, or a table of costs")
    parser.add_argument("--target", help="a target file, if the records are of no target that ships")
    parser.add_argument(
        "--network", action="append", default=[], metavar="NAME=FILE", help="count how often it has each workload"
    )
    parser.add_argument("--shared", action="store_true", help="keep records that other networks have too")
    parser.add_argument("--sweep", action="store_true", help="also try other settings of the neighbor rule")
    parser.add_argument("--layers", action="store_true", help="also every workload of every network")
    options = parser.parse_args(arguments)
    try:
        return _run(options)
    except DscompileError as error:
        print(error, file=sys.stderr)
        return int(error.code)


def _run(options: argparse.Namespace) -> int:
    file = read_tuning(options.records)
    target = find_target(options.target or file.target)
    require_fits(file, target, options.records)
    costs = read_costs(options.costs, file, target)
    names = {name for record in file.records for name in record.networks}
    if not names:
        raise UsageError(f"'{options.records}': no record names a network that it came from")
    counts = {}
    for network in options.network:
        name, _, path = network.partition("=")
        if name not in names or not path:
            raise UsageError(f"--network {network}: not NAME=FILE of one of {', '.join(sorted(names))}")
        counts[name] = count_workloads(path, target)
    results = all_left_out(file, target, costs, counts, Learning(), shared=options.shared)
    print(networks_table(results))
    for one in results if options.layers else ():
        print(f"\n{layers_table(one)}")
    if options.sweep:
        print(f"\n{sweep_table(file, target, costs, counts, shared=options.shared)}")
    slower = [one.name for one in results if not one.slower <= LIMIT]
    print(f"\nabove {LIMIT}, or not measured: {', '.join(slower) or 'none'}")
    return int(bool(slower))


if __name__ == "__main__":
    sys.exit(main())
