"""Room above what the calibration data show, where it costs nothing.

Inputs that were not seen reach beyond the ranges that were, and what is cut off costs much more than coarser steps do:
errors of clipping are large and all of one sign. How much coarser steps cost differs by orders of magnitude between the
tensors of a network. Rounding noise grows with the square of the step, so each range may grow until the noise that it
adds to the network's outputs is a small share of what rounding all tensors adds together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from dscompile.ir.network import Array, Network
from dscompile.ir.ops import Pool
from dscompile.ir.tensor import Quantization
from dscompile.oracle import run_all
from dscompile.quantization.batches import batched, in_batches
from dscompile.quantization.conversion import dequantize_array, quantize_array
from dscompile.quantization.measure import replace_outputs, signal_tensors
from dscompile.quantization.ranges import Range, expressed, parameters
from dscompile.quantization.settings import Sample
from dscompile.quantization.single_layer import layer_alone, run_layer
from dscompile.quantization.ties import fixed_output, moves, tied_groups

Reals = NDArray[np.float64]

NOISE_SAMPLES = 8  # the noise of one sample is an average over many elements already
_SHARE = 0.007
_LARGEST_FACTOR = 2.0


def with_headroom(
    network: Network, scales: Mapping[str, Quantization], samples: Sequence[Sample]
) -> Mapping[str, Quantization]:
    """`scales` with wider ranges: each by sqrt(1 + 0.7 % of all noise / its own noise), at most 2.

    The ranges of the network's inputs, of tensors with fixed parameters, and beyond the bounds of a ReLU6 or clip stay.
    """
    groups = dict.fromkeys(tied_groups(network).values())
    alone = rounding_noise(network, scales, samples)
    noise = {group: sum(alone[name] for name in group) for group in groups}
    total = sum(noise.values())
    widened = dict(scales)
    for group in groups:
        if _may_grow(network, group):
            factor = _LARGEST_FACTOR
            if noise[group] > 0:
                factor = min(factor, math.sqrt(1 + _SHARE * total / noise[group]))
            widened |= dict.fromkeys(group, _grown(network, group, scales[group[0]], factor))
    return widened


def _may_grow(network: Network, group: tuple[str, ...]) -> bool:
    producers = [network.producers.get(name) for name in group]
    return all(producer is not None and fixed_output(producer.op) is None for producer in producers)


def _grown(network: Network, group: tuple[str, ...], old: Quantization, factor: float) -> Quantization:
    limits = expressed(old)
    lows, highs = zip(*(_bounds(network, name) for name in group), strict=True)
    low = max(limits.low * factor, min(limits.low, min(lows)))
    high = min(limits.high * factor, max(limits.high, max(highs)))
    return parameters(Range(low, high))


def _bounds(network: Network, name: str) -> tuple[float, float]:
    """Between what the layer that computes a tensor clips it; nothing for those that only hand integers on."""
    op = network.producers[name].op
    if moves(op):
        return 0.0, 0.0
    activation = getattr(op, "activation", None)
    return (activation.low, activation.high) if activation is not None else (-math.inf, math.inf)


def rounding_noise(
    network: Network, scales: Mapping[str, Quantization], samples: Sequence[Sample]
) -> Mapping[str, float]:
    """For each tensor of a float32 network, the noise in the outputs when it alone is rounded to its int8 values.

    As a share of the outputs' signal (the tensors that `signal_tensors` names), over up to 8 of the samples. 0 for
    tensors on which no output depends.
    """
    names = signal_tensors(network)
    seen = replace_outputs(network, names)
    count = min(len(samples), NOISE_SAMPLES)
    chosen = [samples[index * len(samples) // count] for index in range(count)]
    noise = dict.fromkeys(network.tensors, 0.0)
    signal = dict.fromkeys(names, 0.0)
    lost = {name: dict.fromkeys(names, 0.0) for name in seen.tensors}
    for batch in in_batches(seen, chosen):
        grown = batched(seen, batch.count)
        values = run_all(grown, batch.sample)
        for output in names:
            signal[output] += _energy(values[output])
        for name in _rounding_tensors(seen):
            rounded = dequantize_array(quantize_array(values[name], scales[name]), scales[name]).astype(np.float32)
            for output, array in _changed(grown, values, name, rounded).items():
                lost[name][output] += _energy(array.astype(np.float64) - values[output].astype(np.float64))
    for name, by_output in lost.items():
        noise[name] = sum(energy / signal[output] for output, energy in by_output.items() if signal[output] > 0)
    return noise


def _rounding_tensors(network: Network) -> tuple[str, ...]:
    """The tensors that layers round into: all but copies of elements that are rounded already."""

    def copies(name: str) -> bool:
        producer = network.producers.get(name)
        averages = producer is not None and isinstance(producer.op, Pool) and producer.op.kind == "average"
        return producer is not None and moves(producer.op) and not averages

    return tuple(name for name in network.tensors if not copies(name))


def _changed(network: Network, values: Mapping[str, Array], name: str, array: Array) -> Mapping[str, Array]:
    """The outputs that depend on a tensor, when it holds `array`."""
    changed = {name: array}
    for layer in network.layers:
        if any(source in changed for source in layer.inputs) and layer.output != name:
            changed[layer.output] = run_layer(layer_alone(network, layer), {**values, **changed})
    return {output: changed[output] for output in network.outputs if output in changed}


def _energy(array: Array) -> float:
    return float((array.astype(np.float64) ** 2).sum())
