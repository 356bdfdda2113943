"""Int8 convolution and fully connected layers."""

from __future__ import annotations

import numpy as np

from dscompile.ir.ops import Conv2D, ConvTranspose, Dense
from dscompile.oracle.convolution import conv2d_sums, conv_transpose_sums
from dscompile.oracle.int8_arithmetic import Integers, multiplier_of, scale_by
from dscompile.oracle.int8_operands import Int8Operands


def conv2d(op: Conv2D, operands: Int8Operands) -> Integers:
    """acc = bias + sum (x - zero point) * kernel, requantized per channel; padding contributes nothing.

    Sums are computed in float64, which is exact: they stay far below 2^53.
    """
    x, kernel = operands.centered().astype(np.float64), operands.weights["kernel"].astype(np.float64)
    return _finish(op, operands, conv2d_sums(op, x, kernel).astype(np.int64))


def conv_transpose(op: ConvTranspose, operands: Int8Operands) -> Integers:
    """As `conv2d`: all that reaches an output is summed up, then requantized per channel."""
    x, kernel = operands.centered().astype(np.float64), operands.weights["kernel"].astype(np.float64)
    return _finish(op, operands, conv_transpose_sums(op, x, kernel).astype(np.int64))


def dense(op: Dense, operands: Int8Operands) -> Integers:
    """As a convolution over one pixel; TFLite's reference rounds it once."""
    return _finish(op, operands, operands.centered() @ operands.weights["kernel"].astype(np.int64))


def _finish(op: Conv2D | ConvTranspose | Dense, operands: Int8Operands, sums: Integers) -> Integers:
    bias = operands.weights.get("bias")
    total = sums if bias is None else sums + bias.astype(np.int64)
    return operands.finished(_requantized(op, operands, total), op.activation)


def _requantized(op: Conv2D | ConvTranspose | Dense, operands: Int8Operands, sums: Integers) -> Integers:
    kernel_scale = operands.weights["kernel_scale"]
    given, made = operands.given().scale, operands.made.scale
    if operands.rounding == "float32":
        factors = np.float32(given) * kernel_scale.astype(np.float32) / np.float32(made)
        return np.rint(sums.astype(np.float32) * factors).astype(np.int64)
    fixed = [multiplier_of(given * float(scale) / made) for scale in kernel_scale]
    multipliers, shifts = (np.array(column, np.int64) for column in zip(*fixed, strict=True))
    once = operands.rounding == "tflite" and isinstance(op, Dense)
    return scale_by(sums, multipliers, shifts, "single" if once else operands.rounding)
