"""The weights blob: every constant of a program in one run of bytes, each aligned for vector loads.

Programs that go into one library share a blob, and constants of the same bytes in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dscompile.emit.interface import Interface
from dscompile.emit.render import render
from dscompile.ir.network import Array
from dscompile.target import Target


@dataclass(frozen=True)
class Weights:
    """The bytes, little-endian, and where each constant begins among them."""

    blob: bytes
    offsets: Mapping[str, int]


def lay_out(constants: Mapping[str, Array], alignment: int) -> Weights:
    """Constants one after the other, each at a multiple of `alignment` bytes; those with the same bytes once."""
    return lay_out_shared([constants], alignment)[0]


def lay_out_shared(programs: Sequence[Mapping[str, Array]], alignment: int) -> tuple[Weights, ...]:
    """One blob with the constants of several programs, and where each program finds its own in it."""
    blob = bytearray()
    places: dict[bytes, int] = {}
    offsets: list[dict[str, int]] = []
    for constants in programs:
        own: dict[str, int] = {}
        for name, array in constants.items():
            content = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
            if content not in places:
                blob.extend(bytes(-len(blob) % alignment))
                places[content] = len(blob)
                blob.extend(content)
            own[name] = places[content]
        offsets.append(own)
    return tuple(Weights(bytes(blob), own) for own in offsets)


def weights_assembly(interface: Interface, symbol: str, target: Target, blob: str) -> str:
    """Assembly that lays the bytes of the file `blob` down as `symbol`, aligned as the target's arena is."""
    return render("native/weights.S.j2", net=interface, symbol=symbol, target=target, blob=blob)
