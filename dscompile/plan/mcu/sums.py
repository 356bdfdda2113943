"""Constants of int8 additions and products, and of additions that are fused into a convolution."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from dscompile.ir.fixed_point import (
    Clamp,
    Integers,
    fixed_sum,
    float_product,
    float_sum,
    layer_clamp,
    quantize_multiplier,
    requantize,
    tensor_quantization,
)
from dscompile.ir.network import Layer, Network
from dscompile.ir.ops import Binary
from dscompile.ir.tensor import Quantization
from dscompile.plan.integer_lines import LineProduct, search_lines
from dscompile.plan.integer_sums import BYTES, Sum, search_plane
from dscompile.plan.mcu.arithmetic import (
    ClampedProduct,
    FloatBinary,
    IntegerBinary,
    IntegerChoice,
    IntegerSum,
    PairArithmetic,
    Rescale,
    SearchedProduct,
)
from dscompile.plan.mcu.quantized import fixed_point_rounding
from dscompile.plan.requantization import Range, Shifts, search_affine

_ENDS = (-128, 127)
_LIMITS = Shifts(7, 12)  # of a factor less its zero point, which then fills 16 bits; a shift that layers share


def integer_sum(network: Network, layer: Layer, op: Binary) -> IntegerSum | None:
    """An int8 addition as two searched multiplications, or None where there are none for it."""
    own = integer_binary(network, layer, op)
    if isinstance(own, IntegerSum):
        return own
    if isinstance(own, IntegerChoice | ClampedProduct):
        return None
    made = tensor_quantization(network, layer.output)
    first, second = (tensor_quantization(network, name).scale / made.scale for name in layer.inputs)
    return _searched_sum(own, made.zero_point, first, -second if op.kind == "sub" else second)


@lru_cache(maxsize=256)
def _searched_sum(own: IntegerBinary | FloatBinary, zero_point: int, first: float, second: float) -> IntegerSum | None:
    wanted = Sum(_sum_levels(own), zero_point, (first, second), Clamp(own.low, own.high))
    found = search_plane(wanted, "even" if isinstance(own, FloatBinary) else "away")
    if found is None:
        return None
    return IntegerSum(found.first, found.second, found.bias, found.right, own.low, own.high, halves=found.halves)


def integer_product(network: Network, layer: Layer, op: Binary) -> SearchedProduct | None:
    """An int8 product by one searched multiplication, or None where there is none for it."""
    own = integer_binary(network, layer, op)
    if not isinstance(own, IntegerBinary | ClampedProduct):
        return None
    a, b = (tensor_quantization(network, name) for name in layer.inputs)
    made, clamp = tensor_quantization(network, layer.output), layer_clamp(network, layer)
    corners = [(x - a.zero_point) * (y - b.zero_point) for x in _ENDS for y in _ENDS]
    products = Range(np.array([min(corners)]), np.array([max(corners)]))
    slope = np.array([a.scale * b.scale / made.scale])
    found = search_affine(
        lambda values: _product_levels(own, values), products, slope, made.zero_point, clamp, limits=_LIMITS
    )
    if found is None:
        return None
    return SearchedProduct(
        a_zero=a.zero_point,
        b_zero=b.zero_point,
        bias=int(found.bias[0]),
        multiplier=int(found.multiplier[0]),
        step=0 if found.step is None else int(found.step[0]),
        left=found.left,
        right=found.right,
        zero_point=made.zero_point,
        low=clamp.low,
        high=clamp.high,
    )


def integer_lines(network: Network, layer: Layer, op: Binary, *, swapped: bool) -> LineProduct | None:
    """An int8 product as lines of its first operand (`swapped`: of its second), or None where there are none for it."""
    own = integer_binary(network, layer, op)
    if not isinstance(own, IntegerBinary | ClampedProduct):
        return None
    x, factor = (tensor_quantization(network, name) for name in layer.inputs)
    if swapped:
        x, factor = factor, x
    made = tensor_quantization(network, layer.output)
    return _lines(own, x.scale * factor.scale / made.scale, x.zero_point, factor.zero_point, made.zero_point)


@lru_cache(maxsize=256)
def _lines(
    own: IntegerBinary | ClampedProduct, slope: float, x_zero: int, factor_zero: int, zero_point: int
) -> LineProduct | None:
    levels = _product_levels(own, np.multiply.outer(BYTES - factor_zero, BYTES - x_zero))
    return search_lines(levels, slope, x_zero, factor_zero, zero_point, Clamp(own.low, own.high))


def _product_levels(own: IntegerBinary | ClampedProduct, products: Integers) -> Integers:
    """The results of a multiplication for products of operands less their zero points."""
    if isinstance(own, ClampedProduct):
        factor = np.float32(own.product.factor)
        reals = products.astype(np.float32) * factor + np.float32(own.product.inner)
        levels = np.rint(reals).astype(np.int64) + own.product.outer
    else:
        levels = _rescaled(products, own.result, own) + own.result.zero_point
    return np.asarray(np.clip(levels, own.low, own.high))


def _sum_levels(own: IntegerBinary | FloatBinary) -> Integers:
    """The results of an addition for all pairs [a + 128][b + 128], as the kernel's own arithmetic has them."""
    a, b = BYTES[:, None], BYTES[None, :]
    if isinstance(own, FloatBinary):
        inner = (b + own.shift) * np.float64(own.second) + np.float64(own.offset)
        outer = (a + own.shift) * np.float64(own.first) + inner.astype(np.float32).astype(np.float64)
        sums = np.rint(outer.astype(np.float32)).astype(np.int64) - own.shift
    else:
        parts = [
            _rescaled((values - operand.zero_point) << 20, operand, own) for values, operand in ((a, own.a), (b, own.b))
        ]
        sums = _rescaled(parts[0] + parts[1], own.result, own) + own.result.zero_point
    return np.asarray(np.clip(sums, own.low, own.high))


