"""A network with other operators or smaller inputs, with everything behind them made to fit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from dscompile.errors import BadInputError
from dscompile.ir.network import Array, Layer, Network, NetworkBuilder, weight_shapes
from dscompile.ir.ops import Constant, Conv2D, Op, Reshape, Shuffle, Slice
from dscompile.ir.shapes import ShapeError
from dscompile.ir.tensor import Shape


@dataclass(frozen=True)
class Changes:
    """New operators by layer, new shapes by input, and layers without a bias."""

    ops: Mapping[str, Op] = field(default_factory=dict)
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    without_bias: frozenset[str] = frozenset()


def rebuilt(network: Network, changes: Changes) -> Network | None:
    """The network with changes; None where something does not fit any more.

    Depthwise layers take as many channels as come, slices and constants are cut, weights are cut or repeated. Results
    keep their types and quantizations.
    """
    try:
        return _Rebuilder(network, changes).run()
    except (ShapeError, BadInputError, ValueError):
        return None


class _Rebuilder:
    def __init__(self, network: Network, changes: Changes) -> None:
        self.network = network
        self.changes = changes
        self.builder = NetworkBuilder(network.name, network.rounding)
        self.constants = {layer.output: layer for layer in network.layers if isinstance(layer.op, Constant)}

    def run(self) -> Network:
        network = self.network
        for name in network.inputs:
            tensor = network.tensor(name)
            self.builder.input(replace(tensor, shape=self.changes.shapes.get(name, tensor.shape)))
        for layer in network.layers:
            if not isinstance(layer.op, Constant):
                self.add(layer)
        for name in network.outputs:  # constants that no layer reads
            if name in self.constants and name not in self.builder.tensors:
                self.add_constant(name, network.shape(name))
            self.builder.tensors[name] = replace(self.builder.tensors[name], border=network.tensor(name).border)
        return self.builder.build(network.outputs)

    def add(self, layer: Layer) -> None:
        known = [self.builder.tensors[name].shape for name in layer.inputs if name in self.builder.tensors]
        for name in layer.inputs:
            if name not in self.builder.tensors:
                self.add_constant(name, known[0] if known else self.network.shape(name))
        before = [self.network.shape(name) for name in layer.inputs]
        after = [self.builder.tensors[name].shape for name in layer.inputs]
        op = _adapted(self.changes.ops.get(layer.name, layer.op), before, after)
        wanted = weight_shapes(op, after, quantized=self.network.is_quantized_layer(layer))
        weights = {
            role: fitted(self.network.weight(layer, role), shape)
            for role, shape in wanted.items()
            if self.network.has_weight(layer, role) and not (role == "bias" and layer.name in self.changes.without_bias)
        }
        tensor = self.network.tensor(layer.output)
        self.builder.add(
            layer.name,
            op,
            layer.inputs,
            layer.output,
            dtype=tensor.dtype,
            quantization=tensor.quantization,
            **weights,
        )

    def add_constant(self, name: str, partner: Shape) -> None:
        """A constant, cut so that it still broadcasts with the tensor that it meets."""
        layer, tensor = self.constants[name], self.network.tensor(name)
        aligned = (math.inf,) * max(0, len(tensor.shape) - len(partner)) + partner[-len(tensor.shape) :]
        shape = tuple(int(min(size, limit)) for size, limit in zip(tensor.shape, aligned, strict=True))
        value = fitted(self.network.weight(layer, "value"), shape)
        self.builder.add(
            layer.name, Constant(shape), (), name, dtype=tensor.dtype, quantization=tensor.quantization, value=value
        )


def fitted(array: Array, shape: Shape) -> Array:
    """The array cut to a shape, or repeated where it is smaller."""
    for axis, size in enumerate(shape):
        array = array.take(range(size), axis, mode="wrap")
    return np.ascontiguousarray(array)


def _adapted(op: Op, before: list[Shape], after: list[Shape]) -> Op:
    """The operator for other shapes of its inputs."""
    if before == after:
        return op
    match op:
        case Conv2D() if op.is_depthwise(before[0][3]):
            channels = after[0][3]
            return replace(op, groups=channels, out_channels=channels * (op.out_channels // before[0][3]))
        case Conv2D():
            return replace(op, groups=math.gcd(op.groups, after[0][3], op.out_channels))
        case Reshape(shape=shape) if len(shape) == 2:
            return Reshape((shape[0], math.prod(after[0]) // shape[0]))
        case Reshape(shape=shape) if math.prod(shape) != math.prod(after[0]):
            return Reshape((1, math.prod(after[0][1:-1]), 1, after[0][-1]))
        case Slice(begins=begins, sizes=sizes):
            starts = tuple(begin if begin < size else 0 for begin, size in zip(begins, after[0], strict=True))
            ends = zip(sizes, after[0], starts, strict=True)
            return replace(op, begins=starts, sizes=tuple(min(size, whole - start) for size, whole, start in ends))
        case Shuffle(groups=groups):
            return Shuffle(math.gcd(groups, after[0][-1]))
        case _:
            return op
