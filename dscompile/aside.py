"""What is written beside its destination until it is whole: `.net.<16 hexadecimal digits>.tmp`.

A killed process leaves it there, and the next one that writes to the same destination removes it. A lock on the file or
directory itself, which the system lets go of when its process ends, tells what is abandoned from what is being written.
Where a file system has no such locks (some network shares), nothing is removed.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_OLD = ".old"


def aside_of(final: Path) -> Path:
    """A path beside `final` that nobody else has."""
    return final.parent / f".{final.name}.{os.urandom(8).hex()}.tmp"


def old_of(aside: Path) -> Path:
    """Where what stood at the destination goes for a moment, on file systems that cannot exchange two names."""
    return aside.with_name(f"{aside.name}{_OLD}")


def make_directory(aside: Path) -> int:
    """Makes a directory and locks it -> the descriptor that holds the lock. Raises OSError."""
    while True:
        aside.mkdir()
        with suppress(FileNotFoundError):  # taken for abandoned before it was locked
            descriptor = os.open(aside, os.O_RDONLY | os.O_DIRECTORY)
            if _is_locked(aside, descriptor):
                return descriptor


def make_file(aside: Path) -> int:
    """Makes a private file and locks it -> its descriptor, for writing. Raises OSError."""
    while True:
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        if _is_locked(aside, descriptor):
            return descriptor


def _is_locked(aside: Path, descriptor: int) -> bool:
    """Locks what is open. False, and it is closed, if somebody has removed it meanwhile."""
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        if os.path.samestat(os.stat(aside), os.fstat(descriptor)):
            return True
    except FileNotFoundError:
        pass
    os.close(descriptor)
    return False


def remove_abandoned(final: Path) -> None:
    """Removes what killed processes have left beside `final`, as far as the disk lets us.

    A directory that one of them had moved away and not yet replaced goes back to its place.
    """
    pattern = re.compile(rf"\.{re.escape(final.name)}\.[0-9a-f]{{16}}\.tmp({re.escape(_OLD)})?")
    try:
        names = [entry.name for entry in os.scandir(final.parent) if pattern.fullmatch(entry.name)]
    except OSError:
        return
    for name in sorted(names):
        left = final.with_name(name)
        if not name.endswith(_OLD):
            _remove_unlocked(left)
        elif not left.with_name(name.removesuffix(_OLD)).exists():
            _put_back(left, final)


def _remove_unlocked(left: Path) -> None:
    with suppress(OSError):
        descriptor = os.open(left, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink()
        finally:
            os.close(descriptor)


def _put_back(old: Path, final: Path) -> None:
    with suppress(OSError):
        os.rename(old, final)  # fails if something stands there
        return
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def alone_in(directory: Path) -> Iterator[None]:
    """Keeps other processes that use this function out of a directory for a moment. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
