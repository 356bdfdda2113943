"""Input and output of a kernel that overlap in memory: exact distances, directions, and the arenas of real networks."""

from __future__ import annotations

import pytest

from dscompile.frontend.load import load_network
from dscompile.plan.mcu.arithmetic import Residual
from dscompile.plan.mcu.epilogues import FloatEpilogue
from dscompile.plan.mcu.kernels import McuKernel
from dscompile.plan.mcu.overlap import Distances, permitted_distances
from dscompile.plan.mcu.products import ConvKernel, DepthwiseKernel, SeparableKernel
from dscompile.plan.mcu.windows import Axis, Window
from dscompile.target import find_target
from tests.mcu import planned


def image(size: int, channels: int, kernel: int, stride: int = 1, before: int = 0) -> Window:
    outputs = (size + 2 * before - kernel) // stride + 1
    axis = Axis(size, outputs, kernel, stride, before)
    return Window(axis, axis, channels)


def below(kernel: McuKernel) -> int | None:
    distances = permitted_distances(kernel, ["x"])
    assert distances is not None
    return distances.below_bytes


def test_a_depthwise_layer_stays_one_row_and_two_pixels_behind_its_input():
    # Pixel (r, c) is written while row r - 1 is read from column c - 1 on: 5 + 1 pixels back, and itself.
    kernel = DepthwiseKernel(image(5, 2, 3, before=1), 1, FloatEpilogue())
    assert permitted_distances(kernel, ["x"]) == Distances((5 + 1 + 1) * 2 * 4, (5 + 1 + 1) * 2 * 4)


def test_columns_of_a_group_are_read_before_the_group_is_written():
    depthwise = DepthwiseKernel(image(5, 2, 3, before=1), 1, FloatEpilogue())
    kernel = SeparableKernel(depthwise, 2, FloatEpilogue(), group=4)
    assert below(kernel) == (5 + 1) * 2 * 4


def test_a_pointwise_layer_that_reads_pixels_where_they_lie_needs_its_own_group():
    kernel = ConvKernel(image(4, 3, 1), 3, FloatEpilogue(), group=2)
    assert below(kernel) == 2 * 3 * 4


def test_a_layer_that_grows_must_begin_below_by_all_that_it_grows():
    kernel = ConvKernel(image(4, 1, 1), 3, FloatEpilogue(), group=1)
    assert below(kernel) == (16 * 3 - 15) * 4


def test_a_sum_takes_exactly_the_place_of_its_residual():
    kernel = ConvKernel(image(4, 3, 1), 3, FloatEpilogue(), residual=Residual())
    assert permitted_distances(kernel, ["residual"]) == Distances()


def test_a_sum_with_its_own_image_keeps_a_group_away():
    kernel = ConvKernel(image(4, 3, 1), 3, FloatEpilogue(), group=2, residual=Residual())
    assert permitted_distances(kernel, ["x", "residual"]) == Distances(2 * 3 * 4, 2 * 3 * 4)


def test_weights_are_never_overwritten():
    kernel = ConvKernel(image(4, 3, 1), 3, FloatEpilogue())
    assert permitted_distances(kernel, ["weights"]) is None


def test_taps_of_a_window_beside_the_image_are_no_taps():
    axis = Axis(3, 3, 5, 1, 2)
    assert [axis.taps(output) for output in range(3)] == [(2, 5), (1, 4), (0, 3)]
    assert [(s.begin, s.end, s.taps) for s in Axis(6, 6, 3, 1, 1).spans] == [
        (0, 1, (1, 3)),
        (1, 5, (0, 3)),
        (5, 6, (0, 2)),
    ]


def test_a_window_that_jumps_over_the_image_has_no_taps():
    assert Axis(1, 1, 2, 1, 1, 2).taps(0) == (0, 0)


@pytest.mark.models
@pytest.mark.parametrize(
    ("name", "core", "most"),
    [
        ("kws_ref_model_int8.tflite", "cortex-m4", 8_848),
        ("kws_ref_model_int8.tflite", "c99", 8_896),
        ("vww_96_int8.tflite", "cortex-m4", 37_776),
        ("vww_96_int8.tflite", "c99", 37_696),
    ],
)
def test_arena_of_a_real_network(model_path, name, core, most):
    program = planned(load_network(model_path(name)).network, find_target(core))
    assert program.arena_bytes <= most
    assert program.arena_bytes == program.arena_lower_bound_bytes


@pytest.mark.models
def test_parameters_of_vww_fit_into_50_kilobytes(model_path):
    program = planned(load_network(model_path("vww_96_int8.tflite")).network, find_target("cortex-m4"))
    assert program.constant_bytes <= 50 * 1024
