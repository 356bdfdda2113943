"""Odd sizes, SAME and VALID, multiplier 2 for 64-bit Arm: float and int8, on every variant, against the oracle."""

from __future__ import annotations

import numpy as np
import pytest

from dscompile import oracle
from dscompile.emit.selftest import selftest_input
from dscompile.ir.network import Network, NetworkBuilder
from dscompile.ir.ops import RELU6, Activation, ActivationKind, Conv2D, Pads
from dscompile.ir.shapes import same_pads
from dscompile.ir.tensor import Tensor
from dscompile.quantization.calibration import observe, tensor_parameters
from dscompile.quantization.conversion import int8_network
from dscompile.quantization.lowering import lower
from tests.mcu import random_inputs
from tests.native import assert_equals_oracle, differences, opened, target_here

ARM = ("arm64-neon", "arm64-dotprod", "arm64-i8mm")


def odd_network(same: bool, stride: int, multiplier: int) -> Network:
    """A depthwise-separable block on 13 x 11 x 5, with 3x3 and 17 filters."""
    rng = np.random.default_rng(0)
    height, width, channels, filters = 13, 11, 5, 17
    builder = NetworkBuilder("odd")
    builder.input(Tensor("x", (1, height, width, channels)))
    pads = same_pads(height, width, (3, 3), (stride, stride)) if same else Pads()
    depthwise = Conv2D(channels * multiplier, (3, 3), (stride, stride), pads=pads, groups=channels, activation=RELU6)
    kernel = rng.normal(size=(3, 3, 1, channels * multiplier)).astype(np.float32)
    builder.add("depthwise", depthwise, ["x"], kernel=kernel)
    weights = rng.normal(size=(1, 1, channels * multiplier, filters)).astype(np.float32)
    builder.add("y", Conv2D(filters, (1, 1)), ["depthwise"], kernel=weights)
    return builder.build(["y"])


def quantized(network: Network) -> Network:
    real = lower(network)
    sample = {
        name: np.random.default_rng(1).uniform(-1, 1, real.shape(name)).astype(np.float32) for name in real.inputs
    }
    scales = tensor_parameters(real, observe(real, [sample], lambda _done, _total: None), "min-max", 1.0)
    return int8_network(real, scales, "tflite", least_error_kernels=False)


CASES = [
    pytest.param(same, stride, multiplier, marks=pytest.mark.slow if (stride, multiplier) != (2, 2) else ())
    for same in (True, False)
    for stride in (1, 2)
    for multiplier in (1, 2)
]


@pytest.mark.parametrize(("same", "stride", "multiplier"), CASES)
def test_a_float_block_of_odd_size_equals_the_oracle(same: bool, stride: int, multiplier: int) -> None:
    assert_equals_oracle(odd_network(same, stride, multiplier), target_here("arm64-neon"))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name != "arm64-i8mm" else ()) for name in ARM]
)
@pytest.mark.parametrize(("same", "stride", "multiplier"), CASES)
def test_an_int8_block_of_odd_size_equals_the_oracle(name: str, same: bool, stride: int, multiplier: int) -> None:
    network = quantized(odd_network(same, stride, multiplier))
    inputs = [selftest_input(network), random_inputs(network, 1)]
    assert len(np.unique(oracle.run(network, inputs[0])[network.outputs[0]])) > 50
    assert differences(opened(network, target_here(name)), network, inputs) == []


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=pytest.mark.slow if kind != "swish" else ()) for kind in ("swish", "sigmoid", "tanh")],
)
def test_activations_through_an_exponential_are_right_in_every_kind_of_tile(kind: ActivationKind) -> None:
    rng = np.random.default_rng(0)
    activation = Activation(kind)
    builder = NetworkBuilder("exponential")
    builder.input(Tensor("x", (1, 9, 14, 16)))
    depthwise = Conv2D(16, (3, 3), pads=same_pads(9, 14, (3, 3), (1, 1)), groups=16, activation=activation)
    builder.add("depthwise", depthwise, ["x"], kernel=rng.normal(size=(3, 3, 1, 16)).astype(np.float32))
    few = rng.normal(size=(1, 1, 16, 72)).astype(np.float32)
    builder.add("few", Conv2D(72, (1, 1), activation=activation), ["depthwise"], kernel=few)
    many = rng.normal(size=(1, 1, 72, 20)).astype(np.float32)
    builder.add("y", Conv2D(20, (1, 1), activation=activation), ["few"], kernel=many)
    assert_equals_oracle(builder.build(["y"]), target_here("arm64-neon"))
