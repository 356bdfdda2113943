"""The int8 addition in the rounding `float32`, as C: every pair of numbers, beside the oracle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dscompile.ir.network import Layer, Network
from dscompile.ir.ops import Binary
from dscompile.ir.tensor import Quantization, Tensor
from dscompile.oracle import run
from tests.mcu import HostModel, write

SCALES = [
    ((0.05, -3), (0.031, 17), (0.07, 5)),
    ((0.0235, -128), (0.11, 0), (0.09, -20)),
    ((0.5, 1), (0.5, 1), (0.75, -128)),
]


@pytest.mark.parametrize("unsigned", [False, True])
@pytest.mark.parametrize("scales", SCALES)
def test_every_pair_of_numbers_is_added_as_the_oracle_does(tmp_path: Path, scales, unsigned):
    tensors = {
        name: Tensor(name, (1, 256, 256), "int8", Quantization((scale,), zero_point))
        for name, (scale, zero_point) in zip("aby", scales, strict=True)
    }
    layers = (Layer("y", Binary("add", unsigned=unsigned), ("a", "b"), "y"),)
    network = Network("sum", ("a", "b"), ("y",), tensors, layers, rounding="float32").validate()
    numbers = np.arange(-128, 128, dtype=np.int8)
    inputs = {"a": np.tile(numbers[None, :, None], (1, 1, 256)), "b": np.tile(numbers[None, None, :], (1, 256, 1))}
    got = HostModel(write(network, tmp_path / "sum")).run(inputs)["y"]
    np.testing.assert_array_equal(got, run(network, inputs)["y"])
