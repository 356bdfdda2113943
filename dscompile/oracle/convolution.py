"""Convolution and fully connected layers."""

from __future__ import annotations

import numpy as np

from dscompile.ir.ops import Conv2D, ConvTranspose, Dense
from dscompile.oracle.activation import apply
from dscompile.oracle.operands import Operands, Reals
from dscompile.oracle.windows import pad_image, taps


def conv2d(op: Conv2D, operands: Operands) -> Reals:
    """X [1, H, W, C_in], kernel [kh, kw, C_in / groups, C_out], bias [C_out] -> y [1, H', W', C_out].

    y[0, r, c, o] = activation(bias[o] + sum over i, j, k of
        x[0, r * stride + i * dilation - top, c * stride + j * dilation - left, g * C_in / groups + k]
        * kernel[i, j, k, o])
    with g = the group of o, o // (C_out / groups), and zeros outside of x.
    """
    return _finish(op, operands, conv2d_sums(op, operands.x, operands.weights["kernel"]))


def conv2d_sums(op: Conv2D, x: Reals, kernel: Reals) -> Reals:
    """The sums of `conv2d`, without bias and activation: [1, H', W', C_out]."""
    found = (
        _across_channels(pixels, kernel[i, j], op.groups)
        for i, j, pixels in taps(pad_image(x, op.pads, 0.0), op.kernel, op.stride, op.dilation)
    )
    total = next(found)
    for each in found:
        total += each
    return total


def conv_transpose(op: ConvTranspose, operands: Operands) -> Reals:
    """X [1, H, W, C_in], kernel [kh, kw, C_in / groups, C_out], bias [C_out] -> y [1, H', W', C_out].

    x[0, r, c] times kernel[i, j] is added to y[0, r * stride + i * dilation - top, c * stride + j * dilation - left],
    which starts from the bias.
    """
    return _finish(op, operands, conv_transpose_sums(op, operands.x, operands.weights["kernel"]))


def conv_transpose_sums(op: ConvTranspose, x: Reals, kernel: Reals) -> Reals:
    """The sums of `conv_transpose`, without bias and activation: [1, H', W', C_out]."""
    batch, height, width, _ = x.shape
    steps, extents = op.stride, [(k - 1) * d + 1 for k, d in zip(op.kernel, op.dilation, strict=True)]
    rows, columns = (
        (size - 1) * steps[axis] + extents[axis] + op.output_padding[axis] for axis, size in enumerate((height, width))
    )
    whole: Reals = np.zeros((batch, rows, columns, op.out_channels))
    for i in range(op.kernel[0]):
        for j in range(op.kernel[1]):
            top, left = i * op.dilation[0], j * op.dilation[1]
            bottom, right = top + (height - 1) * steps[0] + 1, left + (width - 1) * steps[1] + 1
            added = _across_channels(x, kernel[i, j], op.groups)
            whole[:, top : bottom : steps[0], left : right : steps[1]] += added
    pads = op.pads
    return whole[:, pads.top : rows - pads.bottom, pads.left : columns - pads.right]


def dense(op: Dense, operands: Operands) -> Reals:
    """X [1, C_in], kernel [C_in, units], bias [units] -> activation(x kernel + bias) [1, units]."""
    return _finish(op, operands, operands.x @ operands.weights["kernel"])


def _across_channels(pixels: Reals, weights: Reals, groups: int) -> Reals:
    """Pixels [1, H, W, C_in], weights [C_in / groups, C_out] -> [1, H, W, C_out]; each group meets its own weights."""
    if groups == 1:
        rows: Reals = pixels.reshape(-1, weights.shape[0]) @ weights
        return rows.reshape(*pixels.shape[:3], -1)
    if weights.shape == (1, groups):  # depthwise, one output of each channel
        products: Reals = pixels * weights[0]
        return products
    grouped_pixels = pixels.reshape(*pixels.shape[:3], groups, -1)
    grouped_weights = weights.reshape(weights.shape[0], groups, -1)
    result: Reals = np.einsum("nhwgi,igo->nhwgo", grouped_pixels, grouped_weights)
    return result.reshape(*pixels.shape[:3], -1)


def _finish(op: Conv2D | ConvTranspose | Dense, operands: Operands, total: Reals) -> Reals:
    bias = operands.weights.get("bias")
    return apply(op.activation, total if bias is None else total + bias)
