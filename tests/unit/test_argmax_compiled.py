"""Indices of the largest elements as compiled code: CPUs and C, float32 and int8, beside the oracle."""

from __future__ import annotations

import numpy as np
import pytest

from dscompile.ir.network import Array, Network, NetworkBuilder
from dscompile.ir.ops import ArgMax, Op, Pool, Reshape, Slice, Transpose
from dscompile.ir.tensor import Quantization, Tensor
from dscompile.run.opening import RunnableModel
from tests import mcu
from tests.native import TARGETS_FIRST_FAST, differences, input_sets, opened, target_here

Q = Quantization((0.05,), -3)
CHANNELS = (1, 3, 16, 17, 100)
OPS = (ArgMax(), ArgMax(keep_axis=True), ArgMax(last=True))


def everything(*, int8: bool) -> Network:
    """Images of odd numbers of channels, as kernels leave them and as users give them, and vectors of classes."""
    net = NetworkBuilder("indices", "tflite" if int8 else None)

    def given(name: str, shape: tuple[int, ...]) -> str:
        return net.input(Tensor(name, shape, "int8", Q) if int8 else Tensor(name, shape))

    made = []
    for channels in CHANNELS:
        x = given(f"x{channels}", (1, 4, 5, channels))
        pool = net.add(f"pool{channels}", Pool("max", (2, 2), (1, 1)), [x])
        vector = given(f"v{channels}", (1, channels))
        for number, op in enumerate(OPS):
            for source in (x, pool, vector):
                made.append(net.add(f"{source}_{number}", op, [source]))
    # Views of whole blocks of lanes, behind whose last channel other channels lie.
    for number, (begin, size) in enumerate(((0, 5), (16, 21), (64, 3))):
        cut = net.add(f"cut{number}", Slice((0, 0, 0, begin), (1, 3, 4, size)), ["pool100"])
        made.append(net.add(f"cut{number}_index", ArgMax(), [cut]))
        made.append(net.add(f"cut{number}_last", ArgMax(last=True), [cut]))
    turned: Op = Transpose((0, 2, 1))
    made.append(net.add("turned", turned, [net.add("map", ArgMax(), ["pool17"])]))
    made.append(net.add("flat", Reshape((1, 12)), [net.add("map2", ArgMax(last=True), ["pool17"])]))
    return net.build(made)


def tied(network: Network, highest: int) -> dict[str, Array]:
    """Inputs of few different values, all of them negative where `highest` is."""
    rng = np.random.default_rng(3)
    return {
        name: rng.integers(highest - 2, highest + 1, network.shape(name)).astype(network.tensor(name).dtype)
        for name in network.inputs
    }


def extremes(network: Network) -> dict[str, Array]:
    """The smallest value that there is, everywhere: what nothing may lose against."""
    smallest = {"int8": -128, "float32": -np.inf}
    return {
        name: np.full(network.shape(name), smallest[network.tensor(name).dtype], network.tensor(name).dtype)
        for name in network.inputs
    }


def all_inputs(network: Network) -> list[dict[str, Array]]:
    return [*input_sets(network, 1), tied(network, 1), tied(network, -5), extremes(network)]


def assert_exact(model: RunnableModel, network: Network) -> None:
    assert differences(model, network, all_inputs(network)) == []


@pytest.mark.parametrize("int8", [False, True], ids=["float32", "int8"])
@pytest.mark.parametrize("target", TARGETS_FIRST_FAST)
def test_compiled_indices_are_the_oracles(target, int8):
    network = everything(int8=int8)
    assert_exact(opened(network, target_here(target)), network)


@pytest.mark.parametrize("int8", [False, True], ids=["float32", "int8"])
def test_indices_as_c_are_the_oracles(int8, tmp_path):
    network = everything(int8=int8)
    model = mcu.HostModel(mcu.write(network, tmp_path / "artifact", measured=False))
    assert differences(model, network, all_inputs(network)) == []
