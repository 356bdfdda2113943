"""What is known while compiling is computed while compiling."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dscompile.ir.network import Array, Layer, Network
from dscompile.ir.ops import Activate, Binary, BinaryKind, Concat, Constant, Reshape, Shuffle, Slice, Transpose
from dscompile.passes.affine import Channels, absorb_affine, takes_affine
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

    A layer that only reads Constants becomes a Constant of its name. A Binary with a neutral constant goes,
    or becomes its activation. A sum, difference, product or quotient of a convolution or Dense, which must have no
    activation and no other reader, with one constant per channel goes into kernel and bias, and the Binary's activation
    with it.
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
    neutral = {"add": 0.0, "sub": 0.0, "mul": 1.0, "div": 1.0}.get(layer.op.kind)
    if neutral is None:
        return None
    for x, constant in _orders(layer, layer.op):
        if is_filled_with(network, constant, neutral) and network.shape(x) == network.shape(layer.output):
            if layer.op.activation:
                activate = replace(layer, op=Activate(layer.op.activation), inputs=(x,))
                return substitute(network, {layer.name: [activate]})
            return bypass(network, replace(layer, inputs=(x, constant)))
    return None


def _orders(layer: Layer, op: Binary) -> tuple[tuple[str, ...], ...]:
    """The inputs of a Binary, and where it does not matter also in the other order."""
    return (layer.inputs,) if op.kind in ("sub", "div") else (layer.inputs, layer.inputs[::-1])


def _fold_into_producer(network: Network, layer: Layer) -> Network | None:
    if not isinstance(layer.op, Binary) or network.is_quantized_layer(layer):
        return None
    for index, (x, other) in enumerate((layer.inputs, layer.inputs[::-1])):
        producer, value = sole_producer(network, layer, x), constant_value(network, other)
        if producer is None or value is None or not takes_affine(producer):
            continue
        shape = network.shape(x)
        if network.shape(layer.output) != shape or any(size != 1 for size in value.shape[:-1]):
            continue
        channels = np.broadcast_to(value.astype(np.float64).reshape(-1), shape[-1:])
        affine = _affine(layer.op.kind, channels, constant_first=index == 1)
        if affine is not None:
            return absorb_affine(network, producer, layer, *affine, layer.op.activation)
    return None


def _affine(kind: BinaryKind, constant: Channels, *, constant_first: bool) -> tuple[Channels, Channels] | None:
    """What x is multiplied with, and what is added then, in x op constant or constant op x; None: not of this form."""
    ones = np.ones_like(constant)
    match kind:
        case "add":
            return ones, constant
        case "sub":
            return (-ones, constant) if constant_first else (ones, -constant)
        case "mul":
            return constant, 0 * ones
        case "div" if not constant_first and constant.all():
            return ones / constant, 0 * ones
        case _:
            return None
