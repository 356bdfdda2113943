"""The client's side of a worker: starts it, gives it tasks, ends it when it takes too long, and starts another."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from dscompile.errors import ToolError
from dscompile.farm.tasks import Report, Stage, Task

_START_S = 120.0
_CONNECT_S = 10.0
_GRACE_S = 5.0  # the device ends a session in time and says so; if it does not, the client does
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Attempt:
    """How a task ended: at which stage, on which device, which it occupied for how many seconds."""

    report: Report
    stage: str
    device: str
    elapsed_s: float


class WorkerProcess:
    """A worker, or the next one if it had to be ended. Not for several threads at once."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._is_closed = False
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115  # open as long as this object

    def run(self, task: Task, on_device: Callable[[], None]) -> Attempt:
        """Works on a task to its end, in bounded time. `on_device` is called when a device has taken it.

        Raises ToolError if no worker can be started.
        """
        stage, device, since = "waiting", "", time.monotonic()
        try:
            connection = self._start()
        except ToolError:
            if not self._is_closed:
                raise
            return Attempt(Report("lost", error="the farm was closed"), stage, device, 0.0)
        limits = {
            "waiting": task.patience_s + _GRACE_S,
            "connecting": _CONNECT_S,
            "running": task.session_s + _GRACE_S,
        }
        try:
            connection.send(task)
            end = since + limits[stage]
            while connection.poll(max(0.0, end - time.monotonic())):
                message = connection.recv()
                if isinstance(message, Report):
                    return Attempt(message, stage, device, _elapsed(stage, since))
                assert isinstance(message, Stage)
                stage = message.name
                if stage == "connecting":
                    device, since = message.device, time.monotonic()
                elif stage == "running":
                    on_device()
                end = time.monotonic() + limits[stage]
        except (EOFError, OSError):
            self.stop()
            broke = Report("lost", error="its session broke the client's worker", silent=stage == "running")
            return Attempt(broke, stage, device, _elapsed(stage, since))
        self.stop()
        return Attempt(_overdue(stage, device, task), stage, device, _elapsed(stage, since))

    def stop(self) -> None:
        """Ends the process, whatever it does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        """Ends the process for good. May be called from another thread: a task then ends as if the worker broke."""
        self._is_closed = True
        process = self._process
        if process is not None:
            process.kill()

    def _start(self) -> Connection:
        """The connection to a worker that is ready."""
        if self._connection is not None:
            return self._connection
        here, there = multiprocessing.Pipe()
        paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        with there:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "dscompile.farm.worker", str(there.fileno())],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._complaints,
                pass_fds=[there.fileno()],
                start_new_session=True,  # Ctrl-C is for the client, which ends its workers itself
            )
        self._connection = here
        if self._is_closed:  # in this moment
            self._process.kill()
        try:
            is_ready = here.poll(_START_S) and isinstance(here.recv(), Stage)
        except (EOFError, OSError):
            is_ready = False
        if not is_ready:
            self.stop()
            raise ToolError(f"a worker of the farm's client does not start{self._complaint()}")
        return here

    def _complaint(self) -> str:
        self._complaints.seek(0)
        lines = self._complaints.read().decode("utf-8", "replace").strip().splitlines()
        return f": {lines[-1]}" if lines else ""


def _elapsed(stage: str, since: float) -> float:
    """Seconds that a device was occupied."""
    return 0.0 if stage == "waiting" else time.monotonic() - since


def _overdue(stage: str, device: str, task: Task) -> Report:
    """What to say of a task that did not end in time."""
    if stage == "running":
        return Report("hang", error=f"took longer than {task.session_s:g} s, and device {device} did not end it")
    if stage == "connecting":
        return Report("lost", error=f"device {device} did not answer for {_CONNECT_S:g} s")
    return Report("lost", error=f"no device of key '{task.key}' was free for {task.patience_s:g} s")
