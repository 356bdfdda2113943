"""Between the channels-last order of the IR and the order of the user's buffers (`Tensor.border`)."""

from __future__ import annotations

import numpy as np

from dscompile.errors import BadInputError
from dscompile.ir.network import Array
from dscompile.ir.tensor import Shape, Tensor


def to_border(tensor: Tensor, array: Array) -> Array:
    """Array [1, H, W, C] -> the user's order: [1, C, H, W] if the border is nchw, else unchanged; contiguous.

    Raises BadInputError if `array` has not the shape of `tensor`.
    """
    _check_shape(tensor, array, tensor.shape)
    return np.ascontiguousarray(np.moveaxis(array, -1, 1) if _is_reordered(tensor) else array)


def from_border(tensor: Tensor, array: Array) -> Array:
    """The user's order -> array [1, H, W, C]: the inverse of `to_border`; contiguous.

    Raises BadInputError if `array` has not the border shape of `tensor`.
    """
    _check_shape(tensor, array, tensor.border_shape)
    return np.ascontiguousarray(np.moveaxis(array, 1, -1) if _is_reordered(tensor) else array)


def _is_reordered(tensor: Tensor) -> bool:
    return tensor.border == "nchw" and len(tensor.shape) >= 3


def _check_shape(tensor: Tensor, array: Array, want: Shape) -> None:
    if array.shape != want:
        raise BadInputError(f"'{tensor.name}' must have shape {list(want)}, not {list(array.shape)}")
