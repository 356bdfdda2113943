"""The file of records while a session runs: rewritten as often as it changes, at most once a second."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterable
from pathlib import Path

from dscompile.errors import BadInputError, Position
from dscompile.plan.tuning_file import read_tuning, require_fits, write_tuning
from dscompile.plan.tuning_records import Isa, TuningFile, TuningRecord
from dscompile.plan.workloads import Workload
from dscompile.target import Target
from dscompile.tuner.devices import Unit
from dscompile.tuner.outcome import Outcome, TaskOutcome
from dscompile.version import __version__

FLUSH_S = 1.0


class RecordsKeeper:
    """Adds what is found for one network to the records of a target in a file."""

    def __init__(self, path: Path, target: Target, network: str, unit: Unit, machine: str) -> None:
        """Reads what the file has. Raises BadInputError if it is of another target or measured in another unit."""
        self._path = path
        self._target = target
        self._network = network
        self._unit: Unit = unit
        self._machine = machine
        self._before: dict[Workload, TuningRecord] = {}
        if path.exists():
            file = read_tuning(path)
            require_fits(file, target, path)
            if file.unit != unit:
                raise BadInputError(
                    f"its costs are {file.unit}, and {unit} are measured now",
                    position=Position(str(path)),
                    help="write other records with --output",
                )
            self._before = {record.workload: record for record in file.records}
        self._written = time.monotonic()
        self._last: tuple[TuningRecord, ...] | None = None

    def keep(self, outcome: Outcome) -> None:
        """Writes the file if a second has passed since it was written, and something has changed."""
        if time.monotonic() - self._written >= FLUSH_S:
            self.write(outcome)

    def write(self, outcome: Outcome) -> None:
        """Writes the file. Raises ToolError if the disk refuses; then it is as it was."""
        records = {**self._before, **{record.workload: record for record in self._records(outcome.tasks)}}
        found = tuple(records.values())
        if found == self._last or not found:
            return
        isa = Isa.of(self._target)
        write_tuning(TuningFile(self._target.name, isa, __version__, self._unit, self._machine, found), self._path)
        self._written, self._last = time.monotonic(), found

    def _records(self, tasks: Iterable[TaskOutcome]) -> Iterable[TuningRecord]:
        for task in tasks:
            if task.rule_cost is None or task.best_cost is None:
                continue
            before = self._before.get(task.workload)
            networks = () if before is None else before.networks
            yield TuningRecord(
                workload=task.workload,
                best=task.best,
                best_cost=_rounded(min(task.best_cost, task.rule_cost)),
                rule=task.rule,
                rule_cost=_rounded(task.rule_cost),
                trials=task.trials,
                failures=task.failures,
                networks=tuple(sorted({*networks, self._network})),
            )


def _rounded(cost: float) -> float:
    """A cost to five digits, which is more than any clock gives."""
    return float(f"{cost:.5g}")


def machine_name() -> str:
    """What this machine is called in records: its processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
