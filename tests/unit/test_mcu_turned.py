"""Depthwise windows of images that are turned row by row: the C twin against the oracle, records, choice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dscompile.api.reference import oracle_outputs
from dscompile.ir.network import Network, NetworkBuilder
from dscompile.ir.ops import HARD_SWISH, NONE, RELU, RELU6, Activate, Activation, Binary, Conv2D, Pads
from dscompile.ir.shapes import same_pads
from dscompile.ir.tensor import Tensor
from dscompile.passes import canonicalize
from dscompile.plan.mcu import convolutions
from dscompile.plan.mcu import memory as mcu_memory
from dscompile.plan.mcu.products import SeparableKernel
from dscompile.plan.mcu.row_forms import by_row
from dscompile.plan.mcu.turned import (
    ring_bytes,
    takes_turned,
    turned_pitch,
    turned_records,
    turned_runs,
)
from dscompile.plan.mcu.ways import lowered_drafts
from dscompile.plan.mcu.windows import Axis, Window
from tests.mcu import HostModel, assert_equals_oracle, here, planned, random_inputs, write
from tests.unit.test_mcu_kernels import int8
from tests.unit.test_mcu_rows import memory_for_rows  # noqa: F401 -- a fixture

GOOD = Window(Axis(16, 16, 5, 1, 2), Axis(16, 16, 5, 1, 2), 8)


def residual_blocks(
    height: int,
    width: int,
    channels: int,
    out: int,
    activation: Activation = NONE,
    stride: int = 1,
    size: int = 5,
    pads: Pads | None = None,
    tables: bool = False,
    behind: int = 0,
) -> Network:
    """Two blocks of a depthwise and a pointwise layer; the first adds its input, the second may have a stride.

    With `tables`, both layers of the second one have a hard-swish behind them. `behind` are channels of a third block,
    for which the result of the second one is in rows.
    """
    rng = np.random.default_rng(1)
    builder = NetworkBuilder("blocks")
    x = builder.input(Tensor("x", (1, height, width, channels)))
    for index, to in enumerate((channels, out)):
        step = stride if to == out else 1
        around = same_pads(height, width, (size, size), (step, step), (1, 1)) if pads is None or not index else pads
        depthwise = Conv2D(channels, (size, size), (step, step), around, groups=channels, activation=activation)
        kernel = rng.normal(0, 0.3, (size, size, 1, channels)).astype(np.float32)
        bias = rng.normal(0, 0.5, channels).astype(np.float32)
        y = builder.add(f"depthwise{index}", depthwise, [x], kernel=kernel, bias=bias)
        y = builder.add(f"swish{index}", Activate(HARD_SWISH), [y]) if tables and index else y
        kernel = rng.normal(0, 0.3, (1, 1, channels, to)).astype(np.float32)
        pointwise = Conv2D(to, (1, 1), activation=RELU if index and not tables else NONE)
        bias = rng.normal(0, 0.5, to).astype(np.float32)
        y = builder.add(f"pointwise{index}", pointwise, [y], kernel=kernel, bias=bias)
        y = builder.add(f"last{index}", Activate(HARD_SWISH), [y]) if tables and index else y
        x = builder.add(f"add{index}", Binary("add", RELU), [x, y]) if to == channels else y
    if behind:
        around = Pads(1, 1, 1, 1)
        last = Conv2D(out, (3, 3), pads=around, groups=out, activation=RELU)
        kernel, bias = (rng.normal(0, 0.3, shape).astype(np.float32) for shape in ((3, 3, 1, out), out))
        x = builder.add("depthwise2", last, [x], kernel=kernel, bias=bias)
        kernel, bias = (rng.normal(0, 0.3, shape).astype(np.float32) for shape in ((1, 1, out, behind), behind))
        x = builder.add("pointwise2", Conv2D(behind, (1, 1), activation=RELU), [x], kernel=kernel, bias=bias)
    return builder.build([x])


BLOCKS = {
    "linear": residual_blocks(16, 12, 4, 6),
    "to_odd_channels": residual_blocks(17, 16, 8, 5, RELU6),
    "to_more_channels_than_fit_in_place": residual_blocks(18, 12, 4, 40, RELU),
    "stride_2": residual_blocks(16, 16, 4, 12, stride=2),
    "stride_2_on_odd_rows": residual_blocks(11, 24, 4, 7, RELU, stride=2),
    "three_taps": residual_blocks(9, 8, 8, 6, size=3),
    "three_taps_of_odd_channels": residual_blocks(5, 12, 7, 9, RELU6, size=3),
    "tables": residual_blocks(8, 8, 8, 6, size=3, tables=True),
    "tables_of_large_windows": residual_blocks(7, 8, 6, 5, tables=True),
    "groups_across_rows": residual_blocks(6, 6, 8, 6, size=3),
    "groups_across_rows_downwards": residual_blocks(6, 6, 8, 40, RELU, size=3),
    "a_last_group_that_is_not_full": residual_blocks(5, 6, 8, 6, size=3),
    "a_last_group_that_is_not_full_downwards": residual_blocks(7, 10, 6, 41, RELU, size=3),
    "three_columns_of_six": residual_blocks(9, 6, 8, 6, stride=2, size=3),
    "three_columns_of_six_downwards": residual_blocks(9, 6, 8, 80, stride=2),
    "seven_columns_of_fourteen": residual_blocks(9, 14, 5, 8, RELU, stride=2),
    "padding_in_front": residual_blocks(8, 8, 8, 12, stride=2, size=3, pads=Pads(1, 1, 1, 1)),
    "no_padding": residual_blocks(9, 10, 8, 12, size=3, pads=Pads(0, 0, 0, 0)),
    "to_rows": residual_blocks(8, 8, 8, 6, size=3, behind=4),
    "to_rows_downwards": residual_blocks(12, 8, 8, 12, size=3, stride=2, behind=2),
    "to_rows_of_six_downwards": residual_blocks(9, 6, 4, 12, size=3, behind=2),
    "to_rows_of_six": residual_blocks(7, 6, 8, 6, behind=5),
    "to_rows_of_five_downwards": residual_blocks(7, 10, 4, 20, size=3, stride=2, behind=8),
    "to_rows_of_seven": residual_blocks(10, 14, 8, 6, stride=2, size=3, behind=5),
    "stride_2_without_padding": residual_blocks(9, 10, 8, 12, stride=2, pads=Pads(0, 0, 0, 0)),
}


@pytest.fixture
def turning_is_free(monkeypatch):
    """Whatever can be turned is."""
    monkeypatch.setattr(convolutions, "pays_turned", lambda _kernel, _turned: True)


def turned_kernels(network: Network, **more: object) -> list[SeparableKernel]:
    found = [function.kernel for function in planned(network, here("cortex-m4"), **more).functions]  # type: ignore[arg-type]
    return [k for k in found if isinstance(k, SeparableKernel) and k.depthwise.variant == "turned"]


@pytest.mark.usefixtures("memory_for_rows", "turning_is_free")
@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_of_turned_images_equal_the_oracle(name):
    network = int8(BLOCKS[name], "tflite")
    kernels = turned_kernels(network)
    assert len(kernels) == 2
    assert kernels[1].descending or "downwards" not in name
    assert kernels[1].in_rows == ("to_rows" in name)
    assert_equals_oracle(network, (0, 1), here("cortex-m4"))


@pytest.mark.parametrize("rounding", ["half-up", "single", "float32"])
@pytest.mark.usefixtures("memory_for_rows", "turning_is_free")
def test_other_roundings_of_turned_images_equal_the_oracle(rounding):
    network = int8(BLOCKS["a_last_group_that_is_not_full"], rounding)
    assert turned_kernels(network)
    assert_equals_oracle(network, (0, 1), here("cortex-m4"))


@pytest.mark.usefixtures("turning_is_free")
@pytest.mark.parametrize(
    "name", ["linear", "groups_across_rows", "three_columns_of_six", "no_padding", "tables", "to_rows_of_six"]
)
def test_a_stream_turns_the_rows_of_each_window(name, tmp_path, monkeypatch):
    turned = lambda *of, **more: tuple(draft for draft in lowered_drafts(*of, **more) if draft.in_rows)  # noqa: E731
    monkeypatch.setattr(mcu_memory, "lowered_drafts", turned)
    network = int8(BLOCKS[name], "tflite")
    assert any(kernel.by_row for kernel in turned_kernels(network, memory="stream"))
    model = HostModel(write(network, tmp_path / "a", here("cortex-m4"), memory="stream"))
    inputs = random_inputs(network, 0)
    results = model.run(inputs)
    for name, expected in oracle_outputs(network, inputs).items():
        np.testing.assert_array_equal(results[name], expected)


@pytest.mark.usefixtures("memory_for_rows")
def test_a_ring_holds_as_many_rows_as_a_window_and_a_word():
    assert turned_pitch(GOOD) == 2 * (2 + 16 + 2)
    assert ring_bytes(GOOD) == 8 * 5 * 40 + 4
    (kernel, *_) = turned_kernels(int8(BLOCKS["linear"], "tflite"))
    assert (kernel.column_bytes, kernel.ring_bytes) == (16 * 2, 4 * 5 * 32 + 4)
    assert by_row(kernel).depthwise.by_row  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "columns",
    [
        Axis(16, 6, 5, 3, 2),
        Axis(15, 15, 5, 1, 2),
        Axis(16, 16, 5, 1, 4, 2),
        Axis(2, 2, 5, 1, 2),
        Axis(512, 512, 5, 1, 2),
        Axis(16, 16, 3, 1, 1),
    ],
    ids=["stride 3", "no whole words", "dilated", "two columns", "too far apart", "not square"],
)
def test_windows_of_other_sizes_are_not_turned(columns):
    assert takes_turned(GOOD)
    assert not takes_turned(replace(GOOD, columns=columns))


def test_what_costs_more_to_turn_than_it_saves_is_not_turned():
    network = residual_blocks(8, 8, 4, 6, stride=2, size=3, pads=Pads(0, 0, 0, 0))
    assert [kernel.window.columns.stride for kernel in turned_kernels(int8(network, "tflite"))] == [1]


def test_a_network_whose_memory_cannot_hold_a_ring_has_another_way():
    network = canonicalize(int8(BLOCKS["linear"], "tflite"))
    assert [draft.in_rows for draft in lowered_drafts(network, here("cortex-m4"))] == [False, True]


def test_records_hold_neighbors_of_all_rows_and_once_more_all_but_the_last():
    kernel = np.arange(-4, 5, dtype=np.int8).reshape(3, 3, 1)
    record = turned_records(kernel, 1, np.array([7]), np.array([-9]))
    halves = record[:10].view(np.int16).tolist()
    assert halves == [-8, -6, -6, -4, -2, 0, 0, 2, 4, 6, 6, 8, -8, -6, -6, -4, -2, 0, 0, 2]
    assert record[10:].tolist() == [7, -9]


def test_runs_fill_the_group_of_the_row_before():
    runs = turned_runs(Axis(10, 10, 3, 1, 1), 2)
    assert [(run.begin, run.outputs, run.slot, run.repeats) for run in runs] == [(0, 2, 2, 1), (2, 4, 0, 2)]


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("before", [0, 1, 2])
def test_the_sum_in_which_the_bias_is_begins_last(size, stride, before):
    for slot in range(4):
        for run in turned_runs(Axis(22, 9, size, stride, before), slot):
            order = [term.output for word in run.pattern.words for term in word]
            begun = list(dict.fromkeys(order))
            assert begun == list(range(run.outputs))
