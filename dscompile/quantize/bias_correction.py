"""Bias correction (Nagel et al. 2019, section 4.2; empirical, as in its appendix D).

Rounded kernels and inputs shift the mean of every channel's sums. The shift is measured on data and taken out of the
bias, layer after layer, each on the inputs that the corrected layers before it give. A convolution is linear, so the
mean of its sums is its sum over the mean input: one convolution measures all samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dscompile.ir.network import Array, Layer, Network
from dscompile.ir.ops import NONE, Conv2D, Dense
from dscompile.ir.tensor import Quantization
from dscompile.quantize.conversion import dequantize_array
from dscompile.quantize.kernels import bias_bound
from dscompile.quantize.settings import Sample
from dscompile.quantize.single_layer import layer_alone, run_layer

Reals = NDArray[np.float64]


def correct_biases(
    real: Network, integer: Network, samples: Sequence[Sample], integer_samples: Sequence[Sample]
) -> Network:
    """`integer` with biases that give every channel of its sums the mean that it has in `real`.

    Both networks have the same layers; the samples are inputs of the one and of the other.
    """
    weights = dict(integer.weights)
    real_values: list[dict[str, Array]] = [dict(sample) for sample in samples]
    integer_values: list[dict[str, Array]] = [dict(sample) for sample in integer_samples]
    last_use = {name: index for index, layer in enumerate(real.layers) for name in layer.inputs}
    for index, (ours, theirs) in enumerate(zip(integer.layers, real.layers, strict=True)):
        if isinstance(ours.op, Conv2D | Dense):
            key = f"{ours.name}.bias"
            weights[key] = _corrected(real, theirs, integer, ours, real_values, integer_values)
        corrected = layer_alone(replace(integer, weights=weights), ours)
        original = layer_alone(real, theirs)
        for values in real_values:
            values[theirs.output] = run_layer(original, values)
        for values in integer_values:
            values[ours.output] = run_layer(corrected, values)
        for name in ours.inputs:
            if last_use[name] == index:
                for values in (*real_values, *integer_values):
                    values.pop(name, None)
    return replace(integer, weights=weights)


def _corrected(
    real: Network,
    theirs: Layer,
    integer: Network,
    ours: Layer,
    real_values: Sequence[Mapping[str, Array]],
    integer_values: Sequence[Mapping[str, Array]],
) -> NDArray[np.int32]:
    """The bias int32 [C_out] of an int8 layer without the shift of its sums' means."""
    source = ours.inputs[0]
    given = integer.tensor(source).quantization
    assert given is not None
    wanted = _mean_sums(real, theirs, _mean([values[source] for values in real_values], None))
    unit = given.scale * integer.weight(ours, "kernel_scale").astype(np.float64)
    kernel = integer.weight(ours, "kernel").astype(np.float64)
    bias = integer.weight(ours, "bias").astype(np.float64)
    as_real = {
        f"{theirs.name}.kernel": (kernel * integer.weight(ours, "kernel_scale").astype(np.float64)).astype(np.float32),
        f"{theirs.name}.bias": (bias * unit).astype(np.float32),
    }
    got = _mean_sums(
        replace(real, weights={**real.weights, **as_real}),
        theirs,
        _mean([values[source] for values in integer_values], given),
    )
    bound = bias_bound(ours.name, kernel.size // kernel.shape[-1])
    return np.clip(np.rint(bias - (got - wanted) / unit), -bound, bound).astype(np.int32)


def _mean(arrays: Sequence[Array], quantization: Quantization | None) -> Reals:
    total: Reals = np.zeros(arrays[0].shape)
    for array in arrays:
        total = total + dequantize_array(array, quantization)
    return total / len(arrays)


def _mean_sums(network: Network, layer: Layer, mean_input: Reals) -> Reals:
    """The mean over all pixels of a layer's sums before its activation, [C_out]."""
    assert isinstance(layer.op, Conv2D | Dense)
    linear = replace(layer, op=replace(layer.op, activation=NONE))
    sums = run_layer(layer_alone(network, linear), {layer.inputs[0]: mean_input.astype(np.float32)})
    return np.asarray(sums.astype(np.float64).reshape(-1, sums.shape[-1]).mean(axis=0))