def _rescaled(values: Integers, factor: Rescale, own: IntegerBinary) -> Integers:
    return requantize(values, np.array(factor.multiplier), np.array(factor.shift), own.method)


def integer_binary(network: Network, layer: Layer, op: Binary) -> PairArithmetic:
    """Constants of an int8 layer: as TFLite's reference kernels define them, or in the rounding `float32`."""
    limits = layer_clamp(network, layer)
    if op.kind == "max" or op.kind == "min":
        return IntegerChoice(op.kind, limits.low, limits.high)
    if op.kind == "mul" and network.rounding == "float32":
        return ClampedProduct(float_product(network, layer), limits.low, limits.high)
    if network.rounding == "float32" and op.rounded_as == "centered":
        fixed = fixed_sum(network, layer)
        if fixed is not None:
            return IntegerSum(
                fixed.first, fixed.second, fixed.bias, fixed.right, limits.low, limits.high, fixed.zero_point
            )
    elif network.rounding == "float32":
        parts = float_sum(network, layer)
        return FloatBinary(parts.first, parts.second, parts.offset, parts.shift, limits.low, limits.high)
    a, b = (tensor_quantization(network, name) for name in layer.inputs)
    result = tensor_quantization(network, layer.output)
    if op.kind == "mul":
        factors = (1.0, 1.0, a.scale * b.scale / result.scale)
    else:
        widest = 2 * max(a.scale, b.scale)
        factors = (a.scale / widest, b.scale / widest, widest / ((1 << 20) * result.scale))
    return IntegerBinary(
        method=fixed_point_rounding(network),
        a=_rescale(a, factors[0]),
        b=_negative(_rescale(b, factors[1])) if op.kind == "sub" else _rescale(b, factors[1]),
        result=_rescale(result, factors[2]),
        low=limits.low,
        high=limits.high,
    )


def _negative(factor: Rescale) -> Rescale:
    return replace(factor, multiplier=-factor.multiplier)


def _rescale(quantization: Quantization, factor: float) -> Rescale:
    fixed = quantize_multiplier(factor)
    return Rescale(quantization.zero_point, fixed.multiplier, fixed.shift)
