"""Bias correction (Nagel et al. 2019, section 4.2; empirical, as in its appendix D).

Rounded kernels and inputs shift the mean of every channel's sums. The shift is measured on data and taken out of the
bias, layer after layer, each on the inputs that the corrected layers before it give. A convolution is linear, so the
mean of its sums is its sum over the mean input: one convolution measures all samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dscompile.ir.network import Layer, Network
from dscompile.ir.ops import NONE, Conv2D, Dense
from dscompile.quantization.kernels import Int8Kernel, bias_bound
from dscompile.quantization.layerwise import LayerPair, improve_layers
from dscompile.quantization.settings import Sample
from dscompile.quantization.single_layer import layer_alone, run_layer

Reals = NDArray[np.float64]


def correct_biases(real: Network, integer: Network, samples: Sequence[Sample]) -> Network:
    """`integer` with biases that give every channel of its sums the mean that it has in `real`.

    Both networks have the same layers; the samples are float32 inputs.
    """
    return improve_layers(real, integer, samples, _corrected)


def _corrected(pair: LayerPair) -> dict[str, NDArray[np.int32]]:
    return {"bias": corrected_bias(pair, pair.kernel)}


def corrected_bias(pair: LayerPair, kernel: Int8Kernel) -> NDArray[np.int32]:
    """The bias int32 [C_out] with which `kernel` has no shift of its sums' means."""
    real, theirs = pair.real, pair.theirs
    given = pair.integer.tensor(pair.ours.inputs[0]).quantization
    assert given is not None
    wanted_input, got_input = _mean_inputs(pair)
    unit = given.scale * kernel.kernel_scale.astype(np.float64)
    bias = kernel.bias.astype(np.float64)
    as_real = {
        f"{theirs.name}.kernel": kernel.real_kernel().astype(np.float32),
        f"{theirs.name}.bias": (bias * unit).astype(np.float32),
    }
    wanted = _mean_sums(real, theirs, wanted_input)
    got = _mean_sums(replace(real, weights={**real.weights, **as_real}), theirs, got_input)
    bound = bias_bound(pair.ours.name, kernel.taps)
    return np.clip(np.rint(bias - (got - wanted) / unit), -bound, bound).astype(np.int32)


def _mean_inputs(pair: LayerPair) -> tuple[Reals, Reals]:
    """The mean over all samples of what float32 and int8 read, [1, ...]."""
    wanted: Reals = np.zeros(1)
    got: Reals = np.zeros(1)
    count = 0
    for reals, integers in pair.inputs():
        wanted = wanted + reals.sum(axis=0, keepdims=True)
        got = got + integers.sum(axis=0, keepdims=True)
        count += len(reals)
    return wanted / count, got / count


def _mean_sums(network: Network, layer: Layer, mean_input: Reals) -> Reals:
    """The mean over all pixels of a layer's sums before its activation, [C_out]."""
    assert isinstance(layer.op, Conv2D | Dense)
    linear = replace(layer, op=replace(layer.op, activation=NONE))
    sums = run_layer(layer_alone(network, linear), {layer.inputs[0]: mean_input.astype(np.float32)})
    return np.asarray(sums.astype(np.float64).reshape(-1, sums.shape[-1]).mean(axis=0))
