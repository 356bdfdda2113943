"""Images on another grid."""

from __future__ import annotations

import numpy as np

from dscompile.ir.ops import Resize
from dscompile.ir.resampling import nearest_indices, source_coordinates
from dscompile.oracle.operands import Operands, Reals


def resize(op: Resize, operands: Operands) -> Reals:
    """X [1, H, W, C] -> [1, H', W', C]: rows first, then columns."""
    x = operands.x
    for axis in (0, 1):
        x = _nearest(op, axis, x) if op.method == "nearest" else _linear(op, axis, x)
    return x


def _nearest(op: Resize, axis: int, x: Reals) -> Reals:
    return np.take(x, nearest_indices(op, axis, x.shape[axis + 1]), axis=axis + 1)


def _linear(op: Resize, axis: int, x: Reals) -> Reals:
    """Between the two rows (or columns) around every coordinate, each weighed by its nearness."""
    last = x.shape[axis + 1] - 1
    at = np.clip(source_coordinates(op, axis, last + 1).astype(np.float64), 0, last)
    before = np.floor(at).astype(np.int64)
    after = np.minimum(before + 1, last)
    shape = [1, 1, 1, 1]
    shape[axis + 1] = len(at)
    nearness = (at - before).reshape(shape)
    result: Reals = np.take(x, before, axis + 1) * (1 - nearness) + np.take(x, after, axis + 1) * nearness
    return result
