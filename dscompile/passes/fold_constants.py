"""What is known while compiling is computed while compiling."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dscompile.ir.network import Array, Layer, Network
from dscompile.ir.ops import Activate, Binary, Concat, Constant, Reshape, Shuffle, Slice, Transpose
from dscompile.passes.affine import absorb_affine, takes_affine
from dscompile.passes.evaluate import evaluate
from dscompile.passes.rewrite import (
    apply_everywhere,
    as_weight,
    bypass,
    constant_value,
    is_filled_with,
    sole_producer,
    substitute,
)


def fold_constants(network: Network) -> Network:
    """Evaluates layers of constants; removes `x + 0` and `x * 1`; folds `conv + c` and `conv * c` into the conv.

    A layer that only reads Constants becomes a Constant of its name. A sum or product with a neutral constant goes,
    or becomes its activation. A sum or product of a Conv2D or Dense, which must have no activation and no other
    reader, with one constant per channel goes into kernel and bias, and the Binary's activation with it.
    """
    for rule in (_evaluate, _remove_neutral, _fold_into_producer):
        network = apply_everywhere(rule, network)
    return network


def _evaluate(network: Network, layer: Layer) -> Network | None:
    if not layer.inputs or network.tensor(layer.output).dtype != "float32":
        return _move_integers(network, layer)
    known = [constant_value(network, name) for name in layer.inputs]
    inputs = [value.astype(np.float64) for value in known if value is not None]
    if len(inputs) != len(known):
        return None
    result = evaluate(layer, inputs)
    if result is None:
        return None
    constant = Layer(layer.name, Constant(result.shape), (), layer.output)
    return substitute(network, {layer.name: [constant]}, {f"{layer.name}.value": as_weight(result)})


def _move_integers(network: Network, layer: Layer) -> Network | None:
    """An int8 constant whose elements are only moved is one; nothing else of int8 is evaluated."""
    if not isinstance(layer.op, Reshape | Transpose | Concat | Slice | Shuffle):
        return None
    known = [constant_value(network, name) for name in layer.inputs]
    inputs = [value.astype(np.float64) for value in known if value is not None]
    result = evaluate(layer, inputs) if len(inputs) == len(known) else None
    if result is None:
        return None
    value: Array = result.astype(np.int8)
    value.setflags(write=False)
    constant = Layer(layer.name, Constant(result.shape), (), layer.output)
    return substitute(network, {layer.name: [constant]}, {f"{layer.name}.value": value})


def _remove_neutral(network: Network, layer: Layer) -> Network | None:
    if not isinstance(layer.op, Binary) or network.is_quantized_layer(layer):
        return None
    neutral = 0.0 if layer.op.kind == "add" else 1.0
    for x, constant in (layer.inputs, layer.inputs[::-1]):
        if is_filled_with(network, constant, neutral) and network.shape(x) == network.shape(layer.output):
            if layer.op.activation:
                activate = replace(layer, op=Activate(layer.op.activation), inputs=(x,))
                return substitute(network, {layer.name: [activate]})
            return bypass(network, replace(layer, inputs=(x, constant)))
    return None


def _fold_into_producer(network: Network, layer: Layer) -> Network | None:
    if not isinstance(layer.op, Binary) or network.is_quantized_layer(layer):
        return None
    for x, other in (layer.inputs, layer.inputs[::-1]):
        producer, value = sole_producer(network, layer, x), constant_value(network, other)
        if producer is None or value is None or not takes_affine(producer):
            continue
        shape = network.shape(x)
        if network.shape(layer.output) != shape or any(size != 1 for size in value.shape[:-1]):
            continue
        channels = np.broadcast_to(value.astype(np.float64).reshape(-1), shape[-1:])
        adds = layer.op.kind == "add"
        scale = np.ones_like(channels) if adds else channels
        shift = channels if adds else np.zeros_like(channels)
        return absorb_affine(network, producer, layer, scale, shift, layer.op.activation)
    return None
