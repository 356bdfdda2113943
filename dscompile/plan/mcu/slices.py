"""Tensors that lie inside of a concatenated one, so that nobody has to copy them there.

The result of a layer whose only reader is a concatenation is written straight into its part of that. Along the channels
these are pixels with others in between; along the outermost axis that is not 1 they are one run of elements.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from dscompile.ir import ops
from dscompile.ir.network import Layer, Network
from dscompile.ir.ops import Activate, Binary, Concat, Conv2D, Lookup, Pool, Quantize, Reshape, Resize, Shuffle


@dataclass(frozen=True)
class Slice:
    """Where a tensor lies in another one: from element `start` on.

    With a `step`, its pixels begin `step` elements apart; 0: one after the other.
    """

    whole: str
    start: int
    step: int = 0


def concatenated_slices(network: Network) -> Mapping[str, Slice]:
    """Tensor -> its place in the result of the outermost concatenation that it belongs to."""
    slices: dict[str, Slice] = {}
    for layer in reversed(network.layers):
        if isinstance(layer.op, Concat):
            slices.update(_parts(network, layer, layer.op, slices.get(layer.output, Slice(layer.output, 0))))
        elif isinstance(layer.op, Reshape) and layer.output in slices:
            (given,) = layer.inputs
            if not slices[layer.output].step and _belongs(network, given, layer):
                slices[given] = slices[layer.output]
    return slices


def _parts(network: Network, layer: Layer, op: Concat, whole: Slice) -> dict[str, Slice]:
    """The inputs of a concatenation that can be written where they belong, within the place of its result."""
    shape = network.shape(layer.output)
    is_run = math.prod(shape[: op.axis]) == 1 and not whole.step
    is_channels = op.axis == len(shape) - 1
    parts: dict[str, Slice] = {}
    start = whole.start
    for name in layer.inputs:
        if _belongs(network, name, layer):
            if is_run:
                parts[name] = Slice(whole.whole, start)
            elif is_channels and _writes_pixels(network, network.producers[name]):
                parts[name] = Slice(whole.whole, start, whole.step or shape[-1])
        start += network.shape(name)[op.axis] * math.prod(shape[op.axis + 1 :])
    return parts


def _belongs(network: Network, name: str, reader: Layer) -> bool:
    """Whether a tensor is made by a layer for `reader` alone, once."""
    made = name in network.producers and name not in network.outputs
    return made and network.consumers[name] == (reader,) and reader.inputs.count(name) == 1


def _writes_pixels(network: Network, layer: Layer) -> bool:
    """Whether the kernel of a layer can leave room between pixels; that from float to int8 cannot."""
    if isinstance(layer.op, Quantize):
        return network.tensor(layer.inputs[0]).dtype != "float32"
    return isinstance(layer.op, Conv2D | Pool | Resize | Binary | Activate | Lookup | Concat | Shuffle | ops.Slice)
