"""Concatenations whose parts are written where they belong, as standalone C, against the oracle."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import numpy as np
import pytest

from dscompile.ir.network import Network, NetworkBuilder
from dscompile.ir.ops import RELU, SIGMOID, Activate, Binary, Concat, Conv2D, Dense, Pads, Pool, Reshape
from dscompile.ir.tensor import Rounding, Tensor
from dscompile.plan.mcu import ways
from dscompile.plan.mcu.slices import Slice, concatenated_slices
from dscompile.plan.mcu.small_kernels import CopyKernel
from dscompile.target import Target
from tests.mcu import assert_equals_oracle, here, planned
from tests.unit.test_mcu_residual import CORES, int8

ROUNDINGS: tuple[Rounding, ...] = get_args(Rounding)
AROUND = Pads(1, 1, 1, 1)


class Tower(NetworkBuilder):
    """Branches over one image [height, width, channels]."""

    def __init__(self, height: int = 5, width: int = 6, channels: int = 8) -> None:
        super().__init__("tower")
        self.rng = np.random.default_rng(11)
        given = self.input(Tensor("x", (1, height, width, channels)))
        self.x = self.add("first", Pool("max", (1, 1), (1, 1)), [given])
        self.channels = channels

    def conv(self, name: str, out: int, size: int, source: str) -> str:
        depth = self.tensors[source].shape[-1]
        kernel = self.rng.normal(0, 0.4, (size, size, depth, out)).astype(np.float32)
        pads = Pads(*[size // 2] * 4)
        bias = self.rng.normal(0, 0.3, out).astype(np.float32)
        return self.add(name, Conv2D(out, (size, size), pads=pads, activation=RELU), [source], kernel=kernel, bias=bias)

    def depthwise(self, name: str, source: str) -> str:
        channels = self.tensors[source].shape[-1]
        kernel = self.rng.normal(0, 0.4, (3, 3, 1, channels)).astype(np.float32)
        return self.add(name, Conv2D(channels, (3, 3), pads=AROUND, groups=channels), [source], kernel=kernel)

    def concat(self, axis: int, *parts: str) -> str:
        return self.add(f"concat{len(self.layers)}", Concat(axis), list(parts))


def inception() -> Network:
    """Convolutions of every kind of kernel and a pool, of odd channels."""
    t = Tower()
    wide = t.conv("c3", 17, 3, t.conv("c1", 5, 1, t.x))
    pooled = t.add("pool", Pool("average", (3, 3), (1, 1), AROUND), [t.x])
    separable = t.conv("pw", 6, 1, t.depthwise("dw", t.x))
    return t.build([t.conv("last", 4, 1, t.concat(3, wide, pooled, separable, t.depthwise("alone", t.x)))])


def of_elements() -> Network:
    """A sum with a pass of its own, a product, an activation, and a sum within a convolution."""
    t = Tower(4, 3, 7)
    pooled = t.add("pool", Pool("max", (3, 3), (1, 1), AROUND), [t.x])
    added = t.add("sum", Binary("add"), [pooled, t.x])
    times = t.add("product", Binary("mul", RELU), [pooled, t.x])
    lit = t.add("sigmoid", Activate(SIGMOID), [pooled])
    fused = t.add("sum2", Binary("add"), [t.conv("c", 7, 3, t.x), pooled])
    return t.build([t.concat(3, added, times, lit, fused)])


def nested() -> Network:
    t = Tower(3, 5, 4)
    inner = t.concat(3, t.conv("a", 3, 1, t.x), t.conv("b", 9, 3, t.x))
    return t.build([t.conv("last", 5, 3, t.concat(3, t.conv("c", 2, 1, t.x), inner))])


def of_rows() -> Network:
    t = Tower(3, 5, 4)
    return t.build([t.conv("last", 3, 3, t.concat(1, t.conv("a", 6, 1, t.x), t.conv("b", 6, 3, t.x)))])


def of_heads() -> Network:
    """As detectors have them: convolutions reshaped to lists, joined."""
    t = Tower(4, 4, 6)
    heads = [
        t.add(f"list{i}", Reshape((1, 16 * n, 2)), [t.conv(f"head{i}", 2 * n, 3, t.x)]) for i, n in enumerate((2, 3))
    ]
    return t.build([t.concat(1, *heads)])


def of_vectors() -> Network:
    t = Tower(1, 1, 9)
    flat = t.add("flat", Reshape((1, 9)), [t.x])
    parts = [
        t.add(f"d{n}", Dense(n), [flat], kernel=t.rng.normal(size=(9, n)).astype(np.float32), bias=None) for n in (3, 4)
    ]
    return t.build([t.concat(1, *parts)])


def copies(network: Network, target: Target | None = None) -> int:
    program = planned(network, target)
    kernels = {function.symbol: function.kernel for function in program.functions}
    return sum(isinstance(kernels[call.symbol], CopyKernel) for step in program.steps for call in step.calls)


NETWORKS: dict[str, Callable[[], Network]] = {
    "inception": inception,
    "of_elements": of_elements,
    "nested": nested,
    "of_rows": of_rows,
    "of_heads": of_heads,
    "of_vectors": of_vectors,
}


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> None:
    """Concatenations without copies even where these would save memory."""
    monkeypatch.setattr(ways, "_ways", lambda slices: (slices,))


@pytest.mark.usefixtures("joined")
@pytest.mark.parametrize("name", NETWORKS)
def test_float_parts_are_written_where_they_belong(name):
    network = NETWORKS[name]()
    assert copies(network) == 0
    assert_equals_oracle(network, (0,))


@pytest.mark.usefixtures("joined")
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("seed", range(2))
def test_int8_parts_are_written_where_they_belong(name, seed):
    """Parts of another scale pass through a table, which writes them there."""
    network = int8(NETWORKS[name](), ROUNDINGS[(len(name) + seed) % 4])
    assert copies(network) == 0
    assert_equals_oracle(network, (0,))


@pytest.mark.usefixtures("joined")
@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("name", NETWORKS)
def test_int8_parts_of_the_kernels_of_a_core_are_written_where_they_belong(name, core):
    network = int8(NETWORKS[name](), "tflite")
    assert copies(network, here(core)) == 0
    assert_equals_oracle(network, (0,), here(core))


@pytest.mark.usefixtures("joined")
def test_what_others_read_too_is_copied():
    t = Tower()
    a, b = t.conv("a", 3, 1, t.x), t.conv("b", 5, 3, t.x)
    network = t.build([t.concat(3, a, b), t.conv("c", 2, 1, a)])
    assert copies(network) == 1
    assert_equals_oracle(network, (0,))


def test_a_part_twice_and_an_input_of_the_network_are_copied():
    builder = NetworkBuilder("twice")
    x = builder.input(Tensor("x", (1, 3, 4, 5)))
    part = builder.add("pool", Pool("max", (3, 3), (1, 1), AROUND), [x])
    network = builder.build([builder.add("concat", Concat(3), [part, x, part])])
    assert concatenated_slices(network) == {}
    assert copies(network) == 3
    assert_equals_oracle(network, (0,))


def test_columns_of_an_image_are_copied():
    t = Tower()
    network = t.build([t.concat(2, t.conv("a", 3, 1, t.x), t.conv("b", 3, 3, t.x))])
    assert copies(network) == 2
    assert_equals_oracle(network, (0,))


def test_a_concatenation_within_another_has_the_steps_of_the_outer_one():
    slices = concatenated_slices(nested())
    assert {name: (part.start, part.step) for name, part in slices.items()} == {
        "a": (2, 14),
        "b": (5, 14),
        "c": (0, 14),
        "concat3": (2, 14),
    }


def test_parts_of_a_list_follow_one_another():
    slices = concatenated_slices(of_heads())
    assert slices["head0"] == slices["list0"] == Slice("concat5", 0)
    assert slices["head1"] == slices["list1"] == Slice("concat5", 64)


def test_a_whole_does_not_live_while_a_branch_needs_much_memory():
    """Rows of the branch flow through rings; copies of parts, or the whole beside the branch, would take more."""
    t = Tower(8, 8, 4)
    small = t.conv("small", 1, 1, t.x)
    wide = t.conv("wide", 96, 1, t.x)
    network = t.build([t.concat(3, small, t.conv("thin", 31, 1, wide))])
    pixels = 8 * 8 * 4
    assert planned(network, arena_bytes=1 << 20).arena_bytes >= pixels * (96 + 32)
    assert planned(network).arena_bytes < pixels * (32 + 32)
    assert_equals_oracle(network, (0,))
