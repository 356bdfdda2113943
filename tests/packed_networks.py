"""Int8 networks whose weights fit fewer bits than a byte has."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dscompile.ir.network import Array, Network
from dscompile.ir.ops import Conv2D, Dense
from dscompile.ir.storage import FOUR, Storage, in_fours, is_narrow, is_sparse
from dscompile.passes.rewrite import read_only


def stored(network: Network, storage: Storage, seed: int = 0) -> Network:
    """An int8 network with other kernels in its convolutions over all channels and dense layers, stored so.

    Extremes are frequent, scales are those of weights a byte wide, so that results keep their ranges.
    """
    rng = np.random.default_rng(seed)
    layers, weights = [], dict(network.weights)
    for layer in network.layers:
        op = layer.op
        if isinstance(op, Dense) or (isinstance(op, Conv2D) and not op.is_depthwise(network.shape(layer.inputs[0])[3])):
            key = f"{layer.name}.kernel"
            weights[key] = read_only(random_kernel(network.weight(layer, "kernel").shape, storage, rng))
            scale = network.weight(layer, "kernel_scale") * (16 if is_narrow(storage) else 1)
            weights[f"{layer.name}.kernel_scale"] = read_only(scale.astype(np.float32))
            if network.has_weight(layer, "bias"):
                bias = network.weight(layer, "bias") // (16 if is_narrow(storage) else 1)
                weights[f"{layer.name}.bias"] = read_only(bias.astype(np.int32))
            layer = replace(layer, storage=storage)
        layers.append(layer)
    return replace(network, layers=tuple(layers), weights=weights).validate()


def random_kernel(shape: tuple[int, ...], storage: Storage, rng: np.random.Generator) -> Array:
    """A kernel int8 of this shape that fits a storage."""
    low, high = (-8, 8) if is_narrow(storage) else (-127, 128)
    matrix = rng.integers(low, high, (int(np.prod(shape[:-1])), shape[-1]))
    matrix = np.where(rng.random(matrix.shape) < 0.3, np.where(rng.random(matrix.shape) < 0.5, low, high - 1), matrix)
    if is_sparse(storage):
        fours = in_fours(matrix)
        order = rng.permuted(np.tile(np.arange(FOUR)[:, None], (1, shape[-1]))[None].repeat(len(fours), 0), axis=1)
        matrix = np.where(order < 2, fours, 0).reshape(-1, shape[-1])[: len(matrix)]
    return matrix.reshape(shape).astype(np.int8)
