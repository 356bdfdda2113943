"""Arrays in .npy files, and where results go."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dscompile.errors import BadInputError, Position, ToolError, UsageError

Floats = NDArray[np.float32]


def read(name: str) -> Floats:
    """The array in a .npy file, as float32 if that is what is in it or loses nothing but digits.

    Raises UsageError if there is no such file, BadInputError if it is no array of numbers.
    """
    path = Path(name)
    if not path.is_file():
        raise UsageError(f"there is no file '{name}'")
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BadInputError("this is no .npy file", position=Position(name), help="write it with numpy.save") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise BadInputError("this is no single array of numbers", position=Position(name))
    return np.ascontiguousarray(array, dtype=np.float32)


def write(name: str, results: Mapping[str, Floats]) -> None:
    """Writes outputs to a .npy file, or by name to a .npz; completely or not at all.

    Raises UsageError for another suffix or for several outputs and .npy, ToolError if the disk refuses.
    """
    path = Path(name)
    if path.suffix not in (".npy", ".npz"):
        raise UsageError(f"'{name}' must end in .npy or .npz")
    if path.suffix == ".npy" and len(results) != 1:
        raise UsageError(f"a .npy file holds one output, the network has {len(results)}", help="write to a .npz file")
    try:
        handle, aside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                if path.suffix == ".npy":
                    np.save(file, next(iter(results.values())), allow_pickle=False)
                else:
                    np.savez(file, allow_pickle=False, **results)
            os.replace(aside, path)
        except BaseException:
            os.unlink(aside)
            raise
    except OSError as error:
        raise ToolError(f"cannot write '{name}': {error.strerror or error}") from error
