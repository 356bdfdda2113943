"""Concatenations, slices and shuffles of channels that cost no copy, and where their channels are found."""

from __future__ import annotations

import numpy as np
import pytest

from dscompile.ir.network import Network, NetworkBuilder
from dscompile.ir.ops import RELU, Activate, Concat, Conv2D, Pads, Pool, Shuffle, Slice
from dscompile.ir.tensor import Tensor
from dscompile.passes import canonicalize
from dscompile.plan.routing import NO_ROUTING, Channel, Routing, route
from dscompile.plan.storage import Halos
from tests.native import TARGETS, assert_equals_oracle, planned, target_here
from tests.threads import assert_shared_equals_alone

PADS = Pads(1, 1, 1, 1)


class Graph:
    """A network of units as in ShuffleNetV2, written down layer by layer."""

    def __init__(self, shape=(1, 6, 5, 12)):
        self.builder = NetworkBuilder("shuffled")
        self.builder.input(Tensor("x", shape))
        self.rng = np.random.default_rng(2)

    def channels(self, name: str) -> int:
        return self.builder.tensors[name].shape[3]

    def conv(self, name, source, filters, kernel=(1, 1), groups=1, activation=RELU):
        shape = (*kernel, self.channels(source) // groups, filters)
        pads = PADS if kernel == (3, 3) else Pads()
        op = Conv2D(filters, kernel, pads=pads, groups=groups, activation=activation)
        return self.builder.add(name, op, [source], kernel=self.rng.normal(size=shape).astype(np.float32) / 3)

    def slice(self, name, source, begin, count):
        shape = self.builder.tensors[source].shape
        return self.builder.add(name, Slice((0, 0, 0, begin), (*shape[:3], count)), [source])

    def shuffled(self, name, *sources, groups=2):
        joined = self.builder.add(f"{name}.concat", Concat(3), sources)
        return self.builder.add(name, Shuffle(groups), [joined])

    def unit(self, name, source):
        """Half of the channels pass, the other half goes through three convolutions; then both are shuffled."""
        half = self.channels(source) // 2
        kept, x = self.slice(f"{name}.kept", source, 0, half), self.slice(f"{name}.given", source, half, half)
        x = self.conv(f"{name}.expand", x, half)
        x = self.conv(f"{name}.depthwise", x, half, (3, 3), groups=half)
        return self.shuffled(name, kept, self.conv(f"{name}.project", x, half))

    def build(self, *outputs) -> Network:
        return self.builder.build(outputs)


def routing_of(network: Network) -> Routing:
    canonical = canonicalize(network)
    return route(canonical, Halos.of(canonical))


def stage(channels: int, units: int = 3) -> Network:
    graph = Graph()
    x = graph.shuffled("first", graph.conv("a", "x", channels), graph.conv("b", "x", channels))
    for number in range(units):
        x = graph.unit(f"unit{number}", x)
    return graph.build(graph.conv("y", x, 7))


def test_channels_take_turns_and_are_found_where_they_were_made():
    graph = Graph()
    graph.shuffled("mixed", graph.conv("a", "x", 2), graph.conv("b", "x", 2))
    graph.slice("half", "mixed", 1, 2)
    routing = routing_of(graph.build(graph.conv("y", "half", 3)))
    assert routing.mixtures["mixed"] == (Channel("a", 0), Channel("b", 0), Channel("a", 1), Channel("b", 1))
    assert routing.mixtures["half"] == (Channel("b", 0), Channel("a", 1))
    assert routing.pools == {"a": ("a", "b"), "b": ("a", "b")}


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("channels", [6, 16, 26])
def test_a_stage_of_units_computes_the_same_without_any_copy(channels, name):
    target = target_here(name)
    network = stage(channels)
    kinds = {function.kernel.kind for function in planned(network, target).functions}
    assert not kinds & {"elementwise", "flat", "gather"}
    assert_equals_oracle(network, target)


def test_a_depthwise_convolution_brings_the_channels_together_once():
    graph = Graph()
    x = graph.unit("unit", graph.shuffled("first", graph.conv("a", "x", 9), graph.conv("b", "x", 9)))
    left = graph.conv("left", x, 18, (3, 3), groups=18)
    network = graph.build(left, graph.conv("right", x, 5, (3, 3)), graph.conv("third", x, 4))
    target = target_here("x86-avx2")
    calls = [call.symbol for step in planned(network, target).steps for call in step.calls]
    assert len([symbol for symbol in calls if symbol.endswith("_gather")]) == 1
    assert_equals_oracle(network, target)


def test_a_shuffle_that_the_user_wants_is_delivered():
    graph = Graph()
    x = graph.shuffled("mixed", graph.conv("a", "x", 6), graph.conv("b", "x", 6), groups=3)
    network = graph.build(x, graph.slice("part", x, 5, 4), graph.conv("y", x, 5))
    assert routing_of(network).mixtures
    assert_equals_oracle(network, target_here("x86-avx2"))


def test_other_layers_read_a_mixture_too():
    graph = Graph()
    x = graph.shuffled("mixed", graph.conv("a", "x", 6), graph.conv("b", "x", 6))
    read = graph.conv("read", x, 3)
    pooled = graph.builder.add("pooled", Pool("max", (2, 2), (2, 2)), [x])
    active = graph.builder.add("active", Activate(RELU), [x])
    network = graph.build(read, pooled, active)
    assert routing_of(network).mixtures
    assert_equals_oracle(network, target_here("x86-avx2"))


def concatenation_alone(graph):
    joined = graph.builder.add("joined", Concat(3), [graph.conv("a", "x", 6), graph.conv("b", "x", 6)])
    return graph.conv("y", joined, 5)


def of_the_input(graph):
    return graph.conv("y", graph.builder.add("mixed", Shuffle(2), ["x"]), 5)


def with_a_halo(graph):
    a = graph.conv("a", "x", 6)
    graph.conv("z", a, 3, (3, 3))
    return graph.conv("y", graph.shuffled("mixed", a, graph.conv("b", "x", 6)), 5)


def for_a_depthwise_convolution(graph):
    mixed = graph.builder.add("mixed", Shuffle(2), [graph.conv("a", "x", 6)])
    return graph.conv("y", mixed, 6, (3, 3), groups=6)


@pytest.mark.parametrize(
    "graph_of",
    [concatenation_alone, of_the_input, with_a_halo, for_a_depthwise_convolution],
    ids=lambda graph_of: graph_of.__name__,
)
def test_what_is_no_group_around_a_shuffle_of_plain_images_is_left_alone(graph_of):
    graph = Graph()
    output = graph_of(graph)
    others = ["z"] if "z" in graph.builder.tensors else []
    network = graph.build(output, *others)
    assert routing_of(network) == NO_ROUTING
    assert_equals_oracle(network, target_here("x86-avx2"))


def test_arm_reads_channels_as_vectors_and_copies_them_together():
    kinds = {function.kernel.kind for function in planned(stage(16), target_here("arm64-neon")).functions}
    assert "gather" not in kinds
    assert "flat" in kinds


def test_threads_share_a_stage():
    assert_shared_equals_alone(stage(16), target_here("x86-avx2"))
