"""TFLite operators on constants alone, which converters leave before weights: evaluated while importing."""

from __future__ import annotations

import numpy as np

from dscompile.errors import UnsupportedError
from dscompile.frontend.import_graph import Array, Floats
from dscompile.frontend.tflite.reader import TfliteTensor

FOLDED = ("DEQUANTIZE", "DENSIFY")
"""Operators that weights stand behind; DENSIFY has nothing left to do once the file is read."""


def fold(op: str, array: Array, tensor: TfliteTensor) -> Array:
    """The result of one of FOLDED on a constant. UnsupportedError for integers without a scale."""
    return array if op == "DENSIFY" else dequantized(array, tensor)


def dequantized(array: Array, tensor: TfliteTensor) -> Floats:
    """A constant as float32: float16 as it is, integers by their scales and zero points, as TFLite computes them."""
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    given = tensor.quantization
    if given is None:
        raise UnsupportedError(f"constant '{tensor.name}' is {tensor.dtype} without a scale")
    shape = [1] * array.ndim
    if given.scales.size > 1:
        if not 0 <= given.axis < array.ndim or array.shape[given.axis] != given.scales.size:
            where = f"along axis {given.axis} of {list(array.shape)}"
            raise UnsupportedError(f"constant '{tensor.name}' has {given.scales.size} scales {where}")
        shape[given.axis] = given.scales.size
    scales = given.scales.reshape(shape if given.scales.size > 1 else ())
    zeros = np.asarray(given.zero_points, np.int64).reshape(shape if given.scales.size > 1 else ())
    return np.asarray((array.astype(np.int64) - zeros).astype(np.float32) * scales, np.float32)
