"""A tuning session: candidates are proposed, built, measured, checked and remembered, several at a time."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Future, wait
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from dscompile.errors import ToolError
from dscompile.ir.network import Array
from dscompile.plan.choices import Choice
from dscompile.plan.workloads import Workload
from dscompile.target import Target
from dscompile.tuner.builders import Builders
from dscompile.tuner.candidates import Candidate, Job, output_of
from dscompile.tuner.devices import Devices, Measurement, Unit
from dscompile.tuner.harness import harness
from dscompile.tuner.search import Search, make_search
from dscompile.tuner.state import Remembers, TaskState, remembered
from dscompile.tuner.tasks import Task

BATCH = 8
MOST_LOST = 4  # candidates in a row
TOLERANCE = 1e-4  # of the largest output, float32


class Keeps(Remembers, Protocol):
    """Where measurements are kept, and added to."""

    def add(self, workload: Workload, choice: Choice, samples: tuple[float, ...], error: str = "") -> None:
        """Keeps what a choice cost, or why it failed."""


@dataclass
class _Work:
    """A task in work: proposals that wait, and how many candidates are being built or measured."""

    state: TaskState
    search: Search
    share: float
    pending: list[Choice] = field(default_factory=list)
    in_flight: int = 0


@dataclass(frozen=True)
class Limits:
    """When a session ends: after `trials` candidates of each task, or after `seconds`."""

    trials: int
    seconds: float | None = None


@dataclass(frozen=True)
class Snapshot:
    """How far a session is: `done` candidates of at most `total` are known, `fresh` of them were measured now.

    `busy` is the share of its time that devices were measuring.
    """

    states: Sequence[TaskState]
    unit: Unit
    done: int
    fresh: int
    total: int
    elapsed_s: float
    remaining_s: float | None
    busy: float

    def shown(self, cost: float) -> str:
        """A cost with its unit."""
        return f"{cost * 1e6:.1f} us" if self.unit == "us" else f"{cost:,.0f}".replace(",", " ")


class Session:
    """Tunes tasks until its limits are reached or it is interrupted; either way the journal has what was measured."""

    def __init__(
        self,
        tasks: Sequence[Task],
        target: Target,
        builders: Builders,
        devices: Devices,
        journal: Keeps,
        limits: Limits,
        *,
        seed: int = 0,
        observe: Callable[[Snapshot], None] = lambda snapshot: None,
    ) -> None:
        self._target = target
        self._builders = builders
        self._journal = journal
        self._limits = limits
        self._observe = observe
        self._devices = devices
        self._lost = 0
        self._begun = time.monotonic()
        self._known = 0
        self._building: dict[Future[Candidate], tuple[_Work, Choice]] = {}
        self._on_device: dict[Future[Measurement], tuple[_Work, Choice, Candidate]] = {}
        self._suspects: list[tuple[_Work, Choice]] = []
        self._alone: Choice | None = None
        self._expected: dict[Workload, Array] = {}
        macs = [task.workload.macs(target.lanes) * task.times for task in tasks]
        self._work = [
            self._begin(task, share / max(1, sum(macs)), seed) for task, share in zip(tasks, macs, strict=True)
        ]
        self.states = [work.state for work in self._work]

    def run(self) -> None:
        """Works until nothing is left to do. KeyboardInterrupt passes through; nothing that was measured is lost.

        Raises ToolError if no device takes candidates any more.
        """
        self._begun = time.monotonic()
        while True:
            self._fill()
            futures: list[Future[Any]] = [*self._building, *self._on_device]
            if not futures:
                return
            wait(futures, timeout=0.5, return_when=FIRST_COMPLETED)
            self._take_builds()
            self._take_measurements()
            self._observe(self.snapshot())

    def snapshot(self) -> Snapshot:
        """How far the session is."""
        done = sum(state.trials for state in self.states)
        total = sum(min(self._limits.trials, state.task.points) for state in self.states)
        elapsed = time.monotonic() - self._begun
        fresh = done - self._known
        remaining = elapsed / fresh * (total - done) if fresh else None
        if self._limits.seconds is not None:
            left = max(0.0, self._limits.seconds - elapsed)
            remaining = left if remaining is None else min(left, remaining)
        return Snapshot(
            self.states, self._devices.unit, done, fresh, total, elapsed, remaining, self._devices.busy_share
        )

    def _begin(self, task: Task, share: float, seed: int) -> _Work:
        state = remembered(task, self._journal)
        self._known += state.trials
        trials = self._limits.trials
        search = make_search(task.workload, self._target, trials=trials, journal=self._journal, seed=seed)
        return _Work(state, search, share)

    # Building

    def _fill(self) -> None:
        """Starts builds, so that neither builders nor devices wait for each other.

        One of several builds that were running when a process ended must have ended it: these are tried one by one.
        """
        if self._suspects:
            if not self._building:
                suspect, self._alone = self._suspects.pop(0)
                self._submit(suspect, self._alone)
            return
        wanted = self._builders.count + 2 * self._devices.count + 1
        while len(self._building) + len(self._on_device) < wanted:
            work = self._next()
            if work is None:
                return
            choice = work.pending.pop(0)
            work.in_flight += 1
            self._submit(work, choice)

    def _submit(self, work: _Work, choice: Choice) -> None:
        job = Job(work.state.task.workload, choice, self._target, self._devices.form)
        try:
            future = self._builders.submit(job)
        except BrokenExecutor:
            self._builders.restart()
            future = self._builders.submit(job)
        self._building[future] = (work, choice)

    def _next(self) -> _Work | None:
        """The task whose next candidate promises most: a large share of the time, and few trials so far."""
        if self._limits.seconds is not None and time.monotonic() - self._begun >= self._limits.seconds:
            return None
        return max((work for work in self._work if self._has_more(work)), key=self._promise, default=None)

    def _has_more(self, work: _Work) -> bool:
        room = self._limits.trials - work.state.trials - work.in_flight
        if room <= 0:
            return False
        if not work.pending:
            work.pending = work.search.propose(min(BATCH, room))
        return bool(work.pending)

    def _promise(self, work: _Work) -> float:
        started = work.state.trials + work.in_flight
        return self._share(work) / started if started else float("inf")

    def _share(self, work: _Work) -> float:
        """Of the time by rule; of multiply-adds until all rules are measured."""
        costs = [(other.state.rule_cost, other.state.task.times) for other in self._work]
        total = sum(cost * times for cost, times in costs if cost is not None)
        own = work.state.rule_cost
        if own is None or not total or any(cost is None for cost, _ in costs):
            return work.share
        return own * work.state.task.times / total

    def _take_builds(self) -> None:
        broken = False
        for future in [future for future in self._building if future.done()]:
            work, choice = self._building.pop(future)
            alone, self._alone = self._alone is choice, None
            try:
                candidate = future.result()
            except (BrokenExecutor, CancelledError):
                broken = True
                if alone:
                    self._fail(work, choice, "its compiler crashed or took too long")
                else:
                    self._suspects.append((work, choice))
            except Exception as error:  # whatever a candidate does to its compiler is that candidate's failure
                if _is_of_the_disk(error):
                    words = error.diagnostics[0].message if isinstance(error, ToolError) else error
                    self._lose(work, choice, f"cannot be built: {words}")
                else:
                    self._fail(work, choice, f"does not compile: {error}")
            else:
                self._on_device[self._devices.submit(candidate.runnable)] = (work, choice, candidate)
        if broken:
            self._suspects += self._building.values()
            self._building.clear()
            self._builders.restart()

    # Measuring

    def _take_measurements(self) -> None:
        for future in [future for future in self._on_device if future.done()]:
            work, choice, candidate = self._on_device.pop(future)
            measurement = future.result()
            if measurement.lost:
                self._lose(work, choice, measurement.error)
                continue
            self._lost = 0
            wrong = measurement.error or self._wrong(candidate, measurement.output)
            if wrong:
                self._fail(work, choice, wrong)
                continue
            self._journal.add(work.state.task.workload, choice, measurement.samples)
            work.in_flight -= 1
            self._note(work, choice, min(measurement.samples))

    def _note(self, work: _Work, choice: Choice, cost: float | None) -> None:
        work.state.note(choice, cost)
        work.search.tell(choice, cost)

    def _lose(self, work: _Work, choice: Choice, error: str) -> None:
        """A candidate that no device took is tried again later, unless that happens to all."""
        self._lost += 1
        work.state.last_error = error
        work.in_flight -= 1
        work.pending.append(choice)
        if self._lost >= MOST_LOST:
            raise ToolError(
                f"{self._lost} candidates in a row were not measured: {error}",
                help="what was measured is kept; when devices are there again, the same command goes on",
            )

    def _wrong(self, candidate: Candidate, output: bytes) -> str:
        """What is wrong with the numbers of a candidate, or nothing."""
        expected = self._expected.get(candidate.workload)
        if expected is None:
            expected = harness(candidate.workload, self._target).expected()
            self._expected[candidate.workload] = expected
        got = output_of(candidate, output, self._target)
        if expected.dtype == np.int8:
            count = int(np.count_nonzero(got != expected))
            return f"returned {count} wrong numbers of {expected.size}" if count else ""
        off = np.abs(got.astype(np.float64) - expected.astype(np.float64))
        error = float(off.max()) / max(float(np.abs(expected).max()), 1e-30)
        return "" if error <= TOLERANCE else f"returned wrong numbers: relative error {error:.2g}"

    def _fail(self, work: _Work, choice: Choice, error: str) -> None:
        self._journal.add(work.state.task.workload, choice, (), error)
        work.in_flight -= 1
        work.state.last_error = error
        self._note(work, choice, None)


def _is_of_the_disk(error: Exception) -> bool:
    """Whether the machine refused, which says nothing about a candidate; compilers say it in words only."""
    return isinstance(error, OSError) or any(os.strerror(code) in str(error) for code in (errno.ENOSPC, errno.EDQUOT))
