"""Brings a float32 network into the layers that have an int8 form, without changing what it computes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dscompile.errors import Diagnostic, UnsupportedError
from dscompile.ir.network import Layer, Network
from dscompile.ir.ops import NONE, Activate, Activation, BatchNorm, Binary, Conv2D, Dense, Pad, Pool
from dscompile.ir.shapes import output_shape
from dscompile.ir.tensor import Tensor
from dscompile.ir.types import CLAMPS
from dscompile.passes import canonicalize
from dscompile.passes.rewrite import apply_everywhere, fresh_name, substitute
from dscompile.quantize.ties import separate_fixed


def lower(network: Network) -> Network:
    """The same float32 function in canonical layers, each of which int8 can do.

    Raises UnsupportedError naming the layers that have no int8 form, and for networks that are not float32.
    """
    if network.is_quantized:
        raise UnsupportedError(f"'{network.name}' is an int8 network already")
    lowered = canonicalize(network)
    for rule in (_uniform_prelu, _batch_norm_as_depthwise, _pool_counting_pads, _activation_of_its_own):
        lowered = apply_everywhere(rule, lowered)
    problems = [
        Diagnostic(f"{what} has no int8 form", layer=layer.name, help=help)
        for layer in lowered.layers
        for what, help in _without_int8_form(lowered, layer)
    ]
    if problems:
        raise UnsupportedError(problems)
    return separate_fixed(lowered)


def _without_int8_form(network: Network, layer: Layer) -> list[tuple[str, str]]:
    match layer.op:
        case Activate() if layer.op.activation.kind == "prelu":
            return [("prelu with a slope per channel", "train it with leaky_relu or relu")]
        case BatchNorm():
            rank = len(network.shape(layer.output))
            return [
                (f"batch norm over {rank} axes behind no convolution", "put it behind a convolution or dense layer")
            ]
        case _:
            return []


def _uniform_prelu(network: Network, layer: Layer) -> Network | None:
    """PReLU of one slope for all channels is leaky ReLU."""
    if not isinstance(layer.op, Activate) or layer.op.activation.kind != "prelu":
        return None
    slope = network.weight(layer, "slope")
    if not np.all(slope == slope[0]):
        return None
    leaky = Activate(Activation("leaky_relu", alpha=float(slope[0])))
    return substitute(network, {layer.name: [replace(layer, op=leaky)]})


def _batch_norm_as_depthwise(network: Network, layer: Layer) -> Network | None:
    """Batch norm over an image is a 1x1 depthwise convolution: gamma / sqrt(variance + epsilon) * (x - mean) + beta."""
    shape = network.shape(layer.output)
    if not isinstance(layer.op, BatchNorm) or len(shape) != 4:
        return None
    gamma, beta, mean, variance = (
        network.weight(layer, role).astype(np.float64) for role in ("gamma", "beta", "mean", "variance")
    )
    factor = gamma / np.sqrt(variance + layer.op.epsilon)
    weights = {
        f"{layer.name}.kernel": factor.astype(np.float32).reshape(1, 1, 1, -1),
        f"{layer.name}.bias": (beta - mean * factor).astype(np.float32),
    }
    return substitute(network, {layer.name: [replace(layer, op=Conv2D(shape[3], (1, 1), groups=shape[3]))]}, weights)


def _pool_counting_pads(network: Network, layer: Layer) -> Network | None:
    """An average that counts padding is a pad with zeros and an average without padding."""
    op = layer.op
    if not isinstance(op, Pool) or not op.count_pads or not op.pads:
        return None
    name = fresh_name(network, f"{layer.name}.pad")
    height, width = network.shape(layer.inputs[0])[1:3]
    pad = Pad(op.pads)
    padded = Tensor(name, output_shape(pad, [network.shape(layer.inputs[0])]))
    pool = replace(op, kernel=op.window(height, width), pads=type(op.pads)(), count_pads=False)
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
