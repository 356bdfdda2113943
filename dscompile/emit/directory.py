"""Directories that appear whole or not at all: written aside, then swapped in."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from dscompile.artifact import MANIFEST, is_artifact
from dscompile.aside import aside_of, make_directory, old_of, remove_abandoned
from dscompile.errors import ToolError, UsageError

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2  # linux/fs.h
_SWAP_ATTEMPTS = 100
_LOOKS, _LOOK_S = 3, 0.001
_INTERRUPTIONS = {signal.SIGINT, signal.SIGTERM}


@contextmanager
def replaced_directory(destination: Path) -> Iterator[Path]:
    """Yields a new directory beside `destination`, which takes its place when the block ends without an exception.

    Whatever goes wrong inside the block (Ctrl-C and SIGTERM too), the new directory is removed and `destination` is as
    it was; of two processes that write the same destination, the last one wins whole. Missing parents are made. What
    a killed process has left beside `destination` is removed first.

    Raises UsageError if `destination` holds something that is no artifact of ours, and ToolError, naming the path,
    if the disk refuses.
    """
    final = Path(os.path.realpath(destination))
    check_replaceable(final)
    remove_abandoned(final)
    aside, lock = aside_of(final), -1
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with _terminable():
        try:
            with disk_errors(destination):
                final.parent.mkdir(parents=True, exist_ok=True)
                lock = make_directory(aside)
                yield aside
                check_replaceable(final)
                _swap(aside, final)
        finally:
            try:
                _remove(aside, mask)
            finally:  # for a signal that came after the block and before the first line of what removes
                _remove(aside, mask)
                if lock >= 0:
                    os.close(lock)


def _remove(directory: Path, mask: set[signal.Signals] | set[int]) -> None:
    """Removes a directory whole: Ctrl-C and SIGTERM wait meanwhile, and are seen when the signal `mask` is back."""
    try:
        try:
            signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTIONS)
        finally:  # one that was on its way is raised above, with the others blocked already
            shutil.rmtree(directory, ignore_errors=True)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def check_replaceable(destination: Path) -> None:
    """Raises UsageError unless `destination` is absent, an empty directory or an artifact.

    Another build may be replacing it at this moment, and then it looks like nothing of ours: only what stays the same
    for a few looks is refused.
    """
    looks, seen = 0, None
    with disk_errors(destination):
        for _ in range(_SWAP_ATTEMPTS):
            before = _identity(destination)
            if before is None:
                return
            if not destination.is_dir():
                verdict = UsageError(f"'{destination}' is a file; name a directory for the artifact")
            elif is_artifact(destination) or _is_empty(destination):
                return
            else:
                verdict = UsageError(
                    f"'{destination}' holds files that are no artifact of dscompile (it has no {MANIFEST} of ours)",
                    help="name another directory, or remove this one yourself",
                )
            unchanged = _identity(destination) == before
            looks = looks + 1 if unchanged and before == seen else int(unchanged)
            seen = before
            if looks == _LOOKS:
                raise verdict
            time.sleep(_LOOK_S)
        raise _never_free(destination)


def _identity(path: Path) -> tuple[int, int] | None:
    """What file stands at a path now; None if there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _is_empty(directory: Path) -> bool:
    try:
        return not any(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return False


def _never_free(path: Path) -> OSError:
    return OSError(errno.EBUSY, "it keeps being replaced", str(path))


@contextmanager
def disk_errors(destination: Path) -> Iterator[None]:
    """Turns an OSError into a ToolError that names the path."""
    try:
        yield
    except OSError as error:
        place = error.filename or destination
        raise ToolError(
            f"cannot write the artifact '{destination}': {error.strerror or error} ('{place}')",
            help=_ADVICE.get(error.errno or 0, "name another directory for the artifact"),
        ) from error


_ADVICE = {
    errno.ENOSPC: "make room on the disk, or name a directory on another one",
    errno.EDQUOT: "make room in your quota, or name a directory on another disk",
    errno.EACCES: "name a directory that you may write",
    errno.EROFS: "name a directory on a disk that may be written",
}


def _swap(new: Path, final: Path) -> None:
    """Puts `new` in the place of `final`; the old directory is removed or ends up under the name of `new`."""
    for _ in range(_SWAP_ATTEMPTS):
        try:
            os.rename(new, final)  # succeeds if there is nothing, or an empty directory
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        try:
            _exchange(new, final)
            return
        except OSError as error:  # somebody has just taken the old one away, or put another there
            if error.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST):
                raise
    raise _never_free(final)


def _exchange(new: Path, final: Path) -> None:
    """Swaps two directories: in one step where the file system can, else in two that are undone on failure."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None, use_errno=True), "renameat2"):
        result = libc.renameat2(_AT_FDCWD, os.fsencode(new), _AT_FDCWD, os.fsencode(final), _RENAME_EXCHANGE)
        if result == 0:
            return
        code = ctypes.get_errno()
        if code not in (errno.EINVAL, errno.ENOSYS, errno.EPERM):
            raise OSError(code, os.strerror(code), str(final))
    _exchange_in_steps(new, final)


def _exchange_in_steps(new: Path, final: Path) -> None:
    old = old_of(new)
    try:
        os.rename(final, old)
        os.rename(new, final)
    except BaseException:
        with suppress(OSError):  # fails if another build's directory is there by now: that one stays
            os.rename(old, final)
        shutil.rmtree(old, ignore_errors=True)
        raise
    with suppress(OSError):  # another build has put it back, into the gap of a third
        os.rename(old, new)  # as `old`, half removed, it could be put back


@contextmanager
def _terminable() -> Iterator[None]:
    """Lets SIGTERM unwind the stack like Ctrl-C does, unless the program handles it itself."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _exit_on_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _exit_on_signal(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)
