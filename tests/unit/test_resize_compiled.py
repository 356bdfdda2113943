"""Resizing in compiled networks, between kernels that read and write images, against the oracle."""

from __future__ import annotations

import numpy as np
import pytest

from dscompile.ir.network import Network, NetworkBuilder
from dscompile.ir.ops import Binary, Concat, Conv2D, Pads, Resize
from dscompile.ir.tensor import Quantization, Tensor
from dscompile.target import find_target
from tests import mcu
from tests.native import TARGETS_FIRST_FAST, assert_equals_oracle, planned, target_here

Q = Quantization((0.05,), -3)
OPS = [
    Resize((10, 8), "nearest", "asymmetric", "floor"),
    Resize((10, 8), "bilinear", "half_pixel"),
    Resize((3, 11), "nearest", "half_pixel"),
    Resize((3, 11), "bilinear", "half_pixel", arithmetic="tflite"),
    Resize((13, 2), "bilinear", "align_corners", arithmetic="tflite"),
    Resize((7, 6), "bilinear", "asymmetric", scale=(1.5, 1.75)),
    Resize((1, 1), "bilinear", "half_pixel"),
]


def resized(op: Resize, channels: int, *, int8: bool) -> Network:
    """An image, resized; a convolution that wants padding around it, a sum and a concatenation read the result."""
    net = NetworkBuilder("resize", "tflite" if int8 else None)
    rng = np.random.default_rng(channels)
    shape = (1, 5, 4, channels)
    given = net.input(Tensor("x", shape, "int8", Q) if int8 else Tensor("x", shape))
    kernel = rng.normal(0, 0.3, (3, 3, 1, channels)).astype(np.float32)
    conv = Conv2D(channels, (3, 3), pads=Pads(1, 1, 1, 1), groups=channels) if channels > 1 else None

    def depthwise(name: str, source: str) -> str:
        op = conv or Conv2D(1, (3, 3), pads=Pads(1, 1, 1, 1))
        if not int8:
            return net.add(name, op, [source], kernel=kernel)
        scales = np.full(channels, 0.3 / 60, np.float32)
        return net.add(
            name, op, [source], quantization=Q, kernel=np.rint(kernel * 60).astype(np.int8), kernel_scale=scales
        )

    grown = net.add("grown", op, [depthwise("before", given)])
    after = depthwise("after", grown)
    added = net.add("sum", Binary("add"), [after, grown], quantization=Q if int8 else None)
    direct = net.add("direct", op, [given])
    return net.build([added, net.add("join", Concat(3), [grown, after, direct]), grown])


@pytest.mark.parametrize("int8", [False, True], ids=["float32", "int8"])
@pytest.mark.parametrize("channels", [1, 3, 17, 100])
@pytest.mark.parametrize("target", TARGETS_FIRST_FAST)
def test_resized_images_equal_the_oracle(target, channels, int8):
    ops = OPS if channels == 17 else OPS[channels % 4 :: 3]
    for op in ops:
        assert_equals_oracle(resized(op, channels, int8=int8), target_here(target))


@pytest.mark.parametrize("int8", [False, True], ids=["float32", "int8"])
@pytest.mark.parametrize("channels", [1, 3, 17])
def test_resized_images_as_c_equal_the_oracle(channels, int8):
    for op in OPS:
        mcu.assert_equals_oracle(resized(op, channels, int8=int8))


def test_a_resized_image_is_one_call_and_lies_in_its_concatenation():
    net = NetworkBuilder("pyramid")
    x = net.input(Tensor("x", (1, 8, 8, 32)))
    kernel = np.ones((1, 1, 32, 32), np.float32)
    small = net.add("small", Conv2D(32, (2, 2), (2, 2)), [x], kernel=np.ones((2, 2, 32, 32), np.float32))
    back = net.add("back", Resize((8, 8), "bilinear"), [small])
    same = net.add("same", Conv2D(32, (1, 1)), [x], kernel=kernel)
    joined = net.add("join", Concat(3), [same, back])
    network = net.build([net.add("last", Conv2D(4, (1, 1)), [joined], kernel=np.ones((1, 1, 64, 4), np.float32))])
    steps = {step.name: step for step in planned(network, find_target("x86-avx2")).steps}
    assert len(steps["back"].calls) == 1
    assert "join" not in steps
    assert "join" not in [step.name for step in mcu.planned(network).steps]
    mcu.assert_equals_oracle(network)
