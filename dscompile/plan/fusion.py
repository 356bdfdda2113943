"""What costs no pass of its own: additions done as a convolution stores its result, parts of a concatenation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dscompile.ir.network import Layer, Network
from dscompile.ir.ops import Binary, Concat, Constant, Conv2D, Pool, Resize


@dataclass(frozen=True)
class Residual:
    """An addition fused into the convolution that makes one of its operands; `other` is the other operand."""

    layer: Layer
    other: str


@dataclass(frozen=True)
class Work:
    """A layer, and the addition that it does on the way."""

    layer: Layer
    residual: Residual | None = None

    @property
    def result(self) -> str:
        """The tensor it makes: the layer's own output, or that of the addition."""
        return self.layer.output if self.residual is None else self.residual.layer.output

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers it does."""
        return (self.layer.name,) if self.residual is None else (self.layer.name, self.residual.layer.name)

    @property
    def reads(self) -> tuple[str, ...]:
        """Tensors it reads."""
        return self.layer.inputs if self.residual is None else (*self.layer.inputs, self.residual.other)


def network_work(network: Network) -> tuple[Work, ...]:
    """All layers in order, additions fused where a convolution can do them."""
    fused = fuse_residuals(network)
    absorbed = {residual.layer.name for residual in fused.values()}
    return tuple(Work(layer, fused.get(layer.name)) for layer in network.layers if layer.name not in absorbed)


def fuse_residuals(network: Network) -> Mapping[str, Residual]:
    """Convolution's layer name -> the addition fused into it.

    Every addition of equal shapes goes into the later of its two producers, if that is a convolution.

    The sum must be the only reader of the convolution, which must not be an output itself. Int8 convolutions finish
    with a requantization, and additions over int8 stay layers of their own.
    """
    order = {layer.output: index for index, layer in enumerate(network.layers)}
    fused: dict[str, Residual] = {}
    for layer in network.layers:
        if not isinstance(layer.op, Binary) or layer.op.kind != "add" or layer.inputs[0] == layer.inputs[1]:
            continue
        if network.is_quantized_layer(layer):
            continue
        if len({network.shape(name) for name in layer.inputs}) > 1:
            continue
        later = max(layer.inputs, key=lambda name: order.get(name, -1))
        other = layer.inputs[0] if later == layer.inputs[1] else layer.inputs[1]
        producer = network.producers.get(later)
        if (
            producer is not None
            and isinstance(producer.op, Conv2D)
            and producer.name not in fused
            and len(network.consumers[later]) == 1
            and later not in network.outputs
            and not _is_constant(network, other)
            and max(network.shape(later)[1:3]) > 1
        ):
            fused[producer.name] = Residual(layer, other)
    return fused


@dataclass(frozen=True)
class Part:
    """A tensor that is written straight into a concatenation, from `channel` on."""

    whole: str
    channel: int


def concatenated_parts(network: Network, lanes: Callable[[str], int]) -> Mapping[str, Part]:
    """Tensor -> its place in a concatenation of channels, where every part begins at a whole block of `lanes(tensor)`.

    Parts must be made by kernels that write blocked images, and belong to one concatenation only.
    """
    parts: dict[str, Part] = {}
    for layer in network.layers:
        if not isinstance(layer.op, Concat) or layer.op.axis != 3 or len(network.shape(layer.output)) != 4:
            continue
        channel = 0
        for name in layer.inputs:
            alone = name not in parts and layer.inputs.count(name) == 1
            if channel % lanes(name) == 0 and alone and _writes_blocked(network, name):
                parts[name] = Part(layer.output, channel)
            channel += network.shape(name)[3]
    return parts


def _writes_blocked(network: Network, name: str) -> bool:
    producer = network.producers.get(name)
    if producer is None or len(network.shape(name)) != 4:
        return False
    return isinstance(producer.op, Conv2D | Pool | Resize | Concat)


def _is_constant(network: Network, name: str) -> bool:
    producer = network.producers.get(name)
    return producer is not None and isinstance(producer.op, Constant)
