"""First layers of int8 networks: columns of kernels become channels where that saves products."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dscompile.ir.network import Network
from dscompile.ir.ops import Conv2D, Pads
from dscompile.plan.int8_kernels import Int8ConvKernel
from dscompile.target import find_target
from tests.int8_networks import Int8Net
from tests.native import ARM, TARGETS, assert_equals_oracle, planned, target_here

SAME = Pads(top=1, bottom=2, left=1, right=3)
CASES = {
    "keyword spotting": ((49, 10, 1), Conv2D(17, (10, 4), (2, 2), pads=Pads(top=4, bottom=5, left=1, right=1))),
    "no padding": ((7, 9, 1), Conv2D(8, (3, 4))),
    "two channels": ((6, 9, 2), Conv2D(20, (2, 5), (1, 3), pads=SAME)),
    "three channels on words of eight": ((9, 11, 3), Conv2D(16, (3, 3), (2, 2), pads=SAME)),
    "columns that no output sees": ((5, 11, 1), Conv2D(8, (3, 3), (2, 4), pads=Pads(left=1))),
    "more columns than fit a block": ((4, 40, 1), Conv2D(8, (1, 21), (1, 2), pads=Pads(left=3))),
    "dilated rows": ((12, 8, 1), Conv2D(8, (3, 3), dilation=(2, 1), pads=SAME)),
    "one pixel": ((1, 1, 1), Conv2D(8, (2, 3), pads=SAME)),
}


def first_layer(shape: tuple[int, int, int], op: Conv2D, layout: str = "nhwc") -> Network:
    rng = np.random.default_rng(1)
    net = Int8Net((1, *shape))
    kernel = rng.integers(-127, 128, (*op.kernel, shape[2] // op.groups, op.out_channels))
    net.linear("y", op, "x", kernel, rng.integers(-3000, 3000, op.out_channels), scale=0.002)
    network = net.build(["y"])
    if layout == "nhwc":
        return network
    tensors = {**network.tensors, "x": replace(network.tensor("x"), border="nchw")}
    return replace(network, tensors=tensors).validate()


@pytest.mark.parametrize(
    "target", [TARGETS[0], *(pytest.param(name, marks=pytest.mark.slow) for name in (TARGETS[1], ARM, "arm64-dotprod"))]
)
@pytest.mark.parametrize("name", CASES)
def test_a_first_layer_equals_the_oracle(name, target):
    assert_equals_oracle(first_layer(*CASES[name]), target_here(target))


def test_an_image_with_its_channels_first_equals_the_oracle():
    assert_equals_oracle(first_layer((7, 9, 2), Conv2D(8, (3, 4)), "nchw"), target_here(TARGETS[0]))


def conv_of(network: Network, target: str) -> Int8ConvKernel:
    """One of the kernels of the only convolution."""
    kernels = (function.kernel for function in planned(network, find_target(target)).functions)
    return next(kernel for kernel in kernels if isinstance(kernel, Int8ConvKernel))


def test_a_word_holds_four_columns_of_one_channel():
    kernel = conv_of(first_layer(*CASES["keyword spotting"]), "arm64-dotprod")
    assert (kernel.kernel, kernel.stride, kernel.in_channels) == ((10, 1), (2, 1), 4)


@pytest.mark.parametrize(
    ("target", "kernel", "channels"),
    [
        ("arm64-neon", (3, 1), 9),
        ("x86-avx2", (3, 1), 9),
        ("arm64-dotprod", (3, 3), 3),
        ("x86-avx512vnni", (3, 3), 3),
    ],
)
def test_three_columns_of_three_channels_save_blocks_of_eight_and_pairs_but_no_words_of_four(target, kernel, channels):
    found = conv_of(first_layer(*CASES["three channels on words of eight"]), target)
    assert (found.kernel, found.in_channels) == (kernel, channels)


def test_dilated_columns_stay_taps():
    found = conv_of(first_layer((9, 9, 1), Conv2D(8, (3, 3), dilation=(1, 2))), "arm64-dotprod")
    assert (found.kernel, found.in_channels) == ((3, 3), 1)


def test_an_image_that_a_layer_made_keeps_its_blocks():
    net = Int8Net((1, 8, 8, 3))
    net.linear("a", Conv2D(2, (1, 1)), "x", np.ones((1, 1, 3, 2)))
    net.linear("y", Conv2D(8, (3, 3)), "a", np.ones((3, 3, 2, 8)))
    kernels = [f.kernel for f in planned(net.build(["y"]), find_target("arm64-neon")).functions]
    assert {k.kernel for k in kernels if isinstance(k, Int8ConvKernel)} == {(1, 1), (3, 3)}
