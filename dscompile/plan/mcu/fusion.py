"""Which layers standalone C computes in one step: convolutions, the sum after them, tables between and behind them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dscompile.ir.network import Layer, Network
from dscompile.ir.ops import Binary, Conv2D
from dscompile.plan.mcu.lookups import is_lookup


@dataclass(frozen=True)
class Fused:
    """Layers of one step: any layer, then what is fused into it, if anything.

    A pointwise convolution, before which there may be a table (`middle`); then a sum, or a table (`lookup`).
    """

    layer: Layer
    middle: Layer | None = None
    pointwise: Layer | None = None
    sum: Layer | None = None
    lookup: Layer | None = None

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All of them, in order."""
        found = (self.layer, self.middle, self.pointwise, self.sum, self.lookup)
        return tuple(layer for layer in found if layer is not None)

    @property
    def has_tables(self) -> bool:
        """Whether there is any."""
        return self.middle is not None or self.lookup is not None


def fused_layers(network: Network, layer: Layer, *, tables: bool = False) -> Fused:
    """What can be computed together with `layer`, beginning with it; `tables`: those of int8 as well.

    A sum is fused into the convolution that makes its later operand: the other one must be there before `layer` runs.
    """
    if not isinstance(layer.op, Conv2D):
        return Fused(layer)
    if not _is_depthwise(network, layer):
        found = Fused(layer, sum=_sum(network, layer, layer))
        return found if found.sum or not tables else replace(found, lookup=_table(network, layer))
    middle = _table(network, layer) if tables else None
    pointwise = _pointwise(network, middle or layer)
    if pointwise is None:
        return Fused(layer, lookup=middle)
    found = Fused(layer, middle, pointwise, _sum(network, layer, pointwise))
    return found if found.sum or not tables else replace(found, lookup=_table(network, pointwise))


def _is_depthwise(network: Network, layer: Layer) -> bool:
    return isinstance(layer.op, Conv2D) and layer.op.is_depthwise(network.shape(layer.inputs[0])[3])


def _only_reader(network: Network, layer: Layer) -> Layer | None:
    """The layer that alone reads the result of another one, which then need not exist as a tensor."""
    readers = network.consumers[layer.output]
    return readers[0] if len(readers) == 1 and layer.output not in network.outputs else None


def _table(network: Network, layer: Layer) -> Layer | None:
    """The table that alone reads a result."""
    reader = _only_reader(network, layer)
    return reader if reader is not None and is_lookup(network, reader) else None


def _pointwise(network: Network, layer: Layer) -> Layer | None:
    """The pointwise convolution that alone reads a result."""
    reader = _only_reader(network, layer)
    return reader if reader is not None and isinstance(reader.op, Conv2D) and reader.op.is_pointwise else None


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
