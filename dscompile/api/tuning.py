"""Autotuning: from a network and a target to a file of tuning records."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dscompile.api.networks import Source, read_network, source_name
from dscompile.errors import UnsupportedError, UsageError
from dscompile.report.progress import Event, Progress, silent
from dscompile.target import Target, resolve_target, runs_here

if TYPE_CHECKING:
    from dscompile.ir.network import Network
    from dscompile.tuner.builders import Builders
    from dscompile.tuner.devices import Devices, Unit
    from dscompile.tuner.outcome import Outcome
    from dscompile.tuner.session import Snapshot
    from dscompile.tuner.tasks import Task

DEFAULT_TRIALS = 64


@dataclass(frozen=True)
class TuneResult:
    """What tuning found. `path` is the file of records, `journal` the directory with everything that was measured.

    `measured` candidates were measured now, in `elapsed_s`; `busy_share` of that time the devices had one. `device`
    says what they were measured on. `notes` say what was repaired of the journal.
    """

    path: Path
    journal: Path
    outcome: Outcome
    device: str
    measured: int = 0
    elapsed_s: float = 0.0
    busy_share: float = 0.0
    notes: tuple[str, ...] = ()


def tune(
    source: Source,
    target: str = "host",
    output: str | Path = "tuning.json",
    *,
    trials: int = DEFAULT_TRIALS,
    budget_s: float | None = None,
    weights: str | Path | None = None,
    farm: str | None = None,
    key: str | None = None,
    builders: str | int | None = None,
    seed: int = 0,
    progress: Progress = silent,
    observe: Callable[[Snapshot], None] = lambda snapshot: None,
) -> TuneResult:
    """Tunes the layers of a network for a target, and writes or extends the records in `output`.

    At most `trials` candidates are measured of every distinct workload, for at most `budget_s` seconds: on this
    machine, or on the devices called `key` of the `farm` whose tracker listens at HOST:PORT. Without a farm, targets of
    64-bit Arm are tuned by executed instructions in QEMU. `builders` is a number of processes, or the address of a Dask
    scheduler. `observe` sees how far it is. Everything that was measured is kept in a directory beside `output` and
    never measured again; an interrupt (KeyboardInterrupt) loses none of it.

    Raises UsageError, BadInputError, UnsupportedError, ToolError, or CheckFailedError if the device does not run the
    whole network.
    """
    from dscompile.tuner.journal import Journal
    from dscompile.tuner.keeper import RecordsKeeper
    from dscompile.tuner.outcome import outcome_of
    from dscompile.tuner.ranking import rank_in_network
    from dscompile.tuner.session import Limits, Session

    concrete = tunable_target(target)
    progress(Event(f"reading {source_name(source)}"))
    network, tasks = _tasks(source, weights, concrete)
    path = Path(output)
    with _devices(concrete, farm, key, progress) as devices:
        machine = _machine(devices)
        keeper = RecordsKeeper(path, concrete, network.name, devices.unit, machine)
        with Journal(journal_of(path), concrete, costs=costs_label(devices.unit, machine)) as journal:
            peak = _peak(concrete, devices)

            def see(snapshot: Snapshot) -> None:
                keeper.keep(outcome_of(snapshot.states, concrete, devices.unit, None, peak))
                observe(snapshot)

            with _builders(builders) as workers:
                session = Session(
                    tasks,
                    concrete,
                    workers,
                    devices,
                    journal,
                    Limits(trials, budget_s),
                    seed=seed,
                    observe=see,
                )
                try:
                    session.run()
                finally:
                    keeper.write(outcome_of(session.states, concrete, devices.unit, None, peak))
            snapshot = session.snapshot()
            ranking = None
            if devices.unit == "us" and any(state.gained for state in session.states):
                progress(Event("timing the best choices inside the network"))
                ranking = rank_in_network(network, concrete, session.states, devices)
            outcome = outcome_of(session.states, concrete, devices.unit, ranking, peak)
            keeper.write(outcome)
    return TuneResult(
        path,
        journal_of(path),
        outcome,
        machine,
        snapshot.fresh,
        snapshot.elapsed_s,
        snapshot.busy,
        journal.repairs,
    )


def tune_report(
    source: Source, target: str = "host", output: str | Path = "tuning.json", *, weights: str | Path | None = None
) -> TuneResult:
    """What earlier tuning found for a network's layers. Nothing is measured.

    Raises UsageError if nothing was tuned there, and as `tune`.
    """
    from dscompile.plan.tuning_file import read_tuning, require_fits
    from dscompile.tuner.journal import Journal
    from dscompile.tuner.outcome import outcome_of
    from dscompile.tuner.state import remembered

    concrete = tunable_target(target)
    _, tasks = _tasks(source, weights, concrete)
    path = Path(output)
    if not path.exists() or not journal_of(path).is_dir():
        raise UsageError(f"nothing was tuned for '{path}'", help=f"dscompile tune {source} -t {target} -o {path}")
    records = read_tuning(path)
    require_fits(records, concrete, path)
    with Journal(journal_of(path), concrete, costs=costs_label(records.unit, records.machine)) as journal:
        states = [remembered(task, journal) for task in tasks]
    return TuneResult(
        path, journal_of(path), outcome_of(states, concrete, records.unit, None), records.machine, notes=journal.repairs
    )


def tunable_target(name: str) -> Target:
    """The concrete target to tune for: for `host` and `x86` that of this machine.

    Raises UsageError for an unknown name, ToolError for a name of several of which none runs here, UnsupportedError for
    a target whose kernels have no choices.
    """
    target = resolve_target(name)
    if target.kernels:
        raise UnsupportedError(f"there is nothing to tune for {target.name}: its C kernels are chosen by exact counts")
    if target.gpu is not None:
        raise UnsupportedError(f"there is nothing to tune for {target.name}: its kernels are chosen by a model")
    return target


def journal_of(output: Path) -> Path:
    """Where everything that was measured for the records in `output` is kept."""
    return output.with_name(f"{output.name}.measured")


def _tasks(source: Source, weights: str | Path | None, target: Target) -> tuple[Network, tuple[Task, ...]]:
    from dscompile.passes import canonicalize
    from dscompile.plan.planning import plan
    from dscompile.tuner.tasks import tasks_of

    net = read_network(source, weights)
    net.require_as_asked()
    network = canonicalize(net.network)
    tasks = tasks_of([plan(network, target)], target)
    if not tasks:
        raise UnsupportedError(f"there is nothing to tune: no layer of this network has a choice on {target.name}")
    return network, tasks


@contextmanager
def _devices(target: Target, farm: str | None, key: str | None, progress: Progress) -> Iterator[Devices]:
    if (farm is None) != (key is None):
        raise UsageError("--farm and --key belong together", help="the key is what the devices were started with")
    devices: Devices
    if farm is not None and key is not None:
        from dscompile.tuner.farm_devices import FarmPool

        devices = FarmPool(farm, key, lambda line: progress(Event(line)))
    else:
        from dscompile.tuner.this_machine import local_devices

        devices = local_devices(target)
    try:
        yield devices
    finally:
        devices.close()


@contextmanager
def _builders(wanted: str | int | None) -> Iterator[Builders]:
    from dscompile.tuner.builders import dask_builders, local_builders

    builders = dask_builders(wanted) if isinstance(wanted, str) else local_builders(wanted)
    try:
        yield builders
    finally:
        builders.close()


def costs_label(unit: Unit, machine: str) -> str:
    """What a journal of these costs says of them."""
    return f"{unit} on {machine}"


def _machine(devices: Devices) -> str:
    from dscompile.tuner.keeper import machine_name

    return machine_name() if devices.unit == "us" and devices.name == "this machine" else devices.name


def _peak(target: Target, devices: Devices) -> float | None:
    """GFLOP/s of a core of this machine, if that is what is measured on."""
    if devices.unit != "us" or devices.name != "this machine" or not runs_here(target):
        return None
    from dscompile.report.peak import PeakProbe

    probe = PeakProbe(target)
    return max(probe.sample() for _ in range(5))
