"""The requantization of an int8 kernel: the cheapest exact form that is found, else the network's own rounding."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dscompile.ir.fixed_point import (
    Clamp,
    layer_clamp,
    layer_factors,
    layer_float_factors,
    layer_rounding,
    tensor_quantization,
)
from dscompile.ir.network import Array, Layer, Network
from dscompile.plan.affine_requantization import fit_float_affine
from dscompile.plan.int8_kernels import Requantization, Scaling
from dscompile.plan.integer_layers import answered, layer_sums
from dscompile.plan.requantization import Integers, Range, Staircase, find_thresholds, fit_affine


@dataclass(frozen=True)
class Scaled:
    """A requantization and its constants, [C] each, in the order of its parameters."""

    requantization: Requantization
    constants: tuple[Array, ...]

    def padded(self, start: int, count: int) -> tuple[Array, ...]:
        """Constants of channels start .. start + count, zeros beyond the last."""
        return tuple(_padded(array[start : start + count], count) for array in self.constants)


@dataclass(frozen=True)
class Int8Weights:
    """A Conv2D or Dense made ready: kernel [..., C_out] int8 of plain products, zero points folded into `scaled`."""

    kernel: Array
    scaled: Scaled


_answers: dict[Hashable, Scaled | None] = {}


def int8_weights(network: Network, layer: Layer) -> Int8Weights:
    """Weights and requantization of a layer; channels that are constant have weights of 0.

    Raises UnsupportedError naming the channels whose sums could leave 32 bits.
    """
    found = layer_sums(network, layer, centered=False)
    searched = answered(
        _answers,
        found.question,
        lambda: search_scaling(
            found.staircase,
            found.sums,
            found.slopes,
            found.zero_point,
            found.clamp,
            floats=network.rounding == "float32",
        ),
    )
    if searched is None:
        return Int8Weights(found.kernel, _own_rounding(network, layer, found.bias))
    return Int8Weights(np.where(found.constant, 0, found.kernel).astype(np.int8), searched)


def search_scaling(
    staircase: Staircase,
    sums: Range,
    slopes: NDArray[np.float64],
    zero_point: int,
    clamp: Clamp,
    *,
    floats: bool,
) -> Scaled | None:
    """One float32 multiply-add per sum, else one integer multiplication, or None.

    `floats`: the network's own rounding is a float32 multiplication, which costs less than the integer one.
    Channels that give one level whatever their sums must have sums of 0 in the kernel.
    """
    thresholds = find_thresholds(staircase, sums, clamp)
    affine = fit_float_affine(thresholds, sums, slopes)
    if affine is not None:
        return Scaled(Requantization("affine", clamp.low, clamp.high), (affine.scale, affine.offset))
    if floats:
        return None
    constant = thresholds.constant
    still = Range(np.where(constant, 0, sums.low), np.where(constant, 0, sums.high))
    found = fit_affine(thresholds, still, slopes, zero_point)
    if found is None:
        return None
    steps = () if found.step is None else (found.step,)
    scaling: Scaling = "stepped" if steps else "integer"
    return Scaled(
        Requantization(scaling, clamp.low, clamp.high, zero_point, found.left, found.right),
        tuple(array.astype(np.int32) for array in (found.bias, found.multiplier, *steps)),
    )


def _own_rounding(network: Network, layer: Layer, bias: Integers) -> Scaled:
    clamp, zero_point = layer_clamp(network, layer), tensor_quantization(network, layer.output).zero_point
    if network.rounding == "float32":
        constants: tuple[Array, ...] = (bias.astype(np.int32), layer_float_factors(network, layer))
        return Scaled(Requantization("float32", clamp.low, clamp.high, zero_point), constants)
    factors = layer_factors(network, layer)
    integers = (bias, [factor.multiplier for factor in factors], [factor.shift for factor in factors])
    return Scaled(
        Requantization(layer_rounding(network, layer), clamp.low, clamp.high, zero_point),
        tuple(np.array(values, np.int32) for values in integers),
    )


def _padded(array: Array, count: int) -> Array:
    return np.pad(array, (0, count - len(array)))
