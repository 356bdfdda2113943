"""The kernels for Helium on this machine, where their C twins run, beside the oracle; how their data lie."""

from __future__ import annotations

import numpy as np
import pytest

from dscompile.ir.network import Network
from dscompile.ir.ops import NONE, RELU6, Pads
from dscompile.plan.mcu.epilogues import IntegerEpilogue
from dscompile.plan.mcu.mve import batch_pixels, block_of, mve_taps
from dscompile.plan.mcu.packing import vector_steps
from dscompile.plan.mcu.products import ConvKernel, DepthwiseKernel, SeparableKernel
from dscompile.plan.mcu.windows import Axis, Window
from dscompile.run.selftest import SANITIZERS, run_selftest
from tests.mcu import assert_equals_oracle, here, planned, write
from tests.unit.test_mcu_cores import ALL, ROUNDINGS
from tests.unit.test_mcu_kernels import CASES, Case, depthwise, int8

pytestmark = pytest.mark.sampled

# A batch of rows that is not full comes last; squares and groups of four stand over the right and the lower border.
VECTORS = {
    "depthwise_3x3_of_one_column": depthwise(5, 1, 12),
    "depthwise_3x3_of_12_channels_on_odd_sizes": depthwise(7, 5, 12),
    "depthwise_stride_2_of_three_channels": depthwise(8, 9, 3, stride=(2, 2)),
    "depthwise_stride_2_valid": depthwise(9, 12, 17, stride=(2, 2), pads=Pads()),
    "depthwise_2x2_of_even_size": depthwise(6, 6, 8, kernel=(2, 2)),
    "depthwise_1x5": depthwise(4, 9, 20, kernel=(1, 5)),
    "depthwise_9x3_in_twelve_rows": depthwise(12, 5, 4, kernel=(9, 3)),
    "depthwise_stride_3_by_1": depthwise(9, 6, 5, stride=(3, 1)),
    "depthwise_with_dilated_columns": depthwise(5, 9, 6, dilation=(1, 2)),
    "separable_of_13_by_25": depthwise(13, 25, 10, then=7),
    "separable_linear_of_three_channels": depthwise(6, 9, 3, then=17, activation=NONE),
    "separable_5x5_of_100_channels": depthwise(7, 7, 100, kernel=(5, 5), then=4),
    "separable_clamped": depthwise(6, 6, 16, then=16, activation=RELU6),
    "conv_of_288_products": Case(5, 5, 32, 6),
    "conv_of_900_products": Case(4, 4, 100, 3),
    "pointwise_of_48_channels_linear": Case(5, 3, 48, 11, (1, 1), activation=NONE),
    "pointwise_of_16_channels_to_odd_ones": Case(3, 3, 16, 5, (1, 1)),
}
TWINS = ALL | VECTORS


