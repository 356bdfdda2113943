"""Sliding windows over images."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dscompile.ir.ops import Pads, Pair
from dscompile.oracle.operands import Reals


def pad_image(x: Reals, pads: Pads, value: float) -> Reals:
    """X [1, H, W, C] -> [1, top + H + bottom, left + W + right, C], with `value` around it."""
    (batch, height, width, channels), (top, bottom), (left, right) = x.shape, *margins(pads)[1:3]
    padded = np.full((batch, top + height + bottom, left + width + right, channels), value, x.dtype)
    padded[:, top : top + height, left : left + width] = x
    return padded


def margins(pads: Pads) -> tuple[Pair, ...]:
    """Pixels before and after, for each axis of an image [1, H, W, C]."""
    return ((0, 0), (pads.top, pads.bottom), (pads.left, pads.right), (0, 0))


def taps(padded: Reals, kernel: Pair, stride: Pair, dilation: Pair = (1, 1)) -> Iterator[tuple[int, int, Reals]]:
    """For each kernel row i and column j, the elements that all windows have there.

    padded [1, H, W, C] -> (i, j, t [1, H', W', C]) with
    t[0, y, x] = padded[0, y * stride + i * dilation, x * stride + j * dilation].
    """
    height, width = padded.shape[1:3]
    rows = (height - (kernel[0] - 1) * dilation[0] - 1) // stride[0] + 1
    columns = (width - (kernel[1] - 1) * dilation[1] - 1) // stride[1] + 1
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            top, left = i * dilation[0], j * dilation[1]
            bottom, right = top + (rows - 1) * stride[0], left + (columns - 1) * stride[1]
            yield i, j, padded[:, top : bottom + 1 : stride[0], left : right + 1 : stride[1]]
