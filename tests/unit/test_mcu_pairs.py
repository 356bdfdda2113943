"""Weights of two channels in the halves of a word: where they fit, and matrix products with and without."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest

from dscompile.ir.network import Network, NetworkBuilder
from dscompile.ir.ops import RELU, Conv2D, Pads
from dscompile.ir.tensor import Quantization, Tensor
from dscompile.plan.mcu.pairs import fit_halves, pair_weights, shared_halves, with_repeated_channel
from dscompile.plan.mcu.products import ConvKernel, SeparableKernel
from tests.mcu import HostModel, differences, here, planned, write

POSITIVE = Quantization((0.04,), -128)
DEPTH = 516  # 512 products of 128 by 127 are just below 2^23


def wide_layers(depth: int, weight: int) -> Network:
    """Products of `depth` equal weights, behind a convolution and a depthwise layer; single pixels: 3 x 3 of them."""
    rng = np.random.default_rng(2)
    builder = NetworkBuilder("wide", "tflite")
    x = builder.input(Tensor("x", (1, 3, 3, 4), "int8", POSITIVE))

    def layer(name: str, op: Conv2D, source: str, kernel: object, scale: float) -> str:
        return builder.add(
            name,
            op,
            [source],
            quantization=POSITIVE,
            kernel=np.asarray(kernel, np.int8),
            kernel_scale=np.full(op.out_channels, scale, np.float32),
            bias=rng.integers(-2000, 2000, op.out_channels).astype(np.int32),
        )

    first = Conv2D(depth, (1, 1), activation=RELU)
    x = layer("first", first, x, rng.integers(-127, 128, (1, 1, 4, depth)), 0.004)
    y = layer("matrix", Conv2D(5, (1, 1), activation=RELU), x, np.full((1, 1, depth, 5), weight), 0.3 / depth)
    windows = Conv2D(depth, (3, 3), pads=Pads(1, 1, 1, 1), groups=depth, activation=RELU)
    z = layer("windows", windows, x, rng.integers(-127, 128, (3, 3, 1, depth)), 0.004)
    z = layer("pointwise", Conv2D(6, (1, 1), activation=RELU), z, np.full((1, 1, depth, 6), -weight), 0.3 / depth)
    return builder.build([y, z])


def kernels_of(network: Network) -> dict[str, bool]:
    found = [f.kernel for f in planned(network, here("cortex-m4")).functions]
    return {k.kind: k.apart for k in found if isinstance(k, ConvKernel | SeparableKernel) and k.depth > 4}


@pytest.mark.parametrize(
    ("low", "high", "depth", "fits"),
    [(-128, 127, 516, True), (-128, 127, 520, False), (0, 255, 258, True), (0, 255, 260, False)],
)
def test_weights_share_a_half_where_their_sums_fit_32_bits(low, high, depth, fits):
    weights = np.tile(np.int8([0, 127]), (depth, 3))
    assert fit_halves(weights, low, high) == fits


def test_only_a_half_that_leaves_16_bits_keeps_minus_128_from_sharing():
    assert fit_halves(np.int8([[3, -128, 1]]), -128, 127)
    assert not fit_halves(np.int8([[-3, -128, 1]]), -128, 127)


def test_a_half_is_one_weight_and_256_times_the_other():
    weights = np.random.default_rng(0).integers(-127, 128, (8, 6)).astype(np.int8)
    halves = shared_halves(pair_weights(weights)).view("<i2")
    assert (halves[:, 0, 0] == weights[0, 0::2] + 256 * weights[0, 1::2].astype(int)).all()
    assert (halves[:, 1, 1] == weights[3, 0::2] + 256 * weights[3, 1::2].astype(int)).all()


@pytest.mark.parametrize(("depth", "weight", "apart"), [(DEPTH, 127, False), (600, 127, True)])
def test_products_of_many_large_weights_equal_the_oracle(depth, weight, apart):
    network = wide_layers(depth, weight)
    assert kernels_of(network)["pointwise"] == apart
    with tempfile.TemporaryDirectory() as scratch:
        model = HostModel(write(network, Path(scratch) / "a", here("cortex-m4"), measured=False))
        assert differences(model, network, (0, 1)) == []


def test_an_odd_last_channel_gets_the_one_before_it_as_its_pair():
    assert with_repeated_channel(np.int8([[1, 2, 3], [4, 5, 6]])).tolist() == [[1, 2, 2, 3], [4, 5, 5, 6]]
