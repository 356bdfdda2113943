"""Files of JSON lines that survive whoever appends to them, and the lock that keeps a second one away."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakSet

from dscompile.errors import BadInputError, Position, ToolError, UsageError

_BROKEN = "delete this line if you can do without it, or tune in another directory"


class LineFile:
    """A file of one JSON value per line. What `append` returned from survives the end of the process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = -1
        self._size = 0
        self.count = 0  # complete lines

    def read(self) -> list[Any]:
        """The values of all complete lines. Raises BadInputError for one that is no JSON."""
        try:
            content = self.path.read_bytes() if self.path.exists() else b""
        except OSError as error:
            raise cannot("read", self.path, error) from error
        self._size = content.rfind(b"\n") + 1
        lines = content[: self._size].split(b"\n")[:-1]
        self.count = len(lines)
        return [self._value(number, line) for number, line in enumerate(lines, 1)]

    def open(self) -> None:
        """Cut off the line that a dying process left incomplete, and append from now on. After `read`."""
        with _writing(self.path):
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            os.ftruncate(self._file, self._size)

    def append(self, value: object) -> None:
        """One line, whole or not at all. Raises ToolError if the disk does not take it."""
        line = json.dumps(value, separators=(",", ":")).encode() + b"\n"
        with _writing(self.path):
            try:
                self._write(line)
            except OSError:
                os.ftruncate(self._file, self._size)
                raise
        self._size += len(line)
        self.count += 1

    def close(self) -> None:
        """Nothing is appended from now on."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _write(self, line: bytes) -> None:
        while line:
            line = line[os.write(self._file, line) :]

    def _value(self, number: int, line: bytes) -> object:
        try:
            return json.loads(line)
        except (ValueError, RecursionError) as error:
            raise self.broken(number, f"this line is no JSON: {error}") from error

    def broken(self, number: int, what: str) -> BadInputError:
        """The error for a line that cannot be used."""
        return BadInputError(what, position=Position(str(self.path), number, 1), help=_BROKEN)


class Lock:
    """A file that one process has locked for as long as it lives; its children do not hold it.

    Raises UsageError if another process has it, ToolError if it cannot be made.
    """

    def __init__(self, path: Path) -> None:
        with _writing(path):
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.pread(self._file, 32, 0).decode(errors="replace").strip()
            os.close(self._file)
            raise UsageError(
                f"'{path.parent}' is in use by another dscompile{f' (process {owner})' if owner else ''}",
                help="wait until it has ended, or tune in another directory",
            ) from None
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)
        _held.add(self)

    def release(self) -> None:
        """Let others have it. The file stays, for who waits for it has it open."""
        if self in _held:
            _held.remove(self)
            os.close(self._file)


_held: WeakSet[Lock] = WeakSet()


def _leave_locks_to_parent() -> None:
    """A forked worker that outlives its parent must not keep the lock."""
    for lock in list(_held):
        lock.release()


os.register_at_fork(after_in_child=_leave_locks_to_parent)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise cannot("write", path, error) from error


def cannot(what: str, path: Path, error: OSError) -> ToolError:
    """The error for a file that cannot be used."""
    return ToolError(f"cannot {what} '{path}': {error.strerror or error}")
