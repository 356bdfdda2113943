"""Factorized layers fitted to data: pointwise kernels and biases that bring each layer's sums nearest to the old ones.

The filters stay as the decomposition has them. What they make of the data, in the network as it is factorized up to
there, is Z [pixels, C_in * R]; the sums of the old layer in the old network are Y [pixels, C_out]. The kernel W and the
bias b are those with the least |Z W + b - Y|^2 + reg * |W - W_0|^2 (ridge regression towards the truncated
decomposition W_0). With the full rank W_0 is exact and remains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from dscompile.factorization.candidates import Candidate, Pair, truncated, with_pairs
from dscompile.ir.network import Array, Layer, Network
from dscompile.ir.ops import NONE, Conv2D
from dscompile.passes.rewrite import as_weight
from dscompile.quantization.batches import batched, in_batches
from dscompile.quantization.settings import Sample
from dscompile.quantization.single_layer import layer_alone, run_layer

Reals = NDArray[np.float64]

# Of the mean square of the filters' results: how strongly the fitted kernel holds on to the decomposition.
RIDGE = 1e-2


def fitted_pairs(
    network: Network, ranks: Mapping[str, tuple[Candidate, int]], samples: Sequence[Sample]
) -> dict[str, Pair]:
    """The pair of each layer that `ranks` names, fitted one after the other on `samples`."""
    batches = [
        _Batch(batched(network, batch.count), batch.count, dict(batch.sample)) for batch in in_batches(network, samples)
    ]
    last_use = {name: index for index, layer in enumerate(network.layers) for name in layer.inputs}
    pairs: dict[str, Pair] = {}
    for index, layer in enumerate(network.layers):
        if layer.name in ranks:
            candidate, rank = ranks[layer.name]
            pairs[layer.name] = _fitted(network, truncated(network, candidate, rank), layer, batches)
        else:
            for batch in batches:
                batch.advance(index)
        for name in layer.inputs:
            if last_use[name] == index:
                for batch in batches:
                    batch.forget(name)
    return pairs


@dataclass
class _Batch:
    """Some samples: what tensors hold in the old network, and in the new one where that differs."""

    network: Network
    count: int
    old: dict[str, Array]
    new: dict[str, Array] = field(default_factory=dict)

    def advance(self, index: int) -> None:
        """Runs a layer that stays as it is."""
        layer = self.network.layers[index]
        alone = layer_alone(self.network, layer)
        self.old[layer.output] = run_layer(alone, self.old)
        if any(name in self.new for name in layer.inputs):
            self.new[layer.output] = run_layer(alone, {**self.old, **self.new})

    def forget(self, name: str) -> None:
        """Drops a tensor that nothing reads any more."""
        self.old.pop(name, None)
        self.new.pop(name, None)


def _fitted(network: Network, start: Pair, layer: Layer, batches: Sequence[_Batch]) -> Pair:
    """The pair with its pointwise kernel and bias fitted; the batches go on behind it."""
    op = layer.op
    assert isinstance(op, Conv2D)
    sums = _Sums(op.groups)
    filtered = []
    for batch in batches:
        wanted = run_layer(_with_op(batch.network, layer, replace(op, activation=NONE)), batch.old)
        made = run_layer(_alone(network, layer, start, start.depthwise, batch.count), {**batch.old, **batch.new})
        sums.add(made, wanted)
        filtered.append(made)
        batch.old[layer.output] = run_layer(_with_op(batch.network, layer, op), batch.old) if op.activation else wanted
    name = start.pointwise.name
    kernel, bias = sums.solution(start.weights[f"{name}.kernel"])
    weights = {**start.weights, f"{name}.kernel": as_weight(kernel), f"{name}.bias": as_weight(bias)}
    done = replace(start, weights=weights)
    for batch, made in zip(batches, filtered, strict=True):
        alone = _alone(network, layer, done, done.pointwise, batch.count)
        batch.new[layer.output] = run_layer(alone, {done.middle.name: made})
    return done


def _with_op(network: Network, layer: Layer, op: Conv2D) -> Network:
    return layer_alone(network, replace(layer, op=op))


def _alone(network: Network, layer: Layer, made: Pair, part: Layer, count: int) -> Network:
    """One layer of a pair, for `count` samples."""
    return layer_alone(batched(with_pairs(network, {layer.name: made}), count), part)


class _Sums:
    """The normal equations of the regression, group by group, around the means of Z and Y."""

    def __init__(self, groups: int) -> None:
        self.groups = groups
        self.rows = 0
        self.first: list[Reals] = []  # sums of [Z, Y]
        self.second: list[Reals] = []  # sums of Z^T [Z, Y]

    def add(self, filtered: Array, wanted: Array) -> None:
        """Pixels Z [n, H, W, groups * a] and Y [n, H, W, groups * b]."""
        z, y = (array.reshape(-1, self.groups, array.shape[3] // self.groups) for array in (filtered, wanted))
        self.rows += len(z)
        for group in range(self.groups):
            left = z[:, group].astype(np.float64)
            both = np.concatenate([left, y[:, group].astype(np.float64)], axis=1)
            if len(self.first) <= group:
                self.first.append(np.zeros(both.shape[1]))
                self.second.append(np.zeros((left.shape[1], both.shape[1])))
            self.first[group] += both.sum(axis=0)
            self.second[group] += left.T @ both

    def solution(self, start: Array) -> tuple[Reals, Reals]:
        """The kernel in the shape of `start`, from which it departs, and the bias."""
        per_group = start.shape[2]
        kernels, biases = [], []
        for group, begin in enumerate(np.split(start[0, 0].astype(np.float64), self.groups, axis=1)):
            mean = self.first[group] / self.rows
            covariance = self.second[group] / self.rows - np.outer(mean[:per_group], mean)
            normal, target = covariance[:, :per_group], covariance[:, per_group:]
            ridge = RIDGE * float(np.trace(normal)) / per_group
            kernel = begin
            if ridge > 0:
                kernel = begin + np.linalg.solve(normal + ridge * np.eye(per_group), target - normal @ begin)
            kernels.append(kernel)
            biases.append(mean[per_group:] - mean[:per_group] @ kernel)
        return np.concatenate(kernels, axis=1)[None, None], np.concatenate(biases)
