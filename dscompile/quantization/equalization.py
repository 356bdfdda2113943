"""Cross-layer equalization (Nagel et al. 2019, Data-Free Quantization, section 4.1).

relu(s * x) = s * relu(x) for s > 0. So channel i of a layer can be divided by s_i, if the layer that reads it
multiplies its weights for that channel by s_i: the network computes the same, but its channels use more of their
tensor's range.

Two ways to choose s are offered. `kernels` is the paper's: the ranges of both kernels for a channel become equal. But
kernels have one scale per output channel here, unlike in the paper, so what is gained is gained in the activations,
which have one scale per tensor, and paid by the kernel of the reader. `noise` therefore predicts both from the
calibration data, and takes for each pair the s that promises the least noise in the reader's sums.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dscompile.ir.network import Array, Layer, Network
from dscompile.ir.ops import NONE, RELU, RELU6, Conv2D, Dense, Pool, Reshape
from dscompile.ir.storage import Storage
from dscompile.quantization.calibration import Observation
from dscompile.quantization.ranges import LEVELS
from dscompile.quantization.stored import weight_limit

Reals = NDArray[np.float64]
Measure = Literal["noise", "kernels"]
MEASURES: tuple[Measure, ...] = ("noise", "kernels")

_PEAK_POWERS = (0.0, 0.25, 0.5, 0.75, 1.0)
_RANGE_POWERS = (0.0, 0.25, 0.5)
_SWEEPS = 20
_CONVERGED = 1e-3
_LARGEST_FACTOR = 64.0  # in all: what a channel does beyond that belongs to inputs that were not seen


@dataclass(frozen=True)
class Pair:
    """A convolution, and the convolution or dense layer that alone reads it, maybe through pools and a flatten."""

    first: Layer
    second: Layer


def equalizable_pairs(network: Network, seen: Mapping[str, Observation]) -> tuple[Pair, ...]:
    """Pairs that can be equalized exactly.

    Between the two stands nothing, a ReLU, or a ReLU6 whose 6 no calibration sample reaches: `without_idle_relu6` makes
    a ReLU of that one. Any other ReLU6 would cut the scaled channels elsewhere, and its pair is left alone.
    """
    return tuple(
        Pair(layer, reader)
        for layer in network.layers
        if isinstance(layer.op, Conv2D)
        and (reader := _only_reader(network, layer.output)) is not None
        and (layer.op.activation in (NONE, RELU) or is_idle_relu6(layer, seen))
    )


def _only_reader(network: Network, tensor: str) -> Layer | None:
    """The convolution or dense layer that alone reads a tensor, through pools and a flatten of a single pixel.

    Those do not mix channels, and scale with them.
    """
    if tensor in network.outputs or len(network.consumers[tensor]) != 1:
        return None
    (reader,) = network.consumers[tensor]
    if isinstance(reader.op, Conv2D | Dense):
        return reader
    shape, made = network.shape(reader.inputs[0]), network.shape(reader.output)
    flattens = isinstance(reader.op, Reshape) and shape[-1] == made[-1] == network.tensor(reader.output).elements
    if flattens or (isinstance(reader.op, Pool) and reader.op.activation in (NONE, RELU)):
        return _only_reader(network, reader.output)
    return None


def is_idle_relu6(layer: Layer, seen: Mapping[str, Observation]) -> bool:
    """Whether a convolution ends with a ReLU6 that is a mere ReLU on all calibration samples."""
    is_relu6 = isinstance(layer.op, Conv2D) and layer.op.activation == RELU6
    return is_relu6 and seen[layer.output].histogram.high < RELU6.high


def equalize(
    network: Network,
    seen: Mapping[str, Observation],
    pairs: Sequence[Pair],
    measure: Measure,
    storage: Mapping[str, Storage] = MappingProxyType({}),
) -> Network:
    """The same function with balanced channels. `storage` has the layers whose weights get less than a byte each."""
    weights = dict(network.weights)
    if measure == "kernels":
        _balance_kernels(network, seen, pairs, weights)
    else:
        for pair in pairs:
            limit = weight_limit(storage.get(pair.second.name, "plain"))
            _rescale(network, weights, pair, _quietest(network, seen, pair, limit))
    rectified = {pair.first.name for pair in pairs if is_idle_relu6(pair.first, seen)}
    layers = tuple(_with_relu(layer) if layer.name in rectified else layer for layer in network.layers)
    return replace(network, weights=weights, layers=layers)


def _balance_kernels(
    network: Network, seen: Mapping[str, Observation], pairs: Sequence[Pair], weights: dict[str, Array]
) -> None:
    """s = sqrt(r1 / r2) makes the ranges r1 and r2 of both kernels sqrt(r1 * r2) (equation 11 of the paper).

    Chains are swept until factors stay within 0.1 % of 1. Channels that are never used keep theirs.
    """
    totals = {pair.first.name: np.ones_like(seen[pair.first.output].peaks) for pair in pairs}
    for _ in range(_SWEEPS):
        largest = 0.0
        for pair in pairs:
            first = weights[f"{pair.first.name}.kernel"].astype(np.float64)
            made = np.abs(first).reshape(-1, first.shape[-1]).max(axis=0)
            read = _input_ranges(network, pair.second, weights[f"{pair.second.name}.kernel"])
            usable = (made > 0) & (read > 0) & (seen[pair.first.output].peaks > 0)
            wanted = np.sqrt(np.divide(made, read, out=np.ones_like(made), where=usable))
            total = np.clip(totals[pair.first.name] * wanted, 1 / _LARGEST_FACTOR, _LARGEST_FACTOR)
            factors = total / totals[pair.first.name]
            totals[pair.first.name] = total
            _rescale(network, weights, pair, factors)
            largest = max(largest, float(np.abs(np.log(factors)).max()))
        if largest < _CONVERGED:
            return


def _quietest(network: Network, seen: Mapping[str, Observation], pair: Pair, limit: int) -> Reals:
    """The s [C] = peak^p / range^q, with p and q on a grid, that promises the least noise in the reader's sums.

    Scaling the outputs of a kernel costs nothing where each has a scale of its own, so every pair can be chosen by
    itself.
    """
    kernel = _by_input(network, pair.second, network.weight(pair.second, "kernel"))
    read = np.abs(kernel).max(axis=(0, 1, 2, 4))
    peaks = seen[pair.first.output].peaks
    usable = (peaks > 0) & (read > 0)
    peaks, ranges = np.where(usable, peaks, 1.0), np.where(usable, read, 1.0)
    candidates = []
    for p in _PEAK_POWERS:
        for q in _RANGE_POWERS:
            raw = peaks**p / ranges**q
            raw = raw / raw[usable].max() if usable.any() else raw  # only ratios matter
            candidates.append(np.where(usable, np.clip(raw, 1 / _LARGEST_FACTOR, 1.0), 1.0))
    return min(candidates, key=lambda factors: predicted_noise(pair, kernel, seen, factors, limit))


def predicted_noise(pair: Pair, kernel: Reals, seen: Mapping[str, Observation], factors: Reals, limit: int) -> float:
    """Noise energy that rounding adds to the sums of a reader whose input channels are divided by `factors` [C].

    kernel [kh, kw, 1, C, C_out / groups], of integers up to `limit`. Rounding to steps of d adds d^2 / 12 to each
    element (Widrow 1956). Inputs have one step for the tensor, which a pool in between keeps, and reach a sum through
    the squares of its weights; weights have one step for each output, and reach it through the squares of the inputs.
    """
    given = seen[pair.second.inputs[0]]
    scaled = kernel * factors[None, None, None, :, None]
    input_step = float((seen[pair.first.output].peaks / factors).max()) / LEVELS
    positions = float(given.histogram.counts.sum()) / factors.size
    from_inputs = input_step**2 * float((scaled**2).sum()) * positions
    groups = _groups(pair.second)
    grouped = scaled.reshape(*scaled.shape[:3], groups, -1, scaled.shape[4])
    steps = np.abs(grouped).max(axis=(0, 1, 2, 4)) / limit  # [groups, C_out / groups]
    energies = (given.energies / factors**2).reshape(groups, -1).sum(axis=1)
    taps = kernel.shape[0] * kernel.shape[1]
    from_kernel = taps * float((steps**2 * energies[:, None]).sum())
    return float((from_inputs + from_kernel) / 12)


def _with_relu(layer: Layer) -> Layer:
    assert isinstance(layer.op, Conv2D)
    return replace(layer, op=replace(layer.op, activation=RELU))


def _input_ranges(network: Network, layer: Layer, kernel: Array) -> Reals:
    """The largest magnitude of the weights for each input channel, [C_in]."""
    return np.asarray(np.abs(_by_input(network, layer, kernel)).max(axis=(0, 1, 2, 4)))


def _rescale(network: Network, weights: dict[str, Array], pair: Pair, factors: Reals) -> None:
    """Divides the channels of the first layer by `factors` [C] and multiplies the second layer's weights for them."""
    for role in ("kernel", "bias"):
        key = f"{pair.first.name}.{role}"
        if key in weights:
            weights[key] = (weights[key].astype(np.float64) / factors).astype(np.float32)
    key = f"{pair.second.name}.kernel"
    kernel = weights[key]
    scaled = _by_input(network, pair.second, kernel) * factors[None, None, None, :, None]
    weights[key] = _from_input(pair.second, scaled, kernel.shape).astype(np.float32)


def _groups(layer: Layer) -> int:
    return layer.op.groups if isinstance(layer.op, Conv2D) else 1


def _by_input(network: Network, layer: Layer, kernel: Array) -> Reals:
    """Kernel [kh, kw, C_in / groups, C_out] -> [kh, kw, 1, C_in, C_out / groups]: input channels on one axis.

    A dense layer's kernel [C_in, C_out] counts as one of a single pixel.
    """
    height, width, per_group, out = (1, 1, *kernel.shape)[-4:]
    groups = _groups(layer)
    split = kernel.astype(np.float64).reshape(height, width, per_group, groups, out // groups)
    channels = network.shape(layer.inputs[0])[-1]
    return np.asarray(split.transpose(0, 1, 3, 2, 4).reshape(height, width, 1, channels, out // groups))


def _from_input(layer: Layer, kernel: Reals, shape: tuple[int, ...]) -> Reals:
    """The inverse of `_by_input`, in the shape that the kernel had."""
    height, width, _, channels, per_out = kernel.shape
    groups = _groups(layer)
    split = kernel.reshape(height, width, groups, channels // groups, per_out).transpose(0, 1, 3, 2, 4)
    return np.asarray(split.reshape(shape))
