"""The oracle against onnxruntime, operator by operator and on random networks."""

from __future__ import annotations

import numpy as np
import pytest

from dscompile.ir.network import Network
from dscompile.oracle import run
from tests.as_onnx import run_onnxruntime
from tests.networks import STEPS, random_inputs, random_network


def assert_equals_onnxruntime(network: Network, seed: int) -> None:
    inputs = random_inputs(network, seed)
    got, want = run(network, inputs), run_onnxruntime(network, inputs)
    assert list(got) == list(want)
    for name, expected in want.items():
        tolerance = 1e-5 * max(1.0, float(np.abs(expected).max()))
        np.testing.assert_allclose(got[name], expected, rtol=0, atol=tolerance, err_msg=f"seed {seed}, {name}")


@pytest.mark.parametrize("step", sorted(STEPS))
def test_operator_equals_onnxruntime(step):
    steps = {"dense": {"dense", "flatten"}}.get(step, {step})
    for seed in range(15):
        assert_equals_onnxruntime(random_network(seed, max_layers=6, steps=steps), seed)


def test_random_networks_equal_onnxruntime():
    for seed in range(60):
        assert_equals_onnxruntime(random_network(seed, max_layers=16), seed)


@pytest.mark.slow
def test_many_random_networks_equal_onnxruntime():
    for seed in range(2000, 2500):
        assert_equals_onnxruntime(random_network(seed, max_layers=20), seed)
