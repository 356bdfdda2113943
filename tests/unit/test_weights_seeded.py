"""Seeded weights: the same everywhere, sensible, independent of other layers."""

from __future__ import annotations

import numpy as np
import pytest

from dscompile.frontend.netfile import read_netfile
from dscompile.frontend.zoo import zoo_path
from dscompile.ir.network import Network
from dscompile.oracle.execute import run_all
from tests.unit.netfiles import frame, network, read


def test_the_numbers_of_seed_7_never_change() -> None:
    kernel = network("- conv: {name: stem, out: 3, kernel: 3}").weights["stem.kernel"]
    assert kernel.shape == (3, 3, 4, 3)
    assert kernel.dtype == np.float32
    assert [float(v) for v in kernel.ravel()[:3]] == [-0.004376649856567383, 0.01320447027683258, 0.05661052465438843]


def test_a_layers_weights_depend_on_its_name_and_not_on_other_layers() -> None:
    one = network("- conv: {name: a, out: 4, kernel: 3}\n- conv: {name: b, out: 4, kernel: 3}")
    other = network("- tanh\n- conv: {name: b, out: 4, kernel: 3}\n- conv: {name: a, out: 4, kernel: 3}")
    for key in ("a.kernel", "a.bias", "b.kernel", "b.bias"):
        assert np.array_equal(one.weights[key], other.weights[key])
    assert not np.array_equal(one.weights["a.kernel"], one.weights["b.kernel"])


def test_another_seed_gives_other_weights() -> None:
    text = frame("- conv: {name: a, out: 4, kernel: 3}")
    other = read(text.replace("seed: 7", "seed: 8")).network
    assert not np.array_equal(read(text).network.weights["a.kernel"], other.weights["a.kernel"])


@pytest.mark.parametrize(("activation", "gain"), [("relu", 2.0), ("sigmoid", 1.0), ("none", 0.5)])
def test_kernels_have_the_variance_of_their_fan_in(activation: str, gain: float) -> None:
    net = network(f"- conv: {{name: a, out: 500, kernel: 3, activation: {activation}}}", "[1, 8, 8, 17]")
    kernel = net.weights["a.kernel"]
    assert float(kernel.var()) == pytest.approx(gain / (3 * 3 * 17), rel=0.02)
    assert abs(float(kernel.mean())) < 0.001


def test_batch_norm_stays_near_the_identity() -> None:
    net = network("- batch_norm: {name: bn}", "[1, 8, 8, 1000]")
    for role, low, high in (("gamma", 0.75, 1.25), ("variance", 0.75, 1.25), ("mean", -0.1, 0.1), ("beta", -0.1, 0.1)):
        values = net.weights[f"bn.{role}"]
        assert low <= values.min() < low + 0.02
        assert high - 0.02 < values.max() <= high


def test_bias_false_leaves_the_bias_out() -> None:
    assert set(network("- conv: {name: a, out: 4, kernel: 3, bias: false}").weights) == {"a.kernel"}
    rest = "  defaults: {bias: false}\n"
    assert set(network("- separable: {name: a, out: 4, kernel: 3}", rest=rest).weights) == {
        "a.depthwise.kernel",
        "a.pointwise.kernel",
    }


@pytest.mark.parametrize("name", ["ds_cnn", pytest.param("mobilenet_v2", marks=pytest.mark.slow)])
def test_values_neither_vanish_nor_saturate_through_a_network(name: str, rng: np.random.Generator) -> None:
    net: Network = read_netfile(zoo_path(name)).network
    image = rng.normal(size=net.shape(net.inputs[0])).astype(np.float32)
    for tensor, values in run_all(net, {net.inputs[0]: image}).items():
        if tensor != "softmax":
            assert 0.1 < values.std() < 3.0, tensor
