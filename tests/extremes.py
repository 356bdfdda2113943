"""Inputs at the ends of what their types hold: where sums are largest and conversions saturate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from dscompile.ir.network import Array, Network
from dscompile.ir.tensor import Tensor
from tests.comparing import expected_outputs, wrong_outputs
from tests.mcu import FLOAT_TOLERANCE

LARGE = 64.0  # of float inputs: well beyond normalized images and features, and no product of layers becomes infinite
DENORMAL = 1e-40


def extreme_inputs(network: Network) -> dict[str, dict[str, Array]]:
    """What they are -> inputs in border shapes: ends of the range, alternating, and the middle.

    Integers are the smallest and the largest of their type, and the zero point; floats are +-LARGE and 0, and once
    denormal.
    """
    tensors = [network.tensor(name) for name in network.user_inputs]
    return {
        "lowest": {t.name: _at(t, np.array(-1)) for t in tensors},
        "highest": {t.name: _at(t, np.array(1)) for t in tensors},
        "middle": {t.name: _at(t, np.array(0)) for t in tensors},
        "alternating by element": {
            t.name: _at(t, _signs(np.arange(t.elements).reshape(t.border_shape))) for t in tensors
        },
        "alternating by channel": {t.name: _at(t, _signs(_channels(t))) for t in tensors},
        **_denormal(tensors),
    }


class Runs(Protocol):
    """Code of a network, on this machine or in an emulator."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """One inference; of a network with state, the first of a stream."""


def wrong_at_extremes(model: Runs, network: Network, tolerance: float = FLOAT_TOLERANCE) -> list[str]:
    """Every output that is not the oracle's: integers to the bit, floats to `tolerance` of their maximum."""
    found = []
    for what, inputs in extreme_inputs(network).items():
        expected, others = expected_outputs(network, inputs)
        found += [f"{what}: {text}" for text in wrong_outputs(model.run(inputs), expected, others, tolerance)]
    return found


def beyond_numbers(network: Network) -> dict[str, dict[str, Array]]:
    """Float inputs that no network is made for: huge, infinite, NaN; empty where there is no float input."""
    tensors = [network.tensor(name) for name in network.user_inputs]
    if not any(t.dtype == "float32" for t in tensors):
        return {}
    values = {"huge": 1e30, "infinite": np.inf, "minus infinite": -np.inf, "NaN": np.nan}
    return {what: {t.name: _at(t, np.array(1), value) for t in tensors} for what, value in values.items()}


def _denormal(tensors: list[Tensor]) -> Mapping[str, dict[str, Array]]:
    if not any(t.dtype == "float32" for t in tensors):
        return {}
    return {"denormal": {t.name: _at(t, np.array(1), DENORMAL) for t in tensors}}


def _signs(numbers: Array) -> Array:
    """-1 for even numbers, 1 for odd ones."""
    return numbers % 2 * 2 - 1


def _channels(tensor: Tensor) -> Array:
    """The channel of every element, in the border shape."""
    axis = 1 if tensor.border == "nchw" else len(tensor.border_shape) - 1
    return np.broadcast_to(np.indices(tensor.border_shape)[axis], tensor.border_shape)


def _at(tensor: Tensor, level: Array, large: float = LARGE) -> Array:
    """The tensor at -1: its smallest, 0: its middle, 1: its largest values."""
    if tensor.dtype == "float32":
        values = level * large if level.any() else level
    else:
        limits = np.iinfo(np.dtype(tensor.dtype))
        middle = 0 if tensor.quantization is None else tensor.quantization.zero_point
        values = np.where(level < 0, limits.min, np.where(level > 0, limits.max, middle))
    return np.broadcast_to(values, tensor.border_shape).astype(np.dtype(tensor.dtype))
