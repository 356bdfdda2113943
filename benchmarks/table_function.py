"""Which known function a table of 256 entries is."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from dscompile.ir.tensor import Quantization

Reals = NDArray[np.float64]

LEVELS = 2.0  # how far an entry may lie from the function: a gate that is int8 in between is rounded twice


def _sigmoid(x: Reals) -> Reals:
    return 1 / (1 + np.exp(-x))


def _hard_sigmoid(x: Reals) -> Reals:
    return np.clip(x / 6 + 0.5, 0, 1)


FUNCTIONS: Mapping[str, Callable[[Reals], Reals]] = {
    "requantize": lambda x: x,
    "sigmoid": _sigmoid,
    "hard_sigmoid": _hard_sigmoid,
    "swish": lambda x: x * _sigmoid(x),
    "hard_swish": lambda x: x * _hard_sigmoid(x),
}


def function_of(table: NDArray[np.int8], given: Quantization, made: Quantization) -> str | None:
    """The name of the function of FUNCTIONS nearest to `table` [256] between two quantizations; None: none is near."""
    x = given.scale * (np.arange(-128, 128) - given.zero_point)
    errors = {}
    for name, function in FUNCTIONS.items():
        levels = np.clip(function(x) / made.scale + made.zero_point, -128, 127)
        errors[name] = float(np.abs(levels - table).max())
    name = min(errors, key=lambda known: errors[known])
    return name if errors[name] <= LEVELS else None