@pytest.mark.parametrize("name", VECTORS)
def test_twin_of_the_kernel_equals_the_oracle(name):
    assert_equals_oracle(int8(VECTORS[name].network(), ROUNDINGS[len(name) % 4]), (0,), here("cortex-m55"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_twin_of_the_kernel_equals_the_oracle_on_the_shapes_of_other_cores(name):
    assert_equals_oracle(int8(ALL[name].network(), ROUNDINGS[len(name) % 4]), (0,), here("cortex-m55"))


@pytest.mark.slow
@pytest.mark.parametrize("name", VECTORS)
def test_twin_of_the_kernel_equals_the_oracle_in_the_rounding_of_tflite(name):
    assert_equals_oracle(int8(VECTORS[name].network(), "tflite"), (0, 1), here("cortex-m55"))


@pytest.mark.parametrize("name", ["conv_5x5_valid_of_17_channels", "separable_of_13_by_25", "depthwise_1x5"])
def test_twins_pass_the_sanitizers(name, tmp_path):
    artifact = write(int8(TWINS[name].network(), "tflite"), tmp_path / "a", here("cortex-m55"))
    result = run_selftest(artifact, SANITIZERS)
    assert result.passed, result.message


def only_kernel(network: Network, core: str = "cortex-m55") -> object:
    (kernel,) = [function.kernel for function in planned(network, here(core)).functions]
    return kernel


def test_the_zero_point_of_a_rectified_layer_is_in_its_bias():
    kernel = only_kernel(int8(CASES["separable_same"].network(), "tflite"))
    assert isinstance(kernel, SeparableKernel)
    assert kernel.variant == kernel.depthwise.variant == "mve"
    for epilogue in (kernel.epilogue, kernel.depthwise.epilogue):
        assert isinstance(epilogue, IntegerEpilogue)
        assert (epilogue.method, epilogue.zero_point) == ("affine", 0)


def test_multiplied_and_far_apart_depthwise_layers_are_left_to_others():
    for case in (CASES["depthwise_multiplier_2"], depthwise(40, 40, 4, kernel=(12, 9), stride=(4, 4))):
        kernel = only_kernel(int8(case.network(), "tflite"))
        assert isinstance(kernel, DepthwiseKernel)
        assert kernel.variant in ("dsp", "c99")


def test_float_layers_are_left_to_c99():
    kernel = only_kernel(CASES["separable_same"].network())
    assert isinstance(kernel, SeparableKernel)
    assert (kernel.variant, kernel.depthwise.variant) == ("c99", "c99")


def test_pixels_of_whole_vectors_are_multiplied_where_they_lie():
    for channels, gathered in ((48, False), (40, True)):
        kernel = only_kernel(int8(Case(3, 3, channels, 8, (1, 1)).network(), "tflite"))
        assert isinstance(kernel, ConvKernel)
        assert (kernel.variant, kernel.gathered) == ("mve", gathered)


def window(rows: int, columns: int, *, kernel: int = 3, stride: int = 1) -> Window:
    axes = [Axis(size * stride, size, kernel, stride, 1) for size in (rows, columns)]
    return Window(axes[0], axes[1], 8)


def test_3x3_outputs_are_squares_and_those_of_stride_2_a_row():
    squares, row = block_of(window(6, 5)), block_of(window(6, 5, stride=2))
    assert squares is not None
    assert row is not None
    assert (squares.rows, squares.made, squares.groups, squares.pitch, squares.ring) == (4, 2, 3, 32, True)
    assert (row.rows, row.made, row.groups, row.apart, row.ring) == (3, 1, 2, 8, True)


def test_a_window_of_five_rows_is_in_three_vectors():
    block = block_of(window(6, 5, kernel=5))
    assert block is not None
    assert (block.cell, block.chunks, block.made, block.ring) == (8, 3, 1, False)


def test_windows_too_far_apart_have_no_block():
    assert block_of(window(6, 5, kernel=9, stride=4)) is None


@pytest.mark.parametrize(
    ("rows", "columns", "pixels"), [(25, 5, 20), (48, 48, 96), (12, 6, 12), (3, 3, 9), (25, 25, 50), (1, 7, 7)]
)
def test_batches_of_rows_fill_groups_of_four_pixels_if_they_are_small(rows, columns, pixels):
    assert batch_pixels(window(rows, columns)) == pixels


def test_taps_of_squares_are_columns_in_reverse_after_one_of_zeros():
    taps = np.arange(1, 19, dtype=np.int8).reshape(3, 3, 2)
    packed = mve_taps(taps, Window(window(6, 5).rows, window(6, 5).columns, 2))
    assert packed[:16].tolist() == [0, 0, 0, 0, 5, 11, 17, 0, 3, 9, 15, 0, 1, 7, 13, 0]
    assert len(packed) == 2 * 16 + 4


def test_weights_of_two_channels_alternate_by_vectors():
    weights = np.arange(20 * 3).reshape(20, 3).astype(np.int8)
    packed = vector_steps(weights, "plain").reshape(2, 2, 2, 16)
    assert packed[0, 0, 1].tolist() == weights[:16, 1].tolist()
    assert packed[1, 1, 0].tolist() == [*weights[16:, 2].tolist(), *[0] * 12]
    assert not packed[1, :, 1].any()
