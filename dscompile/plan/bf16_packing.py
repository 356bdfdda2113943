"""Weights as bfloat16, in the order in which kernels stream them. Pure NumPy, done once at compile time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dscompile.errors import UnsupportedError
from dscompile.ir.network import Array

HALF_OF_LAST_PLACE = 0x7FFF  # just below one half of what is cut off; the last bit kept makes it even at ties
INFINITY = 0x7F80


def as_bf16(values: Array) -> NDArray[np.uint16]:
    """The upper halves of float32s, rounded to the nearest, at ties to the even one.

    Raises UnsupportedError for a finite value that rounds to infinity.
    """
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = ((bits + HALF_OF_LAST_PLACE + (bits >> 16 & 1)) >> 16).astype(np.uint16)
    too_large = (rounded & INFINITY == INFINITY) & np.isfinite(values)
    if too_large.any():
        raise UnsupportedError(
            f"a weight of {np.abs(values[too_large]).max():g} does not fit bfloat16, whose largest number is 3.39e+38",
            help="build without 'precision: bfloat16'",
        )
    return rounded


def pack_bf16(kernel: Array, panel: int, count: int, word: int) -> NDArray[np.uint16]:
    """[C, N] -> [count / panel][ceil(C / word)][panel][word] as bfloat16, zeros beyond C and N."""
    channels, filters = kernel.shape
    words = -(-channels // word)
    padded = np.zeros((words * word, count), np.uint16)
    padded[:channels, :filters] = as_bf16(kernel)
    return np.ascontiguousarray(padded.reshape(words, word, count // panel, panel).transpose(2, 0, 3, 1))
