"""Constants of int8 layers: ranges of sums, folded zero points, requantization, tables of activations."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dscompile.errors import UnsupportedError
from dscompile.ir.fixed_point import (
    Clamp,
    layer_clamp,
    layer_factors,
    layer_float_factors,
    layer_rounding,
    quantize_multiplier,
    requantize,
    tensor_quantization,
)
from dscompile.ir.network import Array, Layer, Network
from dscompile.ir.ops import Softmax
from dscompile.plan.integer_layers import LayerSums, answered, layer_sums
from dscompile.plan.mcu.arithmetic import FixedPointRounding
from dscompile.plan.mcu.epilogues import IntegerEpilogue, Method
from dscompile.plan.mcu.rows import LARGEST_SHIFT, USUAL_RIGHT
from dscompile.plan.mcu.small_kernels import MeanKernel, SoftmaxKernel
from dscompile.plan.requantization import (
    Affine,
    Integers,
    Range,
    Shifts,
    Staircase,
    constant_channels,
    search_affine,
    search_folded,
    search_most,
)
from dscompile.plan.requantization_narrow import Narrow, search_narrow, search_narrow_most

_answers: dict[Hashable, Affine | Narrow | None] = {}
_answers_for_most: dict[Hashable, tuple[Affine | Narrow, NDArray[np.bool_]] | None] = {}
_answers_in_rows: dict[Hashable, Affine | None] = {}
_answers_shifted: dict[Hashable, Affine | None] = {}
_LOWEST = -128  # zero point of an image in rows, whose byte is then 0
_LONGEST_SOFTMAX = 8191  # exponentials are at most 2^19, and their sum must stay below 2^32


@dataclass(frozen=True)
class QuantizedWeights:
    """A Conv2D or Dense made ready: kernel [..., C_out] int8, its epilogue, and the arrays that this needs per channel.

    Sums are of kernel * x, with x as it is stored, or less its zero point (`centered`).
    """

    kernel: Array
    epilogue: IntegerEpilogue
    constants: tuple[Array, ...]


def quantized_weights(
    network: Network,
    layer: Layer,
    *,
    centered: bool,
    affine: bool,
    narrow: bool = False,
    folded: bool = False,
    floats: bool = True,
) -> QuantizedWeights:
    """Weights and requantization of a layer; `affine` allows the searched form, `narrow` that of 32-bit products first.

    `folded` tries first to have the zero point of the result in the bias. Where the core computes no `floats`, the
    rounding float32 remains for those channels only that have no searched form.

    Raises UnsupportedError naming the channels whose sums could leave 32 bits.
    """
    found = layer_sums(network, layer, centered=centered)
    searched = _searched(found, narrow=narrow, folded=folded) if affine else None
    if searched is not None:
        return _by_search(found, searched)
    if affine and not floats and network.rounding == "float32":
        mostly = _mostly_by_search(found, layer_float_factors(network, layer), narrow=narrow)
        if mostly is not None:
            return mostly
    return _by_own_rounding(network, layer, found)


def _by_own_rounding(network: Network, layer: Layer, found: LayerSums) -> QuantizedWeights:
    return QuantizedWeights(found.kernel, *_own_rounding(network, layer, found.bias, found.zero_point, found.clamp))


def _mostly_by_search(found: LayerSums, factors: Array, *, narrow: bool) -> QuantizedWeights | None:
    """A layer in the rounding float32, by a search but for some channels; None if it is for all."""
    form = _form(found, found.zero_point)
    search = search_narrow_most if narrow else search_most
    most = answered(_answers_for_most, (found.question, narrow), lambda: search(*form))
    if most is None or not most[1].any():
        return None
    searched, fits = most
    method: Method = "narrow-or-float32" if narrow else "affine-or-float32"
    epilogue = IntegerEpilogue(
        method, found.clamp.low, found.clamp.high, found.zero_point, searched.left, searched.right
    )
    bias = np.where(fits, searched.bias, found.bias).astype(np.int32)
    multiplier = np.where(fits, searched.multiplier, -1).astype(np.int32)
    scale = np.where(fits, 0, factors).astype(np.float32)
    return QuantizedWeights(_without_constants(found), epilogue, (bias, multiplier, scale))


def _by_search(found: LayerSums, searched: Affine | Narrow) -> QuantizedWeights:
    clamp = found.clamp
    zero_point = 0 if isinstance(searched, Affine) and searched.folded else found.zero_point
    epilogue = IntegerEpilogue(_method(searched), clamp.low, clamp.high, zero_point, searched.left, searched.right)
    return QuantizedWeights(_without_constants(found), epilogue, _integers(searched))


def _integers(searched: Affine | Narrow) -> tuple[Array, ...]:
    """Constants of channels: bias, multiplier and, if there is one, step."""
    found = (searched.bias, searched.multiplier, *(() if searched.step is None else (searched.step,)))
    return tuple(each.astype(np.int32) for each in found)


def rows_weights(network: Network, layer: Layer, *, floats: bool = False) -> QuantizedWeights | None:
    """A depthwise layer made ready for an image in rows (plan/mcu/rows.py), or None.

    Its results are above -128, whatever its zero point is, and its weights are still to be shifted by `left`. Where the
    core computes `floats`, the second constant may be a factor in the rounding float32.
    """
    found = layer_sums(network, layer, centered=True)
    searched = answered(
        _answers_in_rows,
        found.question,
        lambda: search_affine(*_form(found, _LOWEST), finest=Shifts(LARGEST_SHIFT, USUAL_RIGHT)),
    )
    if searched is None:
        takes_floats = floats and network.rounding == "float32" and found.zero_point == _LOWEST
        return _by_own_rounding(network, layer, found) if takes_floats else None
    clamp = found.clamp
    epilogue = IntegerEpilogue("affine", clamp.low, clamp.high, _LOWEST, searched.left, searched.right)
    return QuantizedWeights(_without_constants(found), epilogue, _integers(searched))


def shifted_weights(network: Network, layer: Layer, *, centered: bool, floats: bool = False) -> QuantizedWeights | None:
    """A layer whose weights, shifted to the left by `left` as its sums are to be, fit 16 bits, or None.

    `floats` as of `rows_weights`.
    """
    found = layer_sums(network, layer, centered=centered)
    searched = answered(
        _answers_shifted,
        found.question,
        lambda: search_affine(*_form(found, found.zero_point), limits=Shifts(LARGEST_SHIFT, USUAL_RIGHT)),
    )
    if searched is None:
        takes_floats = floats and network.rounding == "float32"
        return _by_own_rounding(network, layer, found) if takes_floats else None
    return _by_search(found, searched)


def _searched(found: LayerSums, *, narrow: bool, folded: bool) -> Affine | Narrow | None:
    """What was found for a layer; its channels of only one level are as if their sums were 0."""

    def search() -> Affine | Narrow | None:
        form = _form(found, found.zero_point)
        one = search_folded(*form[:3], found.clamp) if folded else None
        return one or (search_narrow(*form) if narrow else None) or search_affine(*form)

    return answered(_answers, (found.question, narrow, folded), search)


def _form(found: LayerSums, zero_point: int) -> tuple[Staircase, Range, NDArray[np.float64], int, Clamp]:
    """What a search wants of a layer."""
    constant, sums = found.constant, found.sums
    level = found.staircase(sums.low[None])

    def staircase(values: Integers) -> Integers:
        return np.where(constant, level, found.staircase(values))

    still = Range(np.where(constant, 0, sums.low), np.where(constant, 0, sums.high))
    return (staircase, still, found.slopes, zero_point, found.clamp)


def _without_constants(found: LayerSums) -> Array:
    """The kernel, with weights of 0 in channels of one level."""
    return np.where(found.constant, 0, found.kernel).astype(np.int8)


def _method(found: Affine | Narrow) -> Method:
    match found:
        case Affine():
            return "affine" if found.step is None else "stepped"
        case Narrow():
            return "narrow" if found.step is None else "narrow-stepped"


def _own_rounding(
    network: Network, layer: Layer, bias: Integers, zero_point: int, clamp: Clamp
) -> tuple[IntegerEpilogue, tuple[Array, ...]]:
    if network.rounding == "float32":
        epilogue = IntegerEpilogue("float32", clamp.low, clamp.high, zero_point)
        return epilogue, (bias.astype(np.int32), layer_float_factors(network, layer))
    factors = layer_factors(network, layer)
    multipliers = np.array([factor.multiplier for factor in factors], np.int32)
    shifts = np.array([factor.shift for factor in factors], np.int8)
    epilogue = IntegerEpilogue(layer_rounding(network, layer), clamp.low, clamp.high, zero_point)
    return epilogue, (bias.astype(np.int32), multipliers, shifts)


def fixed_point_rounding(network: Network) -> FixedPointRounding:
    """The rounding of everything but convolutions and dense layers: `float32` leaves them as `tflite` has them."""
    assert network.rounding is not None
    return "tflite" if network.rounding == "float32" else network.rounding


def integer_mean(network: Network, layer: Layer) -> tuple[MeanKernel, tuple[Array, ...]]:
    """The int8 mean over height and width, and its constants per channel.

    The factor is input scale / output scale as m * 2^(s - 31) with the division by n pixels in it, as TFLite's
    reference kernel has it: m becomes (m << k) / n and s becomes s - k, with k = floor(log2(n)).
    """
    given, made = (tensor_quantization(network, name) for name in (layer.inputs[0], layer.output))
    _, height, width, channels = network.shape(layer.inputs[0])
    count = height * width
    clamp = layer_clamp(network, layer)
    bias = np.full(channels, -given.zero_point * count, np.int32)
    if network.rounding == "float32":
        factor = np.float32(given.scale) / (np.float32(made.scale) * np.float32(count))
        epilogue = IntegerEpilogue("float32", clamp.low, clamp.high, made.zero_point)
        return MeanKernel(count, channels, epilogue), (bias, np.full(channels, factor, np.float32))
    fixed = quantize_multiplier(given.scale / made.scale)
    extra = min(count.bit_length() - 1, 31 + fixed.shift)
    epilogue = IntegerEpilogue(fixed_point_rounding(network), clamp.low, clamp.high, made.zero_point)
    multiplier = np.full(channels, (fixed.multiplier << extra) // count, np.int32)
    return MeanKernel(count, channels, epilogue), (bias, multiplier, np.full(channels, fixed.shift - extra, np.int8))


def searched_mean(network: Network, layer: Layer) -> tuple[MeanKernel, tuple[Array, ...]] | None:
    """The same with a searched multiplication, which is that of all channels, or None."""
    own, (bias, *factors) = integer_mean(network, layer)
    epilogue, method = own.epilogue, own.epilogue.method
    factor, zero_point = [array[:1] for array in factors], epilogue.zero_point

    def staircase(sums: Integers) -> Integers:
        centered = sums + int(bias[0])
        if method == "float32":
            scaled = np.rint(centered.astype(np.float32) * np.float32(factor[0][0])).astype(np.int64)
        else:
            assert method in ("tflite", "half-up", "single")
            multiplier, shift = (array.astype(np.int64) for array in factor)
            scaled = requantize(centered, multiplier, shift, method)
        return np.asarray(np.clip(scaled + zero_point, epilogue.low, epilogue.high))

    given, made = (tensor_quantization(network, name) for name in (layer.inputs[0], layer.output))
    sums = Range(np.array([-128 * own.pixels]), np.array([127 * own.pixels]))
    slopes = np.array([given.scale / made.scale / own.pixels])
    clamp = Clamp(epilogue.low, epilogue.high)
    question = ("mean", own.pixels, epilogue, int(bias[0]), *(float(array[0]) for array in factor))
    if constant_channels(staircase, sums)[0]:
        return None
    found = answered(_answers, question, lambda: search_affine(staircase, sums, slopes, zero_point, clamp))
    if not isinstance(found, Affine):
        return None
    searched = IntegerEpilogue(_method(found), clamp.low, clamp.high, zero_point, found.left, found.right)
    constants = tuple(np.repeat(each[:1], own.channels) for each in _integers(found))
    return MeanKernel(own.pixels, own.channels, searched), constants


def integer_softmax(network: Network, layer: Layer, op: Softmax) -> SoftmaxKernel:
    """The int8 softmax: differences scaled to Q5.26, as in TFLite's reference kernel."""
    quantization = tensor_quantization(network, layer.inputs[0])
    result = tensor_quantization(network, layer.output)
    if (result.scale, result.zero_point) != (1 / 256, -128):
        raise UnsupportedError(
            f"an int8 softmax makes scale 1/256 and zero point -128, not {result.scale} and {result.zero_point}",
            layer=layer.name,
        )
    if network.shape(layer.output)[-1] > _LONGEST_SOFTMAX:
        raise UnsupportedError(
            f"an int8 softmax over {network.shape(layer.output)[-1]} elements can overflow its 32-bit sum; "
            f"{_LONGEST_SOFTMAX} is the most",
            layer=layer.name,
        )
    factor = quantize_multiplier(min(op.beta * quantization.scale * 2**26, 2.0**31 - 1))
    shape = network.shape(layer.output)
    return SoftmaxKernel(
        rows=math.prod(shape[:-1]),
        length=shape[-1],
        element="int8",
        multiplier=factor.multiplier,
        shift=factor.shift,
        smallest=-math.floor(31 * 2.0**26 / 2.0**factor.shift),
    )
