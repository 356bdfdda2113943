"""The tools that passes are made of: looking around in a network, and putting layers in the place of others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from dscompile.ir.network import Array, Layer, Network, weight_shapes
from dscompile.ir.ops import Constant
from dscompile.ir.tensor import Tensor

Rule = Callable[[Network, Layer], Network | None]
"""Looks at one layer: the network rewritten around it, or None for "not mine"."""


def apply_everywhere(rule: Rule, network: Network) -> Network:
    """Applies `rule` to every layer, first to last, and again to what it made, until it matches nowhere."""
    index = 0
    while index < len(network.layers):
        rewritten = rule(network, network.layers[index])
        if rewritten is None:
            index += 1
        else:
            index = max(0, index - max(0, len(network.layers) - len(rewritten.layers)))
            network = rewritten
    return network


def substitute(
    network: Network,
    changes: Mapping[str, Sequence[Layer]],
    weights: Mapping[str, Array] | None = None,
    tensors: Iterable[Tensor] = (),
) -> Network:
    """Puts other layers in the places of those that `changes` names (none: removes them).

    `weights` and `tensors` are added to the network's; weights in roles that a layer's new operator has not, go.
    """
    layers = [new for layer in network.layers for new in changes.get(layer.name, (layer,))]
    grown = replace(network, tensors={**network.tensors, **{tensor.name: tensor for tensor in tensors}})
    table = {**network.weights, **(weights or {})}
    for name in changes:
        roles = {role for layer in layers if layer.name == name for role in _roles(grown, layer)}
        table = {
            key: value
            for key, value in table.items()
            if key.rpartition(".")[0] != name or key.rpartition(".")[2] in roles
        }
    return grown.with_layers(layers, table)


def bypass(network: Network, layer: Layer) -> Network | None:
    """Removes a layer that hands its first input on unchanged.

    If its result is an output of the network, the producer of the input writes that output instead. None where
    neither is possible: an output that equals an input or another output must be copied.
    """
    source, result = layer.inputs[0], layer.output
    if result not in network.outputs:
        readers = {reader.name: [_renamed_inputs(reader, result, source)] for reader in network.consumers[result]}
        return substitute(network, {**readers, layer.name: []})
    producer = network.producers.get(source)
    if producer is None or source in network.outputs:
        return None
    readers = {reader.name: [_renamed_inputs(reader, source, result)] for reader in network.consumers[source]}
    return substitute(network, {**readers, producer.name: [replace(producer, output=result)], layer.name: []})


def sole_producer(network: Network, layer: Layer, tensor: str) -> Layer | None:
    """The layer that makes `tensor`, if `layer` is the only one to see it: no other reader, no output."""
    if tensor in network.outputs or network.consumers[tensor] != (layer,):
        return None
    return network.producers.get(tensor)


def constant_value(network: Network, tensor: str) -> Array | None:
    """The value of a tensor that a Constant layer makes; None if it is computed."""
    producer = network.producers.get(tensor)
    if producer is None or not isinstance(producer.op, Constant):
        return None
    return network.weight(producer, "value")


def is_filled_with(network: Network, tensor: str, number: float) -> bool:
    """Whether a tensor is constant and all its elements are `number`, to the last bit of a float32."""
    value = constant_value(network, tensor)
    return value is not None and bool(np.allclose(value.astype(np.float64), number, rtol=2**-23, atol=0))


def fresh_name(network: Network, wanted: str) -> str:
    """`wanted`, or with the first number that makes it the name of no layer and no tensor."""
    taken = {layer.name for layer in network.layers} | set(network.tensors)
    name, number = wanted, 2
    while name in taken:
        name, number = f"{wanted}_{number}", number + 1
    return name


def read_only(values: Array) -> Array:
    """Values of any type as networks hold weights: contiguous, and not to be written."""
    copied = np.ascontiguousarray(values)
    copied.setflags(write=False)
    return copied


def as_weight(values: npt.ArrayLike) -> Array:
    """A read-only float32 array: what was computed in float64 is rounded here, once."""
    array: Array = np.array(values, dtype=np.float32)
    array.setflags(write=False)
    return array


def _roles(network: Network, layer: Layer) -> Iterable[str]:
    shapes = [network.shape(name) for name in layer.inputs]
    return weight_shapes(layer.op, shapes, quantized=network.is_quantized_layer(layer))


def _renamed_inputs(layer: Layer, old: str, new: str) -> Layer:
    return replace(layer, inputs=tuple(new if name == old else name for name in layer.inputs))
