"""Single layers and separable pairs as standalone C, in float and int8, against the oracle."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
import pytest

from dscompile.ir.network import Network, NetworkBuilder
from dscompile.ir.ops import NONE, RELU, RELU6, Activation, Conv2D, Pads, Pair
from dscompile.ir.shapes import same_pads
from dscompile.ir.tensor import Rounding, Tensor
from dscompile.plan.mcu.products import SeparableKernel
from tests.mcu import assert_equals_oracle, here, planned
from tests.quantized_networks import Quantizer

pytestmark = pytest.mark.sampled

ROUNDINGS: tuple[Rounding, ...] = get_args(Rounding)


@dataclass(frozen=True)
class Case:
    """A convolution on [height, width, channels]; with `then`, a pointwise one to as many channels after it."""

    height: int
    width: int
    channels: int
    out: int
    kernel: Pair = (3, 3)
    stride: Pair = (1, 1)
    pads: Pads | None = None  # None: SAME
    dilation: Pair = (1, 1)
    groups: int = 1
    activation: Activation = RELU
    then: int = 0

    def network(self, seed: int = 0) -> Network:
        rng = np.random.default_rng(seed)
        builder = NetworkBuilder("case")
        x = builder.input(Tensor("x", (1, self.height, self.width, self.channels)))
        pads = self.pads
        if pads is None:
            pads = same_pads(self.height, self.width, self.kernel, self.stride, self.dilation)
        op = Conv2D(self.out, self.kernel, self.stride, pads, self.dilation, self.groups, self.activation)
        kernel = rng.normal(0, 0.5, (*self.kernel, self.channels // self.groups, self.out)).astype(np.float32)
        y = builder.add("conv", op, [x], kernel=kernel, bias=rng.normal(0, 0.5, self.out).astype(np.float32))
        if self.then:
            kernel = rng.normal(0, 0.3, (1, 1, self.out, self.then)).astype(np.float32)
            bias = rng.normal(0, 0.5, self.then).astype(np.float32)
            y = builder.add("pointwise", Conv2D(self.then, (1, 1), activation=RELU), [y], kernel=kernel, bias=bias)
        return builder.build([y])


def depthwise(height: int, width: int, channels: int, multiplier: int = 1, **more: object) -> Case:
    case = Case(height, width, channels, channels * multiplier, groups=channels)
    return replace(case, **more)  # type: ignore[arg-type]


CASES = {
    "conv_3x3_stride_2_on_odd_sizes": Case(7, 9, 3, 8, stride=(2, 2)),
    "conv_5x5_valid_of_17_channels": Case(8, 6, 17, 3, (5, 5), pads=Pads()),
    "conv_10x4_of_one_channel": Case(49, 10, 1, 16, (10, 4), (2, 2)),
    "conv_with_dilation_2": Case(6, 7, 5, 6, dilation=(2, 2)),
    "conv_whose_taps_jump_over_the_image": Case(1, 3, 4, 4, dilation=(2, 2)),
    "conv_in_two_groups": Case(5, 5, 8, 12, groups=2),
    "pointwise_of_100_channels": Case(3, 5, 100, 33, (1, 1)),
    "pointwise_that_grows_in_place": Case(4, 4, 4, 32, (1, 1)),
    "pointwise_that_shrinks_in_place": Case(4, 4, 32, 4, (1, 1)),
    "conv_linear_to_9_channels": Case(5, 7, 17, 9, activation=NONE),
    "pointwise_linear_to_15_channels": Case(4, 5, 12, 15, (1, 1), activation=NONE),
    "pointwise_of_pixels_beyond_an_immediate_offset": Case(2, 3, 4, 1402, (1, 1)),
    "depthwise_3x3_same": depthwise(6, 5, 16),
    "depthwise_5x5_stride_2_of_17_channels": depthwise(9, 7, 17, kernel=(5, 5), stride=(2, 2)),
    "depthwise_7x7_on_a_smaller_image": depthwise(3, 4, 3, kernel=(7, 7)),
    "depthwise_multiplier_2": depthwise(5, 5, 6, 2),
    "depthwise_relu6": depthwise(5, 5, 8, activation=RELU6),
    "depthwise_linear_with_dilation": depthwise(8, 8, 4, dilation=(2, 3), activation=NONE),
    "depthwise_with_more_padding_below": depthwise(5, 6, 4, pads=Pads(0, 2, 1, 2), kernel=(3, 3)),
    "conv_of_one_row_below_rows_of_padding": Case(1, 1, 1, 1, (1, 5), pads=Pads(2, 0, 3, 3)),
    "conv_with_dilation_below_rows_of_padding": Case(2, 3, 4, 5, (2, 2), pads=Pads(7, 7, 3, 1), dilation=(3, 1)),
    "depthwise_between_rows_of_padding": depthwise(2, 2, 9, kernel=(2, 3), pads=Pads(5, 4, 1, 1)),
    "separable_between_rows_of_padding": depthwise(2, 2, 8, kernel=(2, 3), pads=Pads(5, 4, 1, 1), then=6),
    "separable_same": depthwise(25, 5, 16, then=16),
    "separable_that_grows": depthwise(6, 6, 8, then=24),
    "separable_that_shrinks": depthwise(6, 7, 24, then=8),
    "separable_stride_2_on_odd_sizes": depthwise(9, 11, 12, stride=(2, 2), then=20),
    "separable_of_odd_channels": depthwise(5, 7, 17, then=33),
    "separable_multiplier_2": depthwise(5, 4, 6, 2, then=10),
    "separable_on_one_pixel": depthwise(1, 1, 8, then=6),
}


def int8(network: Network, rounding: Rounding) -> Network:
    return Quantizer(network, np.random.default_rng(1), rounding, float_borders=False).run()


@pytest.mark.parametrize("name", CASES)
def test_float_kernel(name):
    assert_equals_oracle(CASES[name].network(), (0,))


@pytest.mark.parametrize("name", CASES)
def test_int8_kernel(name):
    rounding = ROUNDINGS[len(name) % 4]
    assert_equals_oracle(int8(CASES[name].network(), rounding), (0,))


@pytest.mark.parametrize("name", CASES)
def test_int8_kernel_of_int16_pairs(name):
    assert_equals_oracle(int8(CASES[name].network(), "tflite"), (0,), here("cortex-m4"))


@pytest.mark.parametrize("name", [name for name in CASES if "rows_of_padding" in name])
def test_rows_that_read_only_padding_write_nothing_beside_their_columns(name):
    network = int8(CASES[name].network(), "half-up")
    for core in ("cortex-m0plus", "cortex-m4"):
        assert_equals_oracle(network, (0,), here(core))


@pytest.mark.slow
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("activation", [NONE, RELU, RELU6], ids=["linear", "relu", "relu6"])
@pytest.mark.parametrize("affine", [True, False], ids=["searched", "own_rounding"])
def test_every_rounding_is_exact(rounding, activation, affine):
    network = int8(Case(6, 6, 8, 32, activation=activation).network(), rounding)
    assert_equals_oracle(network, (0, 1), affine=affine)


def test_a_depthwise_layer_before_a_pointwise_one_never_exists_as_a_whole():
    program = planned(depthwise(25, 5, 16, then=16).network())
    assert [type(f.kernel) for f in program.functions] == [SeparableKernel]
    assert [buffer.size_bytes for buffer in program.buffers if "columns" in buffer.name] == [2 * 16 * 4]


def test_a_depthwise_layer_that_somebody_else_reads_too_is_not_fused():
    builder = NetworkBuilder("two")
    x = builder.input(Tensor("x", (1, 4, 4, 8)))
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(3, 3, 1, 8)).astype(np.float32)
    middle = builder.add("dw", Conv2D(8, (3, 3), (1, 1), Pads(1, 1, 1, 1), groups=8), [x], kernel=kernel)
    y = builder.add("pw", Conv2D(4, (1, 1)), [middle], kernel=rng.normal(size=(1, 1, 8, 4)).astype(np.float32))
    network = builder.build([middle, y])
    assert [step.name for step in planned(network).steps] == ["dw", "pw"]
    assert_equals_oracle(network, (0,))
