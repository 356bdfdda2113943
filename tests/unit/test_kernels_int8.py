"""Int8 kernels on any target, by the schedules that every target has: this machine's."""

from __future__ import annotations

import pytest

from dscompile.plan.int8_kernels import Requantization
from dscompile.plan.knobs import DepthwiseKnobs, PixelKnobs
from tests.int8_kernels import HERE, SCALINGS, Conv, Machine, assert_conv, assert_dense, assert_depthwise

pytestmark = pytest.mark.sampled

MACHINES = (HERE[0], pytest.param(HERE[1], marks=pytest.mark.slow))
CONVOLUTIONS = [
    (Conv(5, 7, 1, 1), 16, 4, 7),
    (Conv(3, 4, 3, 17), 16, 4, 2),
    (Conv(2, 5, 17, 100), 32, 4, 5),
    (Conv(2, 6, 100, 48), 16, 8, 3),
    (Conv(2, 6, 20, 16), 16, 1, 3),
    (Conv(2, 6, 21, 16), 16, 2, 3),
    (Conv(3, 5, 3, 16, kernel=(3, 3), stride=(2, 2)), 16, 4, 5),
    (Conv(3, 5, 1, 33, kernel=(5, 5), stride=(2, 1)), 16, 4, 5),
    (Conv(2, 3, 17, 16, kernel=(7, 7)), 16, 8, 3),
    (Conv(4, 4, 20, 16, kernel=(3, 3), dilation=(2, 3)), 16, 4, 2),
]
DEPTHWISE = [
    (Conv(5, 7, 1, 0, kernel=(3, 3)), 7),
    (Conv(4, 6, 3, 0, kernel=(3, 3), stride=(2, 2)), 3),
    (Conv(3, 5, 17, 0, kernel=(3, 3), stride=(2, 2)), 5),
    (Conv(2, 5, 100, 0, kernel=(5, 5)), 5),
    (Conv(3, 4, 33, 0, kernel=(7, 7)), 2),
    (Conv(4, 4, 40, 0, kernel=(3, 3), dilation=(2, 3)), 4),
]


@pytest.mark.parametrize("machine", MACHINES, ids=str)
@pytest.mark.parametrize(("case", "panel", "word", "pixels"), CONVOLUTIONS, ids=str)
def test_a_convolution_equals_numpy(case: Conv, panel: int, word: int, pixels: int, machine: Machine):
    assert_conv(case, machine, 16, panel, word, PixelKnobs(pixels), smallest_weight=-128)


@pytest.mark.parametrize("machine", MACHINES, ids=str)
@pytest.mark.parametrize(("case", "columns"), DEPTHWISE, ids=str)
def test_a_depthwise_kernel_equals_numpy(case: Conv, columns: int, machine: Machine):
    assert_depthwise(case, machine, 16, DepthwiseKnobs(columns, 2 if case.height % 2 == 0 else 1), smallest_weight=-128)


@pytest.mark.parametrize("taps", [3, 4, 5])
def test_rows_of_taps_as_words_mean_the_same(taps: int):
    case = Conv(3, 4, 20, 0, kernel=(3, taps))
    assert_depthwise(case, HERE[0], 16, DepthwiseKnobs(2), smallest_weight=-128, word=4)


@pytest.mark.parametrize("machine", MACHINES, ids=str)
@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("values", ["random", "low", "high", "apart", "across"])
def test_every_scaling_is_exact_at_the_extremes(scaling: str, values: str, machine: Machine):
    case = Conv(2, 6, 20, 32, requantization=Requantization("affine", -128, 127), values=values).scaled(scaling)
    assert_conv(case, machine, 16, 16, 4, PixelKnobs(3), smallest_weight=-128)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_a_narrow_clamp_is_kept(scaling: str):
    case = Conv(2, 6, 20, 32, requantization=Requantization("affine", -20, 37)).scaled(scaling)
    assert_conv(case, HERE[0], 16, 16, 4, PixelKnobs(3))


@pytest.mark.parametrize("machine", MACHINES, ids=str)
@pytest.mark.parametrize(
    ("channels", "units", "panel", "word"), [(1, 1, 1, 4), (100, 32, 16, 4), (17, 10, 5, 8), (64, 12, 4, 1)]
)
def test_a_fully_connected_layer_equals_numpy(channels: int, units: int, panel: int, word: int, machine: Machine):
    for scaling in ("affine", "single"):
        assert_dense(channels, units, machine, panel, word, Requantization(scaling, -128, 127), smallest_weight=-128)
