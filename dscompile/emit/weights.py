"""The weights blob: every constant of a program in one run of bytes, each aligned for vector loads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dscompile.ir.network import Array


@dataclass(frozen=True)
class Weights:
    """The bytes, little-endian, and where each constant begins among them."""

    blob: bytes
    offsets: Mapping[str, int]


def lay_out(constants: Mapping[str, Array], alignment: int) -> Weights:
    """Constants one after the other, each at a multiple of `alignment` bytes."""
    blob = bytearray()
    offsets: dict[str, int] = {}
    for name, array in constants.items():
        blob.extend(bytes(-len(blob) % alignment))
        offsets[name] = len(blob)
        blob.extend(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    return Weights(bytes(blob), offsets)
