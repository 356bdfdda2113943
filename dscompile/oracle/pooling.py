"""Average and maximum over windows."""

from __future__ import annotations

import numpy as np

from dscompile.ir.ops import Pool
from dscompile.oracle.activation import apply
from dscompile.oracle.operands import Operands, Reals
from dscompile.oracle.windows import pad_image, taps


def pool(op: Pool, operands: Operands) -> Reals:
    """X [1, H, W, C] -> activation(average or maximum of each window) [1, H', W', C]."""
    x = operands.x
    kernel = op.window(x.shape[1], x.shape[2])
    return apply(op.activation, windows_maximum(op, kernel, x) if op.kind == "max" else _average(op, kernel, x))


def windows_maximum(op: Pool, kernel: tuple[int, int], x: Reals) -> Reals:
    """[1, H', W', C]: the largest tap of each window that lies inside the image."""
    result: Reals = np.full(1, -np.inf)
    for _, _, pixels in taps(pad_image(x, op.pads, -np.inf), kernel, op.stride):
        result = np.maximum(result, pixels)
    return result


def _average(op: Pool, kernel: tuple[int, int], x: Reals) -> Reals:
    return windows_sum(op, kernel, x) / average_divisor(op, kernel, x)


def windows_sum(op: Pool, kernel: tuple[int, int], x: Reals) -> Reals:
    """[1, H', W', C]: the sum of each window's taps inside the image."""
    return _sum(op, kernel, pad_image(x, op.pads, 0.0))


def average_divisor(op: Pool, kernel: tuple[int, int], x: Reals) -> Reals:
    """[1, H', W', C]: the taps of each window that lie inside the image, or all when padding counts."""
    inside = np.ones_like(x)
    return _sum(op, kernel, pad_image(inside, op.pads, 1.0 if op.count_pads else 0.0))


def _sum(op: Pool, kernel: tuple[int, int], padded: Reals) -> Reals:
    total: Reals = np.zeros(1)
    for _, _, pixels in taps(padded, kernel, op.stride):
        total = total + pixels
    return total
