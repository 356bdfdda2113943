"""Images in tiles of pixels between depthwise and pointwise layers: which they are, how they lie, what they change."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dscompile.ir.network import Network, NetworkBuilder
from dscompile.ir.ops import RELU6, SWISH, Binary, Conv2D, Pads, Pool
from dscompile.ir.tensor import Tensor
from dscompile.plan import lowering
from dscompile.plan.kernels import ConvKernel, DepthwiseKernel
from dscompile.plan.layout import TileStrides
from dscompile.plan.row_tiles import RowTiles
from dscompile.plan.tiles import Span
from dscompile.target import Target, find_target
from tests.native import assert_equals_oracle, input_sets, opened, planned, target_here
from tests.threads import assert_shared_equals_alone

PADS = Pads(1, 1, 1, 1)
AVX2 = "x86-avx2"


class Graph:
    """Convolutions written down layer by layer."""

    def __init__(self, height=8, width=11, channels=32):
        self.builder = NetworkBuilder("tiled")
        self.builder.input(Tensor("x", (1, height, width, channels)))
        self.rng = np.random.default_rng(4)

    def depthwise(self, name, source, stride=1, size=3, activation=RELU6):
        channels = self.builder.tensors[source].shape[3]
        pads = Pads(*(size // 2,) * 4)
        op = Conv2D(channels, (size, size), (stride, stride), pads=pads, groups=channels, activation=activation)
        return self.builder.add(name, op, [source], kernel=self.weights(size, size, 1, channels))

    def pointwise(self, name, source, filters, **fields):
        channels = self.builder.tensors[source].shape[3] // fields.get("groups", 1)
        return self.builder.add(
            name, Conv2D(filters, (1, 1), **fields), [source], kernel=self.weights(1, 1, channels, filters)
        )

    def weights(self, *shape):
        return self.rng.normal(size=shape).astype(np.float32) / 3

    def build(self, *outputs) -> Network:
        return self.builder.build(outputs)


def separable(height=8, width=11, channels=32, filters=133, **fields) -> Network:
    graph = Graph(height, width, channels)
    return graph.build(graph.pointwise("y", graph.depthwise("d", "x", **fields), filters))


def chained() -> Network:
    """The pointwise layer's own result has a halo, for the next depthwise layer, whose sum with it follows."""
    graph = Graph(width=10)
    first = graph.pointwise("first", graph.depthwise("d1", "x"), 128)
    second = graph.pointwise("second", graph.depthwise("d2", first), 128)
    return graph.build(graph.builder.add("y", Binary("add"), [first, second]))


def tiled_kernels(network: Network, name: str = AVX2) -> list[str]:
    """Kinds of the kernels that write and read tiles."""
    kernels = [function.kernel for function in planned(network, find_target(name)).functions]
    views = [(kernel, kernel.y if isinstance(kernel, DepthwiseKernel) else kernel.x) for kernel in kernels
             if isinstance(kernel, ConvKernel | DepthwiseKernel)]  # fmt: skip
    return sorted({kernel.kind for kernel, view in views if isinstance(view, TileStrides)})


@pytest.mark.parametrize(
    ("width", "pixels", "columns"),
    [
        (19, 4, (Span(0, 4, 4), Span(16, 1, 3))),
        (37, 4, (Span(0, 7, 4), Span(28, 3, 3))),
        (9, 5, (Span(0, 1, 5), Span(5, 1, 4))),
        (14, 5, (Span(0, 2, 5), Span(10, 1, 4))),
        (10, 5, (Span(0, 2, 5),)),
    ],
)
def test_rows_are_cut_into_the_tiles_that_are_fastest_for_their_width(width, pixels, columns):
    layout = RowTiles.of(3, width, 2, 8)
    assert (layout.pixels, layout.columns) == (pixels, columns)


def test_every_pixel_of_every_channel_has_a_place_of_its_own():
    layout = RowTiles.of(3, 11, 2, 8)
    places = set()
    for row in range(layout.height):
        for span in layout.columns:
            strides = layout.strides(span.tile)
            first = layout.offset(row, span)
            places |= {
                first + tile * strides.tile + block * strides.block + pixel * strides.pixel
                for tile in range(span.count)
                for block in range(layout.blocks)
                for pixel in range(span.tile)
            }
    assert len(places) == 3 * 11 * 2
    assert max(places) + layout.lanes <= layout.elements


@pytest.mark.parametrize(
    "network",
    [
        separable(),
        separable(height=16, width=28, stride=2),
        separable(width=9, size=5, activation=SWISH),
        pytest.param(separable(height=12, width=149, channels=256, filters=128), marks=pytest.mark.slow),
        chained(),
    ],
    ids=["odd width", "strides", "wide kernel, interleaved activations", "far image", "with halo and residual"],
)
def test_a_network_computes_bit_for_bit_what_it_does_without_tiles(network, monkeypatch):
    target = target_here(AVX2)
    assert tiled_kernels(network) == ["depthwise", "pointwise"]
    (_, inputs) = input_sets(network, 5)
    tiled = opened(network, target).run(inputs)
    monkeypatch.setattr(lowering, "tiled_images", lambda *_: frozenset())
    assert tiled_kernels(network) == []
    plain = opened(network, target).run(inputs)
    for name, values in plain.items():
        np.testing.assert_array_equal(tiled[name], values)


