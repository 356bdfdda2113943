"""Dense layers by int16 pairs, four results at once: their C twin against the oracle, weights, choice, columns."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest

from dscompile.api.reference import oracle_outputs
from dscompile.ir.network import Array, Network, NetworkBuilder
from dscompile.ir.ops import HARD_SWISH, NONE, RELU, Activate, Conv2D, Dense
from dscompile.ir.tensor import Quantization, Rounding, Tensor
from dscompile.plan.mcu.epilogues import IntegerEpilogue
from dscompile.plan.mcu.pairs import four_rows
from dscompile.plan.mcu.products import DenseKernel
from dscompile.plan.mcu.small_kernels import LookupKernel
from tests.mcu import HostModel, assert_equals_oracle, here, planned, random_inputs, write
from tests.unit.test_mcu_kernels import int8

Q = Quantization((0.061,), -3)
SHAPES = (
    (1, 3),
    (4, 4),
    (7, 12),
    (64, 5),
    (512, 3),
    (516, 7),
    (1030, 6),
    (40, 2),
    (7, 17),
    (30, 18),
    (516, 16),
)  # depth, units


def dense_layers(rounding: Rounding, *, extreme: bool = False) -> Network:
    """A dense layer of every shape, each of an input of its own; `extreme` weights are 127 or -127."""
    rng = np.random.default_rng(3)
    builder = NetworkBuilder("dense", rounding)
    outputs = []
    for index, (depth, units) in enumerate(SHAPES):
        x = builder.input(Tensor(f"x{depth}_{units}", (1, depth), "int8", Q))
        kernel = rng.choice((-127, 127), (1, units)) if extreme else rng.integers(-127, 128, (depth, units))
        outputs.append(
            builder.add(
                f"dense{depth}_{units}",
                Dense(units, RELU if index % 2 else NONE),
                [x],
                quantization=Q,
                kernel=np.broadcast_to(kernel, (depth, units)).astype(np.int8),
                kernel_scale=(rng.integers(70, 130, units) / 16384 / depth**0.5).astype(np.float32),
                bias=rng.integers(-2000, 2000, units).astype(np.int32),
            )
        )
    return builder.build(outputs)


def extreme_inputs(network: Network) -> list[dict[str, Array]]:
    """Inputs that are -128, or 127, everywhere."""
    tensors = [network.tensor(name) for name in network.inputs]
    return [{t.name: np.full(t.border_shape, value, np.int8) for t in tensors} for value in (-128, 127)]


def assert_twin_equals_oracle(network: Network, inputs: list[dict[str, Array]]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        model = HostModel(write(network, Path(scratch) / "a", here("cortex-m4"), measured=False))
        for each in inputs:
            results = model.run(each)
            for name, expected in oracle_outputs(network, each).items():
                np.testing.assert_array_equal(results[name], expected)


@pytest.mark.parametrize("rounding", ["tflite", "float32"])
def test_dense_layers_of_any_size_equal_the_oracle(rounding):
    network = dense_layers(rounding)
    assert_twin_equals_oracle(network, [random_inputs(network, seed) for seed in (0, 1)])


def test_the_largest_sums_of_512_values_stay_apart():
    network = dense_layers("tflite", extreme=True)
    assert_twin_equals_oracle(network, extreme_inputs(network))


def test_rows_of_weights_lie_by_fours_and_a_half_holds_two_of_them():
    weights = np.arange(-6, 6, dtype=np.int8).reshape(6, 2)
    halves = four_rows(weights).view("<i2").reshape(2, 4, 2)  # fours of values; words; halves
    assert (halves[:, 2:] == 0).all()  # of channels 2 and 3, which are not there
    assert (halves[0, 0] == weights[[0, 2]] @ [1, 256]).all()
    assert (halves[0, 1] == weights[[1, 3]] @ [1, 256]).all()
    assert (halves[1, :2, 0] == weights[[4, 5]] @ [1, 256]).all()
    assert (halves[1, :2, 1] == 0).all()  # of values 6 and 7, which are not there


def test_values_that_are_no_whole_words_are_copied():
    epilogue = IntegerEpilogue("affine", -128, 127)
    assert [DenseKernel(depth, 4, epilogue, "dsp").column_bytes for depth in (7, 8, 9)] == [8, 0, 12]
    assert DenseKernel(7, 4, epilogue).column_bytes == 0


def test_many_results_want_an_input_that_is_widened_once():
    chosen = {
        k.in_channels: k
        for f in planned(dense_layers("tflite"), here("cortex-m4")).functions
        if isinstance(k := f.kernel, DenseKernel)
    }
    assert {k.out_channels for k in chosen.values() if k.wide} == {16, 17, 18}
    assert [
        DenseKernel(depth, 16, IntegerEpilogue("affine", -128, 127), "dsp", wide=True).column_bytes for depth in (7, 8)
    ] == [16, 16]


def test_float_layers_and_weights_of_minus_128_have_portable_code():
    network = dense_layers("tflite")
    (kernel, *_) = (f.kernel for f in planned(network, here("cortex-m4")).functions)
    assert isinstance(kernel, DenseKernel)
    assert kernel.variant == "dsp"
    builder = NetworkBuilder("plain", "tflite")
    x = builder.input(Tensor("x", (1, 4), "int8", Q))
    lowest = np.full((4, 4), -128, np.int8)
    scales, bias = np.full(4, 0.01, np.float32), np.zeros(4, np.int32)
    y = builder.add("y", Dense(4), [x], quantization=Q, kernel=lowest, kernel_scale=scales, bias=bias)
    real = NetworkBuilder("real")
    z = real.add("z", Dense(4), [real.input(Tensor("x", (1, 4)))], kernel=np.ones((4, 4), np.float32))
    for plain in (builder.build([y]), real.build([z])):
        (function,) = planned(plain, here("cortex-m4")).functions
        assert isinstance(function.kernel, DenseKernel)
        assert function.kernel.variant == "c99"


def single_pixels() -> Network:
    """Pointwise convolutions of an image of one pixel, some with a table behind them."""
    rng = np.random.default_rng(11)
    builder = NetworkBuilder("single")
    x = builder.input(Tensor("x", (1, 1, 1, 24)))
    for index, units in enumerate((17, 100, 3, 8)):
        depth = (24, 17, 100, 3)[index]
        weights = rng.normal(0, depth**-0.5, (1, 1, depth, units)).astype(np.float32)
        bias = rng.normal(0, 0.3, units).astype(np.float32)
        x = builder.add(f"conv{index}", Conv2D(units, (1, 1)), [x], kernel=weights, bias=bias)
        if index != 1:
            x = builder.add(f"table{index}", Activate(HARD_SWISH), [x])
    return builder.build([x])


@pytest.mark.parametrize("rounding", ["tflite", "float32", "half-up", "single"])
def test_convolutions_of_one_pixel_equal_the_oracle(rounding):
    network = int8(single_pixels(), rounding)
    for core in ("cortex-m4", "c99"):
        assert_equals_oracle(network, (0, 1), here(core))


def test_convolutions_of_one_pixel_are_dense_layers_unless_columns_stay_in_registers():
    network = int8(single_pixels(), "tflite")
    functions = [function.kernel for function in planned(network, here("cortex-m4")).functions]
    assert [k.wide for k in functions if isinstance(k, DenseKernel)] == [True, True, False]
    assert sum(isinstance(k, LookupKernel) for k in functions) == 2
    assert not any(isinstance(f.kernel, DenseKernel) for f in planned(network, here("c99")).functions)
