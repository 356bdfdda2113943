"""Reads and writes .npz: a ZIP archive of .npy arrays, without pickles.

Reading is lazy, one array at a time, and bounded by the shape in the array's own header: an archive that unpacks to
more than it says costs nothing. Writing gives the same bytes for the same arrays: no clock, no system.
"""

from __future__ import annotations

import io
import math
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from dscompile.errors import BadInputError
from dscompile.ir.network import Array
from dscompile.ir.tensor import Shape

# What zipfile, zlib and NumPy's parser of headers raise on damaged files.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    ValueError,
    TypeError,
    RuntimeError,
    SyntaxError,
    MemoryError,
    struct.error,
    tokenize.TokenError,
)
_DEFLATE_RATIO = 1032  # bytes that one byte can unpack to, at most (RFC 1951: 258 of a code of 2 bits)


class NpzReader:
    """An open .npz file. Raises BadInputError where it is missing or damaged."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise BadInputError(f"'{path.name}' cannot be read: {error.strerror or error}") from None
        try:
            self._archive = zipfile.ZipFile(self._file)
        except _DAMAGE:
            self._file.close()
            help = "write it with numpy.savez(path, **arrays)"
            raise BadInputError(f"'{path.name}' is not a .npz file", help=help) from None
        names = self._archive.namelist()
        if len(set(names)) < len(names):
            self.close()
            raise BadInputError(f"'{path.name}' holds two arrays of one name")
        self._entries = {name.removesuffix(".npy"): name for name in names}

    def keys(self) -> Sequence[str]:
        """Names of all arrays."""
        return tuple(self._entries)

    def describe(self, key: str) -> tuple[str, Shape]:
        """NumPy's name of the type, and the shape, from the array's header."""
        try:
            with self._open(key) as file:
                shape, _, dtype = _header(file)
        except _DAMAGE as error:
            raise BadInputError(_reason(error)) from None
        return dtype.name, shape

    def read(self, key: str) -> Array:
        """The array, of a type without Python objects."""
        try:
            with self._open(key) as file:
                shape, fortran, dtype = _header(file)
                if dtype.hasobject:
                    raise BadInputError("it holds Python objects")
                size = math.prod(shape) * dtype.itemsize
                # What the archive tells of the entry bounds what is asked for: it is less than the header by then.
                data = file.read(size) if size <= self._unpacked_bytes(key) else b""
                # One byte more makes zipfile compare the checksum, and shows what is too long.
                if len(data) != size or file.read(1):
                    raise BadInputError(f"its data are not the {size} B of its header")
        except _DAMAGE as error:
            raise BadInputError(_reason(error)) from None
        flat: Array = np.frombuffer(data, dtype)
        return flat.reshape(shape, order="F" if fortran else "C")

    def _open(self, key: str) -> IO[bytes]:
        info = self._archive.getinfo(self._entries[key])
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise BadInputError("it is compressed by something else than deflate")
        if info.flag_bits & 1:
            raise BadInputError("it is encrypted")
        return self._archive.open(info)

    def _unpacked_bytes(self, key: str) -> int:
        """What an array's entry can unpack to: what the archive says, and no more than deflate can make of it."""
        info = self._archive.getinfo(self._entries[key])
        return min(info.file_size, info.compress_size * _DEFLATE_RATIO)

    def close(self) -> None:
        """Closes the file."""
        self._archive.close()
        self._file.close()


def read_npy(path: Path) -> Array:
    """The array in a .npy file, of a type without Python objects.

    Raises BadInputError if it is anything else, before more is allocated than the file has.
    """
    try:
        with path.open("rb") as file:
            shape, fortran, dtype = _header(file)
            size = math.prod(shape) * dtype.itemsize
            if dtype.hasobject or size != os.fstat(file.fileno()).st_size - file.tell():
                raise ValueError("it holds Python objects, or more or less than its header says")
            data = file.read(size)
        flat: Array = np.frombuffer(data, dtype)
        return flat.reshape(shape, order="F" if fortran else "C")
    except _DAMAGE as error:
        raise BadInputError(f"'{path.name}' is no .npy file: {_reason(error)}") from error


def _header(file: IO[bytes]) -> tuple[Shape, bool, np.dtype[np.generic]]:
    """Shape, whether in Fortran's order, and type. NumPy looks how long a header is only when it has read all of it."""
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"version {version} of the .npy format is not known")
    length_bytes, parse = _HEADERS[version]
    told = file.read(length_bytes)
    length = int.from_bytes(told, "little")
    if length > _HEADER_BYTES:
        raise ValueError(f"its header of {length} B is too long")
    return parse(io.BytesIO(told + file.read(length)))


# By version of the format: bytes of the header's length, and who understands both.
_HEADERS = {(1, 0): (2, np.lib.format.read_array_header_1_0), (2, 0): (4, np.lib.format.read_array_header_2_0)}
_HEADER_BYTES = 10_000  # what NumPy takes at most


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or ["the file is damaged"])[0]


def npz_bytes(arrays: Mapping[str, Array]) -> bytes:
    """A .npz file with `arrays` in their order, stored uncompressed so that values can be mapped and compared."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for key, array in arrays.items():
            info = zipfile.ZipInfo(f"{key}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system = 3  # else the bytes would depend on the system that wrote them
            info.external_attr = 0o644 << 16
            with archive.open(info, "w", force_zip64=array.nbytes >= 1 << 31) as file:
                np.lib.format.write_array(file, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return out.getvalue()
