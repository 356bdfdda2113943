"""Batch norm becomes part of the convolution before it, or a convolution (or product and sum) of its own."""

from __future__ import annotations

import numpy as np

from dscompile.ir.network import Layer, Network
from dscompile.ir.ops import NONE, BatchNorm, Binary, Constant, Conv2D
from dscompile.ir.tensor import Tensor
from dscompile.passes.affine import Channels, absorb_affine, takes_affine
from dscompile.passes.rewrite import apply_everywhere, as_weight, fresh_name, sole_producer, substitute


def fold_batch_norm(network: Network) -> Network:
    """Leaves no BatchNorm.

    gamma * (x - mean) / sqrt(variance + epsilon) + beta is scale * x + shift per channel. It goes into the kernel and
    bias of the Conv2D (also depthwise) or Dense before it, if that has no activation and no other reader. Otherwise
    an image gets a depthwise 1x1 Conv2D of the batch norm's name, and other ranks a product and a sum.
    """
    return apply_everywhere(_fold, network)


def _fold(network: Network, layer: Layer) -> Network | None:
    if not isinstance(layer.op, BatchNorm):
        return None
    gamma, beta, mean, variance = (
        network.weight(layer, role).astype(np.float64) for role in ("gamma", "beta", "mean", "variance")
    )
    scale = gamma / np.sqrt(variance + layer.op.epsilon)
    shift = beta - mean * scale
    producer = sole_producer(network, layer, layer.inputs[0])
    if producer is not None and takes_affine(producer):
        return absorb_affine(network, producer, layer, scale, shift, NONE)
    if len(network.shape(layer.output)) == 4:
        return _as_depthwise(network, layer, scale, shift)
    return _as_product_and_sum(network, layer, scale, shift)


def _as_depthwise(network: Network, layer: Layer, scale: Channels, shift: Channels) -> Network:
    channels = len(scale)
    convolution = Layer(layer.name, Conv2D(channels, (1, 1), groups=channels), layer.inputs, layer.output)
    weights = {
        f"{layer.name}.kernel": as_weight(scale.reshape(1, 1, 1, channels)),
        f"{layer.name}.bias": as_weight(shift),
    }
    return substitute(network, {layer.name: [convolution]}, weights)


def _as_product_and_sum(network: Network, layer: Layer, scale: Channels, shift: Channels) -> Network:
    factor, term, product = (fresh_name(network, f"{layer.name}.{role}") for role in ("scale", "shift", "product"))
    channels = scale.shape
    layers = [
        Layer(factor, Constant(channels), (), factor),
        Layer(term, Constant(channels), (), term),
        Layer(product, Binary("mul"), (layer.inputs[0], factor), product),
        Layer(layer.name, Binary("add"), (product, term), layer.output),
    ]
    weights = {f"{factor}.value": as_weight(scale), f"{term}.value": as_weight(shift)}
    tensors = [Tensor(factor, channels), Tensor(term, channels), Tensor(product, network.shape(layer.output))]
    return substitute(network, {layer.name: layers}, weights, tensors)
