"""Packed weights: the same bytes as the oracle, whatever a layer's shape and its target's kernels."""

from __future__ import annotations

import numpy as np
import pytest

from dscompile.ir.network import NetworkBuilder
from dscompile.ir.ops import NONE, Dense, Pads
from dscompile.ir.tensor import Tensor
from tests.mcu import assert_equals_oracle, here
from tests.packed_networks import stored
from tests.quantized_networks import Quantizer
from tests.unit.test_mcu_cores import ROUNDINGS
from tests.unit.test_mcu_kernels import Case, depthwise, int8

PACKED = ("int4", "2:4", "int4-2:4")
CORES = ("c99", "cortex-m0plus", "cortex-m4", "rv32imc")
CASES = {
    "pointwise_of_17_channels_to_9": Case(3, 5, 17, 9, (1, 1)),
    "pointwise_of_64_channels_to_8": Case(4, 4, 64, 8, (1, 1)),
    "pointwise_linear_to_15_channels": Case(4, 5, 12, 15, (1, 1), activation=NONE),
    "pointwise_that_grows_in_place": Case(4, 4, 4, 32, (1, 1)),
    "pointwise_of_one_channel": Case(3, 3, 1, 1, (1, 1)),
    "conv_3x3_stride_2_of_3_channels": Case(7, 9, 3, 8, stride=(2, 2)),
    "conv_5x5_valid_of_17_channels": Case(8, 6, 17, 3, (5, 5), pads=Pads()),
    "conv_in_two_groups": Case(5, 5, 8, 12, groups=2),
    "separable_of_odd_channels": depthwise(5, 6, 7, then=9),
    "separable_of_even_channels": depthwise(6, 6, 8, then=12),
}


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("storage", PACKED)
@pytest.mark.parametrize("name", CASES)
def test_packed_kernel_equals_the_oracle(name, storage, core):
    rounding = "tflite" if core == "cortex-m4" else ROUNDINGS[len(name) % 4]
    network = stored(int8(CASES[name].network(), rounding), storage)
    assert_equals_oracle(network, (0,), here(core))


def dense(inputs: int, units: int):
    builder = NetworkBuilder("scores")
    builder.input(Tensor("x", (1, inputs)))
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(inputs, units)).astype(np.float32)
    builder.add("scores", Dense(units), ["x"], kernel=kernel, bias=rng.normal(size=units).astype(np.float32))
    return Quantizer(builder.build(["scores"]), rng, "tflite", float_borders=False).run()


@pytest.mark.parametrize("storage", PACKED)
@pytest.mark.parametrize(("inputs", "units"), [(64, 12), (7, 3), (1, 1), (30, 5)])
def test_packed_dense_layer_equals_the_oracle(inputs, units, storage):
    assert_equals_oracle(stored(dense(inputs, units), storage), (0, 1))
