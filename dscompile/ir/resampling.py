"""Where an image that is resized is read: source coordinates, in the arithmetic of the runtime that defines them.

Nearest pixels are chosen by rounding, and a coordinate that falls between two of them by a bit of float32 decides which
pixel that is. So coordinates are computed in float32 as onnxruntime and TFLite's kernels do it, operation by operation.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dscompile.ir.ops import Resize

Coordinates = NDArray[np.float32]
Indices = NDArray[np.int64]

TFLITE_BITS = 10  # of the fraction of an int8 coordinate


def source_coordinates(op: Resize, axis: int, size: int) -> Coordinates:
    """For each output row (`axis` 0) or column (1) where it is read, in pixels of an input that has `size` of them.

    Not yet limited to the image: from below 0 to above size - 1.
    """
    outputs = op.size[axis]
    at = np.arange(outputs, dtype=np.float32)
    one, half = np.float32(1), np.float32(0.5)
    if op.arithmetic == "tflite":
        step = np.float32(size) / np.float32(outputs)
        if op.coordinates == "align_corners" and outputs > 1:
            step = np.float32(size - 1) / np.float32(outputs - 1)
        if op.coordinates == "half_pixel":
            return (at + half) * step - half
        return (at + half) * step if op.coordinates == "tf_half_pixel_for_nn" else at * step
    scale = np.float32(outputs) / np.float32(size) if op.scale is None else np.float32(op.scale[axis])
    match op.coordinates:
        case "align_corners":
            return at * np.float32(size - 1) / np.float32(outputs - 1) if outputs > 1 else at
        case "asymmetric":
            return at / scale
        case "tf_half_pixel_for_nn":
            return (at + half) / scale
        case "pytorch_half_pixel":
            return (at + half) / scale - half if outputs > 1 else np.zeros(1, np.float32)
        case "half_pixel_symmetric":
            center = np.float32(size) / np.float32(2)
            adjustment = np.float32(outputs) / (scale * np.float32(size))
            return center * (one - adjustment) + (at + half) / scale - half
        case "half_pixel":
            return (at + half) / scale - half


def nearest_indices(op: Resize, axis: int, size: int) -> Indices:
    """For each output row or column the input row or column that it repeats."""
    at = source_coordinates(op, axis, size).astype(np.float64)  # in which halves are added exactly
    match op.rounding:
        case "round_prefer_floor":
            whole = np.ceil(at - 0.5)
        case "round_prefer_ceil":
            whole = np.floor(at + 0.5)
        case "floor":
            whole = np.floor(at)
        case "ceil":
            whole = np.ceil(at)
        case "simple":
            whole = np.floor(at) if op.size[axis] >= size else np.ceil(at)
    return np.clip(whole, 0, size - 1).astype(np.int64)


def fixed_point_coordinates(op: Resize, axis: int, size: int) -> Indices:
    """As `source_coordinates`, for bilinear int8: whole multiples of 2^-10 pixels.

    With TFLite's arithmetic those of its reference kernel, else the nearest ones.
    """
    outputs, one = op.size[axis], 1 << TFLITE_BITS
    if op.arithmetic == "onnx":
        return np.rint(source_coordinates(op, axis, size).astype(np.float64) * one).astype(np.int64)
    step = (one * size + outputs // 2) // outputs
    if op.coordinates == "align_corners" and outputs > 1:
        step = (one * (size - 1) + (outputs - 1) // 2) // (outputs - 1)
    at = np.arange(outputs, dtype=np.int64) * step
    return at + step // 2 - one // 2 if op.coordinates == "half_pixel" else at
