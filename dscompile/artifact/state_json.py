"""The state of a network in its manifest."""

from __future__ import annotations

import numpy as np

from dscompile.artifact.fields import Fields, Json
from dscompile.artifact.tensor_json import tensor_from_json, tensor_to_json
from dscompile.ir.state import STATE_ALIGNMENT, Slot, state_bytes
from dscompile.ir.tensor import Tensor

_LARGEST = 1 << 28  # bytes of all slots


def state_to_json(slots: tuple[Slot, ...]) -> Json:
    """Size and slots; `initial` is one number where all elements are equal at first, else a list."""
    return {
        "bytes": state_bytes(slots),
        "alignment": STATE_ALIGNMENT,
        "slots": [
            {**tensor_to_json(slot.tensor), "offset": slot.offset_bytes, "initial": _numbers(slot)} for slot in slots
        ],
    }


def slots_from_json(fields: Fields) -> tuple[Slot, ...]:
    """The slots of a manifest; none where it has no state."""
    if not fields.has_value("state"):
        return ()
    inner = fields.child("state")
    slots = inner.children("slots", _slot_from_json)
    if inner.whole("bytes") != state_bytes(slots):
        fields.problems.append(f"'state.bytes' does not fit the {len(slots)} slots")
    return slots


def _numbers(slot: Slot) -> float | int | list[float] | list[int]:
    values: list[float] | list[int] = np.frombuffer(slot.initial, slot.tensor.dtype).tolist()
    return values[0] if len(set(values)) == 1 else values


def _slot_from_json(fields: Fields) -> Slot:
    tensor = tensor_from_json(fields)
    offset = fields.whole("offset")
    if offset % STATE_ALIGNMENT or offset + tensor.size_bytes > _LARGEST:
        fields.problems.append(f"'{fields.where}offset' is {offset}, which is no place of a slot")
        return Slot(tensor, 0, b"")
    return Slot(tensor, offset, _initial(fields, tensor))


def _initial(fields: Fields, tensor: Tensor) -> bytes:
    several = isinstance(fields.content.get("initial"), list)
    numbers = fields.numbers("initial") if several else (fields.number("initial"),)
    limits = (-128.0, 127.0) if tensor.dtype == "int8" else (-3.5e38, 3.5e38)
    fits = len(numbers) == tensor.elements or (not several and tensor.elements > 0)
    if not fits or not all(limits[0] <= number <= limits[1] for number in numbers):
        fields.problems.append(f"'{fields.where}initial' must be {tensor.elements} numbers of {tensor.dtype}")
        return b""
    return np.broadcast_to(np.asarray(numbers, tensor.dtype), tensor.elements).tobytes()
