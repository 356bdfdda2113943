"""Which tensors lie in rows (plan/mcu/rows.py): those that separable kernels read and convolutions make."""

from __future__ import annotations

from dscompile.ir.fixed_point import tensor_quantization
from dscompile.ir.network import Layer, Network
from dscompile.ir.ops import Conv2D, Pool
from dscompile.plan.mcu.convolutions import has_pairs_of_taps, image_window, multiplies_pairs
from dscompile.plan.mcu.fusion import fused_layers
from dscompile.plan.mcu.lowering import McuLowering
from dscompile.plan.mcu.prepared import depthwise_rows
from dscompile.plan.mcu.rows import LARGEST_SIZE, takes_window
from dscompile.plan.mcu.sets import has_pairs

_ZERO_POINT = -128  # whose byte in rows is 0


def row_tensors(lowering: McuLowering) -> frozenset[str]:
    """The tensors of a network that can be in rows; none where the target has no kernels for int16 in pairs."""
    if not lowering.affine or not has_pairs(lowering.sets):
        return frozenset()
    network = lowering.network
    readers = [layer for layer in network.layers if _reads_rows(lowering, layer)]
    names = dict.fromkeys(layer.inputs[0] for layer in readers)
    found = {
        name
        for name in names
        if all(reader in readers for reader in network.consumers[name])
        and _is_made_in_rows(lowering, name)
        and all(depthwise_rows(lowering, reader) is not None for reader in network.consumers[name])
    }
    made = [fused_layers(network, layer) for layer in readers if layer.inputs[0] in found]
    last = [fused.layers[-1].output for fused in made if fused.sum is None]
    return frozenset(found | {name for name in last if _is_only_averaged(network, name)})


def _is_only_averaged(network: Network, name: str) -> bool:
    """Whether the only reader of a tensor averages all of it: where others are in rows, it may as well be."""
    if name in network.outputs or len(network.consumers[name]) != 1:
        return False
    (reader,) = network.consumers[name]
    op, (_, height, width, _) = reader.op, network.shape(name)
    if not isinstance(op, Pool) or op.kind != "average" or op.pads:
        return False
    return network.is_quantized_layer(reader) and op.window(height, width) == (height, width)


def _reads_rows(lowering: McuLowering, layer: Layer) -> bool:
    """Whether a depthwise layer and the pointwise one after it have a kernel for rows, but for its search."""
    network = lowering.network
    pointwise = fused_layers(network, layer).pointwise
    if pointwise is None or not network.is_quantized_layer(layer):
        return False
    op = layer.op
    assert isinstance(op, Conv2D)
    x, y = network.shape(layer.inputs[0]), network.shape(layer.output)
    if network.shape(pointwise.output)[3] > LARGEST_SIZE:
        return False
    single = x[3] == y[3] and tensor_quantization(network, layer.inputs[0]).zero_point == _ZERO_POINT
    window = image_window(x, y, op.kernel, op.stride, op.pads, op.dilation)
    return single and takes_window(window) and multiplies_pairs(lowering, pointwise)


def _is_made_in_rows(lowering: McuLowering, name: str) -> bool:
    """Whether the kernel that makes a tensor can leave it in rows."""
    network: Network = lowering.network
    producer = network.producers.get(name)
    if producer is None or name in network.outputs or lowering.is_inside(name) or not isinstance(producer.op, Conv2D):
        return False
    channels = network.shape(producer.inputs[0])[3]
    if producer.op.is_depthwise(channels) or not multiplies_pairs(lowering, producer):
        return False
    before = network.producers.get(producer.inputs[0])
    if before is None or fused_layers(network, before).pointwise is not producer:
        return True
    return has_pairs_of_taps(lowering, before)
