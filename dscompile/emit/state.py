"""What `<net>_reset` writes: the first state of a network, as C."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dscompile.emit.names import C_TYPES, c_float
from dscompile.ir.state import Slot

_VALUES_PER_LINE = 16


@dataclass(frozen=True)
class Fill:
    """A run of bytes of the state: all `byte`, or (None) the elements of an array of `c_type`, which are `content`."""

    offset_bytes: int
    size_bytes: int
    byte: int | None
    c_type: str = "uint8_t"
    lines: tuple[str, ...] = ()
    content: bytes = b""


def fills(slots: Sequence[Slot]) -> tuple[Fill, ...]:
    """What a reset writes, in order; neighbors of one byte are one run, with what lies between them."""
    result: list[Fill] = []
    for slot in slots:
        made = _fill(slot)
        last = result[-1] if result else None
        if last is not None and last.byte is not None and last.byte == made.byte:
            size = made.offset_bytes + made.size_bytes - last.offset_bytes
            result[-1] = Fill(last.offset_bytes, size, last.byte)
        else:
            result.append(made)
    return tuple(result)


def _fill(slot: Slot) -> Fill:
    values = np.frombuffer(slot.initial, slot.tensor.dtype)
    size = slot.tensor.size_bytes
    different = set(slot.initial)
    if len(different) == 1:
        return Fill(slot.offset_bytes, size, different.pop())
    literals = [c_float(float(x)) if values.dtype == np.float32 else str(int(x)) for x in values]
    lines = (literals[i : i + _VALUES_PER_LINE] for i in range(0, len(literals), _VALUES_PER_LINE))
    text = tuple(", ".join(line) + "," for line in lines)
    return Fill(slot.offset_bytes, size, None, C_TYPES[slot.tensor.dtype], text, slot.initial)
