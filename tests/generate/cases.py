"""Which network a seed stands for.

The networks are those of tests/networks.py, tests/quantized_networks.py, tests/int8_networks.py and tests/towers.py. A
new operator gets a step in tests/networks.py, or a form in the Quantizer; a test finds out if an operator is never
made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import get_args

from dscompile.ir.network import Network
from dscompile.ir.tensor import Rounding
from tests.int8_networks import random_int8_network as random_constant_channels
from tests.networks import random_network
from tests.quantized_networks import quantized_tower, random_int8_network
from tests.towers import random_tower

ROUNDINGS: tuple[Rounding, ...] = get_args(Rounding)
CORES = ("c99", "cortex-m4", "cortex-m0plus", "rv32imc", "cortex-m3")
MAX_LAYERS = 10

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
    return Case(seed, maker, make(seed, ROUNDINGS[turn % len(ROUNDINGS)]), CORES[turn % len(CORES)])
