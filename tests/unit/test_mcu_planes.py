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
from dscompile.plan.mcu.planes import planes_records, row_pieces, row_table, takes_planes, weight_shift
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
    """Weights are shifted by two bits at most: sums are still to be multiplied."""
    monkeypatch.setattr(mcu_planes, "_MOST_SHIFT", 2)


@pytest.mark.usefixtures("memory_for_rows", "little_shift")
@pytest.mark.parametrize("name", ["a_table_behind", "three_taps"])
def test_sums_that_weights_cannot_be_shifted_for_are_multiplied(name):
    network = int8(LAYERS[name], "tflite")
    (kernel,) = planes_kernels(network)
    assert all(body.scaled for body in planes_bodies(kernel))
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


def test_rows_of_a_window_outside_of_the_image_are_skipped():
    window = Window(Axis(6, 6, 5, 1, 2), SMALL, 4)
    assert row_table(window, 68)[:3] == [(0, 32, 136), (0, 16, 68), (0, 0, 0)]
    assert row_table(window, 68)[5] == (36, 0, 136)


def test_records_hold_each_weight_with_its_right_neighbor():
    kernel = np.arange(-4, 5, dtype=np.int8).reshape(3, 3, 1)
    (record,) = planes_records(kernel, 1, np.array([7]), np.array([-9]))
    assert record.view(np.int16)[:8].tolist() == [-8, -6, -6, -4, -2, 0, 0, 2]
    assert record[6:].tolist() == [7, -9]
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


def test_a_network_whose_memory_cannot_hold_planes_has_another_way():
    network = canonicalize(int8(LAYERS["six_columns"], "tflite"))
    assert [draft.in_rows for draft in lowered_drafts(network, here("cortex-m4"))] == [False, True]
