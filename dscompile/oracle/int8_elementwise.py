"""Int8 sums, products, activations, and changes of quantization."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dscompile.ir.ops import Activate, Activation, Binary, Dequantize, Lookup, Quantize, RoundedAs
from dscompile.oracle.activation import apply
from dscompile.oracle.int8_arithmetic import (
    Integers,
    clamped,
    divide_by_power,
    doubling_high_product,
    multiplier_of,
    saturate,
    scale_by,
    scale_by_real,
)
from dscompile.oracle.int8_operands import Floats, Int8Operands

# Bits by which both terms of a sum are shifted up before they are brought to one scale.
_ADD_SHIFT = 20


def binary(op: Binary, operands: Int8Operands) -> Integers:
    """a + b, a - b, a * b, or the larger or smaller of two integers of one scale, with NumPy broadcasting."""
    if op.kind == "mul" and operands.rounding == "float32":
        return clamped(_float_multiply(operands, op.rounded_as), op.activation, operands.made)
    if op.kind == "mul":
        return operands.finished(_multiply(operands), op.activation)
    if op.kind in ("max", "min"):
        chosen = (np.maximum if op.kind == "max" else np.minimum)(operands.integers(0), operands.integers(1))
        return clamped(chosen, op.activation, operands.made)
    sign = -1 if op.kind == "sub" else 1
    if operands.rounding == "float32" and op.rounded_as != "centered":
        return clamped(_float_add(operands, 128 if op.rounded_as == "uint8" else 0, sign), op.activation, operands.made)
    ratios = [np.float32(operands.given(index).scale) / np.float32(operands.made.scale) for index in (0, 1)]
    if operands.rounding == "float32" and all(2**-10 <= ratio < 2**8 for ratio in ratios):
        return clamped(_fixed_add(operands, ratios, sign), op.activation, operands.made)
    return operands.finished(_add(operands, sign), op.activation)


def _float_add(operands: Int8Operands, shift: int, sign: int) -> Integers:
    """a * ra + (b * rb * sign + c) in two fused multiply-adds of float32, rounded to even, with the zero points in c.

    c = zero point - (za * ra + zb * rb * sign), with another fused multiply-add inside: what onnxruntime does.
    float64 holds products and sums exactly, so that rounding them to float32 is what the fused operation does.
    """
    made = operands.made
    given = [operands.given(index) for index in (0, 1)]
    signs = (np.float32(1), np.float32(sign))
    ratios = [one * np.float32(each.scale) / np.float32(made.scale) for one, each in zip(signs, given, strict=True)]
    second_zero = np.float64(ratios[1] * np.float32(given[1].zero_point + shift))
    zeros = np.float32(np.float64(ratios[0]) * np.float64(given[0].zero_point + shift) + second_zero)
    total = np.asarray(np.float32(made.zero_point + shift) - zeros)
    for index in (1, 0):
        integers = (operands.integers(index) + shift).astype(np.float64)
        total = (integers * np.float64(ratios[index]) + total.astype(np.float64)).astype(np.float32)
    return np.rint(total).astype(np.int64) - shift


def _fixed_add(operands: Int8Operands, ratios: Sequence[np.float32], sign: int) -> Integers:
    """The terms without zero points, times factors of which the larger has 21 bits, added; halves are rounded up."""
    bits = 20 - int(np.floor(np.log2(np.float64(max(ratios)))))
    factors = [int(np.rint(np.float64(ratio) * 2.0**bits)) for ratio in ratios]
    total = operands.centered(0) * factors[0] + sign * operands.centered(1) * factors[1]
    return np.asarray(((total + (1 << (bits - 1))) >> bits) + operands.made.zero_point)


def _add(operands: Int8Operands, sign: int) -> Integers:
    """Both terms, shifted up by 20 bits, are brought to twice the larger scale, added, and requantized.

    A difference has the second factor with a minus, before it is multiplied and rounded.
    """
    first, second, made = operands.given(0).scale, operands.given(1).scale, operands.made.scale
    common = 2 * max(first, second)
    total: Integers = np.zeros(1, np.int64)
    for index, (scale, factor) in enumerate(((first, 1), (second, sign))):
        multiplier, shift = multiplier_of(scale / common)
        total = total + scale_by(operands.centered(index) << _ADD_SHIFT, factor * multiplier, shift, operands.rounding)
    return scale_by_real(np.asarray(total), common / ((1 << _ADD_SHIFT) * made), operands.rounding)


def _multiply(operands: Int8Operands) -> Integers:
    factor = operands.given(0).scale * operands.given(1).scale / operands.made.scale
    return scale_by_real(operands.centered(0) * operands.centered(1), factor, operands.rounding)


def _float_multiply(operands: Int8Operands, rounded_as: RoundedAs) -> Integers:
    """The product in float32 with its zero point, rounded to even as a stored int8 or uint8; `centered`, without it."""
    made = operands.made
    factor = np.float32(operands.given(0).scale) * np.float32(operands.given(1).scale) / np.float32(made.scale)
    products = (operands.centered(0) * operands.centered(1)).astype(np.float32) * factor
    if rounded_as == "centered":
        return np.asarray(np.rint(products).astype(np.int64) + made.zero_point)
    shift = 128 if rounded_as == "uint8" else 0
    return np.asarray(np.rint(products + np.float32(made.zero_point + shift)).astype(np.int64) - shift)


def lookup(op: Lookup, operands: Int8Operands) -> Integers:
    """The entry of the weight `table` for every element."""
    table: Integers = operands.weights["table"].astype(np.int64)
    return table[operands.integers() + 128]


def activate(op: Activate, operands: Int8Operands) -> Integers:
    """X -> activation(x): clips and leaky_relu rescale, hard_swish is 16-bit arithmetic, all others are tables."""
    match op.activation.kind:
        case "none" | "clip":
            scaled = scale_by_real(operands.centered(), _float_ratio(operands), operands.rounding)
            return operands.finished(scaled, op.activation)
        case "leaky_relu":
            return _leaky_relu(op.activation, operands)
        case "hard_swish":
            return _hard_swish(operands)
        case _:
            return _table(op.activation, operands)[operands.integers() + 128]


def _float_ratio(operands: Int8Operands) -> float:
    """Input scale / output scale, divided in float32 as TFLite does."""
    return float(np.float32(operands.given().scale) / np.float32(operands.made.scale))


def _leaky_relu(activation: Activation, operands: Int8Operands) -> Integers:
    x = operands.centered()
    given, made = np.float32(operands.given().scale), np.float32(operands.made.scale)
    negative = scale_by_real(x, float(given * np.float32(activation.alpha) / made), operands.rounding)
    positive = scale_by_real(x, float(given / made), operands.rounding)
    return operands.finished(np.where(x >= 0, positive, negative))


def _hard_swish(operands: Int8Operands) -> Integers:
    """x * relu6(x + 3) / 6 in 16 bits, as TFLite's reference kernel: the factor relu6(x + 3) / 6 lies on 2^-15."""
    fine_scale = np.float32(1 / 128) * np.float32(operands.given().scale)
    out_multiplier, out_shift = _multiplier_16(fine_scale / np.float32(operands.made.scale))
    gate_multiplier, gate_shift = _multiplier_16(fine_scale / (np.float32(3) / np.float32(32768)))
    fine = operands.centered() << 7
    product = doubling_high_product(fine, out_multiplier, 16)
    gate = saturate(fine << (gate_shift - 1), 16) if gate_shift > 0 else fine
    gate = doubling_high_product(gate, gate_multiplier, 16)
    if gate_shift > 0:
        gate = saturate(gate << 1, 16)
    elif gate_shift < 0:
        gate = divide_by_power(gate, -gate_shift)
    gate = (gate + (1 << 15)) >> 1
    gated = gate * product
    towards_zero = np.sign(gated) * (np.abs(gated) >> 15)
    return operands.finished(divide_by_power(towards_zero, -out_shift))


