"""Depthwise 5x5 windows of images that are turned row by row: the C twin against the oracle, records, choice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dscompile.api.reference import oracle_outputs
from dscompile.ir.network import Network, NetworkBuilder
from dscompile.ir.ops import NONE, RELU, RELU6, Activation, Binary, Conv2D
from dscompile.ir.shapes import same_pads
from dscompile.ir.tensor import Tensor
from dscompile.passes import canonicalize
from dscompile.plan.mcu import memory as mcu_memory
from dscompile.plan.mcu.products import SeparableKernel
from dscompile.plan.mcu.row_forms import by_row
from dscompile.plan.mcu.turned import ring_bytes, takes_turned, turned_records
from dscompile.plan.mcu.ways import lowered_drafts
from dscompile.plan.mcu.windows import Axis, Window
from tests.mcu import HostModel, assert_equals_oracle, here, planned, random_inputs, write
from tests.unit.test_mcu_kernels import int8
from tests.unit.test_mcu_rows import memory_for_rows  # noqa: F401 -- a fixture

GOOD = Window(Axis(16, 16, 5, 1, 2), Axis(16, 16, 5, 1, 2), 8)


def residual_blocks(
    height: int, width: int, channels: int, out: int, activation: Activation = NONE, stride: int = 1
) -> Network:
    """Two blocks of a depthwise 5x5 and a pointwise layer; the first adds its input, the second may have a stride."""
    rng = np.random.default_rng(1)
    builder = NetworkBuilder("blocks")
    x = builder.input(Tensor("x", (1, height, width, channels)))
    for index, to in enumerate((channels, out)):
        step = stride if to == out else 1
        pads = same_pads(height, width, (5, 5), (step, step), (1, 1))
        depthwise = Conv2D(channels, (5, 5), (step, step), pads, groups=channels, activation=activation)
        kernel = rng.normal(0, 0.3, (5, 5, 1, channels)).astype(np.float32)
        bias = rng.normal(0, 0.5, channels).astype(np.float32)
        y = builder.add(f"depthwise{index}", depthwise, [x], kernel=kernel, bias=bias)
        kernel = rng.normal(0, 0.3, (1, 1, channels, to)).astype(np.float32)
        pointwise = Conv2D(to, (1, 1), activation=RELU if index else NONE)
        bias = rng.normal(0, 0.5, to).astype(np.float32)
        y = builder.add(f"pointwise{index}", pointwise, [y], kernel=kernel, bias=bias)
        x = builder.add(f"add{index}", Binary("add", RELU), [x, y]) if to == channels else y
    return builder.build([x])


BLOCKS = {
    "linear": residual_blocks(16, 12, 4, 6),
    "to_odd_channels": residual_blocks(17, 16, 8, 5, RELU6),
    "to_more_channels_than_fit_in_place": residual_blocks(18, 12, 4, 40, RELU),
    "stride_2": residual_blocks(16, 16, 4, 12, stride=2),
    "stride_2_on_odd_rows": residual_blocks(11, 24, 4, 7, RELU, stride=2),
}


def turned_kernels(network: Network, **more: object) -> list[SeparableKernel]:
    found = [function.kernel for function in planned(network, here("cortex-m4"), **more).functions]  # type: ignore[arg-type]
    return [k for k in found if isinstance(k, SeparableKernel) and k.depthwise.variant == "turned"]


@pytest.mark.usefixtures("memory_for_rows")
@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_of_turned_images_equal_the_oracle(name):
    network = int8(BLOCKS[name], "tflite")
    assert len(turned_kernels(network)) == 2
    assert_equals_oracle(network, (0, 1), here("cortex-m4"))


def test_a_stream_turns_the_rows_of_each_window(tmp_path, monkeypatch):
    turned = lambda *of, **more: tuple(draft for draft in lowered_drafts(*of, **more) if draft.in_rows)  # noqa: E731
    monkeypatch.setattr(mcu_memory, "lowered_drafts", turned)
    network = int8(BLOCKS["linear"], "tflite")
    assert any(kernel.by_row for kernel in turned_kernels(network, memory="stream"))
    model = HostModel(write(network, tmp_path / "a", here("cortex-m4"), memory="stream"))
    inputs = random_inputs(network, 0)
    results = model.run(inputs)
    for name, expected in oracle_outputs(network, inputs).items():
        np.testing.assert_array_equal(results[name], expected)


@pytest.mark.usefixtures("memory_for_rows")
def test_a_ring_is_as_large_as_five_rows_and_one_of_padding():
    assert ring_bytes(GOOD) == 6 * 8 * 20
    (kernel, *_) = turned_kernels(int8(BLOCKS["linear"], "tflite"))
    assert kernel.column_bytes == 16 * 2 + 6 * 4 * 16
    assert by_row(kernel).depthwise.by_row  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "columns",
    [
        Axis(16, 16, 3, 1, 1),
        Axis(16, 6, 5, 3, 2),
        Axis(14, 14, 5, 1, 2),
        Axis(16, 12, 5, 1, 0),
        Axis(16, 16, 5, 1, 4, 2),
    ],
    ids=["3x3", "stride 3", "no whole words", "valid", "dilated"],
)
def test_windows_of_other_sizes_are_not_turned(columns):
    assert takes_turned(GOOD)
    assert not takes_turned(replace(GOOD, columns=columns))


def test_windows_that_are_mostly_padding_are_not_turned():
    assert not takes_turned(replace(GOOD, rows=Axis(7, 7, 5, 1, 2)))


def test_a_network_whose_memory_cannot_hold_a_ring_has_another_way():
    network = canonicalize(int8(BLOCKS["linear"], "tflite"))
    assert [draft.in_rows for draft in lowered_drafts(network, here("cortex-m4"))] == [False, True]


def test_records_hold_weights_of_a_row_in_three_words():
    kernel = np.arange(-12, 13, dtype=np.int8).reshape(5, 5, 1)
    (record,) = turned_records(kernel, np.array([7]), np.array([-9]))
    assert record.view(np.int16)[:6].tolist() == [-12, -10, -11, -9, -10, -8]
    assert record[15:].tolist() == [7, -9]
