"""Cost of layers: multiply-accumulates, parameters, and what a standard convolution in the same place would take."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dscompile.ir.network import Layer, Network, weight_shapes
from dscompile.ir.ops import (
    Activate,
    BatchNorm,
    Binary,
    Concat,
    Constant,
    Conv2D,
    ConvTranspose,
    Dense,
    DepthToSpace,
    Mean,
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
    if isinstance(layer.op, Pool | Mean):
        return network.tensor(layer.inputs[0]).elements
    if isinstance(layer.op, Binary | Activate | Softmax):
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
        out_channels = follower.out_channels if follower else op.out_channels
        pixels = math.prod(network.shape(layer.output)[1:3])
        standard = op.kernel[0] * op.kernel[1] * in_channels * out_channels
        return LayerCost(macs, parameters, pixels * standard, standard + out_channels)
    if op.is_pointwise and _follows_depthwise(network, layer):
        return LayerCost(macs, parameters, 0, 0)
    return LayerCost(macs, parameters, macs, parameters)


def _pointwise_after(network: Network, layer: Layer) -> Conv2D | None:
    """The pointwise convolution that alone reads a depthwise layer, looking through batch norm and activation."""
    if not isinstance(layer.op, Conv2D) or not layer.op.is_depthwise(network.shape(layer.inputs[0])[3]):
        return None
    tensor = layer.output
    while len(readers := network.consumers[tensor]) == 1:
        op = readers[0].op
        if isinstance(op, Conv2D):
            return op if op.is_pointwise else None
        if not isinstance(op, BatchNorm | Activate):
            return None
        tensor = readers[0].output
    return None


def _follows_depthwise(network: Network, layer: Layer) -> bool:
    """Whether a pointwise layer is the second half of a separable convolution."""
    producer = network.producers.get(layer.inputs[0])
    while producer is not None and isinstance(producer.op, BatchNorm | Activate):
        producer = network.producers.get(producer.inputs[0])
    return producer is not None and _pointwise_after(network, producer) is layer.op
