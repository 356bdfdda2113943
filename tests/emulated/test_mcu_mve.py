"""The kernels for Helium on an emulated Cortex-M55: single layers against the oracle. Twins: unit/test_mcu_mve.py."""

from __future__ import annotations

import numpy as np
import pytest

from dscompile.ir.network import Network, NetworkBuilder
from dscompile.ir.ops import Conv2D, Dense, Pads, Pool, Reshape
from dscompile.ir.tensor import Tensor
from tests.emulated.test_mcu_fused import assert_exact_on
from tests.mcu import assert_equals_oracle, here
from tests.unit.test_mcu_kernels import depthwise, int8
from tests.unit.test_mcu_mve import TWINS

pytestmark = pytest.mark.sampled
CORE = "cortex-m55"


@pytest.mark.slow
@pytest.mark.parametrize("name", TWINS)
def test_vectors_equal_the_oracle(name, tmp_path):
    assert_exact_on(CORE, int8(TWINS[name].network(), "tflite"), tmp_path / "a")


def pooled(channels: int) -> Network:
    """Both kinds of pools over windows at the border, then one of the whole image and dense layers."""
    rng = np.random.default_rng(0)
    net = NetworkBuilder("pools")
    x = net.input(Tensor("x", (1, 7, 9, channels)))
    x = net.add("largest", Pool("max", (3, 3), (2, 2), Pads(1, 1, 1, 1)), [x])
    x = net.add("mean", Pool("average", (3, 3), (1, 1), Pads(1, 1, 1, 1)), [x])
    kernel = rng.normal(size=(1, 1, channels, 21)).astype(np.float32)
    x = net.add("conv", Conv2D(21, (1, 1)), [x], kernel=kernel)
    x = net.add("flat", Reshape((1, 21)), [net.add("whole", Pool("average"), [x])])
    x = net.add("hidden", Dense(48), [x], kernel=rng.normal(size=(21, 48)).astype(np.float32))
    return net.build([net.add("dense", Dense(5), [x], kernel=rng.normal(size=(48, 5)).astype(np.float32))])


@pytest.mark.parametrize("channels", [3, 21])
def test_twins_of_pools_and_dense_layers_equal_the_oracle(channels):
    assert_equals_oracle(int8(pooled(channels), "tflite"), (0,), here(CORE))


@pytest.mark.slow
@pytest.mark.every_case
@pytest.mark.parametrize("channels", [3, 21])
def test_pools_and_dense_layers_equal_the_oracle(channels, tmp_path):
    assert_exact_on(CORE, int8(pooled(channels), "tflite"), tmp_path / "a")


def test_rows_of_padding_that_a_compiler_knows_of_equal_the_oracle(tmp_path):
    """It makes a copy of a function for them, with a distance of 0 between pixels."""
    layer = depthwise(2, 8, 8, kernel=(2, 2), stride=(2, 2), dilation=(2, 2), pads=Pads(0, 1, 0, 1))
    assert_exact_on(CORE, int8(layer.network(), "tflite"), tmp_path / "a")


def test_vectors_equal_the_oracle_on_an_odd_separable_layer(tmp_path):
    test_vectors_equal_the_oracle("separable_linear_of_three_channels", tmp_path)
