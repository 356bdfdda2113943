"""Runs a command of dscompile in a forked process, which may kill itself before the Nth change of the disk.

Forked, since importing what a command needs takes longer than what it does.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate", "os.link", "os.symlink"}
_CHANGES |= {"fcntl.flock", "subprocess.Popen"}
_TICK_S = 0.002
TOLD, CHANGES = "told", "changes"


@dataclass(frozen=True)
class Disturbance:
    """`before_change`: kill before that change of the disk. `file_bytes`: no file may grow larger."""

    before_change: int = -1
    file_bytes: int | None = None


@dataclass(frozen=True)
class Running:
    """A command that runs, in a process group of its own."""

    pid: int

    def wait(self, seconds: float) -> int | None:
        """Its exit code, or minus the signal that ended it; None if it still runs after so many seconds."""
        end = time.monotonic() + seconds
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() >= end:
                return None
            time.sleep(_TICK_S)

    def kill(self) -> int:
        """Kills the group."""
        os.killpg(self.pid, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def start(arguments: Sequence[str], folder: Path, environment: Mapping[str, str], disturbance: Disturbance) -> Running:
    """Starts a command in `folder`: there it writes what it says (TOLD), and its number of changes (CHANGES)."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        _child(arguments, folder, environment, disturbance)
    with suppress(OSError):  # it may have done so itself
        os.setpgid(pid, pid)
    return Running(pid)


def _child(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str], disturbance: Disturbance
) -> NoReturn:
    code = 70
    try:
        os.setpgid(0, 0)
        os.chdir(folder)
        told = os.open(TOLD, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        os.dup2(told, 1)
        os.dup2(told, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
        os.environ.update(environment)
        tempfile.tempdir = None
        if disturbance.file_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (disturbance.file_bytes, disturbance.file_bytes))
        trap = _Trap(disturbance.before_change)
        sys.addaudithook(trap)
        from dscompile.cli.main import main

        code = main(arguments)
        changes, trap.at = trap.count, -1
        if disturbance.file_bytes is None:
            Path(CHANGES).write_text(str(changes))
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


class _Trap:
    """Counts changes, and kills the group before the one with the number `at`; never if that is negative."""

    def __init__(self, at: int) -> None:
        self.at, self.count = at, 0

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if not (event in _CHANGES or _is_writing(event, arguments) or _is_exchange(event, arguments)):
            return
        if self.count == self.at:
            os.killpg(0, signal.SIGKILL)
        self.count += 1


def _is_writing(event: str, arguments: tuple[object, ...]) -> bool:
    return event == "open" and isinstance(arguments[2], int) and bool(arguments[2] & _WRITES)


def _is_exchange(event: str, arguments: tuple[object, ...]) -> bool:
    return event == "ctypes.dlsym" and "renameat2" in map(str, arguments)
