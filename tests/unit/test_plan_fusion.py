"""Which additions a convolution does while it stores its result, and which tensors are born in a concatenation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dscompile.ir.network import NetworkBuilder
from dscompile.ir.ops import NONE, RELU, Activate, Binary, Concat, Constant, Conv2D, Pads, Pool
from dscompile.ir.tensor import Tensor
from dscompile.plan.fusion import Part, concatenated_parts, fuse_residuals, fuse_scales
from dscompile.plan.kernels import ConvKernel, DepthwiseKernel, ElementwiseKernel
from dscompile.target import Caches
from tests.native import TARGETS, assert_equals_oracle, planned, target_here
from tests.threads import assert_shared_equals_alone

SIZE = (1, 6, 5, 16)


class Graph:
    """A network written down in one line per layer, all convolutions 1x1 on 16 channels unless said otherwise."""

    def __init__(self, shape=SIZE):
        self.builder = NetworkBuilder("graph")
        self.builder.input(Tensor("x", shape))
        self.rng = np.random.default_rng(1)

    def conv(self, name, source, filters=16, kernel=(1, 1), groups=1):
        channels = self.builder.tensors[source].shape[3]
        weights = self.rng.normal(size=(*kernel, channels // groups, filters)).astype(np.float32) / 4
        pads = Pads(*(n for k in kernel for n in (k // 2, k // 2)))
        self.builder.add(name, Conv2D(filters, kernel, pads=pads, groups=groups), [source], kernel=weights)
        return self

    def add(self, name, *sources, activation=None):
        self.builder.add(name, Binary("add", activation) if activation else Binary("add"), sources)
        return self

    def layer(self, name, op, *sources, **weights):
        self.builder.add(name, op, sources, **weights)
        return self

    def network(self, *outputs):
        return self.builder.build(outputs)


def fused(network):
    """Convolution -> (addition, other operand)."""
    return {name: (residual.layer.name, residual.other) for name, residual in fuse_residuals(network).items()}


def test_a_residual_is_added_by_the_later_of_its_producers():
    network = Graph().conv("a", "x").conv("b", "a").add("sum", "a", "b").network("sum")
    assert fused(network) == {"b": ("sum", "a")}


def test_the_order_of_operands_does_not_matter():
    network = Graph().conv("a", "x").conv("b", "a").add("sum", "b", "a").network("sum")
    assert fused(network) == {"b": ("sum", "a")}


def test_additions_in_a_chain_are_all_fused():
    graph = Graph().conv("a", "x").conv("b", "a").add("s1", "a", "b").conv("c", "s1").add("s2", "c", "s1")
    assert fused(graph.network("s2")) == {"b": ("s1", "a"), "c": ("s2", "s1")}


def test_a_depthwise_convolution_can_add_a_residual_too():
    network = Graph().conv("d", "x", kernel=(3, 3), groups=16).add("sum", "x", "d").network("sum")
    assert fused(network) == {"d": ("sum", "x")}


def test_a_sum_of_two_convolutions_goes_into_the_second_only():
    network = Graph().conv("a", "x").conv("b", "x").add("sum", "a", "b").network("sum")
    assert fused(network) == {"b": ("sum", "a")}


@pytest.mark.parametrize(
    ("graph", "outputs"),
    [
        (Graph().conv("a", "x").add("sum", "a", "x").conv("b", "a"), ("sum", "b")),
        (Graph().conv("a", "x").add("sum", "a", "x"), ("sum", "a")),
        (Graph().conv("a", "x").add("sum", "a", "a"), ("sum",)),
        (Graph().conv("a", "x").layer("r", Activate(RELU), "a").add("sum", "r", "x"), ("sum",)),
        (Graph().conv("a", "x", 1).add("sum", "a", "x"), ("sum",)),
        (
            Graph().conv("a", "x").layer("k", Constant(SIZE), value=np.ones(SIZE, np.float32)).add("sum", "a", "k"),
            ("sum",),
        ),
        (Graph((1, 1, 1, 16)).conv("a", "x").add("sum", "a", "x"), ("sum",)),
        (Graph().conv("a", "x").conv("b", "a").add("s1", "b", "x").add("s2", "s1", "a"), ("s2", "s1")),
        (Graph().conv("a", "x").layer("product", Binary("mul"), "a", "x"), ("product",)),
    ],
    ids=[
        "read by others too",
        "an output itself",
        "added to itself",
        "an activation between",
        "broadcast",
        "a constant",
        "one pixel",
        "a sum of a sum",
        "a product",
    ],
)
def test_everything_else_is_added_by_a_kernel_of_its_own_and_still_right(graph, outputs):
    network = graph.network(*outputs)
    assert {addition for addition, _ in fused(network).values()} <= {"s1"}
    assert_equals_oracle(network, target_here("x86-avx2"))


def test_the_fused_sum_has_both_activations():
    network = Graph().conv("a", "x").conv("b", "a").add("sum", "a", "b", activation=RELU).network("sum")
    target = target_here("x86-avx512")
    program = planned(network, target)
    kernels = [function.kernel for function in program.functions]
    assert not [kernel for kernel in kernels if isinstance(kernel, ElementwiseKernel)]
    convolutions = [kernel for kernel in kernels if isinstance(kernel, ConvKernel | DepthwiseKernel)]
    assert [kernel.epilogue.residual_activation for kernel in convolutions if kernel.epilogue.residual] == [RELU]
    assert_equals_oracle(network, target)


# Factors of channels


def squeezed(activation=NONE, filters=8, shape=SIZE):
    """A squeeze-excite module on x and the convolution `y` behind it."""
    graph = Graph(shape).conv("image", "x").layer("mean", Pool("average"), "image").conv("gate", "mean")
    product = Binary("mul", activation)
    return graph.layer("product", product, "image", "gate").conv("y", "product", filters)


def scaled(network):
    """Convolution -> (multiplication, image, factors)."""
    return {name: (scale.layer.name, scale.image, scale.factors) for name, scale in fuse_scales(network).items()}


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("filters", [3, 7])
def test_factors_of_channels_are_multiplied_into_few_weights(filters, name):
    network = squeezed(filters=filters).network("y")
    assert scaled(network) == {"y": ("product", "image", "gate")}
    target = target_here(name)
    assert [step.layers for step in planned(network, target).steps if "y" in step.layers] == [("product", "y")]
    assert_equals_oracle(network, target)


def test_a_scaled_convolution_adds_its_residual_and_goes_in_bands():
    graph = squeezed(filters=16, shape=(1, 12, 9, 16)).layer("sum", Binary("add"), "y", "x").conv("z", "sum", 4)
    network = graph.conv("d", "sum", kernel=(3, 3), groups=16).network("z", "d")
    small = replace(target_here("x86-avx2"), caches=Caches(32 << 10, 12 << 10, 1 << 20))
    assert any(len(step.layers) > 3 for step in planned(network, small).steps)
    assert_equals_oracle(network, small)
    assert_shared_equals_alone(network, small)


@pytest.mark.parametrize(
    "network",
    [
        squeezed().network("y", "product"),
        squeezed().conv("z", "product").network("y", "z"),
        squeezed(RELU).network("y"),
        squeezed(filters=64).network("y"),
        Graph().conv("image", "x").layer("product", Binary("mul"), "image", "x").conv("y", "product", 3).network("y"),
        squeezed().layer("again", Activate(RELU), "product").network("y", "again"),
    ],
    ids=["an output", "two readers", "an activation", "many weights", "two images", "another reader"],
)
def test_other_products_are_computed_as_they_are(network):
    assert scaled(network) == {}
    assert_equals_oracle(network, target_here("x86-avx2"))


# Concatenations


def test_parts_that_begin_at_a_whole_block_are_written_in_place():
    graph = Graph().conv("a", "x", 32).conv("b", "x", 8).conv("c", "x", 16)
    network = graph.layer("join", Concat(3), "a", "b", "c").network("join")
    assert concatenated_parts(network, lambda _: 16) == {"a": Part("join", 0), "b": Part("join", 32)}
    parts = concatenated_parts(network, lambda _: 8)
    assert parts == {"a": Part("join", 0), "b": Part("join", 32), "c": Part("join", 40)}


def test_an_aligned_concatenation_costs_no_step():
    graph = Graph().conv("a", "x", 32).layer("p", Pool("max", (3, 3), pads=Pads(1, 1, 1, 1)), "a")
    network = graph.layer("join", Concat(3), "a", "p").conv("y", "join", 16, (3, 3)).network("y")
    target = target_here("x86-avx512")
    assert [step.name for step in planned(network, target).steps if step.kind == "concat"] == []
    assert_equals_oracle(network, target)


def test_concatenations_nest():
    graph = Graph().conv("a", "x").conv("b", "x").layer("inner", Concat(3), "a", "b").conv("c", "inner")
    network = graph.layer("outer", Concat(3), "inner", "c").conv("y", "outer", 5, (5, 5)).network("y", "inner")
    parts = concatenated_parts(network, lambda _: 16)
    assert parts == {
        "a": Part("inner", 0), "b": Part("inner", 16), "inner": Part("outer", 0), "c": Part("outer", 32),
    }  # fmt: skip
    assert_equals_oracle(network, target_here("x86-avx512"))


@pytest.mark.parametrize("filters", [(17, 3), (3, 17, 100), (16, 1, 15, 16), (1, 1, 1)], ids=str)
def test_parts_that_do_not_line_up_are_copied(filters):
    graph = Graph()
    for number, count in enumerate(filters):
        graph.conv(f"part{number}", "x", count, (3, 3))
    names = [f"part{number}" for number in range(len(filters))]
    graph.layer("join", Concat(3), *names).conv("d", "join", sum(filters), (5, 5), groups=sum(filters))
    assert_equals_oracle(graph.network("d", names[0]), target_here("x86-avx512"))


@pytest.mark.parametrize("case", ["twice in one", "in two", "the input", "an activation"])
def test_what_cannot_be_born_in_place_is_copied(case):
    graph = Graph().conv("a", "x").layer("r", Activate(RELU), "a")
    if case == "in two":
        graph.layer("j1", Concat(3), "a", "x").layer("j2", Concat(3), "x", "a")
        network, expected = graph.network("j1", "j2", "r"), {"a": Part("j1", 0)}
    else:
        sources = {"twice in one": ("a", "a"), "the input": ("x", "x"), "an activation": ("r", "r")}[case]
        network, expected = graph.layer("join", Concat(3), *sources).network("join", "r"), {}
    assert concatenated_parts(network, lambda _: 16) == expected
    assert_equals_oracle(network, target_here("x86-avx512"))


@pytest.mark.parametrize("halo", [False, True], ids=["in one run", "row by row"])
def test_a_far_image_is_computed_in_pieces(halo):
    graph = Graph((1, 41, 30, 16)).conv("y", "x", 72).conv("d", "y", 72, kernel=(3, 3) if halo else (1, 1), groups=72)
    network = graph.network("d")
    small = replace(target_here("x86-avx2"), caches=Caches(8 << 10, 19 << 10, 1 << 20))
    program = planned(network, small)
    called = [call.symbol for step in program.steps if "y" in step.layers for call in step.calls]
    pointwise = [symbol for symbol in called if symbol.endswith("_pointwise")]
    assert len(pointwise) > 2 * len(set(pointwise))
    assert_equals_oracle(network, small)
