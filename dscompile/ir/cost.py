"""Cost of layers: multiply-accumulates, parameters, and what a standard convolution in the same place would take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dscompile.ir.network import Layer, Network, weight_shapes
from dscompile.ir.ops import (
    Activate,
    ArgMax,
    BatchNorm,
    Binary,
    Concat,
    Constant,
    Conv2D,
    ConvTranspose,
    Dense,
    DepthToSpace,
    Lookup,
    Mean,
    Pair,
    Pool,
    Slice,
    Softmax,
    SpaceToDepth,
)


@dataclass(frozen=True)
class LayerCost:
    """MACs and parameters of one layer, and of the standard convolution it stands for.

    A depthwise k x k layer followed by a pointwise one costs 1 / C_out + 1 / k^2 of the standard convolution
    (Howard et al. 2017, section 3.1); `standard_*` of the pair are booked on the depthwise layer, and are 0 on the
    pointwise layer that belongs to it.
    """

    macs: int
    parameters: int
    standard_macs: int
    standard_parameters: int


@dataclass(frozen=True)
class SeparablePair:
    """A depthwise layer with its pointwise one, and the standard convolution in their place."""

    depthwise: str
    pointwise: str
    kernel: Pair
    in_channels: int
    out_channels: int
    macs: int
    standard_macs: int

    @property
    def ratio(self) -> float:
        """What the pair costs of the standard convolution, counted from the layers."""
        return self.macs / self.standard_macs

    @property
    def formula(self) -> float:
        """The same by the formula of Howard et al. 2017, section 3.1: 1 / C_out + 1 / k^2."""
        return 1 / self.out_channels + 1 / (self.kernel[0] * self.kernel[1])


def layer_kind(network: Network, layer: Layer) -> str:
    """The field's word for a layer: conv, depthwise, pointwise, dense, pool, add, ..."""
    match layer.op:
        case Conv2D() as op:
            if op.is_depthwise(network.shape(layer.inputs[0])[3]):
                return "depthwise"
            return "pointwise" if op.is_pointwise else "conv"
        case ConvTranspose():
            return "transposed conv"
        case DepthToSpace():
            return "depth to space"
        case SpaceToDepth():
            return "space to depth"
        case Dense():
            return "dense"
        case Pool() as op:
            return f"{op.kind} pool"
        case Binary() as op:
            return op.kind
        case Activate() as op:
            return op.activation.name
        case BatchNorm():
            return "batch norm"
        case op:
            return type(op).__name__.lower()


