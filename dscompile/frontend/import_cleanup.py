"""Tidies an imported network: biases that exporters kept apart, element orders of flattened images, dead layers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dscompile.frontend.import_graph import Array, frozen
from dscompile.ir.network import Layer, Network
from dscompile.ir.ops import Binary, Constant, Conv2D, Dense, Reshape, Transpose


def tidy(network: Network) -> Network:
    """All of this module, and the result validated."""
    return without_dead_layers(absorb_flatten_order(fold_bias(network))).validate()


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


def without_dead_layers(network: Network) -> Network:
    """Drops layers that no output needs."""
    needed = set(network.outputs)
    kept: list[Layer] = []
    for layer in reversed(network.layers):
        if layer.output in needed:
            needed.update(layer.inputs)
            kept.append(layer)
    return network.with_layers(reversed(kept))
