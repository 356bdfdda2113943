"""The client of a farm: measures candidates on all devices of a key at once, and never waits for ever.

with FarmDevices("127.0.0.1:9190", "rpi4") as devices:
    for candidate, measurement in devices.measure(candidates):
        ...
    print(devices.usage().busy_share)
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Self

from dscompile.errors import ToolError
from dscompile.farm.address import Address, parse_address
from dscompile.farm.candidate import Candidate, Measurement
from dscompile.farm.process import Attempt, WorkerProcess
from dscompile.farm.status import device_count
from dscompile.farm.tasks import Task

_MAX_WORKERS = 64
_COUNT_S = 5.0  # between two looks for devices that have joined
_RETRY_S = 0.5
_STRIKES = 2


@dataclass(frozen=True)
class DeviceUsage:
    """What a device did for this client."""

    device: str
    candidates: int
    busy_s: float


@dataclass(frozen=True)
class Usage:
    """How well the devices were used, from the first candidate handed in to the last measured."""

    elapsed_s: float
    devices: tuple[DeviceUsage, ...]

    @property
    def candidates_per_s(self) -> float:
        """Candidates that devices have had, in a second; 0 before the first."""
        return sum(device.candidates for device in self.devices) / self.elapsed_s if self.elapsed_s else 0.0

    @property
    def busy_share(self) -> float:
        """The share of the time in which a device was occupied by a candidate, 0 to 1, over all devices."""
        span_s = self.elapsed_s * len(self.devices)
        return sum(device.busy_s for device in self.devices) / span_s if span_s else 0.0


class FarmDevices:
    """All devices of one key: a worker for each, which takes the next candidate when its device is free.

    A context manager. Devices that join later get workers too; those of a device that leaves share what is left. No
    tracker or device that goes away lets a candidate wait longer than `patience_s` beyond the last time that a device
    took one, and no candidate occupies a device longer than `session_s` (or the device's own limit).

    A candidate that breaks its session without a word from the device is tried once more, elsewhere if there is an
    elsewhere; the second time counts as a crash, so that a candidate which takes whole devices down ends.
    """

    def __init__(
        self,
        tracker: Address | str,
        key: str,
        *,
        session_s: float = 10.0,
        patience_s: float = 60.0,
        log: Callable[[str], None] = lambda _text: None,
    ) -> None:
        """Asks the tracker for its devices. `log` gets a line when something goes wrong, from any thread.

        Raises ToolError if the tracker cannot be reached, UsageError if `tracker` is no host:port.
        """
        self.tracker = parse_address(tracker) if isinstance(tracker, str) else tracker
        self.key = key
        self._session_s = session_s
        self._patience_s = patience_s
        self._log = log
        self._waiting: queue.SimpleQueue[tuple[Candidate, Future[Measurement]] | None] = queue.SimpleQueue()
        self._workers: list[WorkerProcess] = []
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._taken = time.monotonic()  # when a device last took a candidate
        self._began: float | None = None
        self._ended = 0.0
        self._usage: dict[str, DeviceUsage] = {}
        self._counted = time.monotonic()
        self._grow(max(1, device_count(self.tracker, key)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    @property
    def workers(self) -> int:
        """How many candidates are in work at once at most."""
        return len(self._threads)

    def submit(self, candidate: Candidate) -> Future[Measurement]:
        """Hands a candidate in. The future gives its Measurement, whatever happens to it.

        It raises ToolError if no worker process can be started, and is cancelled if the farm is closed before.
        """
        if self._closed.is_set():
            raise RuntimeError("the farm is closed")
        if self._began is None:
            self._began = time.monotonic()
        if time.monotonic() - self._counted > _COUNT_S:
            self._look_for_devices()
        future: Future[Measurement] = Future()
        self._waiting.put((candidate, future))
        return future

    def run_on_device(self, candidate: Candidate) -> Measurement:
        """Measures one candidate. Raises ToolError if no worker process can be started."""
        return self.submit(candidate).result()

    def measure(self, candidates: Iterable[Candidate]) -> Iterator[tuple[Candidate, Measurement]]:
        """Measures candidates and gives each with what came of it, as they come, in any order.

        They are taken from `candidates` in the caller's thread, a few more than there are devices, so that a
        generator that builds them works while the devices measure. Raises ToolError as `run_on_device`.
        """
        source = iter(candidates)
        running: dict[Future[Measurement], Candidate] = {}
        is_exhausted = False
        while running or not is_exhausted:
            while not is_exhausted and len(running) < 2 * self.workers:
                candidate = next(source, None)
                if candidate is None:
                    is_exhausted = True
                else:
                    running[self.submit(candidate)] = candidate
                if any(future.done() for future in running):
                    break
            if running:
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield running.pop(future), future.result()

    def usage(self) -> Usage:
        """How well the devices were used so far."""
        with self._lock:
            elapsed_s = 0.0 if self._began is None else max(0.0, self._ended - self._began)
            return Usage(elapsed_s, tuple(self._usage[name] for name in sorted(self._usage)))

    def close(self) -> None:
        """Ends all workers, and their sessions with them; candidates that are not measured yet are cancelled."""
        self._closed.set()
        while True:
            try:
                item = self._waiting.get_nowait()
            except queue.Empty:
                break
            if item is not None:
                item[1].cancel()
        for worker in self._workers:
            worker.close()
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join()

    def _look_for_devices(self) -> None:
        """Starts workers for devices that have joined."""
        self._counted = time.monotonic()
        try:
            self._grow(device_count(self.tracker, self.key))
        except ToolError as error:
            self._log(error.diagnostics[0].message)

    def _grow(self, count: int) -> None:
        for _ in range(min(count, _MAX_WORKERS) - len(self._threads)):
            worker = WorkerProcess()
            thread = threading.Thread(target=self._work, args=(worker,), name="farm", daemon=True)
            self._workers.append(worker)
            self._threads.append(thread)
            thread.start()

    def _work(self, worker: WorkerProcess) -> None:
        """One worker's thread: takes candidates until the farm is closed."""
        try:
            while (item := self._waiting.get()) is not None:
                candidate, future = item
                if not future.set_running_or_notify_cancel():
                    continue
                try:
                    future.set_result(self._measure(worker, candidate))
                except Exception as error:  # the caller's to handle: nobody may wait for this future for ever
                    future.set_exception(error)
        finally:
            worker.stop()

    def _measure(self, worker: WorkerProcess, candidate: Candidate) -> Measurement:
        """Attempts until there is something to say. Raises ToolError, or OSError if the library cannot be read."""
        task = Task(
            self.tracker,
            self.key,
            candidate.name,
            candidate.library_bytes(),
            candidate.memory,
            candidate.timing,
            self._session_s,
            self._patience_s,
        )
        began = time.monotonic()
        broken: list[str] = []
        while True:
            attempt = worker.run(task, self._note_taken)
            self._note_end(attempt)
            report = attempt.report
            if report.silent and not self._closed.is_set():
                broken.append(attempt.device)
                self._log(f"candidate {candidate.name} on device {attempt.device}: {report.error}")
                if len(broken) < _STRIKES:
                    continue
                error = f"broke its session {_STRIKES} times without a word, on {' and '.join(broken)}"
                return Measurement("crash", device=attempt.device, error=error, elapsed_s=attempt.elapsed_s)
            if report.kind == "lost" and self._may_try_again(attempt, began):
                self._log(f"candidate {candidate.name}: {report.error}: trying again")
                continue
            error = report.error
            if broken and report.kind == "lost":
                error = f"{error}; before, its session broke on device {broken[0]}"
            return Measurement(
                report.kind, report.seconds, report.memory, attempt.device, error, round(attempt.elapsed_s, 6)
            )

    def _may_try_again(self, attempt: Attempt, began: float) -> bool:
        """Whether a candidate that no device took may wait on: devices still take others, or did a moment ago."""
        is_early = time.monotonic() - max(self._taken, began) < self._patience_s
        return is_early and attempt.stage != "running" and not self._closed.wait(_RETRY_S)

    def _note_taken(self) -> None:
        self._taken = time.monotonic()

    def _note_end(self, attempt: Attempt) -> None:
        self._ended = time.monotonic()
        if attempt.stage != "running":
            return
        with self._lock:
            before = self._usage.get(attempt.device, DeviceUsage(attempt.device, 0, 0.0))
            self._usage[attempt.device] = DeviceUsage(
                attempt.device, before.candidates + 1, before.busy_s + attempt.elapsed_s
            )
