"""Products whose columns stay in registers, and groups where their channels lie: the C twin, registers, the choice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dscompile.ir.network import Network, NetworkBuilder
from dscompile.ir.ops import HARD_SWISH, NONE, RELU, RELU6, Activate, Activation, Binary, Conv2D, Pads
from dscompile.ir.tensor import Quantization, Tensor
from dscompile.plan.mcu.epilogues import Finish, IntegerEpilogue
from dscompile.plan.mcu.held import HeldBody, fits_held, held_records, held_shape
from dscompile.plan.mcu.overlap import Distances, permitted_distances
from dscompile.plan.mcu.products import ConvKernel
from dscompile.plan.mcu.windows import Axis, Window
from dscompile.plan.program import Program
from dscompile.target import find_target
from tests.mcu import assert_equals_oracle, here, planned
from tests.unit.test_mcu_rows import memory_for_rows  # noqa: F401 -- a fixture

INSIDE = Quantization((0.03,), -100)  # RELU6 ends at 100
DEPTHS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 16)
RESULTS = {
    "linear_of_one_channel": (1, (1, 1), NONE),
    "relu_of_17_channels_on_odd_pixels": (17, (3, 5), RELU),
    "relu6_of_3_channels": (3, (2, 3), RELU6),
    "linear_of_8_channels": (8, (4, 4), NONE),
}


class Layers:
    """A network of int8 pointwise layers, one after the other."""

    def __init__(self, height: int, width: int, channels: int, *, made: Quantization = INSIDE) -> None:
        self.builder, self.rng, self.made = NetworkBuilder("held", "tflite"), np.random.default_rng(channels), made
        self.channels = channels
        self.last = self.builder.input(Tensor("x", (1, height, width, channels), "int8", Quantization((0.04,), 5)))

    def conv(self, filters: int, activation: Activation = RELU, groups: int = 1, kernel: int = 1) -> Layers:
        """One more layer."""
        depth, pad = self.channels // groups, kernel // 2
        op = Conv2D(filters, (kernel, kernel), pads=Pads(pad, pad, pad, pad), groups=groups, activation=activation)
        weights = self.rng.integers(-127, 128, (kernel, kernel, depth, filters)).astype(np.int8)
        return self._add(op, weights, 0.6 / np.sqrt(depth) / 127 / kernel)

    def _add(self, op: Conv2D, weights: np.ndarray, scale: float) -> Layers:
        filters = op.out_channels
        self.last = self.builder.add(
            f"conv{len(self.builder.layers)}",
            op,
            [self.last],
            quantization=self.made,
            kernel=weights,
            kernel_scale=(scale * self.rng.uniform(0.5, 1, filters)).astype(np.float32),
            bias=self.rng.integers(-2000, 2000, filters).astype(np.int32),
        )
        self.channels = filters
        return self

    def table(self) -> Layers:
        """A table behind it."""
        self.last = self.builder.add(
            "table", Activate(HARD_SWISH), [self.last], quantization=Quantization((0.03,), -90)
        )
        return self

    def plus(self, other: str) -> Layers:
        """A sum."""
        self.last = self.builder.add("sum", Binary("add", RELU), [self.last, other], quantization=INSIDE)
        return self

    def network(self) -> Network:
        """With what was made last as its result."""
        return self.builder.build([self.last])


def in_groups(channels: int, filters: int, groups: int, activation: Activation = NONE) -> Network:
    return Layers(4, 5, channels).conv(channels).conv(filters, activation, groups).network()


def with_a_sum() -> Network:
    layers = Layers(4, 4, 15).conv(60)
    before = layers.last
    return layers.conv(15, RELU, 3).conv(60, NONE, 3).plus(before).network()


CHAINS = {
    "that_grow_and_shrink": Layers(5, 5, 3).conv(8).conv(32).conv(8, NONE).conv(33).conv(16).network(),
    "of_odd_channels": Layers(3, 3, 5).conv(7).conv(17).conv(9).conv(1).conv(15).network(),
    "with_a_table": Layers(3, 5, 8).conv(9, NONE).table().conv(16, NONE).network(),
    "with_a_table_of_one_pixel": Layers(3, 3, 16).conv(9, NONE).table().conv(16, NONE).network(),
    "in_3_groups_of_5": in_groups(15, 60, 3),
    "in_3_groups_of_20": in_groups(60, 15, 3, RELU),
    "in_2_groups_of_6": in_groups(12, 6, 2, RELU6),
    "in_2_groups_of_33": in_groups(66, 34, 2, RELU6),
    "in_groups_with_a_sum": with_a_sum(),
}


def in_rows(height: int, width: int, channels: int, filters: int) -> Network:
    """A pointwise layer before a depthwise and a pointwise one."""
    layers = Layers(height, width, channels, made=Quantization((0.03,), -128)).conv(channels).conv(filters, RELU6)
    return layers.conv(filters, RELU, filters, 3).conv(8).network()


ROWS = {
    "8_channels": in_rows(10, 12, 8, 24),
    "7_to_17_channels": in_rows(9, 8, 7, 17),
    "16_channels": in_rows(8, 9, 16, 24),
}


def alone(depth: int, name: str) -> Network:
    channels, (height, width), activation = RESULTS[name]
    return Layers(height, width, depth).conv(channels, activation).network()


def held_kernels(program: Program) -> list[ConvKernel]:
    kernels = [function.kernel for function in program.functions]
    return [kernel for kernel in kernels if isinstance(kernel, ConvKernel) and kernel.variant == "held"]


@pytest.mark.parametrize("name", RESULTS)
@pytest.mark.parametrize("depth", DEPTHS)
def test_columns_in_registers_equal_the_oracle(depth, name):
    assert_equals_oracle(alone(depth, name), (0,), here("cortex-m4"))


@pytest.mark.parametrize("name", CHAINS)
def test_layers_after_each_other_equal_the_oracle(name):
    assert_equals_oracle(CHAINS[name], (0, 1), here("cortex-m4"))


@pytest.mark.usefixtures("memory_for_rows")
@pytest.mark.parametrize("name", ROWS)
def test_columns_in_registers_for_a_result_in_rows_equal_the_oracle(name):
    assert any(kernel.in_rows for kernel in held_kernels(planned(ROWS[name], find_target("cortex-m4"))))
    assert_equals_oracle(ROWS[name], (0, 1), here("cortex-m4"))


def test_all_clamps_and_steps_are_tested():
    finishes = [
        (kernel.epilogue.method, kernel.epilogue.low > -128, kernel.epilogue.high < 127)
        for name in RESULTS
        for kernel in held_kernels(planned(alone(8, name), find_target("cortex-m4")))
        if isinstance(kernel.epilogue, IntegerEpilogue)
    ]
    assert {(low, high) for _, low, high in finishes} == {(False, False), (True, False), (True, True)}
    assert {method for method, *_ in finishes} == {"affine", "stepped"}


def test_a_layer_that_grows_in_its_place_goes_downwards():
    kernels = held_kernels(planned(CHAINS["that_grow_and_shrink"], find_target("cortex-m4")))
    assert any(kernel.descending for kernel in kernels)
    (upwards,) = held_kernels(planned(alone(8, "linear_of_8_channels"), find_target("cortex-m4")))
    assert not upwards.descending


def test_groups_are_calls_of_one_function():
    program = planned(in_groups(15, 60, 3), find_target("cortex-m4"))
    step = program.steps[-1]
    assert len(step.calls) == 3
    assert len({call.symbol for call in step.calls}) == 1
    assert [call.operands[0].offset_bytes for call in step.calls] == [0, 5, 10]
    assert [call.operands[-1].offset_bytes for call in step.calls] == [0, 20, 40]


def test_groups_leave_a_sum_to_its_own_step():
    program = planned(with_a_sum(), find_target("cortex-m4"))
    assert [len(step.calls) for step in program.steps] == [1, 3, 3, 1]


def test_groups_are_split_for_targets_without_pairs():
    steps = [step.name for step in planned(in_groups(66, 34, 2), find_target("cortex-m0plus")).steps]
    assert any("group1" in name for name in steps)


BODIES = [
    HeldBody(Finish(14, -128, 127, step), depth, lookup, row_step)
    for depth in range(1, 17)
    for step in (False, True)
    for lookup, row_step in ((False, 0), (True, 0), (False, 24))
]


@pytest.mark.parametrize("body", BODIES, ids=str)
def test_no_register_is_loaded_before_its_word_was_used(body):
    columns = {register for each in body.columns for register in each}
    assert len(columns) == body.pixels * body.words
    busy = columns | set(body.kept.values()) | {"r0", "r1"}
    assert len(busy) == len(columns) + len(body.kept) + 2
    order = [f"r{number}" for number in range(13)] + ["lr"]
    words = [word for load in body.loads for _, word in load]
    assert words == ["bias", *map(str, range(body.words)), *["step"] * body.finish.step, "multiplier", "start"]
    holds: dict[str, str] = {}
    for load in body.loads:
        registers = [register for register, _ in load]
        assert registers == sorted(registers, key=order.index)
        assert not busy & set(registers)
        assert not any(holds.get(register) in ("step", "multiplier") for register in registers if register != "r2")
        holds.update(dict(load))
        holds = {register: word for register, word in holds.items() if not word.isdigit() and word != "bias"}
        if "step" in holds.values():
            assert body.spare not in busy | set(holds) | set(body.sums)
            holds = {register: word for register, word in holds.items() if word != "step"}


def test_records_have_pairs_of_values_shifted_to_the_left():
    weights = np.arange(1, 8, dtype=np.int8)[:, None] * np.array([1, -1], np.int8)
    constants = (np.array([7, 8]), np.array([9, 10]), np.array([11, 12]))
    epilogue = IntegerEpilogue("stepped", -128, 127, -3, 2, 4)
    records = held_records(weights, epilogue, constants)
    assert records.tolist()[0] == [7, 4 | 12 << 16, 8 | 16 << 16, 20 | 24 << 16, 28, 11, 9, -48]
    halves = records[1, 1:5].view(np.int16).tolist()
    assert halves == [-4, -12, -8, -16, -20, -24, -28, 0]
    assert held_records(weights, epilogue, constants, in_rows=True)[0, -1] == (128 - 3) * 16


def test_weights_fit_where_halves_of_words_take_their_shift():
    assert fits_held(np.array([-128, 127], np.int8), 8)
    assert not fits_held(np.array([127], np.int8), 9)


def kernel_of(depth: int, channels: int, *, descending: bool = False) -> ConvKernel:
    window = Window(Axis(3, 3, 1, 1, 0), Axis(5, 5, 1, 1, 0), depth)
    epilogue = IntegerEpilogue("affine", -128, 127)
    return ConvKernel(window, channels, epilogue, group=2, variant="held", descending=descending)


def test_the_last_of_an_odd_number_of_pixels_is_both_of_a_group():
    shape = held_shape(kernel_of(8, 17), 0)
    assert (shape.y_step, shape.x_step, shape.x_bytes, shape.x_group) == (0, 0, 0, 0)


def test_groups_of_pixels_follow_each_other_downwards():
    up, down = (held_shape(kernel_of(8, 17, descending=way), 14) for way in (False, True))
    assert (up.x_group, up.x_bytes, up.gap) == (16, 112, 17)
    assert (down.x_group, down.x_bytes, down.gap) == (-16, -112, -51)
    assert (down.x_step, down.y_step) == (8, 17)


def test_pixels_are_read_before_any_of_their_group_is_written():
    kernel = kernel_of(8, 8)
    assert permitted_distances(kernel, ["x"]) == Distances(0, 0)
    assert permitted_distances(replace(kernel, group=1), ["x"]) == Distances(0, 0)
