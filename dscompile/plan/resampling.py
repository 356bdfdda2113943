"""Where a resized image is read, as tables of rows and columns (plan/kernels.py: grid_parameters)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dscompile.ir.network import Array
from dscompile.ir.ops import Pad, PadMode, Pair, Resize
from dscompile.ir.resampling import TFLITE_BITS, fixed_point_coordinates, nearest_indices, source_coordinates
from dscompile.ir.tensor import DType

Indices = NDArray[np.int32]
_BORDERS: Mapping[PadMode, Literal["reflect", "symmetric", "edge", "wrap"]] = {
    "reflect": "reflect",
    "symmetric": "symmetric",
    "edge": "edge",
    "wrap": "wrap",
}


@dataclass(frozen=True)
class _Line:
    """The two rows (or columns) that each output lies between, [2, n], and the weight of the second, [n]."""

    between: Indices
    weights: Array


def grid_of(op: Resize, size: Pair, dtype: DType) -> Mapping[str, Array]:
    """The tables for an input of `size` rows and columns, by the names of the parameters and in their order."""
    if op.method == "nearest":
        rows, columns = (nearest_indices(op, axis, size[axis]).astype(np.int32) for axis in (0, 1))
        return {"rows": rows, "columns": columns}
    line = _real_line if dtype == "float32" else _integer_line
    row, column = (line(op, axis, size[axis]) for axis in (0, 1))
    return {
        "rows": row.between,
        "row_weights": row.weights,
        "columns": column.between,
        "column_weights": column.weights,
    }


def padded_grid(op: Pad, size: Pair) -> Mapping[str, Array]:
    """The tables of a padding that takes its pixels from inside; for the method `nearest`."""
    sides = ((op.pads.top, op.pads.bottom), (op.pads.left, op.pads.right))
    rows, columns = (
        np.pad(np.arange(size[axis], dtype=np.int32), sides[axis], mode=_BORDERS[op.mode]) for axis in (0, 1)
    )
    return {"rows": rows, "columns": columns}


def _real_line(op: Resize, axis: int, size: int) -> _Line:
    at = np.clip(source_coordinates(op, axis, size), 0, size - 1)
    before = np.floor(at)
    between = np.stack([before, np.minimum(before + 1, size - 1)]).astype(np.int32)
    return _Line(between, (at - before).astype(np.float32))


def _integer_line(op: Resize, axis: int, size: int) -> _Line:
    one = 1 << TFLITE_BITS
    at = np.clip(fixed_point_coordinates(op, axis, size), 0, one * (size - 1))
    before = at // one
    between = np.stack([before, np.minimum(before + 1, size - 1)]).astype(np.int32)
    return _Line(between, (at - one * before).astype(np.int32))