def layer_macs(network: Network, layer: Layer) -> int:
    """Multiply-accumulates of convolutions of all kinds and of dense layers; 0 for all else, as papers count."""
    match layer.op:
        case Conv2D() as op:
            in_channels = network.shape(layer.inputs[0])[3]
            return math.prod(network.shape(layer.output)) * op.kernel[0] * op.kernel[1] * (in_channels // op.groups)
        case ConvTranspose() as op:
            pixels = math.prod(network.shape(layer.inputs[0]))
            return pixels * op.kernel[0] * op.kernel[1] * (op.out_channels // op.groups)
        case Dense() as op:
            return network.shape(layer.inputs[0])[1] * op.units
        case _:
            return 0


def layer_parameters(network: Network, layer: Layer) -> int:
    """Stored numbers of a layer: kernel, bias, batch norm (4 per channel), constants; scales do not count."""
    shapes = weight_shapes(layer.op, [network.shape(name) for name in layer.inputs])
    return sum(math.prod(shape) for role, shape in shapes.items() if role != "bias" or network.has_weight(layer, role))


def layer_bytes(network: Network, layer: Layer) -> int:
    """Bytes a layer must at least read and write: inputs, weights, output."""
    if isinstance(layer.op, Concat | Constant | Slice):
        return 0
    activations = sum(network.tensor(name).size_bytes for name in (*layer.inputs, layer.output))
    weights = sum(array.nbytes for key, array in network.weights.items() if key.rpartition(".")[0] == layer.name)
    return activations + weights


def layer_flops(network: Network, layer: Layer) -> int:
    """Floating-point operations, 2 per MAC, and one per element of everything else."""
    macs = layer_macs(network, layer)
    if macs:
        return 2 * macs
    if isinstance(layer.op, Pool | Mean | ArgMax):
        return network.tensor(layer.inputs[0]).elements
    if isinstance(layer.op, Binary | Activate | Lookup | Softmax):
        return network.tensor(layer.output).elements
    return 0


def layer_cost(network: Network, layer: Layer) -> LayerCost:
    """Cost of a layer beside that of the standard convolution (see LayerCost)."""
    macs, parameters = layer_macs(network, layer), layer_parameters(network, layer)
    op = layer.op
    if not isinstance(op, Conv2D):
        return LayerCost(macs, parameters, macs, parameters)
    in_channels = network.shape(layer.inputs[0])[3]
    if op.is_depthwise(in_channels):
        follower = _pointwise_after(network, layer)
        out_channels = network.shape(follower.output)[3] if follower else op.out_channels
        pixels = math.prod(network.shape(layer.output)[1:3])
        standard = op.kernel[0] * op.kernel[1] * in_channels * out_channels
        return LayerCost(macs, parameters, pixels * standard, standard + out_channels)
    if op.is_pointwise and _follows_depthwise(network, layer):
        return LayerCost(macs, parameters, 0, 0)
    return LayerCost(macs, parameters, macs, parameters)


def separable_pairs(network: Network) -> tuple[SeparablePair, ...]:
    """Every depthwise layer with the pointwise one that follows it, in the order of the network."""
    found = []
    for layer in network.layers:
        follower = _pointwise_after(network, layer)
        if follower is not None:
            assert isinstance(layer.op, Conv2D)
            cost, pointwise = layer_cost(network, layer), layer_macs(network, follower)
            channels = network.shape(layer.inputs[0])[3], network.shape(follower.output)[3]
            macs = cost.macs + pointwise
            found.append(SeparablePair(layer.name, follower.name, layer.op.kernel, *channels, macs, cost.standard_macs))
    return tuple(found)


def _pointwise_after(network: Network, layer: Layer) -> Layer | None:
    """The pointwise convolution that alone reads a depthwise layer, looking through what works on channels alone."""
    if not isinstance(layer.op, Conv2D) or not layer.op.is_depthwise(network.shape(layer.inputs[0])[3]):
        return None
    tensor: str | None = layer.output
    while tensor is not None:
        readers = network.consumers[tensor]
        if len(readers) == 1 and isinstance(readers[0].op, Conv2D):
            return readers[0] if readers[0].op.is_pointwise else None
        tensor = _passed_on(network, tensor, readers)
    return None


def _passed_on(network: Network, tensor: str, readers: Sequence[Layer]) -> str | None:
    """What an image is after batch norm, an activation, or a gate per channel (squeeze-and-excite); None elsewhere."""
    if len(readers) == 1 and isinstance(readers[0].op, BatchNorm | Activate):
        return readers[0].output
    gated = [reader for reader in readers if _gated_image(network, reader) == tensor]
    if len(gated) == 1 and all(isinstance(reader.op, Pool | Mean) for reader in readers if reader is not gated[0]):
        return gated[0].output
    return None


def _gated_image(network: Network, layer: Layer) -> str | None:
    """The image that a layer multiplies with one number per channel; None if it does anything else."""
    if not (isinstance(layer.op, Binary) and layer.op.kind == "mul"):
        return None
    images = [name for name in layer.inputs if network.shape(name) == network.shape(layer.output)]
    return images[0] if len(images) == 1 else None


def _follows_depthwise(network: Network, layer: Layer) -> bool:
    """Whether a pointwise layer is the second half of a separable convolution."""
    producer = network.producers.get(layer.inputs[0])
    while producer is not None:
        before = (
            producer.inputs[0] if isinstance(producer.op, BatchNorm | Activate) else _gated_image(network, producer)
        )
        if before is None:
            break
        producer = network.producers.get(before)
    return producer is not None and _pointwise_after(network, producer) is layer
