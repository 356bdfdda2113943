"""State: what a network keeps from one inference to the next, such as the last rows of a stream.

A state is an input of the network, read before anything else happens, and an output, which holds what the input will
be the next time. Its bytes lie in one block of the caller's: the states one after the other, each dense, channels last,
from a multiple of STATE_ALIGNMENT on; the same on every target.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dscompile.ir.tensor import Quantization, Shape, Tensor

STATE_ALIGNMENT = 16
"""Bytes; what any kernel that reads words of a state may want."""


@dataclass(frozen=True, eq=False)
class State:
    """The input `name` is what the output `next` was in the inference before, and `initial` in the first one.

    `initial` has shape and type of the tensor: of int8 states the integers.
    """

    name: str
    next: str
    initial: NDArray[np.generic]


@dataclass(frozen=True)
class Slot:
    """Where a state lies in the caller's block, and the bytes that it holds at first."""

    tensor: Tensor
    offset_bytes: int
    initial: bytes


def slots(states: Sequence[State], tensors: Mapping[str, Tensor]) -> tuple[Slot, ...]:
    """The states of a network in their block."""
    result, offset = [], 0
    for state in states:
        tensor = tensors[state.name]
        result.append(Slot(tensor, offset, np.ascontiguousarray(state.initial).tobytes()))
        offset += -(-tensor.size_bytes // STATE_ALIGNMENT) * STATE_ALIGNMENT
    return tuple(result)


def state_bytes(given: Sequence[Slot]) -> int:
    """Bytes of the block; 0 without state."""
    return max((slot.offset_bytes + slot.tensor.size_bytes for slot in given), default=0)


def initial_bytes(given: Sequence[Slot]) -> NDArray[np.uint8]:
    """The block as it is at first; zeros between the slots."""
    block = np.zeros(state_bytes(given), np.uint8)
    for slot in given:
        block[slot.offset_bytes : slot.offset_bytes + len(slot.initial)] = np.frombuffer(slot.initial, np.uint8)
    return block


def filled(shape: Shape, value: float, quantization: Quantization | None) -> NDArray[np.generic]:
    """A state that is one real number all over: float32, or the int8 that stands for it."""
    if quantization is None:
        return np.full(shape, value, np.float32)
    q = quantization.zero_point + round(value / quantization.scale)
    return np.full(shape, min(max(q, -128), 127), np.int8)


def state_problems(
    states: Sequence[State], tensors: Mapping[str, Tensor], inputs: Sequence[str], outputs: Sequence[str]
) -> Iterable[str]:
    """What is wrong with the states of a network of these inputs and outputs."""
    names = [state.name for state in states]
    nexts = [state.next for state in states]
    for state in states:
        if state.name not in inputs or names.count(state.name) > 1:
            yield f"state '{state.name}' must be an input of the network, once"
            continue
        if state.next not in outputs or nexts.count(state.next) > 1 or state.next in inputs:
            yield f"state '{state.name}' becomes '{state.next}', which must be the next value of it alone"
            continue
        if state.next not in tensors:
            continue  # an output that no layer makes, which is said elsewhere
        here, there = tensors[state.name], tensors[state.next]
        if here.dtype not in ("float32", "int8"):
            yield f"state '{state.name}' is {here.dtype}; it must be float32 or int8"
        if "nchw" in (here.border, there.border):
            yield f"state '{state.name}' is kept channels last; it has no layout"
        if (here.shape, here.dtype) != (there.shape, there.dtype):
            made = f"{there.dtype} {list(there.shape)}"
            yield f"state '{state.name}' is {here.dtype} {list(here.shape)}, and becomes {made}"
        elif here.quantization != there.quantization:
            yield f"state '{state.name}' becomes '{state.next}', which has another scale or zero point"
        if (state.initial.shape, str(state.initial.dtype)) != (here.shape, here.dtype):
            yield f"state '{state.name}' must begin as {here.dtype} {list(here.shape)}"
    if states and not set(inputs) - set(names):
        yield "the network has no input but its state"
    if states and not set(outputs) - set(nexts):
        yield "the network has no output but its state"
