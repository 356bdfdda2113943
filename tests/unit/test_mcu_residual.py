"""Sums that are computed in the convolution before them, as standalone C, against the oracle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import numpy as np
import pytest

from dscompile.ir.network import Network, NetworkBuilder
from dscompile.ir.ops import NONE, RELU, RELU6, Activation, Binary, Conv2D, Pads, Pair, Pool
from dscompile.ir.shapes import same_pads
from dscompile.ir.tensor import Rounding, Tensor
from dscompile.plan.mcu.products import ConvKernel, SeparableKernel
from dscompile.plan.mcu.small_kernels import BinaryKernel
from dscompile.target import Target, find_target
from tests.mcu import assert_equals_oracle, here, planned
from tests.quantized_networks import Quantizer

ROUNDINGS: tuple[Rounding, ...] = get_args(Rounding)
# Of their matrix products.
VARIANTS = {"cortex-m4": "dsp", "cortex-m55": "mve", "cortex-m0plus": "m0plus", "rv32imc": "block", "rv64gcv": "rvv"}
CORES = tuple(VARIANTS)


@dataclass(frozen=True)
class Block:
    """x -> pool -> [depthwise] -> convolution; its result plus the pool's (or x itself), in one order or the other."""

    height: int
    width: int
    channels: int
    kernel: Pair = (1, 1)
    depthwise: bool = False
    linear: bool = True
    swapped: bool = False
    own_input: bool = False
    activation: Activation = NONE

    def network(self) -> Network:
        rng = np.random.default_rng(7)
        c = self.channels
        builder = NetworkBuilder("residual")
        x = builder.input(Tensor("x", (1, self.height, self.width, c)))
        pads = same_pads(self.height, self.width, (3, 3), (1, 1), (1, 1))
        main = builder.add("pool", Pool("max", (3, 3), (1, 1), pads), [x])
        shortcut = main
        if not self.own_input:
            main = builder.add("next", Pool("average", (3, 3), (1, 1), pads), [main])
        if self.depthwise:
            kernel = rng.normal(0, 0.4, (3, 3, 1, c)).astype(np.float32)
            main = builder.add("dw", Conv2D(c, (3, 3), (1, 1), pads, groups=c, activation=RELU), [main], kernel=kernel)
        kernel = rng.normal(0, 0.3, (*self.kernel, c, c)).astype(np.float32)
        own = same_pads(self.height, self.width, self.kernel, (1, 1), (1, 1)) if self.kernel != (1, 1) else Pads()
        op = Conv2D(c, self.kernel, pads=own, activation=NONE if self.linear else RELU)
        main = builder.add("conv", op, [main], kernel=kernel, bias=rng.normal(0, 0.3, c).astype(np.float32))
        operands = [shortcut, main] if self.swapped else [main, shortcut]
        return builder.build([builder.add("sum", Binary("add", self.activation), operands)])


BLOCKS = {
    "pointwise_of_16": Block(5, 6, 16),
    "pointwise_of_17_swapped": Block(5, 7, 17, swapped=True),
    "pointwise_of_one_channel": Block(3, 3, 1),
    "pointwise_and_its_own_input": Block(6, 7, 12, own_input=True),
    "conv_3x3_and_its_own_input": Block(6, 7, 12, (3, 3), own_input=True),
    "conv_3x3_of_33": Block(5, 5, 33, (3, 3), activation=RELU),
    "conv_5x5_with_two_relus": Block(5, 4, 8, (5, 5), linear=False, activation=RELU6, swapped=True),
    "separable_of_24": Block(7, 5, 24, depthwise=True),
    "separable_of_19_swapped": Block(4, 5, 19, depthwise=True, swapped=True, activation=RELU),
    "separable_and_its_own_input": Block(7, 5, 10, depthwise=True, own_input=True),
    "one_pixel": Block(1, 1, 6, activation=RELU6),
    "two_pixels": Block(1, 2, 9, (3, 3), swapped=True),
}


def int8(network: Network, rounding: Rounding) -> Network:
    return Quantizer(network, np.random.default_rng(1), rounding, float_borders=False).run()


