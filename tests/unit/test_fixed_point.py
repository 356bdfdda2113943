"""Fixed-point factors, clamps and roundings of int8 layers, with the numbers worked out by hand."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from dscompile.errors import UnsupportedError
from dscompile.ir.fixed_point import (
    Clamp,
    FixedPoint,
    activation_clamp,
    float_sum,
    layer_clamp,
    layer_factors,
    layer_float_factors,
    layer_rounding,
    quantize_multiplier,
    requantize,
    requantize_layer,
    tensor_quantization,
)
from dscompile.ir.network import NetworkBuilder
from dscompile.ir.ops import HARD_SWISH, NONE, RELU, RELU6, Activate, Activation, Binary, Conv2D, Dense
from dscompile.ir.tensor import Quantization, Tensor
from dscompile.oracle import run


@pytest.mark.parametrize(
    ("real", "multiplier", "shift"),
    [
        (0.5, 1 << 30, 0),
        (1.0, 1 << 30, 1),
        (0.75, 3 << 29, 0),
        (3.0, 3 << 29, 2),
        (2.0**-32, 1 << 30, -31),
        (2.0**-33, 0, 0),
        (0.0, 0, 0),
        (1 - 2.0**-40, 1 << 30, 1),  # rounds up to the next power of two
        (0.1, 1717986918, -3),
    ],
)
def test_factors_become_31_bits_and_a_shift(real, multiplier, shift):
    assert quantize_multiplier(real) == FixedPoint(multiplier, shift)


@pytest.mark.parametrize("real", [-0.5, float("nan"), float("inf")])
def test_factors_that_are_none_are_refused(real):
    with pytest.raises(ValueError, match="a factor must be finite and not negative"):
        quantize_multiplier(real)


def test_factors_that_shift_out_of_32_bits_are_refused():
    with pytest.raises(UnsupportedError, match=r"it must be smaller than 2\^30"):
        quantize_multiplier(2.0**30)


@pytest.mark.parametrize(
    ("activation", "scale", "zero_point", "clamp"),
    [
        (NONE, 0.1, 3, Clamp(-128, 127)),
        (RELU, 0.1, 3, Clamp(3, 127)),
        (RELU, 0.1, -128, Clamp(-128, 127)),
        (RELU6, 0.1, -128, Clamp(-128, -68)),
        (RELU6, 0.0235, -128, Clamp(-128, 127)),
        (RELU6, 4.0, 0, Clamp(0, 2)),  # 6 / 4 = 1.5 goes away from zero
        (Activation("clip", -1.0, 1.0), 0.4, 5, Clamp(2, 8)),  # -2.5 goes away from zero
    ],
)
def test_activations_are_clamps(activation, scale, zero_point, clamp):
    assert activation_clamp(activation, Quantization((scale,), zero_point)) == clamp


def test_only_clips_are_clamps():
    with pytest.raises(ValueError, match="hard_swish is no clamp"):
        activation_clamp(HARD_SWISH, Quantization((1.0,)))


def _exactly(sums, multiplier, shift):
    """sums * multiplier * 2^(shift - 31), exactly."""
    return [Fraction(int(x) * multiplier) * Fraction(2) ** (shift - 31) for x in sums]


def test_single_rounding_is_floor_of_a_half_more(rng):
    sums = rng.integers(-(2**31), 2**31, 500)
    got = requantize(sums, np.int64(1717986918), np.int64(-7), "single")
    assert got.tolist() == [int((x + Fraction(1, 2)) // 1) for x in _exactly(sums, 1717986918, -7)]


def test_double_rounding_rounds_the_product_up_and_the_shift_away_from_zero():
    # multiplier 2^30 halves: -3 -> -1.5 -> -1; then / 2 -> -0.5 -> -1 away from zero, 0 with halves up.
    sums, half, shift = np.array([-3, -1, 0, 1, 3], np.int64), np.int64(1 << 30), np.int64(-1)
    assert requantize(sums, half, shift, "tflite").tolist() == [-1, 0, 0, 1, 1]
    assert requantize(sums, half, shift, "half-up").tolist() == [0, 0, 0, 1, 1]
    assert requantize(sums, half, shift, "single").tolist() == [-1, 0, 0, 0, 1]


def test_factors_above_one_shift_to_the_left_first():
    assert requantize(np.array([5, -5]), np.int64(3 << 29), np.int64(2), "tflite").tolist() == [15, -15]


def dense_network(rounding, activation=NONE):
    """x [1, 2] int8 -> y [1, 3] int8."""
    builder = NetworkBuilder("net", rounding)
    builder.input(Tensor("x", (1, 2), "int8", Quantization((0.25,), 4)))
    builder.add(
        "y",
        Dense(3, activation),
        ["x"],
        quantization=Quantization((0.5,), -10),
        kernel=np.ones((2, 3), np.int8),
        kernel_scale=np.array([0.5, 0.25, 1e-12], np.float32),
        bias=np.array([0, 7, -7], np.int32),
    )
    return builder.build(["y"])


def test_layers_know_their_factors_clamp_and_rounding():
    network = dense_network("tflite", RELU)
    (layer,) = network.layers
    assert layer_factors(network, layer) == (FixedPoint(1 << 30, -1), FixedPoint(1 << 30, -2), FixedPoint(0, 0))
    assert layer_float_factors(network, layer).tolist() == [0.25, 0.125, float(np.float32(5e-13))]
    assert layer_clamp(network, layer) == Clamp(-10, 127)
    assert layer_rounding(network, layer) == "single"
    assert layer_rounding(dense_network("half-up"), layer) == "half-up"


@pytest.mark.parametrize(
    ("rounding", "wanted"),
    [("tflite", [-9, -9, -10]), ("half-up", [-9, -9, -10]), ("float32", [-10, -9, -10])],
)
def test_layers_requantize_their_sums(rounding, wanted):
    network = dense_network(rounding)
    # 2 / 4 = 0.5 goes up in fixed point and to even in float32; 8 / 8 = 1
    assert requantize_layer(network, network.layers[0], np.array([[2, 8, 100]])).tolist() == [wanted]


@pytest.mark.parametrize("rounded_as", ["int8", "uint8"])
def test_float_sums_are_those_of_the_oracle(rounded_as):
    builder = NetworkBuilder("net", "float32")
    every = np.arange(-128, 128, dtype=np.int8)
    builder.input(Tensor("a", (1, 256, 1, 1), "int8", Quantization((0.0371,), 4)))
    builder.input(Tensor("b", (1, 1, 256, 1), "int8", Quantization((0.052,), -77)))
    builder.add("y", Binary("add", rounded_as=rounded_as), ["a", "b"], quantization=Quantization((0.061,), 13))
    network = builder.build(["y"])
    found = float_sum(network, network.layers[0])
    assert found.shift == (128 if rounded_as == "uint8" else 0)
    b = (every + found.shift * np.int64(1)) * found.second + found.offset
    total = (every + found.shift * np.int64(1))[:, None] * found.first + b.astype(np.float32).astype(np.float64)
    wanted = np.clip(np.rint(total.astype(np.float32)) - found.shift, -128, 127)
    got = run(network, {"a": every.reshape(1, 256, 1, 1), "b": every.reshape(1, 1, 256, 1)})["y"]
    np.testing.assert_array_equal(got.reshape(256, 256), wanted)


def test_an_activation_layer_is_clamped_by_its_type():
    builder = NetworkBuilder("net", "tflite")
    builder.input(Tensor("x", (1, 2), "int8", Quantization((0.25,), 4)))
    builder.add("y", Activate(HARD_SWISH), ["x"])
    network = builder.build(["y"])
    assert layer_clamp(network, network.layers[0]) == Clamp(-128, 127)


def test_float_tensors_have_no_quantization():
    builder = NetworkBuilder("net")
    builder.add("y", Activate(HARD_SWISH), [builder.input(Tensor("x", (1, 2)))])
    with pytest.raises(ValueError, match="tensor 'x' is not quantized"):
        tensor_quantization(builder.build(["y"]), "x")


@pytest.mark.parametrize("rounding", ["tflite", "float32", "half-up", "single"])
@pytest.mark.parametrize("activation", [NONE, RELU, RELU6])
def test_layers_are_requantized_as_the_oracle_does(activation, rounding, rng):
    for made in (Quantization((0.11,), -128), Quantization((0.37,), 9), Quantization((0.0041,), 100)):
        builder = NetworkBuilder("net", rounding)
        builder.input(Tensor("x", (1, 9, 8, 5), "int8", Quantization((0.043,), 21)))
        weights = {
            "kernel": rng.integers(-127, 128, (1, 1, 5, 64)).astype(np.int8),
            "kernel_scale": rng.uniform(1e-4, 0.1, 64).astype(np.float32),
            "bias": rng.integers(-9000, 9000, 64).astype(np.int32),
        }
        builder.add("y", Conv2D(64, (1, 1), activation=activation), ["x"], quantization=made, **weights)
        network = builder.build(["y"])
        x = rng.integers(-128, 128, (1, 9, 8, 5)).astype(np.int8)
        sums = (x.astype(np.int64) - 21) @ weights["kernel"][0, 0].astype(np.int64) + weights["bias"]
        np.testing.assert_array_equal(requantize_layer(network, network.layers[0], sums), run(network, {"x": x})["y"])
