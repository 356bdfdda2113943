"""Tidies an imported network: biases that exporters kept apart, element orders of flattened images, dead layers.

And channel shuffles, which no framework has as an operator.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from dscompile.frontend.import_graph import Array, frozen
from dscompile.ir.network import Layer, Network
from dscompile.ir.ops import Binary, Constant, Conv2D, Dense, Reshape, Shuffle, Transpose
from dscompile.ir.storage import mixes_channels


def tidy(network: Network) -> Network:
    """All of this module, and the result validated."""
    return without_dead_layers(recognize_shuffles(absorb_flatten_order(fold_bias(network)))).validate()


def stored_in_four_bits(network: Network, layers: Collection[str]) -> Network:
    """A tidy network, in which those of the named layers have the storage int4 whose sums are over channels."""
    kept = []
    for layer in network.layers:
        named = layer.name in layers and network.is_quantized_layer(layer)
        able = named and mixes_channels(layer.op, network.shape(layer.inputs[0]))
        kept.append(replace(layer, storage="int4") if able else layer)
    return replace(network, layers=tuple(kept)).validate()


def fold_bias(network: Network) -> Network:
    """An Add of constants per channel behind a convolution or dense layer becomes its bias (MatMul + Add)."""
    layers = {layer.name: layer for layer in network.layers}
    weights = dict(network.weights)
    for layer in network.layers:
        found = _bias_before(network, layer)
        if found is None or found[0].output not in {other.output for other in layers.values()}:
            continue
        maker, addend = found
        role = f"{maker.name}.bias"
        weights[role] = frozen(np.add(frozen(weights[role]), addend) if role in weights else addend)
        op = maker.op
        if isinstance(op, Conv2D | Dense) and isinstance(layer.op, Binary):
            layers[maker.name] = replace(maker, op=replace(op, activation=layer.op.activation), output=layer.output)
            del layers[layer.name]
    return network.with_layers(layers.values(), weights)


def _bias_before(network: Network, layer: Layer) -> tuple[Layer, Array] | None:
    """The linear layer whose only reader is this Add of constants, and those constants as [C_out]; or None."""
    if not isinstance(layer.op, Binary) or layer.op.kind != "add" or network.is_quantized_layer(layer):
        return None
    for tensor, other in (layer.inputs, layer.inputs[::-1]):
        maker, addend = network.producers.get(tensor), network.producers.get(other)
        if maker is None or addend is None or not isinstance(addend.op, Constant):
            continue
        if not isinstance(maker.op, Conv2D | Dense) or maker.op.activation:
            continue
        if tensor in network.outputs or network.consumers[tensor] != (layer,):
            continue
        *outer, channels = network.shape(tensor)
        value = network.weight(addend, "value")
        if value.ndim <= len(outer) + 1 and value.size in (1, channels) and value.shape[-1:] in ((), (value.size,)):
            return maker, np.broadcast_to(frozen(value).reshape(-1), (channels,))
    return None


def absorb_flatten_order(network: Network) -> Network:
    """Transpose + Reshape before a dense layer, which bring an image into another order, become an order of weights.

    A flattened [1, C, H, W] image reaches a dense layer as NHWC -> NCHW -> [1, C * H * W]; permuting the rows of the
    kernel instead saves moving the image.
    """
    weights = dict(network.weights)
    layers = {layer.name: layer for layer in network.layers}
    for layer in network.layers:
        reshape = network.producers.get(layer.inputs[0]) if isinstance(layer.op, Dense) else None
        transpose = network.producers.get(reshape.inputs[0]) if reshape and isinstance(reshape.op, Reshape) else None
        if reshape is None or transpose is None or not isinstance(transpose.op, Transpose):
            continue
        if network.consumers[reshape.output] != (layer,) or reshape.output in network.outputs:
            continue
        permutation = transpose.op.permutation
        kernel = network.weight(layer, "kernel")
        axes = [permutation.index(axis) for axis in range(len(permutation))]
        rows = kernel.reshape(*network.shape(transpose.output), kernel.shape[1])
        weights[f"{layer.name}.kernel"] = frozen(rows.transpose(*axes, len(axes)).reshape(kernel.shape))
        layers[reshape.name] = replace(reshape, inputs=transpose.inputs)
    return network.with_layers(layers.values(), weights)


def recognize_shuffles(network: Network) -> Network:
    """Reshape [..., C] -> [..., groups, C / groups], Transpose of the last two, Reshape back become one Shuffle.

    It has the last one's name. Axes of size 1 may be anywhere.
    """
    return network.with_layers(_as_shuffle(network, layer) or layer for layer in network.layers)


def _as_shuffle(network: Network, layer: Layer) -> Layer | None:
    """The Shuffle that a Reshape completes; None if it does not."""
    transpose = network.producers.get(layer.inputs[0]) if isinstance(layer.op, Reshape) else None
    split = network.producers.get(transpose.inputs[0]) if transpose and isinstance(transpose.op, Transpose) else None
    if transpose is None or split is None or not isinstance(split.op, Reshape):
        return None
    assert isinstance(transpose.op, Transpose)
    shape, parts = network.shape(layer.output), network.shape(split.output)
    long = [axis for axis, size in enumerate(parts) if size > 1]
    moved = [long.index(axis) for axis in transpose.op.permutation if axis in long]
    last = len(long) - 1
    if network.shape(split.inputs[0]) != shape or moved != [*range(last - 1), last, last - 1]:
        return None
    groups, channels = parts[long[-2]], parts[long[-1]]
    return replace(layer, op=Shuffle(groups), inputs=split.inputs) if groups * channels == shape[-1] else None


def without_dead_layers(network: Network) -> Network:
    """Drops layers that no output needs."""
    needed = set(network.outputs)
    kept: list[Layer] = []
    for layer in reversed(network.layers):
        if layer.output in needed:
            needed.update(layer.inputs)
            kept.append(layer)
    return network.with_layers(reversed(kept))