def _multiplier_16(factor: np.float32) -> tuple[int, int]:
    """The factor as 16-bit multiplier and shift."""
    multiplier, shift = multiplier_of(float(factor))
    return min((multiplier + (1 << 15)) >> 16, (1 << 15) - 1), shift


def _table(activation: Activation, operands: Int8Operands) -> Integers:
    """The results for -128 .. 127, [256], computed in float32; halves are rounded away from zero."""
    given, made = operands.given(), operands.made
    x = np.float32(given.scale) * (np.arange(-128, 128) - given.zero_point).astype(np.float32)
    y = apply(activation, x.astype(np.float64)).astype(np.float32)
    scaled = (y * (np.float32(1) / np.float32(made.scale))).astype(np.float64)
    rounded = np.copysign(np.floor(np.abs(scaled) + 0.5), scaled)
    return operands.finished(np.clip(rounded, -(2.0**31), 2.0**31).astype(np.int64))


def quantize(op: Quantize, operands: Int8Operands) -> Integers:
    """Real numbers or integers of another quantization -> integers of the result's quantization.

    round(x / scale) + zero point in float32, with halves away from zero (`float32`: to even); integers are multiplied
    by input scale / output scale.
    """
    if operands.tensors[0].dtype != "float32":
        ratio = operands.given().scale / operands.made.scale
        return operands.finished(scale_by_real(operands.centered(), ratio, operands.rounding))
    x = operands.inputs[0].astype(np.float32) / np.float32(operands.made.scale)
    if operands.rounding == "float32":
        rounded = np.rint(x).astype(np.float64)
    else:
        wide = x.astype(np.float64)
        rounded = np.copysign(np.floor(np.abs(wide) + 0.5), wide)
    limited = np.clip(np.nan_to_num(rounded, nan=0.0), -(2.0**31), 2.0**31)
    return operands.finished(limited.astype(np.int64))


def dequantize(op: Dequantize, operands: Int8Operands) -> Floats:
    """Scale * (q - zero point), rounded once to float32."""
    return (operands.given().scale * operands.centered().astype(np.float64)).astype(np.float32)