def test_a_chain_equals_the_oracle():
    assert_equals_oracle(chained(), target_here(AVX2))


def test_threads_share_layers_that_write_and_read_tiles():
    assert_shared_equals_alone(chained(), target_here(AVX2))


def test_calls_that_write_different_tiles_share_a_phase():
    from dscompile.plan.touches import conflict, touches

    program = planned(separable(), find_target(AVX2))
    functions = {function.symbol: function for function in program.functions}
    calls = [call for step in program.steps for call in step.calls]
    written = [
        touches(program, call, functions[call.symbol])
        for call in calls
        if isinstance(functions[call.symbol].kernel, DepthwiseKernel)
    ]
    assert len(written) > 1
    assert not any(conflict(one, other) for one in written for other in written if one is not other)


def near(target: Target, l2_bytes: int = 16 << 10) -> Target:
    """The target with another second-level cache."""
    return replace(target, caches=replace(target.caches, l2_bytes=l2_bytes))


def far(filters=128) -> Network:
    """Between its layers an image of 74 KB, 2 560 B a row."""
    return separable(height=29, width=20, filters=filters)


def test_a_far_image_is_made_and_read_some_rows_at_a_time_bit_for_bit(monkeypatch):
    network, target = far(), near(target_here(AVX2))
    (step,) = planned(network, target).steps
    assert step.note == "in bands of 3 rows"
    assert tiled_kernels(network) == ["depthwise", "pointwise"]
    (image,) = [buffer for buffer in planned(network, target).buffers if buffer.name == "d"]
    assert image.size_bytes == 3 * 20 * 32 * 4
    assert_equals_oracle(network, target)
    (_, inputs) = input_sets(network, 5)
    in_bands = opened(network, target).run(inputs)
    monkeypatch.setattr(lowering, "tiled_in_bands", lambda network, target, segments, tiled: segments)
    assert [step.note for step in planned(network, target).steps] == ["", ""]
    np.testing.assert_array_equal(in_bands["y"], opened(network, target).run(inputs)["y"])


def test_threads_share_such_bands():
    assert_shared_equals_alone(far(), near(target_here(AVX2)))


@pytest.mark.parametrize(
    ("network", "l2_bytes"),
    [(far(), 19 << 10), (far(), 0), (far(filters=560), 16 << 10)],
    ids=["near enough", "unknown caches", "many weights"],
)
def test_other_images_in_tiles_are_made_whole(network, l2_bytes):
    program = planned(network, near(find_target(AVX2), l2_bytes))
    assert [step.name for step in program.steps] == ["d", "y"]


def read_twice(graph, made):
    return graph.builder.add("y", Binary("add"), [graph.pointwise("a", made, 128), graph.pointwise("b", made, 128)])


def read_by_a_pool(graph, made):
    return graph.builder.add("y", Pool("max", (2, 2), (2, 2)), [made])


def read_with_strides(graph, made):
    return graph.pointwise("y", made, 128, stride=(2, 2))


def read_by_groups(graph, made):
    return graph.pointwise("y", made, 128, groups=2)


def wanted_by_the_user(graph, made):
    graph.pointwise("y", made, 128)
    return made


@pytest.mark.parametrize(
    "reader",
    [read_twice, read_by_a_pool, read_with_strides, read_by_groups, wanted_by_the_user],
    ids=lambda reader: reader.__name__,
)
def test_an_image_with_other_readers_than_one_pointwise_layer_is_no_image_in_tiles(reader):
    graph = Graph()
    network = graph.build(reader(graph, graph.depthwise("d", "x")))
    assert tiled_kernels(network) == []


@pytest.mark.parametrize(
    "network",
    [separable(channels=24), separable(channels=36), separable(width=7), separable(height=7), separable(filters=120)],
    ids=["few channels", "a part of a block", "narrow", "low", "few filters"],
)
def test_where_nothing_is_won_images_do_not_lie_in_tiles(network):
    assert tiled_kernels(network) == []


@pytest.mark.parametrize("name", ["x86-avx512", "arm64-neon"])
def test_targets_that_it_was_not_measured_on_have_no_tiles(name):
    assert tiled_kernels(separable(), name) == []


def test_layers_in_bands_have_no_tiles():
    network = separable(height=160, width=64, channels=32, filters=128)
    program = planned(network, find_target(AVX2))
    assert [step.note for step in program.steps if "bands" in step.note]
    assert tiled_kernels(network) == []
