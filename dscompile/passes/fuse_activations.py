"""Activations become part of the layer that makes their input."""

from __future__ import annotations

from dataclasses import replace

from dscompile.ir.network import Layer, Network
from dscompile.ir.ops import Activate, Binary, Conv2D, ConvTranspose, Dense, Pool
from dscompile.passes.rewrite import apply_everywhere, sole_producer, substitute


def fuse_activations(network: Network) -> Network:
    """An Activate that alone reads a convolution, Dense, Binary or Pool without activation goes into that layer.

    The layer keeps its name and writes the Activate's tensor. Not prelu, which has a weight of its own. Of int8 only a
    clip that keeps scale and zero point: it narrows the clamp that the layer ends with.
    """
    return apply_everywhere(_fuse, network)


def _fuse(network: Network, layer: Layer) -> Network | None:
    if not isinstance(layer.op, Activate) or layer.op.activation.kind == "prelu":
        return None
    producer = sole_producer(network, layer, layer.inputs[0])
    if producer is None or not isinstance(producer.op, Conv2D | ConvTranspose | Dense | Binary | Pool):
        return None
    if producer.op.activation:
        return None
    if network.is_quantized_layer(layer):
        given, made = network.tensor(layer.inputs[0]), network.tensor(layer.output)
        if layer.op.activation.kind != "clip" or given.quantization != made.quantization:
            return None
    op = replace(producer.op, activation=layer.op.activation)
    return substitute(network, {producer.name: [replace(producer, op=op, output=layer.output)], layer.name: []})
