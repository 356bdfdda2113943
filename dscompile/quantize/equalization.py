"""Cross-layer equalization (Nagel et al. 2019, Data-Free Quantization, section 4.1).

relu(s * x) = s * relu(x) for s > 0. So channel i of a layer can be divided by s_i, if the layer that reads it
multiplies its weights for that channel by s_i: the network computes the same, but its channels use more of their
tensor's range.

Kernels have one scale per output channel here, unlike in the paper, so what is gained is gained in the activations,
which have one scale per tensor, and paid by the kernel of the reader. Two measures of a channel are therefore offered:
`kernels` is the paper's, the range of the kernel that makes the channel; `activations` is the largest value that the
channel takes on the calibration data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dscompile.ir.network import Array, Layer, Network
from dscompile.ir.ops import NONE, RELU, RELU6, Conv2D
from dscompile.quantize.calibration import Observation

Reals = NDArray[np.float64]
Measure = Literal["kernels", "activations"]
MEASURES: tuple[Measure, ...] = ("activations", "kernels")

_SWEEPS = 20
_CONVERGED = 1e-3
_LARGEST_FACTOR = 64.0  # in all: what a channel does beyond that belongs to inputs that were not seen


@dataclass(frozen=True)
class Pair:
    """Two convolutions of which only the second reads the first."""

    first: Layer
    second: Layer


def equalizable_pairs(network: Network, seen: Mapping[str, Observation]) -> tuple[Pair, ...]:
    """Pairs that can be equalized exactly.

    Between the two stands nothing, a ReLU, or a ReLU6 whose 6 no calibration sample reaches: `without_idle_relu6` makes
    a ReLU of that one. Any other ReLU6 would cut the scaled channels elsewhere, and its pair is left alone.
    """
    return tuple(
        Pair(layer, readers[0])
        for layer in network.layers
        if isinstance(layer.op, Conv2D)
        and layer.output not in network.outputs
        and len(readers := network.consumers[layer.output]) == 1
        and isinstance(readers[0].op, Conv2D)
        and (layer.op.activation in (NONE, RELU) or is_idle_relu6(layer, seen))
    )


def is_idle_relu6(layer: Layer, seen: Mapping[str, Observation]) -> bool:
    """Whether a convolution ends with a ReLU6 that is a mere ReLU on all calibration samples."""
    is_relu6 = isinstance(layer.op, Conv2D) and layer.op.activation == RELU6
    return is_relu6 and seen[layer.output].histogram.high < RELU6.high


def equalize(network: Network, seen: Mapping[str, Observation], pairs: Sequence[Pair], measure: Measure) -> Network:
    """The same function with balanced channels.

    With r1 the measure of a channel and r2 the range of the weights that read it, s = sqrt(r1 / r2) makes both
    sqrt(r1 * r2) (equation 11 of the paper). A depthwise reader has one kernel scale for each channel and loses
    nothing: there s = r1, scaled to leave the largest channel as it is. Chains are swept until factors stay within
    0.1 % of 1.
    """
    weights = dict(network.weights)
    peaks = {pair.first.name: seen[pair.first.output].peaks.copy() for pair in pairs}
    totals = {name: np.ones_like(channels) for name, channels in peaks.items()}
    for _ in range(_SWEEPS):
        largest = 0.0
        for pair in pairs:
            name = pair.first.name
            wanted = totals[name] * _factors(network, weights, peaks[name], pair, measure)
            factors = np.clip(wanted, 1 / _LARGEST_FACTOR, _LARGEST_FACTOR) / totals[name]
            _rescale(network, weights, pair, factors)
            totals[name], peaks[name] = totals[name] * factors, peaks[name] / factors
            largest = max(largest, float(np.abs(np.log(factors)).max()))
        if largest < _CONVERGED:
            break
    rectified = {pair.first.name for pair in pairs if is_idle_relu6(pair.first, seen)}
    layers = tuple(_with_relu(layer) if layer.name in rectified else layer for layer in network.layers)
    return replace(network, weights=weights, layers=layers)


def _with_relu(layer: Layer) -> Layer:
    assert isinstance(layer.op, Conv2D)
    return replace(layer, op=replace(layer.op, activation=RELU))


def _factors(network: Network, weights: Mapping[str, Array], peaks: Reals, pair: Pair, measure: Measure) -> Reals:
    """s [C] of the channels between the two layers; 1 where a channel is never used."""
    first = weights[f"{pair.first.name}.kernel"].astype(np.float64)
    made = peaks if measure == "activations" else np.abs(first).reshape(-1, first.shape[-1]).max(axis=0)
    read = np.abs(_by_input(network, pair.second, weights[f"{pair.second.name}.kernel"])).max(axis=(0, 1, 2, 4))
    usable = (made > 0) & (read > 0) & (peaks > 0)
    if not usable.any():
        return np.ones_like(made)
    assert isinstance(pair.second.op, Conv2D)
    if pair.second.op.is_depthwise(made.size):
        raw = made / made[usable].max()
    else:
        raw = np.sqrt(np.divide(made, read, out=np.ones_like(made), where=usable))
        raw = raw / raw[usable].max()  # only ratios matter; this leaves the tensor's range as near as can be
    return np.where(usable, raw, 1.0)


def _rescale(network: Network, weights: dict[str, Array], pair: Pair, factors: Reals) -> None:
    """Divides the channels of the first layer by `factors` [C] and multiplies the second layer's weights for them."""
    for role in ("kernel", "bias"):
        key = f"{pair.first.name}.{role}"
        if key in weights:
            weights[key] = (weights[key].astype(np.float64) / factors).astype(np.float32)
    key = f"{pair.second.name}.kernel"
    kernel = weights[key]
    scaled = _by_input(network, pair.second, kernel) * factors[None, None, None, :, None]
    weights[key] = _from_input(pair.second, scaled).astype(np.float32)


def _by_input(network: Network, layer: Layer, kernel: Array) -> Reals:
    """Kernel [kh, kw, C_in / groups, C_out] -> [kh, kw, 1, C_in, C_out / groups]: input channels on one axis."""
    assert isinstance(layer.op, Conv2D)
    height, width, per_group, out = kernel.shape
    groups = layer.op.groups
    split = kernel.astype(np.float64).reshape(height, width, per_group, groups, out // groups)
    channels = network.shape(layer.inputs[0])[3]
    return np.asarray(split.transpose(0, 1, 3, 2, 4).reshape(height, width, 1, channels, out // groups))


def _from_input(layer: Layer, kernel: Reals) -> Reals:
    """The inverse of `_by_input`."""
    assert isinstance(layer.op, Conv2D)
    height, width, _, channels, per_out = kernel.shape
    groups = layer.op.groups
    split = kernel.reshape(height, width, groups, channels // groups, per_out).transpose(0, 1, 3, 2, 4)
    return np.asarray(split.reshape(height, width, channels // groups, groups * per_out))
