"""Tables of 256 entries for functions of one int8: activations and changes of scale, exactly as TFLite has them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from dscompile.ir.fixed_point import activation_clamp, quantize_multiplier, requantize, tensor_quantization
from dscompile.ir.network import Array, Layer, Network
from dscompile.ir.ops import Activation
from dscompile.ir.tensor import INTEGER_RANGES, Quantization

Integers = NDArray[np.int64]

_INT16_MIN, _INT16_MAX = -(1 << 15), (1 << 15) - 1


def activation_table(network: Network, layer: Layer, activation: Activation) -> Array:
    """[256] int8: the result for the inputs -128 to 127."""
    given = tensor_quantization(network, layer.inputs[0])
    made = tensor_quantization(network, layer.output)
    centered = np.arange(-128, 128, dtype=np.int64) - given.zero_point
    ratio = np.float32(given.scale) / np.float32(made.scale)
    match activation.kind:
        case "none" | "clip":
            clamp = activation_clamp(activation, made)
            scaled = _scaled(network, centered, float(ratio)) + made.zero_point
            return np.clip(scaled, clamp.low, clamp.high).astype(np.int8)
        case "leaky_relu":
            below = np.float32(given.scale) * np.float32(activation.alpha) / np.float32(made.scale)
            scaled = np.where(
                centered >= 0, _scaled(network, centered, float(ratio)), _scaled(network, centered, float(below))
            )
            return np.clip(scaled + made.zero_point, -128, 127).astype(np.int8)
        case "hard_swish":
            return np.array([_hard_swish(int(value), given, made) for value in centered], np.int8)
        case _:
            reals = (np.float32(given.scale) * centered.astype(np.float32)).astype(np.float64)
            results = np.array([_real_activation(activation, float(real)) for real in reals], np.float32)
            return _nearest(results * (np.float32(1) / np.float32(made.scale)), made)


def requantization_table(network: Network, layer: Layer) -> Array:
    """[256]: int8 or uint8 with another scale and zero point."""
    source, result = network.tensor(layer.inputs[0]), network.tensor(layer.output)
    given, made = tensor_quantization(network, source.name), tensor_quantization(network, result.name)
    low, high = INTEGER_RANGES[source.dtype]
    centered = np.arange(low, high + 1, dtype=np.int64) - given.zero_point
    scaled = _scaled(network, centered, given.scale / made.scale) + made.zero_point
    bounds = INTEGER_RANGES[result.dtype]
    table: Array = np.clip(scaled, bounds[0], bounds[1]).astype(np.dtype(result.dtype))
    return table


def dequantization_table(network: Network, layer: Layer) -> Array:
    """[256] float32: scale * (q - zero point) for every int8 or uint8, rounded once."""
    source = network.tensor(layer.inputs[0])
    quantization = tensor_quantization(network, source.name)
    low, high = INTEGER_RANGES[source.dtype]
    table: Array = (quantization.scale * (np.arange(low, high + 1) - quantization.zero_point)).astype(np.float32)
    return table


def _scaled(network: Network, values: Integers, factor: float) -> Integers:
    fixed = quantize_multiplier(factor)
    rounding = "tflite" if network.rounding in (None, "float32") else network.rounding
    return requantize(values, np.array(fixed.multiplier), np.array(fixed.shift), rounding)


def _nearest(values: NDArray[np.float32], made: Quantization) -> Array:
    """Halves are rounded away from zero."""
    wide = values.astype(np.float64)
    rounded = np.copysign(np.floor(np.abs(wide) + 0.5), wide)
    table: Array = np.clip(rounded + made.zero_point, -128, 127).astype(np.int8)
    return table


def _real_activation(activation: Activation, x: float) -> float:
    """The formulas of dscompile.ir.ops.Activation."""
    match activation.kind:
        case "hard_sigmoid":
            return min(max(activation.alpha * x + 0.5, 0.0), 1.0)
        case "tanh":
            return math.tanh(x)
        case "sigmoid":
            return _sigmoid(x)
        case "swish":
            return x * _sigmoid(x)
        case "elu":
            return x if x > 0 else activation.alpha * math.expm1(x)
        case "gelu":
            return x * (1 + math.erf(x / math.sqrt(2))) / 2
        case "gelu_tanh":
            return x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2
        case "erf":
            return math.erf(x)
        case _:
            raise ValueError(f"{activation.name} is no table")


def _sigmoid(x: float) -> float:
    small = math.exp(-abs(x))
    return 1 / (1 + small) if x >= 0 else small / (1 + small)


def _hard_swish(centered: int, given: Quantization, made: Quantization) -> int:
    """TFLite's reference kernel in 16-bit fixed point of (x - zero point); factors are computed in float32."""
    fine = np.float32(given.scale) * np.float32(1 / 128)
    output_factor = quantize_multiplier(float(fine / np.float32(made.scale)))
    relu_factor = quantize_multiplier(float(fine / (np.float32(3) / np.float32(32768))))
    x = centered << 7
    pre = _doubling_high(x, _sixteen_bits(output_factor.multiplier))
    gate = x
    if relu_factor.shift > 0:
        gate = _saturated(gate << (relu_factor.shift - 1))
    gate = _doubling_high(gate, _sixteen_bits(relu_factor.multiplier))
    if relu_factor.shift > 0:
        gate = _saturated(gate << 1)
    elif relu_factor.shift < 0:
        gate = _half_away(gate, -relu_factor.shift)
    gate = (gate + (1 << 15)) >> 1
    product = abs(pre * gate) >> 15
    if pre * gate < 0:
        product = -product
    if output_factor.shift <= 0:
        shifted = _half_away(product, -output_factor.shift)
    else:
        shifted = _saturated(product << output_factor.shift)
    return max(-128, min(127, shifted + made.zero_point))


def _sixteen_bits(multiplier: int) -> int:
    return min((multiplier + (1 << 15)) >> 16, _INT16_MAX)


def _doubling_high(a: int, b: int) -> int:
    """Saturating rounding doubling high multiply of 16 bits."""
    if a == b == _INT16_MIN:
        return _INT16_MAX
    return (a * b + (1 << 14)) >> 15


def _saturated(value: int) -> int:
    return max(_INT16_MIN, min(_INT16_MAX, value))


def _half_away(value: int, exponent: int) -> int:
    if exponent == 0:
        return value
    rounded = (abs(value) + (1 << (exponent - 1))) >> exponent
    return rounded if value >= 0 else -rounded
