"""Which network a seed stands for.

The networks are those of tests/networks.py, tests/quantized_networks.py, tests/int8_networks.py and tests/towers.py. A
new operator gets a step in tests/networks.py, or a form in the Quantizer; a test finds out if an operator is never
made.
An argmax is added to networks that are made already: its result can be read by few operators.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np

from dscompile.ir.network import Layer, Network
from dscompile.ir.ops import ArgMax, Constant
from dscompile.ir.shapes import output_shape
from dscompile.ir.tensor import Rounding, Tensor
from tests.int8_networks import random_int8_network as random_constant_channels
from tests.networks import random_network
from tests.quantized_networks import quantized_tower, random_int8_network
from tests.towers import random_tower

ROUNDINGS: tuple[Rounding, ...] = get_args(Rounding)
CORES = ("c99", "cortex-m4", "cortex-m0plus", "rv32imc", "cortex-m3", "cortex-m55", "rv64gcv")
MAX_LAYERS = 10
WITH_INDICES = 5  # one network in so many has an argmax

# By turns, so that any stretch of seeds has some of each; half of them are int8.
MAKERS: Sequence[tuple[str, Callable[[int, Rounding], Network]]] = (
    ("float", lambda seed, _: random_network(seed, max_layers=MAX_LAYERS)),
    ("int8", lambda seed, rounding: random_int8_network(seed, rounding, max_layers=MAX_LAYERS)),
    ("float", lambda seed, _: random_network(seed, max_layers=MAX_LAYERS)),
    ("int8", lambda seed, rounding: random_int8_network(seed, rounding, max_layers=MAX_LAYERS)),
    ("float, few layers", lambda seed, _: random_network(seed, max_layers=3)),
    ("int8, constant channels", lambda seed, _: random_constant_channels(seed)),
    ("float, tower", lambda seed, _: random_tower(seed)),
    ("int8, tower", quantized_tower),
)


@dataclass(frozen=True)
class Case:
    """A network, and the core whose kernels its C is made of."""

    seed: int
    maker: str
    network: Network
    core: str


def make_case(seed: int) -> Case:
    """The case of a seed; the same one on every machine."""
    maker, make = MAKERS[seed % len(MAKERS)]
    turn = seed // len(MAKERS)
    network = make(seed, ROUNDINGS[turn % len(ROUNDINGS)])
    if seed % WITH_INDICES == 2:
        network = with_indices(network, np.random.default_rng((seed, 1)))
    return Case(seed, maker, network, CORES[turn % len(CORES)])


def with_indices(network: Network, rng: np.random.Generator) -> Network:
    """The network with the indices of one of its results as another output, if it has any."""
    sources = [
        layer.output
        for layer in network.layers
        if not isinstance(layer.op, Constant) and network.tensor(layer.output).dtype in ("float32", "int8")
    ]
    if not sources:
        return network
    source = sources[int(rng.integers(len(sources)))]
    op = ArgMax(keep_axis=bool(rng.integers(2)), last=bool(rng.integers(2)))
    name = f"argmax{len(network.layers)}"
    tensor = Tensor(name, output_shape(op, [network.shape(source)]), "int32")
    grown = replace(network, tensors={**network.tensors, name: tensor}, outputs=(*network.outputs, name))
    return grown.with_layers([*network.layers, Layer(name, op, (source,), name)]).validate()
