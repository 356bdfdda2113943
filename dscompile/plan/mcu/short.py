"""Whether matrix products of short columns are worth assembly of their own: without a loop, without parting of sums."""

from __future__ import annotations

import math

from dscompile.ir.cost import layer_macs
from dscompile.ir.network import Layer, Network
from dscompile.ir.ops import Conv2D
from dscompile.plan.mcu.costs_dsp import SHARED_STEPS, SHORT_STEPS
from dscompile.plan.mcu.fusion import fused_layers
from dscompile.plan.mcu.held import HELD_DEPTH

_WORTH = 0.01  # of the network's products: instructions that about 600 bytes of code must save
_SHORT, _SHARED = 2 * SHORT_STEPS, 2 * SHARED_STEPS  # depths: no loop up to the first, halves shared from the second
_LOOP, _PARTED = 4, 8  # instructions for two channels of four pixels: the end of a loop, taking shared sums apart
_RESULTS = 8  # of these
_HELD = 3  # instructions for a result whose column stays in registers


def short_products_pay(network: Network) -> bool:
    """Whether short products save one instruction for a hundred products of the whole network."""
    macs = sum(layer_macs(network, layer) for layer in network.layers)
    saved = sum(_saved(network, layer) for layer in network.layers)
    return saved > _WORTH * macs


def _saved(network: Network, layer: Layer) -> float:
    """Instructions that a layer saves."""
    op = layer.op
    if not isinstance(op, Conv2D) or op.is_depthwise(network.shape(layer.inputs[0])[3]):
        return 0
    if not network.is_quantized_layer(layer) or _is_fused(network, layer):
        return 0
    depth = math.prod(op.kernel) * network.shape(layer.inputs[0])[3] // op.groups
    if depth > _SHORT:
        return 0
    results = math.prod(network.shape(layer.output))
    if depth <= HELD_DEPTH and op.kernel == op.stride == (1, 1) and not op.pads:
        return _HELD * results
    spread = _PARTED - math.ceil(depth / 4) * 2 if depth < _SHARED else 0
    return (_LOOP + spread) * results / _RESULTS


def _is_fused(network: Network, layer: Layer) -> bool:
    """Whether a layer is the second part of a separable one."""
    before = network.producers.get(layer.inputs[0])
    return before is not None and fused_layers(network, before).pointwise is layer
