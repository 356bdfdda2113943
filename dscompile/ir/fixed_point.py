"""The integers that int8 layers compute with: fixed-point factors, clamps, and the four roundings.

For plans, passes and emitters. The oracle has formulas of its own, so that it can judge these.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dscompile.errors import UnsupportedError
from dscompile.ir.network import Layer, Network
from dscompile.ir.ops import NONE, Activation, Binary, Conv2D, ConvTranspose, Dense, Pool
from dscompile.ir.tensor import INTEGER_RANGES, Quantization, Rounding

Integers = NDArray[np.int64]

_INT32_MIN, _INT32_MAX = -(1 << 31), (1 << 31) - 1


@dataclass(frozen=True)
class FixedPoint:
    """The factor multiplier * 2^(shift - 31), with 2^30 <= multiplier < 2^31, or 0 for a factor that is too small."""

    multiplier: int
    shift: int


@dataclass(frozen=True)
class Clamp:
    """The smallest and the largest integer that a layer writes."""

    low: int
    high: int


def quantize_multiplier(real: float) -> FixedPoint:
    """The fixed-point factor nearest to a real factor >= 0; halves are rounded up.

    Raises ValueError for factors that are negative or not finite, UnsupportedError for 2^30 and more, which cannot be
    shifted in 32 bits.
    """
    if not (real >= 0 and math.isfinite(real)):
        raise ValueError(f"a factor must be finite and not negative, not {real}")
    fraction, shift = math.frexp(real)
    multiplier = math.floor(fraction * 2**31 + 0.5)
    if multiplier == 1 << 31:
        multiplier, shift = 1 << 30, shift + 1
    if shift < -31 or multiplier == 0:
        return FixedPoint(0, 0)
    if shift > 30:
        raise UnsupportedError(f"scales whose quotient is {real:g} are not supported; it must be smaller than 2^30")
    return FixedPoint(multiplier, shift)


def activation_clamp(activation: Activation, quantization: Quantization, dtype: str = "int8") -> Clamp:
    """The integers between which a layer with this activation (none or clip) clamps its result.

    A bound b becomes zero_point + round(b / scale), in float32, halves away from zero.
    """
    low, high = INTEGER_RANGES[dtype]
    if activation.kind == "clip":
        if math.isfinite(activation.low):
            low = max(low, _quantized(activation.low, quantization))
        if math.isfinite(activation.high):
            high = min(high, _quantized(activation.high, quantization))
    elif activation:
        raise ValueError(f"{activation.name} is no clamp")
    return Clamp(min(low, INTEGER_RANGES[dtype][1]), max(high, INTEGER_RANGES[dtype][0]))


def layer_clamp(network: Network, layer: Layer) -> Clamp:
    """The clamp of an int8 layer; that of the type for operators without an activation."""
    activation = layer.op.activation if isinstance(layer.op, Conv2D | ConvTranspose | Dense | Binary | Pool) else NONE
    tensor = network.tensor(layer.output)
    return activation_clamp(activation, tensor_quantization(network, layer.output), tensor.dtype)


def tensor_quantization(network: Network, name: str) -> Quantization:
    """Scale and zero point of an int8 or uint8 tensor."""
    quantization = network.tensor(name).quantization
    if quantization is None:
        raise ValueError(f"tensor '{name}' is not quantized")
    return quantization


def layer_factors(network: Network, layer: Layer) -> tuple[FixedPoint, ...]:
    """Of a Conv2D or Dense the factor input scale * kernel_scale / output scale per output channel, in float64."""
    given = tensor_quantization(network, layer.inputs[0]).scale
    made = tensor_quantization(network, layer.output).scale
    scales = network.weight(layer, "kernel_scale").astype(np.float64)
    return tuple(quantize_multiplier(given * float(scale) / made) for scale in scales)


def layer_float_factors(network: Network, layer: Layer) -> NDArray[np.float32]:
    """The same factors [C_out] as the rounding `float32` has them: every operation in float32."""
    given = np.float32(tensor_quantization(network, layer.inputs[0]).scale)
    made = np.float32(tensor_quantization(network, layer.output).scale)
    return np.asarray(given * network.weight(layer, "kernel_scale").astype(np.float32) / made, np.float32)


@dataclass(frozen=True)
class FloatSum:
    """An int8 sum in the rounding `float32`, as onnxruntime computes it on machines with fused multiply-add.

    y = clamp(rint(fma(a + shift, first, fma(b + shift, second, offset))) - shift), all in float32, halves to even.
    It is a function of two int8 numbers: integer arithmetic that gives the same for all 65,536 pairs is as good.
    """

    first: float
    second: float
    offset: float
    shift: int


@dataclass(frozen=True)
class FixedSum:
    """An int8 sum in the rounding `float32`, as XNNPACK computes it (qs8-vadd), in integers.

    y = clamp(((a * first + b * second + bias) >> right) + zero_point). The larger factor has 21 bits, and no sum leaves
    32 bits.
    """

    first: int
    second: int
    bias: int
    right: int
    zero_point: int


def fixed_sum(network: Network, layer: Layer) -> FixedSum | None:
    """The constants of a Binary add or sub over int8 that is rounded `centered`.

    The scale ratios in float32, times the power of two that gives the larger one 21 bits, rounded to even. Where 32
    bits hold it, the zero point is part of the bias. None where a ratio lies outside [2^-10, 2^8): XNNPACK leaves such
    layers to TFLite's reference kernel.
    """
    one, other, made = (tensor_quantization(network, name) for name in (*layer.inputs, layer.output))
    ratios = [np.float32(side.scale) / np.float32(made.scale) for side in (one, other)]
    if not all(2.0**-10 <= ratio < 2.0**8 for ratio in ratios):
        return None
    right = 21 - math.frexp(float(max(ratios)))[1]
    first, second = (int(np.rint(ratio * np.float32(2.0**right))) for ratio in ratios)
    if isinstance(layer.op, Binary) and layer.op.kind == "sub":
        second = -second
    bias = (1 << (right - 1)) - first * one.zero_point - second * other.zero_point
    largest = 128 * (abs(first) + abs(second)) + abs(bias) + (128 << right)
    if largest < _INT32_MAX:
        return FixedSum(first, second, bias + (made.zero_point << right), right, 0)
    return FixedSum(first, second, bias, right, made.zero_point)


@dataclass(frozen=True)
class FloatProduct:
    """An int8 product in the rounding `float32`, as onnxruntime (QLinearMul) and XNNPACK (qs8-vmul) compute it.

    y = clamp(rint((a - a_zero) * (b - b_zero) * factor + inner) + outer), the products and the sum each rounded to
    float32, halves to even. onnxruntime adds the zero point before it rounds, XNNPACK afterwards: then `inner` is 0.
    """

    a_zero: int
    b_zero: int
    factor: float
    inner: int
    outer: int

    def level(self, a: Integers, b: Integers) -> Integers:
        """The unclamped result for integers that broadcast to one shape."""
        products = ((a - self.a_zero) * (b - self.b_zero)).astype(np.float32) * np.float32(self.factor)
        return np.asarray(np.rint(products + np.float32(self.inner)).astype(np.int64) + self.outer)


def float_product(network: Network, layer: Layer) -> FloatProduct:
    """The constants of a Binary mul over int8; factor = scale_a * scale_b / scale_y, every operation in float32."""
    assert isinstance(layer.op, Binary)
    one, other, made = (tensor_quantization(network, name) for name in (*layer.inputs, layer.output))
    factor = np.float32(one.scale) * np.float32(other.scale) / np.float32(made.scale)
    zeros = (one.zero_point, other.zero_point, float(factor))
    if layer.op.rounded_as == "centered":
        return FloatProduct(*zeros, 0, made.zero_point)
    shift = _shift(layer.op)
    return FloatProduct(*zeros, made.zero_point + shift, -shift)


def _shift(op: Binary) -> int:
    return 128 if op.rounded_as == "uint8" else 0


def float_sum(network: Network, layer: Layer) -> FloatSum:
    """The constants of a Binary add or sub over int8: scale ratios, and the zero points in terms of the result."""
    assert isinstance(layer.op, Binary)
    shift = _shift(layer.op)
    one, other, made = (tensor_quantization(network, name) for name in (*layer.inputs, layer.output))
    first = np.float32(one.scale) / np.float32(made.scale)
    sign = np.float32(-1 if layer.op.kind == "sub" else 1)
    second = sign * np.float32(other.scale) / np.float32(made.scale)
    # One more fused multiply-add, as onnxruntime's compiler makes it, in float64, which holds its product.
    zero = np.float64(second * np.float32(other.zero_point + shift))
    zeros = np.float32(np.float64(first) * np.float64(one.zero_point + shift) + zero)
    offset = np.float32(made.zero_point + shift) - zeros
    return FloatSum(float(first), float(second), float(offset), shift)


def requantize_layer(network: Network, layer: Layer, sums: Integers) -> Integers:
    """Accumulators [..., C_out] of a Conv2D or Dense, bias included -> its output, as the network's rounding says."""
    return layer_requantization(network, layer)(sums)


