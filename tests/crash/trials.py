"""One trial: a command that is disturbed, what it has left, and the next run, which nobody disturbs."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal

from tests.crash.commands import Command, Files, contents, is_leftover
from tests.crash.trap import CHANGES, TOLD, Disturbance, Running, start

ROOT = Path(__file__).resolve().parents[2]
Fault = Literal["kill", "limit", "full"]
FAULTS: tuple[Fault, ...] = ("kill", "limit", "full")
LONGEST_S = 600
_MARK = "DSCOMPILE_CRASH_TRIAL"
_GONE_S = 20.0  # in which processes outside of the group that was killed must end by themselves
_REFUSED = 5  # docs/exit-codes.md: the disk refused
_WORDS = ("No space left", "File too large", "signal 25")  # a compiler is ended by SIGXFSZ
_PAGE_BYTES = resource.getpagesize()


@dataclass(frozen=True)
class Reference:
    """Undisturbed runs: what was there before, what they make of it and of an empty directory, how long they take.

    `changes` are those of the disk that Python makes, `largest_bytes` the size of the largest file that they write.
    """

    before: Files
    after: Files
    afresh: Files
    seconds: float
    changes: int
    largest_bytes: int


@dataclass(frozen=True)
class Outcome:
    """How a trial went: what was done, how the command ended, and what is wrong, or ""."""

    done: str
    ended: str
    found: str


class Trials:
    """Trials of one command in a directory of their own."""

    def __init__(self, command: Command, folder: Path) -> None:
        self.command, self.folder, self.out, self.scratch = command, folder, folder / "out", folder / "tmp"
        folder.mkdir(parents=True)
        command.warm(folder)
        self.out.mkdir()
        self._clean_scratch()
        self.reference = self._reference()

    def run(self, seed: int, fault: Fault) -> Outcome:
        """The trial of a seed: of four one starts where no result is, one in two is killed between changes."""
        rng = Random(f"{self.command.name} {fault} {seed}")
        before = self.reference.before if seed % 4 else {}
        self._restore(before)
        if fault == "kill" and seed % 2:
            return self.killed_before(rng.randrange(self.reference.changes), before)
        if fault == "kill":
            share = rng.uniform(0, 1.05)
            running = self._start(Disturbance())
            ended = running.wait(share * self.reference.seconds)
            done, status = f"killed after {share:.0%} of its time", running.kill() if ended is None else ended
        elif fault == "limit":
            limit = int(self.reference.largest_bytes * rng.uniform(0, 1.1))
            done, status = f"files of at most {limit} B", self._run(Disturbance(file_bytes=limit))
        else:
            done, status = self._on_full_disk(rng, before)
        return Outcome(done, _ending(status), self._judged(before, fault, status))

    def killed_before(self, change: int, before: Files) -> Outcome:
        """A trial that ends before a change of the disk, where `before` was there."""
        self._restore(before)
        status = self._run(Disturbance(change))
        return Outcome(
            f"killed before change {change} of the disk", _ending(status), self._judged(before, "kill", status)
        )

    def _on_full_disk(self, rng: Random, before: Files) -> tuple[str, int]:
        """The results and all temporary files on a file system of their own, which is too small."""
        room = int(rng.uniform(0.05, 1.1) * self.reference.largest_bytes * 3)
        size = sum(len(content) // _PAGE_BYTES + 1 for content in before.values()) * _PAGE_BYTES + room
        with mounted(self.out, size):
            _write(self.out, before)
            self.scratch = self.out / "tmp"
            self._clean_scratch()
            status = self._run(Disturbance())
            self.scratch = self.folder / "tmp"
            shutil.rmtree(self.out / "tmp")
            left = contents(self.out)
        self._restore({})
        _write(self.out, left)
        return f"{room} B of room", status

    def _judged(self, before: Files, fault: Fault, status: int) -> str:
        after = self.reference.after if before else self.reference.afresh
        complaint = self._status_fault(fault, status) or self._living() or self._scratch_fault()
        complaint = complaint or self.command.fault(self.out, before, after)
        now = contents(self.out)
        odd = [name for name in now if not is_leftover(name) and name not in before.keys() | after.keys()]
        if odd and not complaint:
            complaint = f"unknown files: {odd}"
        if complaint:
            return complaint
        self._clean_scratch()
        again = self._run(Disturbance())
        if again:
            return f"the next run: {_ending(again)}: {self._told()}"
        return self.command.settled(now, contents(self.out), after)

    def _status_fault(self, fault: Fault, status: int) -> str:
        allowed = (0, -signal.SIGKILL) if fault == "kill" else (0, _REFUSED)
        if status in allowed and (status != _REFUSED or any(words in self._told() for words in _WORDS)):
            return ""
        return f"it ended with {_ending(status)}: {self._told()}"

    def _told(self) -> str:
        return (self.folder / TOLD).read_text(errors="replace")

    def _living(self) -> str:
        """Processes of the trial that do not end."""
        end = time.monotonic() + _GONE_S
        while living := list(_with_mark(str(self.folder))):
            if time.monotonic() > end:
                for process, _ in living:
                    os.kill(process, signal.SIGKILL)
                return f"processes live on: {[words for _, words in living]}"
            time.sleep(0.05)
        return ""

    def _scratch_fault(self) -> str:
        """What lies in the directory for temporary files is for its owner alone."""
        open_to_all = [path.name for path in self.scratch.iterdir() if stat.S_IMODE(path.stat().st_mode) & 0o077]
        return f"others may read temporary files: {open_to_all}" if open_to_all else ""

    def _reference(self) -> Reference:
        self.command.write_inputs(self.folder, False)
        self._must_run()
        before = contents(self.out)
        self.command.write_inputs(self.folder, True)
        self._must_run()
        after = contents(self.out)
        self._restore({})
        changes = self._must_run()
        afresh = contents(self.out)
        self._restore(before)
        began = time.monotonic()
        self._must_run()
        seconds = time.monotonic() - began
        largest = max(len(content) for content in after.values())
        return Reference(before, after, afresh, seconds, changes, largest)

    def _must_run(self) -> int:
        """An undisturbed run -> its changes of the disk."""
        status = self._run(Disturbance())
        assert status == 0, self._told()
        return int((self.folder / CHANGES).read_text())

    def _run(self, disturbance: Disturbance) -> int:
        """Exit code, or minus the signal."""
        running = self._start(disturbance)
        status = running.wait(LONGEST_S)
        return running.kill() if status is None else status

    def _start(self, disturbance: Disturbance) -> Running:
        environment = {"PYTHONPATH": str(ROOT), "TMPDIR": str(self.scratch), _MARK: str(self.folder)}
        return start(self.command.arguments, self.folder, environment, disturbance)

    def _restore(self, files: Files) -> None:
        shutil.rmtree(self.out)
        self.out.mkdir()
        _write(self.out, files)
        self._clean_scratch()

    def _clean_scratch(self) -> None:
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir()


@contextmanager
def mounted(place: Path, size: int) -> Iterator[None]:
    """A file system of `size` bytes. Raises PermissionError where none may be mounted."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        raise PermissionError("mounting a tmpfs is not permitted")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def _write(folder: Path, files: Files) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def _with_mark(mark: str) -> Iterator[tuple[int, str]]:
    """Processes of a trial, and how they were called."""
    wanted = f"{_MARK}={mark}".encode()
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (place / "environ").read_bytes().split(b"\0"):
                yield int(place.name), (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue


def _ending(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f"exit code {status}"


def run_all(trials: Trials, seeds: Sequence[int], fault: Fault, see: Callable[[int, Outcome], None]) -> int:
    """The trials of all seeds -> how many found something."""
    found = 0
    for seed in seeds:
        outcome = trials.run(seed, fault)
        see(seed, outcome)
        found += bool(outcome.found)
    return found
