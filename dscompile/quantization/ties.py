"""Which tensors must have one scale and zero point, and which have a fixed one.

Layers that only move or compare integers cannot change their scale: pools, concat, slice, shuffle, pad, resize,
reshape, transpose, and so on. Softmax, sigmoid and tanh have the output parameters that TFLite's operators demand (its
quantization specification).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from dscompile.ir.network import Layer, Network
from dscompile.ir.ops import NONE, Activate, Concat, Op, Softmax
from dscompile.ir.tensor import Quantization, Tensor
from dscompile.ir.types import keeps_quantization

_UNIT = Quantization((1 / 256,), -128)
_SIGNED_UNIT = Quantization((1 / 128,), 0)


def fixed_output(op: Op) -> Quantization | None:
    """The parameters that the result of `op` must have, if any."""
    match op:
        case Softmax():
            return _UNIT
        case Activate() if op.activation.kind == "sigmoid":
            return _UNIT
        case Activate() if op.activation.kind == "tanh":
            return _SIGNED_UNIT
        case _:
            return None


def moves(op: Op) -> bool:
    """Whether the result has the integers of the input, so that both have one scale and zero point."""
    return keeps_quantization(op)


def tied_groups(network: Network) -> Mapping[str, tuple[str, ...]]:
    """Tensor -> all tensors that share its parameters, itself included, in the order of the network."""
    leader = {name: name for name in network.tensors}

    def find(name: str) -> str:
        while leader[name] != name:
            name = leader[name]
        return name

    for layer in network.layers:
        if moves(layer.op):
            for name in layer.inputs:
                leader[find(layer.output)] = find(name)
    members: dict[str, list[str]] = {}
    for name in network.tensors:
        members.setdefault(find(name), []).append(name)
    return {name: tuple(members[find(name)]) for name in network.tensors}


def separate_fixed(network: Network) -> Network:
    """Puts an identity layer between a tensor of fixed parameters and a concat of others.

    As int8 it becomes a Quantize, which brings the tensor to the scale that the concat shares.
    """
    fixed: dict[str, Quantization | None] = {}
    layers: list[Layer] = []
    tensors = dict(network.tensors)
    for layer in network.layers:
        inherited = {fixed.get(name) for name in layer.inputs}
        if isinstance(layer.op, Concat) and len(inherited) > 1:
            sources = []
            for name in layer.inputs:
                if fixed.get(name) is None:
                    sources.append(name)
                    continue
                copy = _free_name(f"{name}.rescaled", tensors)
                tensors[copy] = Tensor(copy, network.shape(name))
                layers.append(Layer(copy, Activate(NONE), (name,), copy))
                sources.append(copy)
            layers.append(replace(layer, inputs=tuple(sources)))
            continue
        layers.append(layer)
        if moves(layer.op):
            (fixed[layer.output],) = inherited
        else:
            fixed[layer.output] = fixed_output(layer.op)
    return (
        network if tensors.keys() == network.tensors.keys() else replace(network, tensors=tensors, layers=tuple(layers))
    )


def _free_name(wanted: str, taken: Mapping[str, Tensor]) -> str:
    name, number = wanted, 2
    while name in taken:
        name, number = f"{wanted}{number}", number + 1
    return name
