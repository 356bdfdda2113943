"""Activations that a model file spells out in sums and products get their names back."""

from __future__ import annotations

import math

from dscompile.ir.network import Layer, Network
from dscompile.ir.ops import (
    ERF,
    GELU,
    HARD_SIGMOID,
    HARD_SWISH,
    NONE,
    RELU6,
    SIGMOID,
    SWISH,
    Activate,
    Activation,
    Binary,
)
from dscompile.passes.rewrite import apply_everywhere, is_filled_with, substitute


def recognize_activations(network: Network) -> Network:
    """Turns these products into one Activate of the product's name, with the factors in either order:

    clip(x + 3, 0, 6) * (1/6)               -> hard_sigmoid
    (x * clip(x + 3, 0, 6)) * (1/6)         -> hard_swish
    x * hard_sigmoid(x), with alpha 1/6     -> hard_swish
    x * sigmoid(x)                          -> swish
    0.5 * x * (1 + erf(x / sqrt 2))         -> gelu

    The clip may be a layer or the activation of the sum; the factors of the gelu may stand in any order. What nobody
    reads any more stays, for `drop_unused`.
    """
    return apply_everywhere(_recognize, network)


def _recognize(network: Network, layer: Layer) -> Network | None:
    if layer.op != Binary("mul") or network.is_quantized_layer(layer):
        return None
    for a, b in (layer.inputs, layer.inputs[::-1]):
        found = _sixth_of(network, a) if is_filled_with(network, b, 1 / 6) else _gated(network, a, b)
        # A constant with more axes or elements than x gives the product more than an activation of x has.
        if found is not None and network.shape(found[1]) == network.shape(layer.output):
            activation, x = found
            return substitute(network, {layer.name: [Layer(layer.name, Activate(activation), (x,), layer.output)]})
    gelu = _gelu(network, layer)
    if gelu is not None and network.shape(gelu) == network.shape(layer.output):
        return substitute(network, {layer.name: [Layer(layer.name, Activate(GELU), (gelu,), layer.output)]})
    return None


def _gelu(network: Network, layer: Layer) -> str | None:
    """X where the product is 0.5, x and 1 + erf(x / sqrt 2), multiplied in any order."""
    factors = [*_factors(network, layer.inputs[0]), *_factors(network, layer.inputs[1])]
    halves = [name for name in factors if is_filled_with(network, name, 0.5)]
    rest = [name for name in factors if name not in halves]
    if len(factors) != 3 or len(halves) != 1:
        return None
    return next((x for x, gate in (rest, rest[::-1]) if _erf_plus_one(network, gate) == x), None)


def _factors(network: Network, tensor: str) -> tuple[str, ...]:
    """The two factors of a product that only a product reads, else the tensor itself."""
    producer = network.producers.get(tensor)
    if producer is None or producer.op != Binary("mul") or len(network.consumers[tensor]) != 1:
        return (tensor,)
    return producer.inputs


def _erf_plus_one(network: Network, tensor: str) -> str | None:
    """X where tensor is erf(x / sqrt 2) + 1, or None."""
    total = network.producers.get(tensor)
    if total is None or total.op != Binary("add"):
        return None
    for name, one in (total.inputs, total.inputs[::-1]):
        erf = network.producers.get(name)
        if erf is None or erf.op != Activate(ERF) or not is_filled_with(network, one, 1.0):
            continue
        scaled = network.producers.get(erf.inputs[0])
        for kind, factor in (("mul", math.sqrt(0.5)), ("div", math.sqrt(2.0))):
            if scaled is not None and isinstance(scaled.op, Binary) and scaled.op == Binary(scaled.op.kind):
                x, constant = scaled.inputs
                if scaled.op.kind == kind and is_filled_with(network, constant, factor):
                    return x
                if scaled.op.kind == kind == "mul" and is_filled_with(network, x, factor):
                    return constant
    return None


def _sixth_of(network: Network, tensor: str) -> tuple[Activation, str] | None:
    """(f, x) where tensor / 6 is f(x), or None."""
    x = _relu6_of_plus_three(network, tensor)
    if x is not None:
        return HARD_SIGMOID, x
    producer = network.producers.get(tensor)
    if producer is not None and producer.op == Binary("mul"):
        for factor, clipped in (producer.inputs, producer.inputs[::-1]):
            if _relu6_of_plus_three(network, clipped) == factor:
                return HARD_SWISH, factor
    return None


def _gated(network: Network, x: str, gate: str) -> tuple[Activation, str] | None:
    """(f, x) where x * gate is f(x), or None."""
    producer = network.producers.get(gate)
    if producer is None or not isinstance(producer.op, Activate) or producer.inputs != (x,):
        return None
    activation = producer.op.activation
    if activation == SIGMOID:
        return SWISH, x
    is_hard_sigmoid = activation.kind == "hard_sigmoid" and math.isclose(activation.alpha, 1 / 6, rel_tol=1e-6)
    return (HARD_SWISH, x) if is_hard_sigmoid else None


def _relu6_of_plus_three(network: Network, tensor: str) -> str | None:
    """X where tensor is clip(x + 3, 0, 6), or None."""
    total = network.producers.get(tensor)
    clip = NONE
    if total is not None and isinstance(total.op, Activate):
        clip = total.op.activation
        total = network.producers.get(total.inputs[0])
    if total is None or not isinstance(total.op, Binary) or total.op.kind != "add":
        return None
    if {clip, total.op.activation} != {NONE, RELU6}:
        return None
    for x, three in (total.inputs, total.inputs[::-1]):
        if is_filled_with(network, three, 3.0):
            return x
    return None