def layer_requantization(network: Network, layer: Layer) -> Callable[[Integers], Integers]:
    """`requantize_layer` of one layer, for those who call it often: its factors are computed once."""
    zero_point = tensor_quantization(network, layer.output).zero_point
    clamp = layer_clamp(network, layer)
    if network.rounding == "float32":
        reals = layer_float_factors(network, layer)

        def scaled(sums: Integers) -> Integers:
            return np.asarray(np.rint(sums.astype(np.float32) * reals).astype(np.int64))

    else:
        factors, rounding = layer_factors(network, layer), layer_rounding(network, layer)
        multipliers = np.array([factor.multiplier for factor in factors], np.int64)
        shifts = np.array([factor.shift for factor in factors], np.int64)

        def scaled(sums: Integers) -> Integers:
            return requantize(sums, multipliers, shifts, rounding)

    return lambda sums: np.asarray(np.clip(scaled(sums) + zero_point, clamp.low, clamp.high))


def layer_rounding(network: Network, layer: Layer) -> Rounding:
    """The fixed-point rounding of a Conv2D or Dense: `tflite` means the double one, except for Dense the single one."""
    assert network.rounding is not None
    if network.rounding == "tflite" and isinstance(layer.op, Dense):
        return "single"
    return network.rounding


def requantize(sums: Integers, multiplier: Integers, shift: Integers, rounding: Rounding) -> Integers:
    """sums * multiplier * 2^(shift - 31) in fixed point: rounded once (`single`), or twice (`tflite`, `half-up`).

    The second rounding takes halves away from zero with `tflite`, and up with `half-up`. All in 64 bits; sums that are
    shifted to the left first saturate where they leave 32 bits.
    """
    if rounding == "single":
        total = 31 - shift
        return np.asarray((sums * multiplier + (np.int64(1) << (total - 1))) >> total)
    left, right = np.maximum(shift, 0), np.maximum(-shift, 0)
    shifted = np.clip(sums << left, _INT32_MIN, _INT32_MAX)
    product = (shifted * multiplier + (1 << 30)) >> 31
    if rounding == "half-up":
        return np.asarray((product + ((np.int64(1) << right) >> 1)) >> right)
    half_away = (np.abs(product) + ((np.int64(1) << right) >> 1)) >> right
    return np.asarray(np.where(product < 0, -half_away, half_away))


def quantized_value(real: float, quantization: Quantization) -> int:
    """The int8 that stands for a real number: zero_point + round(real / scale) in float32, halves away from zero."""
    return max(-128, min(127, _quantized(real, quantization)))


def _quantized(bound: float, quantization: Quantization) -> int:
    ratio = float(np.float32(bound) / np.float32(quantization.scale))
    return quantization.zero_point + int(math.copysign(math.floor(abs(ratio) + 0.5), ratio))
