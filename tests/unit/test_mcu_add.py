"""The int8 addition as C: every pair of numbers, beside the oracle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dscompile.ir.network import Layer, Network
from dscompile.ir.ops import NONE, RELU, Binary
from dscompile.ir.tensor import Quantization, Rounding, Tensor
from dscompile.oracle import run
from dscompile.plan.mcu.arithmetic import IntegerSum
from dscompile.plan.mcu.sums import integer_sum
from tests.mcu import HostModel, write

SCALES = [
    ((0.05, -3), (0.031, 17), (0.07, 5)),
    ((0.0235, -128), (0.11, 0), (0.09, -20)),
    ((0.5, 1), (0.5, 1), (0.75, -128)),
    ((0.5, -7), (0.5, 3), (1.0, 2)),  # every other pair is a tie
    ((0.05, 11), (0.02, 4), (1.3, -60)),  # the sum has a far larger scale
]

NUMBERS = np.arange(-128, 128, dtype=np.int8)
PAIRS = {"a": np.tile(NUMBERS[None, :, None], (1, 1, 256)), "b": np.tile(NUMBERS[None, None, :], (1, 256, 1))}


@pytest.mark.parametrize("affine", [True, False], ids=["searched", "own_arithmetic"])
@pytest.mark.parametrize(
    ("rounding", "rounded_as"),
    [
        ("float32", "int8"),
        ("float32", "uint8"),
        ("float32", "centered"),
        ("tflite", "int8"),
        ("half-up", "int8"),
        ("single", "int8"),
    ],
)
@pytest.mark.parametrize("scales", SCALES)
def test_every_pair_of_numbers_is_added_as_the_oracle_does(tmp_path: Path, scales, rounding, rounded_as, affine):
    tensors = {
        name: Tensor(name, (1, 256, 256), "int8", Quantization((scale,), zero_point))
        for name, (scale, zero_point) in zip("aby", scales, strict=True)
    }
    activation = RELU if scales[2][1] == 5 else NONE
    layers = (Layer("y", Binary("add", activation, rounded_as=rounded_as), ("a", "b"), "y"),)
    network = Network("sum", ("a", "b"), ("y",), tensors, layers, rounding=rounding).validate()
    got = HostModel(write(network, tmp_path / "sum", affine=affine, measured=False)).run(PAIRS)["y"]
    np.testing.assert_array_equal(got, run(network, PAIRS)["y"])


@pytest.mark.parametrize("rounded_as", ["int8", "uint8", "centered"])
@pytest.mark.parametrize("scales", [*SCALES, ((0.5, -7), (0.5, 3), (32.0, 2))])
def test_every_pair_of_numbers_is_multiplied_in_float32_as_the_oracle_does(tmp_path: Path, scales, rounded_as):
    tensors = {
        name: Tensor(name, (1, 256, 256), "int8", Quantization((scale,), zero_point))
        for name, (scale, zero_point) in zip("aby", scales, strict=True)
    }
    layers = (Layer("y", Binary("mul", rounded_as=rounded_as), ("a", "b"), "y"),)
    network = Network("product", ("a", "b"), ("y",), tensors, layers, rounding="float32").validate()
    got = HostModel(write(network, tmp_path / "product", measured=False)).run(PAIRS)["y"]
    np.testing.assert_array_equal(got, run(network, PAIRS)["y"])


@pytest.mark.parametrize("scales", SCALES)
def test_ties_rounded_away_from_zero_are_two_multiplications(scales):
    assert plane(scales, "tflite") is not None


def test_ties_rounded_to_even_keep_their_own_arithmetic():
    assert plane(SCALES[0], "float32") is None


def plane(scales: tuple[tuple[float, int], ...], rounding: Rounding) -> IntegerSum | None:
    tensors = {
        name: Tensor(name, (1, 4), "int8", Quantization((scale,), zero_point))
        for name, (scale, zero_point) in zip("aby", scales, strict=True)
    }
    op = Binary("add")
    layers = (Layer("y", op, ("a", "b"), "y"),)
    network = Network("sum", ("a", "b"), ("y",), tensors, layers, rounding=rounding).validate()
    return integer_sum(network, layers[0], op)
