"""Changes of .npy headers, of the ZIP archives around them, and of the header of .safetensors."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
import zlib
from random import Random
from typing import Any

from tests.fuzz.damage import INTEGERS, damaged_bytes
from tests.fuzz.samples import Sample
from tests.fuzz.trees import change_tree

_DESCRS = (
    "<f4",
    ">f4",
    "<f8",
    "<f2",
    "|i1",
    "<i4",
    "<i8",
    "|u1",
    "|b1",
    "<c8",
    "<U8",
    "|S4",
    "|O",
    "|V0",
    "<M8[s]",
    "<f16",
)
_DESCRS += ("f4, f4", "[('a', '<f4')]", "", "(2,)f4", "<U99999999", "|V4294967296", "(99999999999,)f4")
_SHAPES = ("()", "(0,)", "(1,)", "(-1,)", "(1000000000,)", "(99999999999999999999,)", "(0, 99999999999999)", "(2**40,)")
_SHAPES += ("(4294967296, 4294967296)", "(1, 1, 1, 1)", "[3]", "3", "None", "(True,)", "(1.0,)", "('a',)", "(1,) * 70")
_SIGNATURES = {
    b"PK\x03\x04": (4, 6, 8, 10, 14, 18, 22, 26, 28),
    b"PK\x01\x02": (4, 6, 8, 10, 12, 16, 20, 24, 28, 30, 42),
}


class Touch:
    """What unpickles into a file of this name: code that must never run."""

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return open, ("pickle-was-executed", "w")


def damaged_archive(rng: Random, sample: Sample) -> Sample:
    """An archive whose arrays have other headers, packed another way, or whose directory says something else."""
    if rng.random() < 0.4:
        return _damaged_directory(rng, sample)
    try:
        with zipfile.ZipFile(io.BytesIO(sample.data)) as archive:
            files = [(name, archive.read(name)) for name in archive.namelist()]
    except Exception:  # damaged before
        return damaged_bytes(rng, sample)
    if files:
        index = rng.randrange(len(files))
        name, content = files[index]
        files[index] = (_name(rng, name, files), damaged_npy(rng, Sample(name, content)).data)
    out = io.BytesIO()
    methods = (zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    with zipfile.ZipFile(out, "w", rng.choice(methods)) as archive:
        for name, content in files:
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content, archive.compression)
    return sample.with_data(out.getvalue())


def damaged_npy(rng: Random, sample: Sample) -> Sample:
    """A .npy file with another header, other data, or a pickle in it."""
    data = sample.data
    if data[:6] != b"\x93NUMPY" or len(data) < 12:
        return damaged_bytes(rng, sample)
    length = int.from_bytes(data[8:10], "little")
    header, body = data[10 : 10 + length].decode("latin1"), data[10 + length :]
    match rng.randrange(8):
        case 0:
            header = _with(header, "descr", repr(rng.choice(_DESCRS)))
        case 1 | 2:
            header = _with(header, "shape", rng.choice(_SHAPES))
        case 3:
            header = _with(header, "fortran_order", rng.choice(("True", "1", "None", "'x'")))
        case 4:
            header = _with(header, "descr", "'|O'")
            body = pickle.dumps([Touch()])
        case 5:
            header = rng.choice(
                ("{}", "[" * 5000, "1", "{'descr': '<f4'}", header * 40, "{" * 90, header[:-5], "\x00" * 64)
            )
        case 6:
            body = rng.choice((b"", body[:-1], body + b"\x00", body * 3, bytes(len(body))))
        case _:
            return sample.with_data(damaged_bytes(rng, Sample("", data[:128])).data + data[128:])
    raw = header.encode("latin1")
    version = rng.choice((1, 1, 1, 2, 3, 0, 255))
    told = len(raw) if rng.random() < 0.8 else rng.choice(INTEGERS)
    prefix = struct.pack("<H", told % 65536) if version == 1 else struct.pack("<I", told % 2**32)
    return sample.with_data(b"\x93NUMPY" + bytes((version, 0)) + prefix + raw + body)


def bomb(rng: Random, sample: Sample) -> Sample:
    """Arrays of zeros that unpack to a thousand times their size; the header may tell it or not."""
    megabytes = rng.choice((1, 8, 64, 1500))
    count = megabytes << 18
    shape = rng.choice((f"({count},)", "(3,)", f"({count // 4}, 4)", f"({count // 16}, 1, 4, 4)"))
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    if rng.random() < 0.2:  # all of it is the header
        header = b"\x93NUMPY\x02\x00" + struct.pack("<I", min(megabytes << 20, 2**32 - 1))
    else:
        header = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
    size = len(header) + (megabytes << 20)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(header) + packer.flush(zlib.Z_FULL_FLUSH) + _zeros(megabytes)
    name = rng.choice(("x.npy", "a.kernel.npy", "a.bias.npy", "first.kernel.npy")).encode()
    told = rng.choice((size, size, 100, 2**32 - 2)) & 0xFFFFFFFF
    local = struct.pack("<4s5H3I2H", b"PK\x03\x04", 20, 0, 8, 0, 33, 0, len(packed), told, len(name), 0) + name
    central = struct.pack(
        "<4s6H3I5H2I", b"PK\x01\x02", 20, 20, 0, 8, 0, 33, 0, len(packed), told, len(name), 0, 0, 0, 0, 0, 0
    )
    start = len(local) + len(packed)
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 1, 1, len(central) + len(name), start, 0)
    return sample.with_data(local + packed + central + name + end)


_packed: dict[int, bytes] = {}


def _zeros(megabytes: int) -> bytes:
    """So many MiB of zeros, packed; made once."""
    if megabytes not in _packed:
        one = zlib.compressobj(9, zlib.DEFLATED, -15)
        block = one.compress(bytes(1 << 20)) + one.flush(zlib.Z_FULL_FLUSH)
        last = zlib.compressobj(9, zlib.DEFLATED, -15)
        _packed[megabytes] = block * megabytes + last.flush()
    return _packed[megabytes]


def damaged_safetensors(rng: Random, sample: Sample) -> Sample:
    """Another header, or another length of it."""
    length = int.from_bytes(sample.data[:8], "little")
    try:
        content = [json.loads(sample.data[8 : 8 + length])]
    except (ValueError, RecursionError):
        return damaged_bytes(rng, sample)
    words = (
        "F32",
        "F64",
        "F16",
        "BF16",
        "I8",
        "U8",
        "I64",
        "BOOL",
        "F8_E4M3",
        "dtype",
        "shape",
        "data_offsets",
        "__metadata__",
    )
    for _ in range(rng.choice((1, 1, 2, 4))):
        change_tree(rng, content, words)
    header = json.dumps(content[0] if content else None).encode()
    told = len(header) if rng.random() < 0.8 else rng.choice(INTEGERS) % 2**64
    return sample.with_data(struct.pack("<Q", told) + header + sample.data[8 + length :])


def _damaged_directory(rng: Random, sample: Sample) -> Sample:
    """Numbers of the ZIP format's own records changed."""
    data = bytearray(sample.data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        signature = rng.choice(list(_SIGNATURES))
        starts = [index for index in range(len(data) - 4) if data[index : index + 4] == signature]
        if not starts:
            return damaged_bytes(rng, sample)
        place = rng.choice(starts) + rng.choice(_SIGNATURES[signature])
        width = rng.choice((2, 4))
        data[place : place + width] = (rng.choice(INTEGERS) % (1 << 8 * width)).to_bytes(width, "little")
    return sample.with_data(bytes(data))


def _name(rng: Random, name: str, files: list[tuple[str, bytes]]) -> str:
    if rng.random() < 0.8:
        return name
    return rng.choice(("../../x.npy", "/etc/x.npy", "", "é.npy", files[0][0], "a\x00b.npy", name + "x", "x" * 1000))


def _with(header: str, key: str, value: str) -> str:
    """A header of NumPy's with another value of a key."""
    start = header.find(f"'{key}': ")
    if start < 0:
        return header
    end = header.find(", '", start)
    end = header.find(", }", start) if end < 0 else end
    return f"{header[:start]}'{key}': {value}{header[end:]}"
