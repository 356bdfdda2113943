"""Several samples at once: the oracle's formulas hold for any first axis, and NumPy is faster on larger arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dscompile.ir.network import Layer, Network
from dscompile.ir.ops import Reshape, Slice
from dscompile.ir.shapes import ShapeError, output_shape
from dscompile.ir.tensor import Shape
from dscompile.quantization.settings import Sample

_MOST_SAMPLES = 8  # more are no faster
_MOST_ELEMENTS = 1 << 22  # of the largest tensor of a batch, so that memory stays small


@dataclass(frozen=True)
class Batch:
    """Some samples in one: arrays [n, ...], of which the first is sample `first` of all."""

    first: int
    count: int
    sample: Sample


def batch_size(network: Network) -> int:
    """How many samples a network takes at once: 8, fewer if its tensors are large, 1 if it looks at the first axis."""
    largest = max(tensor.elements for tensor in network.tensors.values())
    size = max(1, min(_MOST_SAMPLES, _MOST_ELEMENTS // largest))
    return size if size == 1 or _grown(network, size) is not None else 1


def in_batches(network: Network, samples: Sequence[Sample]) -> Iterator[Batch]:
    """The samples in batches that `network` can take."""
    size = batch_size(network)
    for first in range(0, len(samples), size):
        part = samples[first : first + size]
        joined = {name: np.concatenate([sample[name] for sample in part]) for name in part[0]}
        yield Batch(first, len(part), joined)


def batched(network: Network, count: int) -> Network:
    """The network for `count` samples at once, which is at most `batch_size(network)`."""
    grown = _grown(network, count)
    assert grown is not None
    return grown


def _grown(network: Network, count: int) -> Network | None:
    """All that depends on the inputs with `count` for a 1 in front of its shape, or None where a layer forbids it."""
    if count == 1:
        return network
    shapes: dict[str, Shape] = {}
    for name in network.inputs:
        if network.shape(name)[0] != 1:
            return None
        shapes[name] = (count, *network.shape(name)[1:])
    layers = []
    for layer in network.layers:
        grown = _grown_layer(layer, shapes, count)
        try:
            made = output_shape(grown.op, [shapes[name] for name in layer.inputs])
        except ShapeError:
            return None
        old = network.shape(layer.output)
        if made not in (old, (count, *old[1:])):
            return None
        shapes[layer.output] = made
        layers.append(grown)
    if any(shapes[name][0] != count for name in network.outputs):
        return None
    tensors = {name: replace(tensor, shape=shapes[name]) for name, tensor in network.tensors.items()}
    return replace(network, tensors=tensors, layers=tuple(layers))


def _grown_layer(layer: Layer, shapes: dict[str, Shape], count: int) -> Layer:
    """A reshape or slice to [1, ...] of what is there `count` times makes [count, ...] of it; others stay the same."""
    if not isinstance(layer.op, Reshape | Slice) or shapes[layer.inputs[0]][0] != count:
        return layer
    if isinstance(layer.op, Reshape) and layer.op.shape[0] == 1:
        return replace(layer, op=Reshape((count, *layer.op.shape[1:])))
    if isinstance(layer.op, Slice) and layer.op.sizes[0] == 1:
        return replace(layer, op=replace(layer.op, sizes=(count, *layer.op.sizes[1:])))
    return layer
