"""Late pixels: which kernels have them, how near image and result may lie, and the order of what they read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from dscompile.frontend.load import load_network
from dscompile.plan.mcu.arithmetic import Residual
from dscompile.plan.mcu.costs import kernel_instructions
from dscompile.plan.mcu.epilogues import IntegerEpilogue
from dscompile.plan.mcu.late import records_backwards, takes_late, with_late_pixels
from dscompile.plan.mcu.late_choice import best_way
from dscompile.plan.mcu.overlap import Distances, permitted_distances
from dscompile.plan.mcu.products import DepthwiseKernel, SeparableKernel
from dscompile.plan.mcu.row_forms import by_row
from dscompile.plan.mcu.rows import late_words, row_segments
from dscompile.plan.mcu.ways import lowered_drafts
from dscompile.plan.mcu.windows import Axis, Window
from dscompile.target import find_target
from tests.mcu import here, planned
from tests.unit.test_mcu_kernels import int8
from tests.unit.test_mcu_rows import chain

M4 = find_target("cortex-m4")
EPILOGUE = IntegerEpilogue("affine", 0, -128, 127, right=12)


def separable(height: int, width: int, channels: int, out: int, *, in_rows: bool = True) -> SeparableKernel:
    window = Window(Axis(height, height, 3, 1, 1), Axis(width, width, 3, 1, 1), channels)
    depthwise = DepthwiseKernel(window, 1, EPILOGUE, variant="rows")
    return SeparableKernel(depthwise, out, EPILOGUE, group=4, variant="dsp", in_rows=in_rows)


def test_a_row_of_five_is_one_call_and_one_of_nine_two():
    five, nine = (row_segments(Axis(size, size, 3, 1, 1), 0, late=True) for size in (5, 9))
    assert [(s.begin, s.end, s.blocks) for s in five] == [(0, 5, ("two_left", "two_late_right"))]
    assert [(s.begin, s.end) for s in nine] == [(0, 4), (4, 9)]
    assert nine[1].blocks == ("first_two", "two_late_right")


def test_four_outputs_and_a_late_one_go_three_bytes_on_behind_a_border():
    words = late_words(frozenset(("two_left", "first_two", "two_late")))
    assert [(word.first, word.last, word.advance, word.rest) for word in words[:2]] == [
        ("first_two", "two_late", 4, 0),
        ("two_left", "two_late", 3, 0),
    ]


@pytest.mark.parametrize("width", [4, 6, 7, 8])
def test_a_row_with_other_than_one_pixel_beside_its_groups_has_no_late_one(width):
    assert not takes_late(separable(5, width, 8, 8))


def test_late_pixels_need_room_among_the_results_that_nobody_reads():
    kernel = separable(6, 5, 8, 8)
    assert takes_late(kernel)
    assert not takes_late(separable(6, 5, 8, 7))
    assert not takes_late(separable(6, 5, 1, 8))
    assert not takes_late(replace(kernel, residual=Residual()))
    assert not takes_late(by_row(kernel))
    assert not takes_late(replace(kernel, in_rows=False, step=24))  # other channels lie between its own


def test_a_kernel_by_row_has_no_late_pixels():
    kernel = by_row(with_late_pixels(separable(6, 5, 8, 8)))
    assert isinstance(kernel, SeparableKernel)
    assert not kernel.depthwise.late


@pytest.mark.parametrize("width", [5, 9, 13])
@pytest.mark.parametrize("channels", [(2, 2), (8, 24), (64, 64)], ids=str)
@pytest.mark.parametrize("in_rows", [True, False], ids=["rows", "dense"])
def test_late_pixels_cost_less_and_are_chosen_where_they_are_no_farther(width, channels, in_rows):
    kernel = separable(9, width, *channels, in_rows=in_rows)
    late = with_late_pixels(kernel)
    assert kernel_instructions(late, "thumb2") < kernel_instructions(kernel, "thumb2")
    nearer = all(a <= b for a, b in zip(distances(late), distances(kernel), strict=True))
    assert best_way(kernel, M4) == (late if nearer else kernel)


def test_a_row_of_five_lies_one_row_apart_instead_of_two():
    kernel = separable(25, 5, 64, 64)
    assert permitted_distances(kernel, ["x"]) == Distances(640, 640)
    assert permitted_distances(with_late_pixels(kernel), ["x"]) == Distances(320, 320)


@pytest.mark.parametrize("in_rows", [True, False], ids=["rows", "dense"])
@pytest.mark.parametrize("channels", [(4, 4), (3, 7)], ids=str)
@pytest.mark.parametrize("width", [5, 9])
@pytest.mark.parametrize("height", [3, 6])
def test_distances_are_what_reading_and_writing_byte_by_byte_allows(height, width, channels, in_rows):
    kernel = with_late_pixels(separable(height, width, *channels, in_rows=in_rows))
    assert distances(kernel) == (farthest(kernel, down=False), farthest(kernel, down=True))


def distances(kernel: SeparableKernel) -> tuple[int, int]:
    found = permitted_distances(kernel, ["x"])
    assert found is not None
    assert found.below_bytes is not None
    assert found.above_bytes is not None
    return found.below_bytes, found.above_bytes


def farthest(kernel: SeparableKernel, *, down: bool) -> int:
    """The least distance at which no write destroys a byte that is read afterwards."""
    distance, later = 0, -1
    for read, written in reversed(list(events(kernel, down=down))):
        if later >= 0:
            distance = max([distance, *(later - byte if down else byte + 1 - later for byte in written)])
        ends = [max(read) + 1 if down else min(read)] if read else []
        later = (max if down else min)([*([later] if later >= 0 else []), *ends], default=-1)
    return distance


def events(kernel: SeparableKernel, *, down: bool) -> Iterator[tuple[list[int], list[int]]]:
    """Bytes of x that are read, then bytes of y that are written, in the order of the generated C."""
    rows, width, out = kernel.window.rows, kernel.window.columns.outputs, kernel.out_channels
    channels = kernel.window.channels

    def place(row: int, column: int, channel: int) -> int:
        within = channel * width + column if kernel.in_rows else column * out + channel
        return row * width * out + within

    def pixel(row: int, column: int) -> list[int]:
        return [place(row, column, channel) for channel in range(out)]

    for row in reversed(range(rows.outputs)) if down else range(rows.outputs):
        first, end = rows.first_input(row), rows.last_input(row) + 1
        begins = range(0, width - 1, 4)
        for begin in reversed(begins) if down else begins:
            columns = range(max(begin - 1, 0), min(begin + 6, width))
            for channel in reversed(range(channels)) if down else range(channels):
                read = [(y * channels + channel) * width + x for y in range(first, end) for x in columns]
                # Bytes beside them are not told apart: a row of a channel is needed until its last group is made.
                read += [(y * channels + channel) * width + x for y in range(first, end) for x in (0, width - 1)]
                yield read, [place(row, width - 1, channel)] if begin + 5 == width else []
            yield [], [byte for column in range(begin, begin + 4) for byte in pixel(row, column)]
        group = row - row % 4
        if row == group if down else row % 4 == 3 or row == rows.outputs - 1:
            late = [byte for each in range(group, min(group + 4, rows.outputs)) for byte in pixel(each, width - 1)]
            yield [], late


def test_records_of_a_kernel_that_goes_down_begin_with_the_last_channel():
    records = np.arange(21, dtype=np.int32).reshape(3, 7)
    turned = records_backwards(records)
    assert turned[:, 0].tolist() == [14, 7, 0]
    assert turned.flags.c_contiguous


@pytest.mark.models
def test_layers_of_a_real_network_go_up_and_down_one_row_apart(model_path):
    program = planned(load_network(model_path("kws_ref_model_int8.tflite")).network, M4)
    separables = [function.kernel for function in program.functions if isinstance(function.kernel, SeparableKernel)]
    assert all(kernel.depthwise.late for kernel in separables)
    assert {kernel.descending for kernel in separables} == {False, True}
    offsets = {buffer.name: buffer.offset_bytes for buffer in program.buffers}
    assert abs(offsets["conv2d_2"] - offsets["conv2d_1"]) == 320


def test_records_of_a_layer_that_goes_down_are_turned_in_the_program():
    """Its constants alone: others stay as the draft has them."""
    network = int8(chain("late_pixels_up_and_down"), "tflite")
    (draft,) = (each for each in lowered_drafts(network, here("cortex-m4")) if each.in_rows)
    program = draft.program(draft.plan())
    down = {f.symbol for f in program.functions if isinstance(f.kernel, SeparableKernel) and f.kernel.descending}
    turned = {o.name for step in program.steps for c in step.calls if c.symbol in down for o in c.operands}
    assert any(name.endswith("records") for name in turned)
    for name, array in program.constants.items():
        before = draft.constants[name]
        is_turned = name in turned and name.endswith("records")
        np.testing.assert_array_equal(array, before[::-1] if is_turned else before)
