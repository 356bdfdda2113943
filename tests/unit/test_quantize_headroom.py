"""Wider ranges where coarser steps cost nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dscompile.ir.tensor import Quantization
from dscompile.oracle import run_all
from dscompile.quantization import quantize_network
from dscompile.quantization.calibration import observe, tensor_parameters
from dscompile.quantization.headroom import rounding_noise, with_headroom
from dscompile.quantization.lowering import lower
from tests.unit.netfiles import network as network_of
from tests.unit.quantizing import PLAIN, samples

TWO_BRANCHES = """\
- pointwise: {name: loud, out: 4, from: x, activation: relu}
- pointwise: {name: quiet, out: 4, from: x, activation: relu}
- add: {name: sum, from: [loud, quiet]}
- pool: {name: mean, kind: average, over: all}
- flatten: {name: flat}
- dense: {name: d, out: 3}"""


def test_rounding_noise_of_an_output_is_that_of_its_own_step() -> None:
    network = lower(network_of("- pointwise: {name: p, out: 40}", "[1, 16, 16, 3]"))
    given = samples(network, 4)
    scales = {"x": Quantization((1 / 128,), 0), "p": Quantization((1 / 16,), 3)}
    noise = rounding_noise(network, scales, given)
    signal = np.mean([(run_all(network, sample)["p"] ** 2).mean() for sample in given])
    assert noise["p"] == pytest.approx((1 / 16) ** 2 / 12 / signal, rel=0.03)


def test_rounding_noise_reaches_the_output_through_the_layers_behind() -> None:
    network = lower(network_of("- pointwise: {name: a, out: 4}\n- pointwise: {name: b, out: 4}", "[1, 9, 7, 3]"))
    weights = {**network.weights, "b.kernel": np.eye(4, dtype=np.float32)[None, None] * 3}
    network = replace(network, weights=weights)
    given = samples(network, 3)
    step = Quantization((1 / 8,), 0)
    noise = rounding_noise(network, {"x": step, "a": step, "b": Quantization((3 / 8,), 0)}, given)
    # b is 3 a + bias: rounding b to steps of 3/8 loses as much as rounding a to steps of 1/8.
    assert noise["a"] == pytest.approx(noise["b"], rel=0.15)
    assert noise["a"] > 0


def test_ranges_grow_by_their_share_of_all_noise() -> None:
    network = lower(network_of(TWO_BRANCHES, "[1, 9, 7, 3]"))
    weights = {key: value * (0.02 if key.startswith("quiet") else 1) for key, value in network.weights.items()}
    network = replace(network, weights=weights)
    given = samples(network)
    seen = observe(network, given, lambda _done, _total: None)
    scales = tensor_parameters(network, seen, "min-max", 1.0)
    noise = rounding_noise(network, scales, given)
    widened = with_headroom(network, scales, given)
    total = sum(noise.values())
    assert widened["x"] == scales["x"]
    assert widened["quiet"].scale == pytest.approx(2 * scales["quiet"].scale, rel=1e-6)
    wanted = min(2.0, float(np.sqrt(1 + 0.007 * total / noise["loud"])))
    assert widened["loud"].scale == pytest.approx(wanted * scales["loud"].scale, rel=1e-6)
    assert widened["sum"] == widened["mean"] == widened["flat"]
    # A flatten rounds nothing; the mean does, and counts for the scale that it shares.
    assert noise["flat"] == 0
    assert noise["mean"] > 0


def test_a_range_does_not_grow_beyond_what_a_clip_lets_through() -> None:
    layers = "- pointwise: {name: a, out: 9, activation: relu6}\n- pointwise: {name: b, out: 3}"
    network = lower(network_of(layers, "[1, 9, 7, 3]"))
    weights = {**network.weights, "a.kernel": network.weights["a.kernel"] * 30}
    network = replace(network, weights=weights)
    given = samples(network)
    seen = observe(network, given, lambda _done, _total: None)
    scales = tensor_parameters(network, seen, "min-max", 1.0)
    widened = with_headroom(network, scales, given)
    assert widened["a"].scale == scales["a"].scale == pytest.approx(6 / 255, rel=1e-6)
    assert widened["b"].scale > scales["b"].scale


def test_fixed_scales_stay_and_only_mse_has_headroom() -> None:
    network = network_of("- flatten\n- dense: {name: d, out: 5}\n- softmax: {name: p}", "[1, 3, 3, 2]")
    given = samples(network)
    exact = quantize_network(network, given, PLAIN).network
    roomy = quantize_network(network, given, replace(PLAIN, method="mse")).network
    assert exact.tensor("p").quantization == roomy.tensor("p").quantization == Quantization((1 / 256,), -128)
    values = np.concatenate([run_all(lower(network), sample)["d"] for sample in given])
    found = exact.tensor("d").quantization
    assert found is not None
    assert found.scale == pytest.approx((values.max() - values.min()) / 255, rel=1e-6)
