"""The temporary directory of a device: mode 0700, removed at the end, and by the next device if there was no end."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dscompile.errors import ToolError

_PREFIX = "dscompile-device-"
_LOCK = "lock"


@contextmanager
def scratch_directory() -> Iterator[Path]:
    """A new directory in $TMPDIR or /tmp. Raises ToolError if there can be none.

    Those that devices of this user left there when they were killed are removed first.
    """
    parent = Path(tempfile.gettempdir())
    for left in sorted(parent.glob(f"{_PREFIX}*")):
        _remove_abandoned(left)
    try:
        directory = Path(tempfile.mkdtemp(prefix=_PREFIX))
        lock = os.open(directory / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise ToolError(f"cannot make a directory in {parent}: {error.strerror}", help="set TMPDIR") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the system lets go of it when the process ends, however it ends
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(lock)


def _remove_abandoned(directory: Path) -> None:
    """Removes a directory that is ours, whose device no longer runs."""
    with suppress(OSError):  # another user's, or removed by another device in this moment
        if directory.is_symlink() or directory.stat().st_uid != os.getuid():
            return
        lock = os.open(directory / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(directory, ignore_errors=True)
        finally:
            os.close(lock)
