"""Which layers standalone C computes in one step: depthwise and pointwise convolutions, and the sum after them."""

from __future__ import annotations

from dataclasses import dataclass

from dscompile.ir.network import Layer, Network
from dscompile.ir.ops import Binary, Conv2D


@dataclass(frozen=True)
class Fused:
    """Layers of one step: any layer, then the pointwise convolution and the sum that are fused into it, if any."""

    layer: Layer
    pointwise: Layer | None = None
    sum: Layer | None = None

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All of them, in order."""
        return tuple(layer for layer in (self.layer, self.pointwise, self.sum) if layer is not None)


def fused_layers(network: Network, layer: Layer) -> Fused:
    """What can be computed together with `layer`, beginning with it.

    A sum is fused into the convolution that makes its later operand: the other one must be there before `layer` runs.
    """
    pointwise = _pointwise(network, layer)
    producer = pointwise or layer
    if not isinstance(producer.op, Conv2D) or producer.op.is_depthwise(network.shape(producer.inputs[0])[3]):
        return Fused(layer)
    return Fused(layer, pointwise, _sum(network, layer, producer))


def _only_reader(network: Network, layer: Layer) -> Layer | None:
    """The layer that alone reads the result of another one, which then need not exist as a tensor."""
    readers = network.consumers[layer.output]
    return readers[0] if len(readers) == 1 and layer.output not in network.outputs else None


def _pointwise(network: Network, layer: Layer) -> Layer | None:
    if not isinstance(layer.op, Conv2D) or not layer.op.is_depthwise(network.shape(layer.inputs[0])[3]):
        return None
    reader = _only_reader(network, layer)
    if reader is not None and isinstance(reader.op, Conv2D) and reader.op.is_pointwise:
        return reader
    return None


def _sum(network: Network, first: Layer, producer: Layer) -> Layer | None:
    reader = _only_reader(network, producer)
    if reader is None or not isinstance(reader.op, Binary) or reader.op.kind != "add":
        return None
    if any(network.shape(name) != network.shape(reader.output) for name in reader.inputs):
        return None
    position = {layer.output: index for index, layer in enumerate(network.layers)}
    others = [name for name in reader.inputs if name != producer.output]
    if len(others) == 1 and position.get(others[0], -1) < position[first.output]:
        return reader
    return None
