"""Arrays in .npy files, and where results go."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dscompile.errors import BadInputError, Position, ToolError, UsageError
from dscompile.frontend.npz import read_npy
from dscompile.ir.network import Array
from dscompile.ir.tensor import INTEGER_RANGES, DType


def read(name: str, dtype: DType = "float32") -> Array:
    """The array in a .npy file as `dtype`: floats may lose digits, integers nothing.

    Raises UsageError if there is no such file, BadInputError if it is no array of numbers.
    """
    path = Path(name)
    if not path.is_file():
        raise UsageError(f"there is no file '{name}'")
    try:
        array = read_npy(path)
    except BadInputError as error:
        raise BadInputError("this is no .npy file", position=Position(name), help="write it with numpy.save") from error
    if array.dtype.kind not in "fiu":
        raise BadInputError("this is no single array of numbers", position=Position(name))
    if dtype in INTEGER_RANGES:
        low, high = INTEGER_RANGES[dtype]
        if array.dtype.kind == "f" or (array.size and not low <= array.min() <= array.max() <= high):
            raise BadInputError(
                f"the network takes {dtype}, this is {array.dtype} from {array.min()} to {array.max()}",
                position=Position(name),
                help="quantize it: q = round(x / scale) + zero_point, with the scale and zero point of the header",
            )
    return np.ascontiguousarray(array, dtype=np.dtype(dtype))


def write(name: str, results: Mapping[str, Array]) -> None:
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
