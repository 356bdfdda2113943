"""How far a change of some tensors can reach: norms of changes, carried from layer to layer."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from dscompile.factorization.norms import activation_slope, batch_norm_norm, convolution_norm, pool_norm
from dscompile.ir.network import Array, Layer, Network
from dscompile.ir.ops import (
    Activate,
    BatchNorm,
    Binary,
    Concat,
    Conv2D,
    Dense,
    DepthToSpace,
    Op,
    Pad,
    Pool,
    Reshape,
    Shuffle,
    Slice,
    Softmax,
    SpaceToDepth,
    Transpose,
)

Reals = NDArray[np.float64]


class Propagation:
    """For each tensor of a network of n samples, bounds [n] of the Euclidean norm of its change.

    `values` are the tensors before the change. A layer whose effect on norms is not known makes its result's change
    infinite; `first_unknown` is the first one that a change meets.
    """

    def __init__(self, network: Network, values: Mapping[str, Array], samples: int) -> None:
        self.network = network
        self.values = values
        self.first_unknown: str | None = None
        self._none = np.zeros(samples)
        self._norms: dict[str, Reals] = {}

    def of(self, tensor: str) -> Reals:
        """The bound of a tensor's change; 0 where nothing changes."""
        return self._norms.get(tensor, self._none)

    def set(self, layer: Layer, norms: Reals | None) -> None:
        """Sets the bound of a layer's result; None is that it is not known."""
        if norms is None:
            self.first_unknown = self.first_unknown or layer.name
            norms = np.full_like(self._none, math.inf)
        self._norms[layer.output] = norms

    def follow(self, layer: Layer) -> None:
        """The bound of a layer's result from those of its inputs."""
        if not any(self.of(name).any() for name in layer.inputs):
            return
        self.set(layer, self._through(layer))

    def _through(self, layer: Layer) -> Reals | None:
        match layer.op:
            case Binary() as op:
                return scaled(self._binary(layer, op), activation_slope(op.activation))
            case Concat():
                return np.sqrt(sum((self.of(name) ** 2 for name in layer.inputs), start=self._none))
            case Softmax(beta=beta):
                # Its Jacobian's norm is at most 1 / 2 (Gao and Pavel 2017), two distributions at most sqrt(2) apart.
                rows = math.prod(self.network.shape(layer.output)[1:-1])
                return np.minimum(abs(beta) / 2 * self.of(layer.inputs[0]), math.sqrt(2 * rows))
            case op:
                return scaled(self.of(layer.inputs[0]), self._factor(layer, op))

    def _factor(self, layer: Layer, op: Op) -> float | None:
        """What an operator of one input multiplies norms by at most."""
        network, shape = self.network, self.network.shape(layer.inputs[0])
        match op:
            case Conv2D():
                slope = activation_slope(op.activation)
                return None if slope is None else slope * convolution_norm(op, network.weight(layer, "kernel"))
            case Dense():
                slope = activation_slope(op.activation)
                kernel = network.weight(layer, "kernel").astype(np.float64)
                return None if slope is None else slope * float(np.linalg.norm(kernel, 2))
            case Pool():
                slope = activation_slope(op.activation)
                return None if slope is None else slope * pool_norm(op, shape[1], shape[2])
            case Activate(activation=activation):
                slopes = network.weight(layer, "slope") if activation.kind == "prelu" else None
                return activation_slope(activation, slopes)
            case BatchNorm():
                return batch_norm_norm(network, layer, op)
            case Pad(pads=pads) if op.mode != "constant":
                return math.sqrt((1 + pads.top + pads.bottom) * (1 + pads.left + pads.right))  # copies of a pixel
            case Pad() | Reshape() | Shuffle() | Slice() | DepthToSpace() | SpaceToDepth() | Transpose():
                return 1.0
            case _:
                return None

    def _binary(self, layer: Layer, op: Binary) -> Reals | None:
        """|a b - a' b'| <= max|a| |b - b'| + max|b'| |a - a'|; sums, differences and extremes move by both together."""
        made = math.prod(self.network.shape(layer.output))
        repeats = [math.sqrt(made / math.prod(self.network.shape(name))) for name in layer.inputs]
        first, second = (self.of(name) * times for name, times in zip(layer.inputs, repeats, strict=True))
        if op.kind == "div":
            return None
        if op.kind != "mul":
            return first + second
        highest = [self._highest(name) for name in layer.inputs]
        return highest[0] * second + (highest[1] + self.of(layer.inputs[1])) * first

    def _highest(self, tensor: str) -> Reals:
        """The largest magnitude in each sample; constants are the same for all."""
        array = np.abs(self.values[tensor].astype(np.float64))
        if array.shape[:1] != self._none.shape:
            return np.full_like(self._none, array.max())
        highest: Reals = array.reshape(len(array), -1).max(axis=1)
        return highest


def scaled(norms: Reals | None, factor: float | None) -> Reals | None:
    """Norms times a factor; None where one of them is not known."""
    return None if norms is None or factor is None else factor * norms
