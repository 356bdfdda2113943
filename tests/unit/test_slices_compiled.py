"""Slices and channel shuffles in compiled networks, between kernels that read and write images, against the oracle."""

from __future__ import annotations

import numpy as np
import pytest

from dscompile.ir.network import Network, NetworkBuilder
from dscompile.ir.ops import RELU, Binary, Concat, Conv2D, Op, Pads, Pool, Reshape, Shuffle, Slice
from dscompile.ir.tensor import Quantization, Tensor
from dscompile.plan.mcu import ways
from dscompile.plan.storage import Halos
from dscompile.target import find_target
from tests import mcu
from tests.native import TARGETS_FIRST_FAST, assert_equals_oracle, planned, target_here

CHANNELS = (3, 17, 58, 100)
Q = Quantization((0.05,), -3)


class Net(NetworkBuilder):
    """An image x of some channels, float32 or int8, and a first layer that makes a blocked image of it."""

    def __init__(self, channels: int, *, int8: bool = False, size: tuple[int, int] = (5, 4)) -> None:
        super().__init__("slices", "tflite" if int8 else None)
        self.rng = np.random.default_rng(channels)
        self.int8 = int8
        given = Tensor("x", (1, *size, channels), "int8", Q) if int8 else Tensor("x", (1, *size, channels))
        self.image = self.add("image", Pool("max", (2, 2), (1, 1), Pads(0, 1, 0, 1)), [self.input(given)])

    def depth(self, source: str) -> int:
        return self.tensors[source].shape[-1]

    def channels(self, name: str, source: str, begin: int, end: int) -> str:
        """A slice of channels."""
        shape = self.tensors[source].shape
        return self.add(name, Slice((0, 0, 0, begin), (*shape[:-1], end - begin)), [source])

    def conv(self, name: str, source: str, out: int, size: int = 1, *, depthwise: bool = False) -> str:
        """A convolution of size x size, SAME."""
        depth = self.depth(source)
        groups = depth if depthwise else 1
        out = depth if depthwise else out
        op = Conv2D(out, (size, size), pads=Pads(*[size // 2] * 4), groups=groups, activation=RELU)
        shape = (size, size, depth // groups, out)
        if not self.int8:
            kernel = self.rng.normal(0, 0.3, shape).astype(np.float32)
            return self.add(name, op, [source], kernel=kernel, bias=self.rng.normal(size=out).astype(np.float32))
        kernel = self.rng.integers(-127, 128, shape).astype(np.int8)
        scales = np.full(out, 0.3 / 127, np.float32)
        return self.add(name, op, [source], quantization=Q, kernel=kernel, kernel_scale=scales)

    def unit(self, name: str, source: str) -> str:
        """A unit of ShuffleNetV2: half of the channels is left alone, then all are shuffled."""
        depth = self.depth(source)
        left, right = (
            self.channels(f"{name}.l", source, 0, depth // 2),
            self.channels(f"{name}.r", source, depth // 2, depth),
        )
        made = self.conv(f"{name}.a", right, depth - depth // 2)
        made = self.conv(f"{name}.c", self.conv(f"{name}.b", made, 0, 3, depthwise=True), depth - depth // 2)
        joined = self.add(f"{name}.j", Concat(3), [left, made])
        return self.add(f"{name}.s", Shuffle(2), [joined])


def readers(net: Net, part: str) -> list[str]:
    """Everything that may read an image: kernels with and without padding, sums, joins, vectors, and outputs."""
    wide = net.conv("conv", part, 7, 3)
    dw = net.conv("dw", part, 0, 3, depthwise=True)
    added = net.add("sum", Binary("add"), [dw, part], quantization=Q if net.int8 else None)
    joined = net.add("join", Concat(3), [part, dw, part])
    flat = net.add("flat", Reshape((1, net.tensors[part].elements)), [part])
    mean = net.add("mean", Pool("max"), [part])
    return [wide, added, joined, flat, mean, part]


def channel_cases(channels: int) -> list[tuple[int, int]]:
    half = channels // 2
    return sorted({(0, half), (half, channels), (1, channels - 1), (channels - 1, channels), (min(16, half), channels)})


def sliced(channels: int, int8: bool) -> Network:
    """One network with all ranges of channels, and everything that reads them."""
    net = Net(channels, int8=int8)
    outputs = []
    for begin, end in channel_cases(channels):
        part = net.channels(f"c{begin}_{end}", net.image, begin, end)
        outputs += [net.conv(f"{part}.conv", part, 5, 3), net.conv(f"{part}.dw", part, 0, 3, depthwise=True), part]
    return net.build(outputs)


@pytest.mark.sampled
@pytest.mark.slow
@pytest.mark.parametrize("int8", [False, True], ids=["float32", "int8"])
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("target", TARGETS_FIRST_FAST)
def test_slices_of_channels(target, channels, int8):
    assert_equals_oracle(sliced(channels, int8), target_here(target))


def moved(op: Op, channels: int, *, int8: bool) -> Network:
    net = Net(channels, int8=int8)
    return net.build(readers(net, net.add("part", op, [net.image])))


BOXES = [Slice((0, 1, 0, 0), (1, 3, 4, 58)), Slice((0, 0, 2, 16), (1, 5, 2, 20)), Slice((0, 4, 1, 7), (1, 1, 2, 50))]


@pytest.mark.sampled
@pytest.mark.slow
@pytest.mark.parametrize("int8", [False, True], ids=["float32", "int8"])
@pytest.mark.parametrize("op", [*BOXES, Shuffle(2), Shuffle(29)], ids=str)
@pytest.mark.parametrize("target", ["x86-avx2", "x86-avx512", pytest.param("arm64-neon", marks=pytest.mark.slow)])
def test_boxes_and_shuffles(target, op, int8):
    assert_equals_oracle(moved(op, 58, int8=int8), target_here(target))


@pytest.mark.slow
@pytest.mark.parametrize("int8", [False, True], ids=["float32", "int8"])
@pytest.mark.parametrize("op", [*BOXES, Slice((0, 0, 0, 29), (1, 5, 4, 29)), Shuffle(2), Shuffle(29)], ids=str)
def test_boxes_and_shuffles_as_c(op, int8):
    mcu.assert_equals_oracle(moved(op, 58, int8=int8))


@pytest.mark.slow
@pytest.mark.parametrize("int8", [False, True], ids=["float32", "int8"])
@pytest.mark.parametrize("channels", CHANNELS)
def test_slices_of_channels_as_c(channels, int8):
    mcu.assert_equals_oracle(sliced(channels, int8))


def units(channels: int, *, int8: bool = False) -> Network:
    """Two units in a row and what comes after them."""
    net = Net(channels, int8=int8)
    return net.build([net.conv("last", net.unit("v", net.unit("u", net.image)), 9)])


@pytest.mark.slow
@pytest.mark.parametrize("int8", [False, True], ids=["float32", "int8"])
@pytest.mark.parametrize("channels", [6, 32, 64, 116])
def test_units_of_shufflenet(channels, int8):
    network = units(channels, int8=int8)
    assert_equals_oracle(network, target_here("x86-avx2"))
    mcu.assert_equals_oracle(network)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 58), (1, 5, 58), (1, 2, 3, 2, 58)])
@pytest.mark.parametrize("op", ["slice", "shuffle"])
def test_other_ranks(shape, op):
    net = NetworkBuilder("ranks")
    x = net.input(Tensor("x", shape))
    begins = tuple(0 if size == 1 else 1 for size in shape)
    box: Op = Slice(begins, tuple(size - begin for size, begin in zip(shape, begins, strict=True)))
    part = net.add("part", box if op == "slice" else Shuffle(2), [x])
    doubled = net.add("doubled", Binary("add"), [part, part])
    network = net.build([doubled, net.add("flat", Reshape((1, net.tensors[part].elements)), [part]), part])
    assert_equals_oracle(network, target_here("x86-avx2"))
    mcu.assert_equals_oracle(network)


def test_inputs_in_other_layouts_are_sliced_where_they_are():
    net = NetworkBuilder("borders")
    x = net.input(Tensor("x", (1, 4, 5, 6), border="nchw"))
    part = net.add("part", Slice((0, 1, 0, 2), (1, 2, 5, 3)), [x])
    network = net.build([net.add("twice", Binary("add"), [part, part]), part])
    assert_equals_oracle(network, target_here("x86-avx2"))
    mcu.assert_equals_oracle(network)


# Plans


def calls_of(network: Network, layer: str) -> int:
    steps = planned(network, find_target("x86-avx2")).steps
    return sum(len(step.calls) for step in steps if layer in step.layers)


@pytest.mark.parametrize(("begin", "end", "calls"), [(0, 58, 0), (64, 100, 0), (16, 17, 0), (1, 2, 2)])
def test_channels_from_a_whole_block_on_cost_nothing(begin, end, calls):
    net = Net(100)
    part = net.channels("part", net.image, begin, end)
    assert calls_of(net.build([net.conv("conv", part, 8, 1)]), "part") == calls


def test_a_slice_lies_in_an_image_with_the_padding_that_its_readers_want():
    net = Net(64)
    joined = net.add("join", Concat(3), [net.conv("a", net.image, 32), net.image])
    part = net.channels("part", joined, 0, 32)
    network = net.build([net.conv("wide", net.channels("inner", part, 0, 16), 8, 5)])
    halos = Halos.of(network)
    assert {halos.get(name) for name in ("inner", "part", "join", "a", "image")} == {Pads(2, 2, 2, 2)}
    assert_equals_oracle(network, target_here("x86-avx2"))


def test_the_first_half_of_a_vector_stays_where_it_is_in_c():
    net = NetworkBuilder("halves")
    x = net.add("sum", Binary("add"), [net.input(Tensor("x", (1, 10)))] * 2)
    halves = [net.add(name, Slice((0, begin), (1, 5)), [x]) for name, begin in (("low", 0), ("high", 5))]
    network = net.build([net.add("product", Binary("mul"), halves)])
    assert [step.name for step in mcu.planned(network).steps] == ["sum", "product"]
    mcu.assert_equals_oracle(network)


@pytest.mark.parametrize("int8", [False, True], ids=["float32", "int8"])
def test_a_slice_of_channels_is_copied_straight_into_a_concatenation_in_c(int8, monkeypatch):
    monkeypatch.setattr(ways, "_ways", lambda slices: (slices,))
    net = Net(8, int8=int8)
    left = net.add("left", Shuffle(2), [net.channels("low", net.image, 0, 4)])
    right = net.conv("right", net.channels("high", net.image, 4, 8), 4)
    parts = [left, right, net.channels("middle", net.image, 2, 7)]
    network = net.build([net.conv("last", net.add("join", Concat(3), parts), 3)])
    assert "join" not in [step.name for step in mcu.planned(network).steps]
    mcu.assert_equals_oracle(network)
    mcu.assert_equals_oracle(units(32, int8=int8))


@pytest.mark.parametrize("flags", ["-O1", "-O2"])
def test_copies_within_the_arena_survive_the_inlining_of_gcc_12(flags, tmp_path):
    net = NetworkBuilder("inlined")
    x = net.add("sum", Binary("add"), [net.input(Tensor("x", (1, 3, 58)))] * 2)
    network = net.build([net.add("square", Binary("mul"), [net.add("shuffled", Shuffle(2), [x])] * 2)])
    model = mcu.HostModel(mcu.write(network, tmp_path / "a", measured=False), flags=(flags,))
    assert mcu.differences(model, network, (0,)) == []
