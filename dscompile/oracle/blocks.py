"""Blocks of pixels as channels, and channels as blocks of pixels; of elements of any type."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from dscompile.ir.ops import DepthToSpace, SpaceToDepth

Elements = TypeVar("Elements", bound=np.dtype[Any])


def channels_as_pixels(op: DepthToSpace, x: np.ndarray[Any, Elements]) -> np.ndarray[Any, Elements]:
    """X [N, H, W, C * s * t] -> [N, H * s, W * t, C] without its crops."""
    (batch, height, width, _), (rows, columns), crops = x.shape, op.block, op.crops
    if op.order == "dcr":
        pixels = x.reshape(batch, height, width, rows, columns, -1)
    else:
        pixels = x.reshape(batch, height, width, -1, rows, columns).transpose(0, 1, 2, 4, 5, 3)
    whole = pixels.transpose(0, 1, 3, 2, 4, 5).reshape(batch, height * rows, width * columns, -1)
    return whole[:, crops.top : height * rows - crops.bottom, crops.left : width * columns - crops.right]


def pixels_as_channels(op: SpaceToDepth, x: np.ndarray[Any, Elements]) -> np.ndarray[Any, Elements]:
    """X [N, H * s, W * t, C] -> [N, H, W, s * t * C]."""
    (batch, height, width, channels), (rows, columns) = x.shape, op.block
    pixels = x.reshape(batch, height // rows, rows, width // columns, columns, channels)
    return pixels.transpose(0, 1, 3, 2, 4, 5).reshape(batch, height // rows, width // columns, -1)
