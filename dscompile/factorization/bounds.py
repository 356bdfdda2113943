"""What a factorization can change at most, from its kernels and the data alone.

A factorized layer computes K' x' + b' where the old one computed K x + b. The difference is (K' - K) x + (b' - b), the
layer's own error, plus K' (x' - x), what it makes of the changes before it. For any matrix m of means, the own error is
(K' - K)(x - m) + c with the constant c = (K' - K) m + b' - b, so at each pixel at most s |patch - m| + |c|, where s is
the largest singular value of K' - K as a matrix [kh * kw * C_in, C_out]; s^2 is at most the energy |K' - K|^2. The
smaller one of the bounds for m = 0 and for the mean patch is taken.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dscompile.factorization.candidates import Pair, with_pairs
from dscompile.factorization.norms import activation_slope, convolution_norm
from dscompile.factorization.propagation import Propagation, scaled
from dscompile.factorization.spectrum import composed
from dscompile.ir.network import Array, Layer, Network
from dscompile.ir.ops import NONE, Conv2D
from dscompile.oracle import run_all
from dscompile.oracle.windows import pad_image, taps
from dscompile.quantization.batches import batched, in_batches
from dscompile.quantization.settings import Sample
from dscompile.quantization.single_layer import layer_alone, run_layer

Reals = NDArray[np.float64]


@dataclass(frozen=True)
class LayerError:
    """The own error of a factorized layer on the inputs it had before, relative to its sums: bound and measurement.

    Both before the activation, as roots of sums of squares over all samples.
    """

    bound: float
    measured: float


@dataclass(frozen=True)
class Bounds:
    """Errors by layer, and the bound of the relative change of the outputs.

    `outputs` is None where the change passes a layer of which no slope is known; the first is `unbounded`.
    """

    layers: Mapping[str, LayerError]
    outputs: float | None
    unbounded: str | None


def find_bounds(network: Network, pairs: Mapping[str, Pair], samples: Sequence[Sample]) -> Bounds:
    """Bounds for the layers that `pairs` replaces and for the network's outputs, on `samples`."""
    changes = {
        layer.name: _Change(network, layer, pairs[layer.name]) for layer in network.layers if layer.name in pairs
    }
    layers = {name: np.zeros(3) for name in pairs}  # squares of bound, measured error, old sums
    outputs = {name: np.zeros(2) for name in network.outputs}  # squares of bound, old output
    unbounded = None
    for batch in in_batches(network, samples):
        grown = batched(network, batch.count)
        values = run_all(grown, batch.sample)
        norms = Propagation(grown, values, batch.count)
        for layer in grown.layers:
            change = changes.get(layer.name)
            if change is None:
                norms.follow(layer)
                continue
            own = change.own_bound(values[layer.inputs[0]])
            norms.set(layer, scaled(own + change.norm * norms.of(layer.inputs[0]), change.slope))
            layers[layer.name] += (float((own**2).sum()), *_measured(grown, layer, pairs[layer.name], values))
        unbounded = unbounded or norms.first_unknown
        for name, total in outputs.items():
            total += (float((norms.of(name) ** 2).sum()), _square(values[name]))
    return Bounds(
        {name: LayerError(ratio(total[0], total[2]), ratio(total[1], total[2])) for name, total in layers.items()},
        None if unbounded else max(ratio(total[0], total[1]) for total in outputs.values()),
        unbounded,
    )


def ratio(error: float, whole: float) -> float:
    """The root of error / whole; 0 where both are 0."""
    if error == 0:
        return 0.0
    return math.sqrt(error / whole) if whole > 0 else math.inf


class _Change:
    """The difference between a convolution and its pair."""

    def __init__(self, network: Network, layer: Layer, made: Pair) -> None:
        op = layer.op
        assert isinstance(op, Conv2D)
        self.op = op
        self.slope = activation_slope(op.activation)
        depthwise = made.weights[f"{made.depthwise.name}.kernel"]
        pointwise = made.weights[f"{made.pointwise.name}.kernel"]
        channels = network.shape(layer.inputs[0])[3]
        new = composed(depthwise, pointwise, channels, op.groups)
        kernel = new - network.weight(layer, "kernel").astype(np.float64)
        rows, columns, per_group, outputs = kernel.shape
        grouped = kernel.reshape(rows * columns, per_group, op.groups, outputs // op.groups).transpose(2, 0, 1, 3)
        self.kernel = grouped  # [groups, kh * kw, C_in / groups, C_out / groups]
        matrices = grouped.reshape(op.groups, rows * columns * per_group, -1)
        self.largest = float(np.linalg.norm(matrices, 2, axis=(1, 2)).max())
        self.bias: Reals = np.zeros(op.out_channels)
        if f"{made.pointwise.name}.bias" in made.weights:
            self.bias += made.weights[f"{made.pointwise.name}.bias"].astype(np.float64)
        if network.has_weight(layer, "bias"):
            self.bias -= network.weight(layer, "bias").astype(np.float64)
        self.norm = convolution_norm(op, new)

    def own_bound(self, image: Array) -> Reals:
        """For each image of [n, H, W, C] the bound of the layer's own error, as a norm over its result."""
        op = self.op
        windows = [
            tap.reshape(len(image), -1, image.shape[3])
            for _, _, tap in taps(pad_image(image.astype(np.float64), op.pads, 0.0), op.kernel, op.stride, op.dilation)
        ]
        pixels = windows[0].shape[1]
        squares = np.stack([(window**2).sum(axis=1) for window in windows], axis=1)  # [n, kh * kw, C]
        sums = np.stack([window.sum(axis=1) for window in windows], axis=1)
        plain = self.largest * np.sqrt(squares.sum(axis=(1, 2))) + math.sqrt(pixels) * np.linalg.norm(self.bias)
        mean = sums.mean(axis=0) / pixels
        spread = squares.sum(axis=(1, 2)) - 2 * (sums * mean).sum(axis=(1, 2)) + pixels * (mean**2).sum()
        by_group = mean.reshape(len(mean), op.groups, -1)
        constant = np.einsum("tgc,gtco->go", by_group, self.kernel).reshape(-1) + self.bias
        centered = self.largest * np.sqrt(np.maximum(spread, 0.0)) + math.sqrt(pixels) * np.linalg.norm(constant)
        bound: Reals = np.minimum(plain, centered)
        return bound


def _measured(network: Network, layer: Layer, made: Pair, values: Mapping[str, Array]) -> tuple[float, float]:
    """Squares of the own error and of the old sums, both before the activation."""
    assert isinstance(layer.op, Conv2D)
    assert isinstance(made.pointwise.op, Conv2D)
    old = run_layer(layer_alone(network, replace(layer, op=replace(layer.op, activation=NONE))), values)
    count = network.shape(layer.output)[0]
    middle = replace(made.middle, shape=(count, *made.middle.shape[1:]))
    linear = replace(made.pointwise, op=replace(made.pointwise.op, activation=NONE))
    both = with_pairs(network, {layer.name: replace(made, pointwise=linear, middle=middle)})
    filtered = run_layer(layer_alone(both, made.depthwise), values)
    new = run_layer(layer_alone(both, linear), {made.middle.name: filtered})
    return _square(new.astype(np.float64) - old.astype(np.float64)), _square(old)


def _square(array: Array | Reals) -> float:
    return float((array.astype(np.float64) ** 2).sum())
