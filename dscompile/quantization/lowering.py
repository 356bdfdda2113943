"""Brings a float32 network into the layers that have an int8 form, without changing what it computes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dscompile.errors import UnsupportedError
from dscompile.ir.network import Layer, Network
from dscompile.ir.ops import NONE, RELU, Activate, Activation, Binary, Constant, Conv2D, Dense, Pad, Pads, Pool
from dscompile.ir.shapes import output_shape
from dscompile.ir.tensor import Tensor
from dscompile.ir.types import CLAMPS
from dscompile.passes import canonicalize
from dscompile.passes.rewrite import apply_everywhere, fresh_name, substitute
from dscompile.quantization.ties import separate_fixed


def lower(network: Network) -> Network:
    """The same float32 function in canonical layers, each of which int8 can do.

    Raises UnsupportedError for networks that are not float32.
    """
    if network.is_quantized:
        raise UnsupportedError(f"'{network.name}' is an int8 network already")
    lowered = canonicalize(network)
    for rule in (_prelu_in_parts, _pool_counting_pads, _activation_of_its_own):
        lowered = apply_everywhere(rule, lowered)
    return separate_fixed(lowered)


def _prelu_in_parts(network: Network, layer: Layer) -> Network | None:
    """PReLU is max(x, 0) + slope * min(x, 0), which needs no operator of its own; leaky ReLU where slopes are equal."""
    if not isinstance(layer.op, Activate) or layer.op.activation.kind != "prelu":
        return None
    slope = network.weight(layer, "slope")
    if np.all(slope == slope[0]):
        leaky = Activate(Activation("leaky_relu", alpha=float(slope[0])))
        return substitute(network, {layer.name: [replace(layer, op=leaky)]})
    positive, negative, factor, scaled = (
        fresh_name(network, f"{layer.name}.{part}") for part in ("positive", "negative", "slope", "scaled")
    )
    shape = network.shape(layer.output)
    made = [
        Layer(positive, Activate(RELU), layer.inputs, positive),
        Layer(negative, Activate(Activation("clip", high=0.0)), layer.inputs, negative),
        Layer(factor, Constant(slope.shape), (), factor),
        Layer(scaled, Binary("mul"), (negative, factor), scaled),
        Layer(layer.name, Binary("add"), (positive, scaled), layer.output),
    ]
    tensors = [Tensor(factor, slope.shape), *(Tensor(name, shape) for name in (positive, negative, scaled))]
    return substitute(network, {layer.name: made}, {f"{factor}.value": slope}, tensors)


def _pool_counting_pads(network: Network, layer: Layer) -> Network | None:
    """An average that counts padding is a pad with zeros and an average without padding."""
    op = layer.op
    if not isinstance(op, Pool) or not op.count_pads or not op.pads:
        return None
    name = fresh_name(network, f"{layer.name}.pad")
    height, width = network.shape(layer.inputs[0])[1:3]
    pad = Pad(op.pads)
    padded = Tensor(name, output_shape(pad, [network.shape(layer.inputs[0])]))
    pool = replace(op, kernel=op.window(height, width), pads=Pads(), count_pads=False)
    made = [Layer(name, pad, layer.inputs, name), Layer(layer.name, pool, (name,), layer.output)]
    return substitute(network, {layer.name: made}, tensors=[padded])


def _activation_of_its_own(network: Network, layer: Layer) -> Network | None:
    """Only clamps can be part of an int8 layer; other activations become the layer after it."""
    op = layer.op
    if not isinstance(op, Conv2D | Dense | Binary | Pool) or op.activation.kind in CLAMPS:
        return None
    name = fresh_name(network, f"{layer.name}.linear")
    linear = Tensor(name, network.shape(layer.output))
    activation = fresh_name(network, f"{layer.name}.{op.activation.name}")
    made = [
        Layer(layer.name, replace(op, activation=NONE), layer.inputs, name),
        Layer(activation, Activate(op.activation), (name,), layer.output),
    ]
    return substitute(network, {layer.name: made}, tensors=[linear])
