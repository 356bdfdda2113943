"""Helpers of the tests of quantization: networks, samples, quantized results."""

from __future__ import annotations

import numpy as np

from dscompile.ir.network import Network
from dscompile.quantization import Settings, quantize_network
from dscompile.quantization.pipeline import Quantized
from dscompile.quantization.settings import Sample
from tests.unit.netfiles import network as network_of

PLAIN = Settings(method="min-max", equalize=False, bias_correction=False, weight_rounding="nearest")

DS_CNN = """\
- conv: {name: stem, out: 16, kernel: [5, 3], stride: 2, activation: relu}
- separable: {name: block, out: 16, kernel: 3, repeat: 3, activation: relu}
- pool: {kind: average, over: all}
- dense: {name: head, out: 12}
- softmax"""

INVERTED = """\
- conv: {name: stem, out: 8, kernel: 3, stride: 2, activation: relu6}
- inverted_residual: {name: row, out: 8, expand: 3, repeat: 2}
- inverted_residual: {name: last, out: 17, expand: 2, stride: 2, squeeze_excite: 0.25, activation: hard_swish}
- pool: {kind: average, over: all}
- dense: {name: head, out: 5}"""


def samples(network: Network, count: int = 8, seed: int = 1) -> tuple[Sample, ...]:
    """Inputs of a network, from a standard normal distribution."""
    rng = np.random.default_rng(seed)
    return tuple(
        {name: rng.standard_normal(network.shape(name)).astype(np.float32) for name in network.inputs}
        for _ in range(count)
    )


def quantized(layers: str, shape: str = "[1, 9, 7, 3]", settings: Settings = PLAIN, rest: str = "") -> Quantized:
    """The network of these lines of a net.yaml, quantized on 8 samples."""
    network = network_of(layers, shape, rest)
    return quantize_network(network, samples(network), settings)
