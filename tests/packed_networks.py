"""Int8 networks whose weights fit fewer bits than a byte has."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from dscompile.ir.network import Array, Network, NetworkBuilder
from dscompile.ir.ops import NONE, RELU, Binary, Conv2D, Dense, Pads, Reshape
from dscompile.ir.storage import FOUR, Storage, in_fours, is_narrow, is_sparse, mixes_channels
from dscompile.ir.tensor import Rounding, Tensor
from dscompile.passes.rewrite import read_only
from tests.quantized_networks import Quantizer


def tower(rounding: Rounding) -> Network:
    """Convolutions of odd and even depths and channels, in place and not, and two dense layers."""
    builder = NetworkBuilder("tower")
    x = builder.input(Tensor("x", (1, 7, 9, 3)))
    rng = np.random.default_rng(0)

    conv = partial(_conv, builder, rng)
    same = Pads(1, 1, 1, 1)
    x = conv("stem", x, Conv2D(8, (3, 3), (2, 2), same, activation=RELU))
    x = conv("wide", x, Conv2D(17, (1, 1), activation=NONE))
    x = conv("odd", x, Conv2D(9, (1, 1), activation=RELU))
    x = conv("depthwise", x, Conv2D(9, (3, 3), pads=same, groups=9, activation=RELU))
    x = conv("pointwise", x, Conv2D(12, (1, 1), activation=RELU))
    x = conv("grouped", x, Conv2D(12, (3, 3), pads=same, groups=2, activation=NONE))
    x = conv("one", x, Conv2D(1, (1, 1), activation=RELU))
    x = builder.add("flat", Reshape((1, builder.tensors[x].elements)), [x])
    for name, units in (("hidden", 7), ("scores", 3)):
        kernel = rng.normal(size=(builder.tensors[x].shape[1], units)).astype(np.float32)
        x = builder.add(name, Dense(units), [x], kernel=kernel, bias=rng.normal(size=units).astype(np.float32))
    return Quantizer(builder.build([x]), rng, rounding, float_borders=False).run()


def sums_of_all_lengths(rounding: Rounding) -> Network:
    """Pointwise sums of 1, 3, 17 and 100 products, one with a residual, and a convolution with 900.

    Channels before long ones are linear: none of them can hold one value only, so that all are read.
    """
    builder = NetworkBuilder("sums")
    x = builder.input(Tensor("x", (1, 5, 5, 3)))
    rng = np.random.default_rng(0)
    conv = partial(_conv, builder, rng)
    x = conv("three", x, Conv2D(100, (1, 1), activation=NONE))
    x = conv("nine_hundred", x, Conv2D(17, (3, 3), pads=Pads(1, 1, 1, 1), activation=RELU))
    x = builder.add("sum", Binary("add"), [x, conv("seventeen", x, Conv2D(17, (1, 1), activation=NONE))])
    x = conv("to_one", x, Conv2D(1, (1, 1), activation=RELU))
    x = conv("one", x, Conv2D(100, (1, 1), activation=NONE))
    x = conv("hundred", x, Conv2D(3, (1, 1), activation=NONE))
    return Quantizer(builder.build([x]), rng, rounding, float_borders=False).run()


def _conv(builder: NetworkBuilder, rng: np.random.Generator, name: str, x: str, op: Conv2D) -> str:
    channels = builder.tensors[x].shape[3] // op.groups
    kernel = rng.normal(size=(*op.kernel, channels, op.out_channels)).astype(np.float32)
    bias = rng.normal(size=op.out_channels).astype(np.float32)
    return builder.add(name, op, [x], kernel=kernel, bias=bias)


def stored(network: Network, storage: Storage, seed: int = 0) -> Network:
    """An int8 network with other kernels in its convolutions over all channels and dense layers, stored so.

    Extremes are frequent, scales are those of weights a byte wide, so that results keep their ranges.
    """
    rng = np.random.default_rng(seed)
    layers, weights = [], dict(network.weights)
    for layer in network.layers:
        if layer.inputs and mixes_channels(layer.op, network.shape(layer.inputs[0])):
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


def plainly(network: Network) -> Network:
    """The same network with a byte for each weight."""
    return replace(network, layers=tuple(replace(layer, storage="plain") for layer in network.layers))


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
