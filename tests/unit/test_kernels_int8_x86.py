"""The x86 int8 kernels against NumPy, bit for bit: odd sizes, every scaling, and the extremes of their arithmetic."""

from __future__ import annotations

import pytest

from dscompile.plan.int8_kernels import Requantization
from dscompile.plan.knobs import DepthwiseKnobs, PixelKnobs
from tests.int8_kernels import SCALINGS, Conv, Machine, assert_conv, assert_dense, assert_depthwise

AVX2 = Machine("x86-avx2")
pytestmark = pytest.mark.sampled

CONVOLUTIONS = [
    (Conv(5, 7, 1, 1), 16, 5),
    (Conv(3, 4, 3, 17), 16, 6),
    (Conv(2, 13, 17, 100), 16, 6),
    (Conv(1, 131, 100, 48), 32, 3),
    (Conv(3, 5, 3, 16, kernel=(3, 3), stride=(2, 2)), 16, 2),
    (Conv(3, 5, 1, 33, kernel=(5, 5), stride=(2, 1)), 16, 4),
    (Conv(2, 3, 17, 16, kernel=(7, 7)), 16, 3),
    (Conv(4, 4, 20, 16, kernel=(3, 3), dilation=(2, 3)), 16, 3),
    (Conv(2, 9, 40, 8, kernel=(10, 4)), 16, 4),
]
DEPTHWISE = [
    (Conv(5, 7, 1, 0, kernel=(3, 3)), 6, 2),
    (Conv(4, 6, 3, 0, kernel=(3, 3), stride=(2, 2)), 3, 2),
    (Conv(3, 5, 17, 0, kernel=(3, 3), stride=(2, 2)), 5, 1),
    (Conv(3, 5, 17, 0, kernel=(3, 3), stride=(1, 2)), 2, 3),
    (Conv(7, 5, 100, 0, kernel=(5, 5)), 5, 4),
    (Conv(4, 5, 20, 0, kernel=(5, 5), stride=(2, 2)), 4, 2),
    (Conv(3, 4, 33, 0, kernel=(7, 7)), 2, 2),
    (Conv(3, 4, 16, 0, kernel=(7, 7), stride=(2, 2)), 3, 3),
    (Conv(4, 4, 40, 0, kernel=(3, 3), dilation=(2, 3)), 4, 2),
    (Conv(4, 5, 40, 0, kernel=(4, 2), stride=(3, 1)), 4, 2),
]


@pytest.mark.parametrize(("case", "panel", "pixels"), CONVOLUTIONS, ids=str)
def test_a_convolution_equals_numpy(case: Conv, panel: int, pixels: int):
    assert_conv(case, AVX2, 16, panel, 2, PixelKnobs(pixels), smallest_weight=-128)


@pytest.mark.parametrize(("case", "panel", "pixels"), CONVOLUTIONS, ids=str)
def test_a_convolution_of_bytes_without_a_sign_equals_numpy(case: Conv, panel: int, pixels: int):
    assert_conv(case, AVX2, 16, panel, 4, PixelKnobs(pixels), smallest_weight=-128, unsigned=True)


@pytest.mark.parametrize(("case", "columns", "rows"), DEPTHWISE, ids=str)
def test_a_depthwise_kernel_equals_numpy(case: Conv, columns: int, rows: int):
    assert_depthwise(case, AVX2, 16, DepthwiseKnobs(columns, rows), smallest_weight=-128)


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("values", ["random", "low", "high", "apart", "across"])
def test_every_scaling_is_exact_at_the_extremes(scaling: str, values: str):
    case = Conv(2, 6, 20, 32, requantization=Requantization("affine", -128, 127), values=values).scaled(scaling)
    assert_conv(case, AVX2, 16, 16, 2, PixelKnobs(3), smallest_weight=-128)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_a_narrow_clamp_is_kept(scaling: str):
    case = Conv(2, 6, 20, 32, requantization=Requantization("affine", -20, 37)).scaled(scaling)
    assert_conv(case, AVX2, 16, 16, 2, PixelKnobs(3))


@pytest.mark.parametrize(("channels", "units", "panel"), [(1, 8, 8), (100, 64, 32), (17, 16, 16), (64, 128, 64)])
def test_a_fully_connected_layer_equals_numpy(channels: int, units: int, panel: int):
    for scaling in ("affine", "single"):
        assert_dense(channels, units, AVX2, panel, 2, Requantization(scaling, -128, 127), smallest_weight=-128)
