"""Images in rows: separable layers one after the other as standalone C, against the oracle."""

from __future__ import annotations

import numpy as np
import pytest

from dscompile.ir.network import Network, NetworkBuilder
from dscompile.ir.ops import RELU, RELU6, Conv2D
from dscompile.ir.shapes import same_pads
from dscompile.ir.tensor import Tensor
from dscompile.plan.mcu import memory as mcu_memory
from dscompile.plan.mcu.products import SeparableKernel
from dscompile.plan.mcu.rows import (
    RowsWord,
    lowered_bias,
    row_records,
    row_segments,
    row_slots,
    rows_words,
    takes_window,
)
from dscompile.plan.mcu.windows import Axis, Window
from dscompile.plan.program import Program
from tests.mcu import assert_equals_oracle, here, planned
from tests.unit.test_mcu_kernels import int8

# Height, width, channels, then stride and channels of each separable layer.
CHAINS = {
    "two_of_8_channels": (8, 8, 8, [(1, 8), (1, 8)]),
    "odd_channels_on_5_columns": (5, 5, 7, [(1, 9), (1, 6)]),
    "stride_2_on_odd_sizes": (9, 11, 6, [(2, 5), (1, 7)]),
    "three_columns": (3, 3, 6, [(1, 12), (1, 6)]),
    "seven_rows_of_ten": (7, 10, 3, [(1, 20), (2, 3), (1, 4)]),
    "one_channel_behind_five": (6, 7, 4, [(1, 5), (1, 1)]),
    "late_pixels_up_and_down": (7, 5, 8, [(1, 8), (1, 8), (1, 8), (1, 8)]),
    "late_pixels_of_odd_channels": (6, 5, 7, [(1, 7), (1, 7), (1, 7)]),
    "late_pixels_of_more_and_more_channels": (8, 9, 4, [(1, 4), (1, 6), (1, 16)]),
    "late_pixels_behind_stride_2": (9, 18, 4, [(2, 6), (1, 6), (1, 8)]),
    "twelve_columns": (12, 12, 4, [(1, 16), (2, 8), (1, 8)]),
}


def chain(name: str, activation=RELU) -> Network:
    height, width, channels, blocks = CHAINS[name]
    rng = np.random.default_rng(0)
    builder = NetworkBuilder("chain")

    def conv(x, kernel, stride, groups, given, out, layer):
        op = Conv2D(out, kernel, stride, same_pads(height, width, kernel, stride, (1, 1)), (1, 1), groups, activation)
        weights = rng.normal(0, 0.5, (*kernel, given // groups, out)).astype(np.float32)
        return builder.add(layer, op, [x], kernel=weights, bias=rng.normal(0, 0.5, out).astype(np.float32))

    y = conv(builder.input(Tensor("x", (1, height, width, 4))), (1, 1), (1, 1), 1, 4, channels, "first")
    for index, (stride, out) in enumerate(blocks):
        y = conv(y, (3, 3), (stride, stride), channels, channels, channels, f"depthwise{index}")
        height, width = -(-height // stride), -(-width // stride)
        y = conv(y, (1, 1), (1, 1), 1, channels, out, f"pointwise{index}")
        channels = out
    return builder.build([y])


@pytest.fixture
def memory_for_rows(monkeypatch):
    monkeypatch.setattr(mcu_memory, "_FAST", 1000)


@pytest.mark.usefixtures("memory_for_rows")
@pytest.mark.parametrize("activation", [RELU, RELU6], ids=["relu", "relu6"])
@pytest.mark.parametrize("name", CHAINS)
def test_separable_layers_in_rows_equal_the_oracle(name, activation):
    network = int8(chain(name, activation), "tflite")
    kernels = [function.kernel for function in planned(network, here("cortex-m4")).functions]
    separable = [kernel for kernel in kernels if isinstance(kernel, SeparableKernel)]
    assert all(kernel.depthwise.variant == "rows" for kernel in separable)
    assert_equals_oracle(network, (0, 1), here("cortex-m4"))


def test_rows_that_take_too_much_memory_are_left_to_dense_tensors():
    network = int8(chain("two_of_8_channels"), "tflite")
    assert depthwise_variants(planned(network, here("cortex-m4"))) == {"rows"}
    assert depthwise_variants(planned(network, here("cortex-m4"), arena_bytes=656)) == {"dsp"}


def depthwise_variants(program: Program) -> set[str]:
    kernels = [function.kernel for function in program.functions]
    return {kernel.depthwise.variant for kernel in kernels if isinstance(kernel, SeparableKernel)}


def test_groups_of_four_go_on_from_row_to_row():
    columns = Axis(5, 5, 3, 1, 1)
    assert row_slots(columns) == (0, 1, 2, 3)
    assert [(s.begin, s.end, s.slot, s.is_last_of_group) for s in row_segments(columns, 3)] == [
        (0, 1, 3, True),
        (1, 5, 0, True),
    ]
    assert row_segments(columns, 3)[0].base == -3


def test_groups_inside_of_a_row_are_one_loop():
    assert [(s.begin, s.end, s.repeats) for s in row_segments(Axis(48, 48, 3, 1, 1), 0)] == [
        (0, 4, 1),
        (4, 8, 10),
        (44, 48, 1),
    ]


def test_windows_of_other_sizes_have_no_loops_in_rows():
    good = Axis(8, 8, 3, 1, 1)
    assert takes_window(Window(good, good, 4))
    for other in (Axis(8, 8, 5, 1, 2), Axis(2, 2, 3, 1, 1), Axis(8, 6, 3, 1, 1, 2), Axis(8, 3, 3, 3, 1)):
        assert not takes_window(Window(other, good, 4))
    assert not takes_window(Window(good, good, 40_000))  # more than int16_t holds


def test_blocks_of_code_follow_each_other_along_a_segment():
    def blocks(axis: Axis, slot: int) -> list[tuple[str, ...]]:
        return [segment.blocks for segment in row_segments(axis, slot)]

    assert blocks(Axis(5, 5, 3, 1, 1), 0) == [("two_left", "two"), ("one_right",)]
    assert blocks(Axis(5, 5, 3, 1, 1), 3) == [("one_left",), ("first_two", "two_right")]
    assert blocks(Axis(12, 6, 3, 2, 0), 0) == [("ones_3", "one"), ("ones_1", "one_right")]
    assert blocks(Axis(11, 6, 3, 2, 1), 2) == [("one_left", "one"), ("ones_3", "one_right")]


def test_the_table_of_blocks_says_how_far_each_way_goes():
    parts = frozenset(("one_left", "ones_1", "ones_2", "ones_3", "one"))
    words = rows_words(2, parts)
    assert words[3] == RowsWord("ones_3", "", "one", 6, 0)  # four outputs with all taps
    assert words[4 + 2] == RowsWord("one_left", "ones_1", "one", 3, 4)  # three without the first
    assert words[8] == RowsWord("", "", "", 0, 12)  # one without the last: no layer has that here


def test_records_hold_shifted_weights_in_halves():
    kernel = np.arange(-4, 5, dtype=np.int8).reshape(3, 3, 1)
    (record,) = row_records(kernel, 2, np.array([7]), np.array([9]))
    halves = record.view(np.int16) >> 2
    assert halves[:10].tolist() == [-4, -2, -1, 1, 2, 4, -3, 0, 3, 0]
    assert record[5:].tolist() == [7, 9]


def test_a_bias_for_columns_that_hold_128_more_comes_back_from_the_other_end():
    assert lowered_bias(np.array([-(2**31)]), np.array([[1]]), 0).tolist() == [2**31 - 128]
