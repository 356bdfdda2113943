"""Arrays at a network's border: checked before they reach C, and room that shows what was never written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from dscompile.errors import Diagnostic, UsageError, did_you_mean
from dscompile.ir.network import Array
from dscompile.ir.state import STATE_ALIGNMENT, Slot, initial_bytes, state_bytes
from dscompile.ir.tensor import Tensor

POISON = 0xFF  # float32 NaNs: what a kernel reads without having written shows in the result


def check_inputs(tensors: Sequence[Tensor], inputs: Mapping[str, Array]) -> None:
    """Raises UsageError naming every input that is missing, unknown, or of the wrong type, shape or memory order."""
    names = [tensor.name for tensor in tensors]
    problems = [
        Diagnostic(f"there is no input '{name}'", help=did_you_mean(name, names) or f"inputs: {', '.join(names)}")
        for name in inputs
        if name not in names
    ]
    for tensor in tensors:
        array = inputs.get(tensor.name)
        want = f"{tensor.dtype} {list(tensor.border_shape)}"
        if array is None:
            problems.append(Diagnostic(f"input '{tensor.name}' is missing; it must be {want}"))
        elif array.dtype != np.dtype(tensor.dtype) or array.shape != tensor.border_shape:
            have = f"{array.dtype} {list(array.shape)}"
            problems.append(Diagnostic(f"input '{tensor.name}' is {have}, it must be {want}"))
        elif not array.flags.c_contiguous or not array.flags.aligned:
            problems.append(
                Diagnostic(
                    f"input '{tensor.name}' does not lie in one piece in memory",
                    help="pass numpy.ascontiguousarray(x)",
                )
            )
    if problems:
        raise UsageError(problems)


def empty_outputs(tensors: Sequence[Tensor]) -> dict[str, Array]:
    """Room for outputs by name, poisoned."""
    return {
        tensor.name: np.full(tensor.size_bytes, POISON, np.uint8)
        .view(np.dtype(tensor.dtype))
        .reshape(tensor.border_shape)
        for tensor in tensors
    }


def fresh_state(slots: Sequence[Slot]) -> NDArray[np.uint8]:
    """The state of a network before its first inference, where C may use it; empty for one that keeps nothing."""
    state = aligned_bytes(state_bytes(slots), STATE_ALIGNMENT)
    state[:] = initial_bytes(slots)
    return state


def aligned_bytes(size: int, alignment: int) -> NDArray[np.uint8]:
    """`size` bytes at a multiple of `alignment`, each 0xff."""
    room = np.full(size + alignment, POISON, np.uint8)
    start = -room.ctypes.data % alignment
    return room[start : start + size]
