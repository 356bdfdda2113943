"""Fixed-point arithmetic on int64 arrays, as TFLite and gemmlowp define it for 32 and 16 bits.

These formulas are written down here once more, independently of `dscompile.ir.fixed_point`, which they judge.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from dscompile.errors import UnsupportedError
from dscompile.ir.ops import Activation
from dscompile.ir.tensor import INTEGER_RANGES, Quantization, Rounding

Integers = NDArray[np.int64]


def multiplier_of(real: float) -> tuple[int, int]:
    """(m, s) with m * 2^(s - 31) nearest to `real` and 2^30 <= m < 2^31; (0, 0) below 2^-33."""
    if real == 0:
        return 0, 0
    fraction, shift = math.frexp(real)
    multiplier = math.floor(fraction * (1 << 31) + 0.5)
    if multiplier == 1 << 31:
        multiplier //= 2
        shift += 1
    return (multiplier, shift) if shift >= -31 else (0, 0)


def saturate(x: Integers, bits: int) -> Integers:
    """X limited to what a signed integer of this size holds."""
    return np.clip(x, -(1 << (bits - 1)), (1 << (bits - 1)) - 1)


def doubling_high_product(a: Integers, b: Integers | int, bits: int = 32) -> Integers:
    """The upper half of 2 * a * b, halves rounded up, saturated: a * b / 2^(bits - 1)."""
    return saturate((a * b + (1 << (bits - 2))) >> (bits - 1), bits)


def divide_by_power(x: Integers, exponent: Integers | int) -> Integers:
    """X / 2^exponent, rounded to nearest, halves away from zero."""
    exponents = np.asarray(exponent, np.int64)
    mask = (np.int64(1) << exponents) - 1
    threshold = (mask >> 1) + (x < 0)
    return np.asarray((x >> exponents) + ((x & mask) > threshold))


def scale_by(x: Integers, multipliers: Integers | int, shifts: Integers | int, rounding: Rounding) -> Integers:
    """X * m * 2^(s - 31) in the fixed-point rounding of that name; `float32` counts as `tflite` here."""
    m, s = np.asarray(multipliers, np.int64), np.asarray(shifts, np.int64)
    if rounding == "single":
        return np.asarray((x * m + (np.int64(1) << (30 - s))) >> (31 - s))
    product = doubling_high_product(saturate(x << np.maximum(s, 0), 32), m)
    right = np.maximum(-s, 0)
    if rounding == "half-up":
        return np.asarray((product + np.where(right > 0, np.int64(1) << np.maximum(right - 1, 0), 0)) >> right)
    return divide_by_power(product, right)


def scale_by_real(x: Integers, factor: float, rounding: Rounding) -> Integers:
    """X * factor, with the factor as a fixed-point number."""
    return scale_by(x, *multiplier_of(factor), rounding)


def half_away(x: float) -> int:
    """The nearest integer, halves away from zero: C's round()."""
    return int(math.copysign(math.floor(abs(x) + 0.5), x))


def quantized_bound(bound: float, quantization: Quantization) -> int:
    """zero point + round(bound / scale), computed in float32."""
    return quantization.zero_point + half_away(float(np.float32(bound) / np.float32(quantization.scale)))


def clamped(x: Integers, activation: Activation, quantization: Quantization, dtype: str = "int8") -> Integers:
    """X between the bounds of a clip (or of the type, for none). Raises UnsupportedError for other activations."""
    low, high = INTEGER_RANGES[dtype]
    if activation.kind not in ("none", "clip"):
        raise UnsupportedError(f"an int8 layer cannot end with {activation.name}")
    if math.isfinite(activation.low):
        low = min(max(low, quantized_bound(activation.low, quantization)), high)
    if math.isfinite(activation.high):
        high = max(min(high, quantized_bound(activation.high, quantization)), INTEGER_RANGES[dtype][0])
    return np.minimum(np.maximum(x, low), high)
