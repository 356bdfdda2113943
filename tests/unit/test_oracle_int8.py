"""The int8 oracle in the roundings that no other runtime has for all operators, against exact fractions; its errors."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from dscompile.errors import BadInputError
from dscompile.ir.network import NetworkBuilder
from dscompile.ir.ops import (
    RELU6,
    Activate,
    Binary,
    Conv2D,
    Dense,
    Dequantize,
    Mean,
    Pads,
    Quantize,
    Softmax,
)
from dscompile.ir.tensor import Quantization, Tensor
from dscompile.oracle import run, run_all
from tests.int8_networks import Int8Net, Q, random_input


def nearest(x, half_up):
    """The nearest integer; halves up, or away from zero."""
    return math.floor(x + Fraction(1, 2)) if half_up or x >= 0 else -math.floor(-x + Fraction(1, 2))


def requantized(total, factor, rounding, dense):
    """total * factor, rounded as the specification says, in exact fractions."""
    if rounding == "float32":
        return int(np.rint(np.float32(total) * np.float32(factor)))
    fraction, shift = math.frexp(factor)
    multiplier = math.floor(fraction * 2**31 + 0.5)
    if rounding == "single" or (rounding == "tflite" and dense):
        return nearest(Fraction(total * multiplier) * Fraction(2) ** (shift - 31), True)
    product = nearest(Fraction(total * 2 ** max(shift, 0) * multiplier, 2**31), True)
    return nearest(Fraction(product, 2 ** max(-shift, 0)), rounding == "half-up")


@pytest.mark.parametrize("rounding", ["tflite", "float32", "half-up", "single"])
def test_convolutions_are_loops_over_exact_numbers(rounding, rng):
    made = Quantization((0.37,), 9)
    net = Int8Net((1, 5, 4, 3), rounding)
    kernel = rng.integers(-127, 128, (3, 2, 3, 4))
    bias = rng.integers(-30000, 30000, 4)
    op = Conv2D(4, (3, 2), (2, 1), Pads(1, 1, 0, 1), activation=RELU6)
    net.linear("y", op, "x", kernel, bias, 0.01, made)
    network = net.build(["y"])
    x = random_input(network, 5)["x"]
    factor = 0.05 * float(np.float32(0.01)) / 0.37
    if rounding == "float32":
        factor = np.float32(0.05) * np.float32(0.01) / np.float32(0.37)
    got = run(network, {"x": x})["y"]
    for r, c, o in np.ndindex(3, 4, 4):
        total = int(bias[o])
        for i, j, k in np.ndindex(3, 2, 3):
            row, column = 2 * r + i - 1, c + j
            if 0 <= row < 5 and 0 <= column < 4:
                total += (int(x[0, row, column, k]) + 3) * int(kernel[i, j, k, o])
        y = requantized(total, factor, rounding, dense=False) + 9
        assert got[0, r, c, o] == min(max(y, 9), 9 + 16)  # 6 / 0.37 = 16.2


@pytest.mark.parametrize("rounding", ["tflite", "float32", "half-up", "single"])
def test_dense_layers_are_loops_over_exact_numbers(rounding, rng):
    net = Int8Net((1, 33), rounding)
    kernel = rng.integers(-127, 128, (33, 50))
    net.linear("y", Dense(50), "x", kernel, None, 0.01, Quantization((0.2,), -9))
    network = net.build(["y"])
    x = random_input(network, 5)["x"]
    factor = 0.05 * float(np.float32(0.01)) / 0.2
    if rounding == "float32":
        factor = np.float32(0.05) * np.float32(0.01) / np.float32(0.2)
    sums = (x.astype(np.int64) + 3) @ kernel
    wanted = [min(max(requantized(int(s), factor, rounding, dense=True) - 9, -128), 127) for s in sums[0]]
    assert run(network, {"x": x})["y"].tolist() == [wanted]


@pytest.mark.parametrize("rounding", ["half-up", "single"])
def test_sums_are_rounded_as_the_network_says(rounding):
    """a + b with the scales 0.05 and 0.02, brought to 0.1 and then to 0.06."""
    builder = NetworkBuilder("net", rounding)
    every = np.arange(-128, 128, dtype=np.int8)
    builder.input(Tensor("a", (1, 256, 1, 1), "int8", Quantization((0.05,), -3)))
    builder.input(Tensor("b", (1, 1, 256, 1), "int8", Quantization((0.02,), 10)))
    builder.add("y", Binary("add"), ["a", "b"], quantization=Quantization((0.06,), 7))
    got = run(builder.build(["y"]), {"a": every.reshape(1, 256, 1, 1), "b": every.reshape(1, 1, 256, 1)})["y"]
    for a, b in ((-128, -128), (-100, 3), (-5, -7), (0, 0), (31, -90), (77, 12), (127, 127), (-128, 127)):
        terms = [
            requantized((q - zero) << 20, scale / 0.1, rounding, False)
            for q, zero, scale in ((a, -3, 0.05), (b, 10, 0.02))
        ]
        y = requantized(sum(terms), 0.1 / (2**20 * 0.06), rounding, False) + 7
        assert got[0, a + 128, b + 128, 0] == min(max(y, -128), 127)


@pytest.mark.parametrize("rounding", ["half-up", "single"])
def test_means_are_rounded_as_the_network_says(rounding):
    net = Int8Net((1, 3, 3, 50), rounding)
    net.add("y", Mean(), ["x"], quantization=Quantization((0.013,), 5))
    network = net.build(["y"])
    x = random_input(network, 4)["x"]
    fraction, shift = math.frexp(0.05 / 0.013)
    multiplier = (math.floor(fraction * 2**31 + 0.5) << 3) // 9
    for channel, total in enumerate((x.astype(int) + 3).sum(axis=(0, 1, 2))):
        if rounding == "single":
            y = nearest(Fraction(int(total) * multiplier) * Fraction(2) ** (shift - 3 - 31), True)
        else:
            high = nearest(Fraction(int(total) * multiplier, 2**31), True)
            y = nearest(Fraction(high) * Fraction(2) ** (shift - 3), True)
        assert run(network, {"x": x})["y"][0, 0, 0, channel] == min(max(y + 5, -128), 127)


def test_quantize_rounds_halves_away_from_zero_or_to_even():
    values = np.array([[0.5, 1.5, 2.5, -0.5, -1.5, 1e30, -1e30, np.nan]], np.float32)
    for rounding, wanted in (
        ("tflite", [1, 2, 3, -1, -2, 127, -128, 0]),
        ("float32", [0, 2, 2, 0, -2, 127, -128, 0]),
    ):
        builder = NetworkBuilder("net", rounding)
        builder.input(Tensor("x", (1, 8)))
        builder.add("y", Quantize(), ["x"], quantization=Quantization((1.0,)))
        assert run(builder.build(["y"]), {"x": values})["y"].tolist() == [wanted]


def test_float_layers_lie_between_integers():
    net = Int8Net((1, 3))
    net.add("r", Dequantize(), ["x"])
    net.add("s", Softmax(), ["r"])
    values = run_all(net.build(["s"]), {"x": np.array([[-3, 17, 37]], np.int8)})
    assert {name: array.dtype.name for name, array in values.items()} == {"x": "int8", "r": "float32", "s": "float32"}
    np.testing.assert_allclose(values["s"], [[0.09003057, 0.24472847, 0.66524096]], rtol=1e-6)


def test_inputs_have_the_types_of_their_tensors():
    net = Int8Net((1, 3))
    net.add("y", Activate(RELU6), ["x"], quantization=Q)
    with pytest.raises(BadInputError, match="input 'x' is float32, it must be int8"):
        run(net.build(["y"]), {"x": np.zeros((1, 3), np.float32)})