def assert_takes_it(core: str, network: Network) -> None:
    """The sum is in a kernel of the core's own; some know no requantization but a searched one, or that of floats."""
    kernels = [f.kernel for f in planned(network, here(core)).functions]
    (kernel,) = [kernel for kernel in kernels if isinstance(kernel, ConvKernel | SeparableKernel)]
    assert kernel.residual is not None
    in_floats = kernel.epilogue.method == "float32" and find_target(core).has("fpu")
    left_over = not kernel.epilogue.is_searched and not in_floats
    others = {"cortex-m4": "c99", "cortex-m55": "c99", "rv64gcv": "block"}
    assert kernel.variant == (others.get(core, VARIANTS[core]) if left_over else VARIANTS[core])


def has_own_pass(network: Network, target: Target | None = None) -> bool:
    return any(isinstance(f.kernel, BinaryKernel) for f in planned(network, target).functions)


@pytest.mark.parametrize("name", BLOCKS)
def test_float_sum_in_a_convolution(name):
    network = BLOCKS[name].network()
    assert not has_own_pass(network)
    assert_equals_oracle(network, (0,))


@pytest.mark.parametrize("name", BLOCKS)
def test_int8_sum_in_a_convolution(name):
    network = int8(BLOCKS[name].network(), ROUNDINGS[len(name) % 4])
    assert not has_own_pass(network)
    assert_equals_oracle(network, (0,))


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("name", BLOCKS)
def test_int8_sum_in_a_convolution_of_a_core(name, core):
    network = int8(BLOCKS[name].network(), ("tflite", "float32")[len(name) % 2])
    assert_takes_it(core, network)
    assert not has_own_pass(network, here(core))
    assert_equals_oracle(network, (0,), here(core))


def test_the_networks_own_arithmetic_keeps_a_pass_of_its_own():
    network = int8(BLOCKS["pointwise_of_16"].network(), "tflite")
    assert [step.name for step in planned(network, affine=False).steps][-2:] == ["conv", "sum"]
    assert_equals_oracle(network, (0,), affine=False)


def test_a_sum_of_a_tensor_that_comes_later_is_fused_where_that_is_made():
    """Both operands are convolutions: the one that is made last adds the other."""
    rng = np.random.default_rng(3)
    builder = NetworkBuilder("two")
    x = builder.input(Tensor("x", (1, 4, 4, 8)))
    kernels = [rng.normal(0, 0.3, (1, 1, 8, 8)).astype(np.float32) for _ in range(2)]
    a, b = (builder.add(name, Conv2D(8, (1, 1)), [x], kernel=k) for name, k in zip("ab", kernels, strict=True))
    network = builder.build([builder.add("sum", Binary("add"), [a, b])])
    assert [step.layers for step in planned(network).steps] == [("a",), ("b", "sum")]
    assert_equals_oracle(network, (0,))


def test_a_convolution_that_somebody_else_reads_too_is_not_fused():
    rng = np.random.default_rng(3)
    builder = NetworkBuilder("two")
    x = builder.input(Tensor("x", (1, 4, 4, 8)))
    kernel = rng.normal(0, 0.3, (1, 1, 8, 8)).astype(np.float32)
    conv = builder.add("conv", Conv2D(8, (1, 1)), [x], kernel=kernel)
    network = builder.build([conv, builder.add("sum", Binary("add"), [conv, x])])
    assert [step.name for step in planned(network).steps] == ["conv", "sum"]


def test_an_inverted_residual_adds_in_the_place_of_its_shortcut():
    """Peak: the shortcut, its expansion and the columns; the sum takes the shortcut's place."""
    rng = np.random.default_rng(5)
    builder = NetworkBuilder("inverted")
    first = builder.input(Tensor("x", (1, 8, 8, 16)))
    x = builder.add("pool", Pool("max", (1, 1), (1, 1)), [first])
    wide = builder.add("up", Conv2D(96, (1, 1)), [x], kernel=rng.normal(size=(1, 1, 16, 96)).astype(np.float32))
    dw = Conv2D(96, (3, 3), (1, 1), Pads(1, 1, 1, 1), groups=96)
    wide = builder.add("dw", dw, [wide], kernel=rng.normal(size=(3, 3, 1, 96)).astype(np.float32))
    kernel = rng.normal(size=(1, 1, 96, 16)).astype(np.float32)
    thin = builder.add("down", Conv2D(16, (1, 1)), [wide], kernel=kernel)
    network = builder.build([builder.add("sum", Binary("add"), [x, thin])])
    program = planned(network, arena_bytes=1 << 20)  # in whole layers
    pixels = 8 * 8 * 4
    assert program.arena_bytes == pixels * (16 + 96) + 2 * 96 * 4
    assert planned(network).arena_bytes < program.arena_bytes / 2  # its expansion row by row
