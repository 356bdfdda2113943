"""Depthwise layers by planes: the C twin against the oracle, what an output takes of a row, the choice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dscompile.ir.network import Network, NetworkBuilder
from dscompile.ir.ops import HARD_SWISH, NONE, RELU, Activate, Activation, Conv2D, Shuffle
from dscompile.ir.shapes import same_pads
from dscompile.ir.tensor import Tensor
from dscompile.passes import canonicalize
from dscompile.plan.mcu import planes as mcu_planes
from dscompile.plan.mcu.bodies import planes_bodies
from dscompile.plan.mcu.overlap import Distances, permitted_distances
from dscompile.plan.mcu.planes import (
    immediates,
    planes_records,
    row_pieces,
    row_walk,
    takes_planes,
    weight_shift,
)
from dscompile.plan.mcu.products import DepthwiseKernel
from dscompile.plan.mcu.row_forms import row_form
from dscompile.plan.mcu.small_kernels import CopyKernel
from dscompile.plan.mcu.ways import lowered_drafts
from dscompile.plan.mcu.windows import Axis, Window
from tests.mcu import assert_equals_oracle, here, planned
from tests.unit.test_mcu_kernels import int8
from tests.unit.test_mcu_rows import memory_for_rows  # noqa: F401 -- a fixture

SMALL = Axis(6, 6, 5, 1, 2)


def alone(
    height: int,
    width: int,
    channels: int,
    kernel: int = 5,
    stride: int = 1,
    activation: Activation = NONE,
    *,
    shuffled: int = 0,
) -> Network:
    """A depthwise layer that no pointwise one follows; before it a shuffle, behind it a table."""
    rng = np.random.default_rng(7)
    builder = NetworkBuilder("alone")
    x = builder.input(Tensor("x", (1, height, width, channels)))
    x = builder.add("before", Activate(RELU), [x])
    if shuffled:
        x = builder.add("shuffle", Shuffle(shuffled), [x])
    pads = same_pads(height, width, (kernel, kernel), (stride, stride), (1, 1))
    op = Conv2D(channels, (kernel, kernel), (stride, stride), pads, groups=channels)
    weights = rng.normal(0, 0.3, (kernel, kernel, 1, channels)).astype(np.float32)
    x = builder.add("depthwise", op, [x], kernel=weights, bias=rng.normal(0, 0.5, channels).astype(np.float32))
    if activation != NONE:
        x = builder.add("after", Activate(activation), [x])
    return builder.build([x])


LAYERS = {
    "six_columns": alone(6, 6, 8),
    "a_table_behind": alone(6, 6, 8, activation=HARD_SWISH),
    "three_columns": alone(3, 3, 8),
    "odd_columns_and_channels": alone(5, 7, 7),
    "stride_2": alone(12, 12, 4, stride=2),
    "stride_2_of_odd_size": alone(7, 9, 5, stride=2, activation=RELU),
    "several_pieces": alone(8, 17, 4),
    "three_taps": alone(8, 8, 15, 3),
    "three_taps_stride_2": alone(9, 11, 6, 3, 2),
    "three_taps_several_pieces": alone(5, 26, 4, 3),
    "seventeen_channels": alone(3, 3, 17, activation=HARD_SWISH),
    "a_hundred_channels_of_odd_rows": alone(5, 3, 100, 3),
    "two_columns": alone(7, 2, 5),
    "two_columns_and_a_table": alone(7, 2, 5, activation=HARD_SWISH),
    "eight_outputs_and_a_table": alone(6, 8, 4, 3, activation=HARD_SWISH),
    "seven_outputs": alone(4, 7, 9, 3, activation=HARD_SWISH),
    "many_rows": alone(29, 5, 4, 3),
    "many_rows_stride_2": alone(31, 6, 4, 5, 2),
    "stores_far_from_each_other": alone(2, 6, 1000, 3),
    "rows_far_from_each_other": alone(3, 12, 404, 3, activation=RELU),
    "large_planes": alone(24, 24, 24, 5, 2),
    "shuffled": alone(6, 6, 12, shuffled=3),
    "shuffled_odd_channels": alone(4, 4, 15, 3, shuffled=5),
}


def planes_kernels(network: Network) -> list[DepthwiseKernel]:
    found = [function.kernel for function in planned(network, here("cortex-m4")).functions]
    return [k for k in found if isinstance(k, DepthwiseKernel) and k.variant == "planes"]


@pytest.mark.usefixtures("memory_for_rows")
@pytest.mark.parametrize("rounding", ["tflite", "single"])
@pytest.mark.parametrize("name", LAYERS)
def test_layers_by_planes_equal_the_oracle(name, rounding):
    network = int8(LAYERS[name], rounding)
    assert len(planes_kernels(network)) == 1
    assert_equals_oracle(network, (0, 1), here("cortex-m4"))


@pytest.fixture
def little_shift(monkeypatch):
    """Weights are shifted by two bits at most: sums are still to be shifted."""
    monkeypatch.setattr(mcu_planes, "LARGEST_SHIFT", 2)


@pytest.mark.usefixtures("memory_for_rows", "little_shift")
@pytest.mark.parametrize("name", ["a_table_behind", "three_taps"])
def test_sums_that_weights_cannot_be_shifted_for_are_shifted_themselves(name):
    network = int8(LAYERS[name], "tflite")
    (kernel,) = planes_kernels(network)
    assert all(body.shift for body in planes_bodies(kernel))
    assert_equals_oracle(network, (0, 1), here("cortex-m4"))


@pytest.mark.usefixtures("memory_for_rows")
def test_no_copy_is_left_of_a_shuffle():
    network = int8(LAYERS["shuffled"], "tflite")
    assert not any(
        isinstance(function.kernel, CopyKernel) for function in planned(network, here("cortex-m4")).functions
    )
    (kernel,) = planes_kernels(network)
    assert kernel.shuffled == 3
    assert permitted_distances(kernel, ["x"]) is None


@pytest.mark.usefixtures("memory_for_rows")
def test_a_result_of_the_same_shape_may_take_the_place_of_the_image():
    (kernel,) = planes_kernels(int8(LAYERS["six_columns"], "tflite"))
    assert permitted_distances(kernel, ["x"]) == Distances()
    assert permitted_distances(replace(kernel, step=12), ["x"]) is None
    assert row_form(kernel, (1, 6, 6, 8), (1, 6, 6, 8)) is None


def test_six_outputs_of_six_columns_take_fourteen_multiplications():
    (piece,) = row_pieces(SMALL)
    assert piece.pattern.outputs == 6
    assert [len(terms) for terms in piece.pattern.words] == [4, 6, 4]


@pytest.mark.parametrize("axis", [SMALL, Axis(17, 9, 5, 2, 2), Axis(25, 25, 3, 1, 1), Axis(9, 4, 3, 2, 0)], ids=str)
def test_terms_of_all_pieces_are_the_taps_inside_the_image(axis):
    image, weights = np.arange(1, axis.size + 1) ** 3, np.array([2, 3, 5, 7, 11])[: axis.kernel]
    halves = np.append(image, [0] * (4 - axis.size % 2))
    for piece in row_pieces(axis):
        sums = [0] * piece.pattern.outputs
        for number, terms in enumerate(piece.pattern.words):
            word = halves[piece.offset_bytes // 2 + 2 * number :][:2]
            for term in terms:
                pair, part = weights[term.weights : term.weights + 2], term.multiply[4:]
                products = {"bb": word[0] * pair[0], "bt": word[0] * pair[1], "tb": word[1] * pair[0]}
                products |= {"tt": word[1] * pair[1], "d": word @ pair}
                sums[term.output] += int(products[part])
        for output, total in enumerate(sums, piece.begin):
            first, end = axis.taps(output)
            start = axis.position(output, 0)
            assert total == int(image[start + first : start + end] @ weights[first:end])


@pytest.mark.parametrize("axis", [SMALL, Axis(17, 9, 5, 2, 2), Axis(3, 3, 5, 1, 2), Axis(9, 4, 3, 2, 0)], ids=str)
def test_rows_of_all_windows_are_those_inside_the_image(axis):
    pitch, weight_bytes = 12, 4 * (axis.kernel - 1)
    place = weights = output = 0
    walk = row_walk(axis, pitch)
    for run in walk.runs:
        for _ in range(run.rows):
            first, end = axis.taps(output)
            place, weights, output = place + run.plane_step, weights + run.weight_step, output + 1
            assert (place, weights) == (axis.position(output - 1, first) * pitch, first * weight_bytes)
            assert run.taps == end - first
            place, weights = place + run.taps * pitch, weights + run.taps * weight_bytes
    assert output == axis.outputs
    assert (place + walk.plane_step, weights + walk.weight_step) == (axis.size * pitch, axis.kernel * weight_bytes)


def test_rows_whose_windows_lie_alike_are_one_run():
    runs = row_walk(Axis(12, 12, 5, 1, 2), 24).runs
    assert [(run.rows, run.taps) for run in runs] == [(1, 3), (1, 4), (8, 5), (1, 4), (1, 3)]
    assert not any(run.is_long for run in runs)
    assert row_walk(Axis(13, 13, 5, 1, 2), 28).runs[2].is_long


@pytest.mark.parametrize("value", [0, 1, -4095, 4096, -20480, 0x7007])
def test_immediates_are_twelve_or_eight_bits(value):
    parts = immediates(value)
    assert sum(parts) == value
    lowest_bits = [abs(part) & -abs(part) for part in parts]
    assert all(abs(part) < 4096 or abs(part) < low << 8 for part, low in zip(parts, lowest_bits, strict=True))


def test_records_hold_each_weight_with_its_right_neighbor():
    kernel = np.arange(-4, 5, dtype=np.int8).reshape(3, 3, 1)
    (record,) = planes_records(kernel, 1, np.array([7]), np.array([-9]))
    assert record[:2].tolist() == [-9, 7]
    assert record[2:].view(np.int16)[:8].tolist() == [-8, -6, -6, -4, -2, 0, 0, 2]
    assert weight_shift(10) == 8


@pytest.mark.parametrize(
    "window",
    [
        Window(SMALL, SMALL, 3),
        Window(Axis(6, 6, 7, 1, 3), Axis(6, 6, 7, 1, 3), 4),
        Window(Axis(6, 2, 5, 3, 2), Axis(6, 2, 5, 3, 2), 4),
        Window(Axis(6, 6, 5, 1, 4, 2), Axis(6, 6, 5, 1, 4, 2), 4),
        Window(Axis(48, 48, 5, 1, 2), Axis(48, 48, 5, 1, 2), 4),
        Window(Axis(2, 2, 3, 1, 1), Axis(600, 600, 3, 1, 1), 40),
        Window(Axis(6, 11, 5, 1, 5), SMALL, 4),
    ],
    ids=["three channels", "7x7", "stride 3", "dilated", "much scratch", "long rows", "rows of padding"],
)
def test_other_windows_have_no_planes(window):
    assert takes_planes(Window(SMALL, SMALL, 4))
    assert not takes_planes(window)


@pytest.mark.parametrize(("channels", "ways"), [(6, [False]), (10, [False, True]), (24, [False, True])])
def test_large_planes_are_a_way_of_their_own_unless_larger_than_the_image(channels, ways):
    network = canonicalize(int8(alone(24, 24, channels, 5, 2), "tflite"))
    drafts = lowered_drafts(network, here("cortex-m4"))
    kernels = [call.kernel for draft in drafts for step in draft.steps for call in step.calls]
    assert [k.variant == "planes" for k in kernels if isinstance(k, DepthwiseKernel)] == ways


def test_weights_take_the_whole_shift_where_a_search_finds_that():
    for name in ("six_columns", "three_taps", "stride_2"):
        (kernel,) = planes_kernels(int8(LAYERS[name], "tflite"))
        assert all(body.shift == 0 for body in planes_bodies(kernel))


def test_a_network_whose_memory_cannot_hold_planes_has_another_way():
    network = canonicalize(int8(LAYERS["six_columns"], "tflite"))
    assert [draft.in_rows for draft in lowered_drafts(network, here("cortex-m4"))] == [False, True]
