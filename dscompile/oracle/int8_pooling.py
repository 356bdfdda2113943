"""Int8 average, maximum and mean."""

from __future__ import annotations

import numpy as np

from dscompile.ir.ops import Mean, Pool
from dscompile.oracle.int8_arithmetic import Integers, clamped, multiplier_of, scale_by
from dscompile.oracle.int8_operands import Int8Operands
from dscompile.oracle.pooling import average_divisor, windows_maximum, windows_sum


def pool(op: Pool, operands: Int8Operands) -> Integers:
    """Maximum of the integers, or their sum divided by the valid taps with halves away from zero; no rescaling."""
    x = operands.integers().astype(np.float64)
    kernel = op.window(x.shape[1], x.shape[2])
    if op.kind == "max":
        result = windows_maximum(op, kernel, x).astype(np.int64)
    else:
        sums = windows_sum(op, kernel, x).astype(np.int64)
        taps = average_divisor(op, kernel, x).astype(np.int64)
        result = np.sign(sums) * ((np.abs(sums) + taps // 2) // taps)
    return clamped(result, op.activation, operands.made)


def mean(op: Mean, operands: Int8Operands) -> Integers:
    """Mean over height and width with one requantization, whose factor includes the division.

    TFLite's reference: factor input scale / output scale as m * 2^(s - 31), then m becomes (m << k) / n with
    k = floor(log2(n)) and s becomes s - k. With the rounding `float32`: rint(float32(sum) * float32 factor).
    """
    x = operands.centered()
    count = x.shape[1] * x.shape[2]
    sums = x.sum(axis=(1, 2), keepdims=True)
    given, made = operands.given().scale, operands.made.scale
    if operands.rounding == "float32":
        factor = np.float32(given) / (np.float32(made) * np.float32(count))
        return operands.finished(np.rint(sums.astype(np.float32) * factor).astype(np.int64))
    multiplier, shift = multiplier_of(given / made)
    extra = min(count.bit_length() - 1, 31 + shift)
    return operands.finished(scale_by(sums, (multiplier << extra) // count, shift - extra, operands.rounding))
