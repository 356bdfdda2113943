"""Inner loops that layers of the DSP kernels share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dscompile.frontend.load import load_network
from dscompile.ir.network import NetworkBuilder
from dscompile.ir.ops import NONE, Conv2D
from dscompile.ir.tensor import Tensor
from dscompile.plan.mcu.bodies import (
    DepthwiseBody,
    MatrixBody,
    depthwise_bodies,
    depthwise_shape,
    matrix_shape,
    used_bodies,
)
from dscompile.plan.mcu.epilogues import IntegerEpilogue
from dscompile.plan.mcu.kernels import McuKernel
from dscompile.plan.mcu.pairs import four_weights
from dscompile.plan.mcu.products import ConvKernel, DepthwiseKernel
from dscompile.plan.mcu.windows import Axis, Window
from dscompile.plan.program import Program
from dscompile.target import find_target
from tests.mcu import assert_equals_oracle, here, planned
from tests.quantized_networks import Quantizer
from tests.unit.test_mcu_kernels import depthwise, int8

EPILOGUE = IntegerEpilogue("affine", -128, 127, -3, 9, 14)


def pointwise(depth: int, out: int, **more: object) -> ConvKernel:
    axis = Axis(4, 4, 1, 1, 0)
    kernel = ConvKernel(Window(axis, axis, depth), out, EPILOGUE, group=4, variant="dsp")
    return replace(kernel, **more)  # type: ignore[arg-type]


def windows(size: int, kernel: int, before: int) -> DepthwiseKernel:
    axis = Axis(size, size + 2 * before - kernel + 1, kernel, 1, before)
    return DepthwiseKernel(Window(axis, axis, 6), 1, EPILOGUE, zero_point=7, variant="dsp")


def kernels(program: Program) -> list[McuKernel]:
    return [function.kernel for function in program.functions if isinstance(function.kernel, McuKernel)]


@pytest.mark.parametrize(("depth", "skipped"), [(1, 15), (4, 15), (5, 13), (32, 1), (33, 15), (36, 15)])
def test_the_first_pass_skips_what_the_depth_lacks_to_whole_loops(depth, skipped):
    """Steps are pairs of depth, in whole twos; one goes before the loop of 16 steps of 48 bytes, or 52."""
    assert matrix_shape(pointwise(depth, 8)).entry == 48 * skipped + 1
    assert matrix_shape(pointwise(depth, 8, apart=True)).entry == 52 * skipped + 1


def test_a_kernel_that_goes_downwards_has_negative_steps():
    assert matrix_shape(pointwise(8, 6, descending=True)).y_step == -6
    assert matrix_shape(pointwise(8, 6, step=20)).y_step == 20


def test_an_odd_channel_is_not_among_the_weights_of_pairs():
    assert matrix_shape(pointwise(8, 7)).weight_bytes == 6 * 8


def test_kernels_of_other_sizes_share_a_body_and_those_of_other_clamps_do_not():
    small, large = pointwise(8, 6), pointwise(100, 33)
    clamped = pointwise(8, 6, epilogue=replace(EPILOGUE, high=90))
    found = used_bodies([small, large, clamped])
    assert [type(body) for body in found] == [MatrixBody, MatrixBody]
    assert [uses.odd for uses in found.values()] == [True, False]
    assert not any(uses.singles for uses in found.values())


def test_windows_at_the_border_have_bodies_for_their_columns_and_for_some_rows():
    bodies = depthwise_bodies(windows(5, 3, 1), column=True)
    assert [(body.taps, body.whole) for body in bodies] == [(2, True), (2, False), (3, True), (3, False)]


def test_windows_inside_the_image_need_no_body_for_some_rows():
    assert [(body.taps, body.whole) for body in depthwise_bodies(windows(5, 3, 0), column=False)] == [(3, True)]


def test_rows_of_large_windows_are_not_unrolled():
    assert [(body.taps, body.whole) for body in depthwise_bodies(windows(7, 5, 0), column=False)] == [(5, False)]


def test_less_a_zero_point_is_in_both_halves_of_a_word():
    shape = depthwise_shape(windows(5, 3, 1))
    assert (shape.offset, shape.offsets, shape.row_bytes, shape.tap_bytes) == (-7, 0xFFF9FFF9, 30, 6)


def test_depthwise_weights_lie_in_fours_of_channels():
    weights = np.arange(2 * 3 * 5, dtype=np.int8).reshape(2, 3, 5)
    ordered = four_weights(weights)
    assert ordered.shape == (2, 2, 3, 4)
    assert ordered[0, 1, 2].tolist() == [25, 27, 26, 28]
    assert ordered[1, 1, 2].tolist() == [29, 0, 0, 0]


def test_layers_with_and_without_relu_have_a_body_each():
    network = int8(depthwise(6, 6, 8, then=12).network(), "tflite")
    linear = int8(depthwise(6, 6, 8, activation=NONE).network(), "tflite")
    target = find_target("cortex-m4")
    relu = [b for b in used_bodies(kernels(planned(network, target))) if isinstance(b, DepthwiseBody)]
    none = [b for b in used_bodies(kernels(planned(linear, target))) if isinstance(b, DepthwiseBody)]
    assert not any(body.finish.step for body in relu)
    assert all(body.finish.step for body in none)


@pytest.mark.parametrize(("kernel", "size"), [((1, 1), 1), ((3, 3), 5), ((5, 5), 6)], ids=str)
def test_a_depthwise_layer_with_all_rows_inside_compiles_without_unused_variables(kernel, size):
    """Alone: no other layer makes it use the bounds of its rows."""
    builder = NetworkBuilder("inside")
    builder.input(Tensor("x", (1, size, size, 6)))
    rng = np.random.default_rng(0)
    builder.add("dw", Conv2D(6, kernel, groups=6), ["x"], kernel=rng.normal(size=(*kernel, 1, 6)).astype(np.float32))
    network = Quantizer(builder.build(["dw"]), rng, "tflite", float_borders=False).run()
    assert_equals_oracle(network, (0, 1), here("cortex-m4"))


@pytest.mark.models
def test_a_whole_mobilenet_has_one_matrix_product(model_path):
    program = planned(load_network(model_path("vww_96_int8.tflite")).network, find_target("cortex-m4"))
    bodies = used_bodies(kernels(program))
    assert sum(isinstance(body, MatrixBody) for body in bodies) == 1
    assert not any(isinstance(body, DepthwiseBody) for body in bodies)  # all images are in rows
