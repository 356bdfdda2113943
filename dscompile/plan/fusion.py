"""What costs no pass of its own: additions done as a convolution stores its result, factors of channels that are
multiplied into its weights, parts of a concatenation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from dscompile.ir.network import Layer, Network
from dscompile.ir.ops import Binary, Concat, Constant, Conv2D, Pool, Resize

# Weights are multiplied by the factors of their channels if the image has at least so many times as many elements. They
# come from far away, so that an element of them costs more than one of the image.
SCALED_WEIGHTS_SHARE = 4


@dataclass(frozen=True)
class Residual:
    """An addition fused into the convolution that makes one of its operands; `other` is the other operand."""

    layer: Layer
    other: str


@dataclass(frozen=True)
class Scale:
    """A multiplication of an image by a factor per channel, done on the weights of the convolution that reads it."""

    layer: Layer
    image: str
    factors: str


@dataclass(frozen=True)
class Work:
    """A layer, and the addition that it does on the way. With a scale, its input is the image before that."""

    layer: Layer
    residual: Residual | None = None
    scale: Scale | None = None

    @property
    def result(self) -> str:
        """The tensor it makes: the layer's own output, or that of the addition."""
        return self.layer.output if self.residual is None else self.residual.layer.output

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers it does."""
        before = () if self.scale is None else (self.scale.layer.name,)
        after = () if self.residual is None else (self.residual.layer.name,)
        return (*before, self.layer.name, *after)

    @property
    def reads(self) -> tuple[str, ...]:
        """Tensors it reads."""
        other = () if self.residual is None else (self.residual.other,)
        factors = () if self.scale is None else (self.scale.factors,)
        return (*self.layer.inputs, *other, *factors)


def network_work(network: Network, *, scales: bool = False) -> tuple[Work, ...]:
    """All layers in order, additions fused where a convolution can do them, and `scales` where it should."""
    added = fuse_residuals(network)
    scaled = fuse_scales(network) if scales else {}
    absorbed = {residual.layer.name for residual in added.values()} | {scale.layer.name for scale in scaled.values()}
    return tuple(
        _work(layer, added.get(layer.name), scaled.get(layer.name))
        for layer in network.layers
        if layer.name not in absorbed
    )


def _work(layer: Layer, residual: Residual | None, scale: Scale | None) -> Work:
    return Work(layer if scale is None else replace(layer, inputs=(scale.image,)), residual, scale)


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


def fuse_scales(network: Network) -> Mapping[str, Scale]:
    """Convolution's layer name -> the multiplication by a factor per channel done on its weights.

    The convolution must be pointwise, the only reader of the product, and have few weights beside its image. Both are
    float32.
    """
    fused: dict[str, Scale] = {}
    for layer in network.layers:
        if not isinstance(layer.op, Binary) or layer.op.kind != "mul" or layer.op.activation:
            continue
        readers, shape = network.consumers[layer.output], network.shape(layer.output)
        if len(readers) != 1 or layer.output in network.outputs or network.is_quantized_layer(layer):
            continue
        (reader,) = readers
        first, second = layer.inputs
        image, factors = (first, second) if network.shape(first) == shape else (second, first)
        if (
            len(shape) == 4
            and network.shape(image) == shape
            and network.shape(factors) == (1, 1, 1, shape[3])
            and not any(_is_constant(network, name) for name in layer.inputs)
            and isinstance(reader.op, Conv2D)
            and reader.op.is_pointwise
            and SCALED_WEIGHTS_SHARE * reader.op.out_channels <= shape[1] * shape[2]
        ):
            fused[reader.name] = Scale(layer, image, factors)
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
