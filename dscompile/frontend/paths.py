"""Files that a net.yaml names, and how output files are written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

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

    Existing files of these names are replaced. Raises ToolError if the disk refuses; then nothing has changed,
    unless it refused one of the renames themselves.
    """
    aside: list[tuple[Path, Path]] = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            handle, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=directory)
            aside.append((Path(temporary), directory / name))
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(handle)
            # mkstemp makes files private; these are as public as any other the user makes.
            os.chmod(temporary, 0o666 & ~_umask())
        for temporary_path, path in aside:
            temporary_path.replace(path)
    except OSError as error:
        raise ToolError(f"cannot write into '{directory}': {error.strerror or error}") from None
    finally:
        for temporary_path, _ in aside:
            temporary_path.unlink(missing_ok=True)
    return tuple(path for _, path in aside)


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
