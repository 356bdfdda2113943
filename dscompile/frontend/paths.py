"""Files that a net.yaml names, and how output files are written."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from dscompile.aside import alone_in, aside_of, make_file, remove_abandoned
from dscompile.errors import Position, ToolError, UsageError
from dscompile.frontend.fields import Problems


def file_beside(directory: Path, name: str, position: Position, problems: Problems) -> Path | None:
    """The existing file `name` inside `directory`; None after recording why not.

    A description from elsewhere must not make the compiler read files all over the disk, so symbolic links are
    resolved before the comparison.
    """
    if not name:
        return None
    path = directory / name
    try:
        inside = path.resolve().is_relative_to(directory.resolve())
        is_file = inside and path.is_file()
    except (OSError, RuntimeError, ValueError) as error:
        problems.add(f"'{name}' cannot be read: {error}", position)
        return None
    if not inside:
        help = "put it beside the net.yaml, or name the weights on the command line"
        problems.add(f"'{name}' leaves the directory of its net.yaml", position, help=help)
        return None
    if not is_file:
        what = "is a directory" if path.is_dir() else "does not exist"
        problems.add(f"'{name}' {what}", position, help=f"it is looked for in '{directory}'")
        return None
    return path


def write_files(directory: Path, files: Mapping[str, bytes]) -> tuple[Path, ...]:
    """Writes files into `directory`, which is made if it is missing: all aside and to the disk first, then renamed.

    Existing files of these names are replaced, all or none, whenever the process is killed: the last of `files` is the
    one that says so. What belongs to it waits beside its own place, under a name that has the digest of the last
    (`written_with`), until the last is in place. What killed processes have left is removed. Raises ToolError if the
    disk refuses; then nothing has changed.
    """
    paths = tuple(directory / name for name in files)
    asides = [aside_of(path) for path in paths]
    waiting = [_waiting_for(path, files[paths[-1].name]) for path in paths[:-1]]
    descriptors: list[int] = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for path, aside, data in zip(paths, asides, files.values(), strict=True):
            remove_abandoned(path)
            descriptors.append(make_file(aside))
            _write(descriptors[-1], data)
        with alone_in(directory):
            _commit(paths, asides, waiting)
    except OSError as error:
        raise ToolError(f"cannot write into '{directory}': {error.strerror or error}", help=_ADVICE) from None
    finally:
        for aside in asides:
            with suppress(OSError):
                aside.unlink()
        for descriptor in descriptors:
            os.close(descriptor)
    return paths


_ADVICE = "name another place, or make this one writable and make room"


def _write(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]
    os.fsync(descriptor)
    os.fchmod(descriptor, 0o666 & ~_umask())  # as public as any other file the user makes


def _commit(paths: Sequence[Path], asides: Sequence[Path], waiting: Sequence[Path]) -> None:
    """Renames the files. The step that decides is the one of the last; after it nothing is taken back."""
    try:
        for aside, place in zip(asides, waiting, strict=False):
            aside.replace(place)
        asides[-1].replace(paths[-1])
    finally:  # Ctrl-C may come between any two steps
        done = not asides[-1].exists()
        for place, path in zip(waiting, paths, strict=False):
            if not place.exists():
                continue
            if done:
                place.replace(path)
            else:
                place.unlink()
    for path, place in zip(paths, waiting, strict=False):
        for stale in set(_all_waiting(path)) - {place}:
            stale.unlink(missing_ok=True)


def written_with(directory: Path, name: str, owner: bytes) -> str:
    """What to read as the file `name`, which a file in `directory` with the content `owner` names.

    That is `name`, unless the writer of both was killed before it could put that file into its place.
    """
    path = directory / name
    if path.name != name or not _all_waiting(path):
        return name
    waiting = _waiting_for(path, owner)
    return waiting.name if waiting.is_file() else name


def _all_waiting(path: Path) -> list[Path]:
    start, end = f".{path.stem}.for-", path.suffix
    length = len(start) + _DIGITS + len(end)
    try:
        names = [entry.name for entry in os.scandir(path.parent)]
    except OSError:
        return []
    return [path.with_name(n) for n in names if n.startswith(start) and n.endswith(end) and len(n) == length]


def _waiting_for(path: Path, owner: bytes) -> Path:
    from hashlib import sha256  # `check` needs no hashes, and answers sooner without them

    return path.with_name(f".{path.stem}.for-{sha256(owner).hexdigest()[:_DIGITS]}{path.suffix}")


_DIGITS = 16


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def refuse_existing(directory: Path, names: Iterable[str]) -> None:
    """Raises UsageError naming those of `names` that `directory` holds already."""
    existing = [str(directory / name) for name in names if os.path.lexists(directory / name)]
    if existing:
        raise UsageError(
            f"{' and '.join(existing)} {'exist' if len(existing) > 1 else 'exists'} already; nothing was written",
            help="remove it, or name another directory",
        )
