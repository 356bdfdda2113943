"""Reads .safetensors, through the format's own library, which validates the header before anything else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from dscompile.errors import BadInputError
from dscompile.ir.network import Array
from dscompile.ir.tensor import Shape

_NUMPY_NAMES = {"F64": "float64", "F32": "float32", "F16": "float16", "I8": "int8", "I32": "int32", "I64": "int64"}


class SafetensorsReader:
    """An open .safetensors file. Raises BadInputError where it is missing or damaged."""

    def __init__(self, path: Path) -> None:
        try:
            self._file: Any = safe_open(str(path), framework="numpy")
        except SafetensorError as error:
            raise BadInputError(f"'{path.name}' is not a .safetensors file: {error}") from None
        except OSError as error:
            raise BadInputError(f"'{path.name}' cannot be read: {error.strerror or error}") from None

    def keys(self) -> Sequence[str]:
        """Names of all arrays."""
        return tuple(self._file.keys())

    def describe(self, key: str) -> tuple[str, Shape]:
        """NumPy's name of the type (the format's own where NumPy has none, such as BF16), and the shape."""
        view = self._file.get_slice(key)
        kind = str(view.get_dtype())
        return _NUMPY_NAMES.get(kind, kind), tuple(int(size) for size in view.get_shape())

    def read(self, key: str) -> Array:
        """The array."""
        array: Array = self._file.get_tensor(key)
        return array

    def close(self) -> None:
        """Releases the file's mapping."""
        del self._file
