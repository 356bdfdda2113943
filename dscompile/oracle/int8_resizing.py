"""Int8 images on another grid."""

from __future__ import annotations

import numpy as np

from dscompile.ir.ops import Resize
from dscompile.ir.resampling import TFLITE_BITS, fixed_point_coordinates, nearest_indices
from dscompile.oracle.int8_arithmetic import Integers
from dscompile.oracle.int8_operands import Int8Operands

_ONE = 1 << TFLITE_BITS


def resize(op: Resize, operands: Int8Operands) -> Integers:
    """The nearest pixels, or TFLite's reference bilinear: weights of 10 bits, one rounding, halves away from zero."""
    x = operands.integers()
    batch, height, width, channels = x.shape
    if op.method == "nearest":
        return x[:, nearest_indices(op, 0, height)][:, :, nearest_indices(op, 1, width)]
    rows, columns = fixed_point_coordinates(op, 0, height), fixed_point_coordinates(op, 1, width)
    total = np.zeros((batch, *op.size, channels), np.int64)
    for row, row_weight in _neighbors(rows, height):
        for column, column_weight in _neighbors(columns, width):
            weight = row_weight[:, None, None] * column_weight[:, None]
            total += x[:, row][:, :, column] * weight
    unit = _ONE * _ONE
    rounded: Integers = np.sign(total) * ((np.abs(total) + unit // 2) // unit)
    return rounded


def _neighbors(at: Integers, size: int) -> list[tuple[Integers, Integers]]:
    """Index and weight of the pixel before and of the pixel after every coordinate; the two weights sum up to one.

    Before the first pixel and after the last, both are that pixel.
    """
    lower = np.maximum(np.floor_divide(at, _ONE), 0)
    upper = np.minimum(-np.floor_divide(-at, _ONE), size - 1)
    inside = np.minimum(lower, size - 1)
    fraction = at - _ONE * lower
    return [(inside, _ONE - fraction), (np.maximum(upper, 0), fraction)]
