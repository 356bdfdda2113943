"""Kernels that keep a layer's sums on what the int8 network gives it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from dscompile.ir.intervals import channel_intervals
from dscompile.ir.network import Network
from dscompile.ir.ops import Conv2D, Dense, Pads
from dscompile.oracle import run, run_all
from dscompile.oracle.convolution import conv2d_sums
from dscompile.quantization import quantize_network
from dscompile.quantization.kernels import bias_bound
from dscompile.quantization.lowering import lower
from dscompile.quantization.measure import quantize_sample, signal_sqnr_db, signals
from dscompile.quantization.reconstruction import as_groups, columns, from_groups, reconstruct
from dscompile.quantization.settings import Sample
from tests.unit.netfiles import network as network_of
from tests.unit.quantizing import DS_CNN, INVERTED, PLAIN, samples

GEOMETRIES = [
    Conv2D(6, (1, 1)),
    Conv2D(5, (3, 3), stride=(2, 2), pads=Pads(0, 1, 1, 0)),
    Conv2D(4, (5, 3), dilation=(1, 2), pads=Pads(2, 2, 2, 2)),
    Conv2D(4, (3, 3), groups=4, pads=Pads(1, 1, 1, 1)),
    Conv2D(8, (3, 3), groups=4),
    Conv2D(6, (3, 3), groups=2),
]


@pytest.mark.parametrize("op", GEOMETRIES, ids=["pointwise", "stride 2", "dilated", "depthwise", "x2", "grouped"])
def test_columns_times_grouped_kernel_are_the_sums_of_the_layer(op: Conv2D) -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((3, 9, 7, 4))
    kernel = rng.standard_normal((*op.kernel, 4 // op.groups, op.out_channels))
    sums = columns(op, x) @ as_groups(kernel, op.groups)  # [G, rows, N]
    wanted = conv2d_sums(op, x, kernel)
    np.testing.assert_allclose(sums.transpose(1, 0, 2).reshape(wanted.shape), wanted, atol=1e-12)
    np.testing.assert_array_equal(from_groups(as_groups(kernel, op.groups), kernel.shape), kernel)
    every_third = columns(op, x, 3)
    np.testing.assert_array_equal(every_third, columns(op, x).reshape(op.groups, -1, every_third.shape[-1])[:, ::3])


def test_columns_of_a_dense_layer_are_its_inputs() -> None:
    x = np.arange(12.0).reshape(4, 3)
    assert columns(Dense(2), x).tolist() == [x.tolist()]


def correlated(network: Network, count: int, seed: int = 1) -> tuple[Sample, ...]:
    """Inputs whose channels and neighbors go together, as those of images do."""
    made = []
    for sample in samples(network, count, seed):
        rough = sample["x"]
        smooth = rough.mean(axis=3, keepdims=True) + 0.2 * rough
        made.append({"x": (smooth + np.roll(smooth, 1, axis=1) + np.roll(smooth, 1, axis=2)).astype(np.float32)})
    return tuple(made)


@pytest.mark.parametrize(
    ("layer", "share"),
    [
        ("- pointwise: {name: a, out: 33}", 0.8),
        ("- depthwise: {name: a, kernel: 5, stride: 2}", 0.8),
        ("- conv: {name: a, out: 7, kernel: 3, dilation: 2}", 0.8),
        ("- flatten\n- dense: {name: a, out: 3}", 1.0),  # 1989 inputs, 64 samples: little to learn, but no harm
    ],
    ids=["pointwise", "depthwise", "conv", "dense"],
)
def test_sums_keep_more_than_with_nearest_integers_also_on_inputs_that_were_not_seen(layer: str, share: float) -> None:
    network = network_of(layer, "[1, 13, 9, 17]")
    fitted, others = correlated(network, 64), correlated(network, 16, seed=2)
    plain = quantize_network(network, fitted, replace(PLAIN, bias_correction=True))
    better = reconstruct(plain.real, plain.network, fitted, biases=True)
    assert lost_in_sums(plain.real, better, others) < share * lost_in_sums(plain.real, plain.network, others)


def lost_in_sums(real: Network, integer: Network, given: Sequence[Sample]) -> float:
    """The mean square error of the last layer's sums from its kernel alone, on float32 inputs."""
    layer = integer.layers[-1]
    scale = integer.weight(layer, "kernel_scale")
    weights = {**real.weights, "a.kernel": (integer.weight(layer, "kernel") * scale).astype(np.float32)}
    got = np.concatenate([run(replace(real, weights=weights), sample)["a"] for sample in given])
    wanted = np.concatenate([run(real, sample)["a"] for sample in given])
    error = (got - wanted).reshape(-1, scale.size)
    return float(((error - error.mean(axis=0)) ** 2).mean())


def test_whole_networks_do_not_get_worse_on_inputs_that_were_not_seen() -> None:
    for layers in (DS_CNN, INVERTED):
        network = network_of(layers, "[1, 13, 9, 3]")
        fitted, others = correlated(network, 32), correlated(network, 32, seed=2)
        plain = quantize_network(network, fitted, replace(PLAIN, bias_correction=True))
        better = reconstruct(plain.real, plain.network, fitted, biases=True)
        wanted = signals(plain.real, others)
        before, after = (signal_sqnr_db(wanted, signals(made, others)) for made in (plain.network, better))
        assert after > before - 0.2


def test_biases_stay_without_bias_correction() -> None:
    network = network_of(DS_CNN, "[1, 13, 9, 3]")
    given = correlated(network, 8)
    plain = quantize_network(network, given, PLAIN)
    better = reconstruct(plain.real, plain.network, given, biases=False)
    moved = 0
    for layer in better.layers:
        if not isinstance(layer.op, Conv2D | Dense):
            continue
        old, new = (made.weight(layer, "bias") * made.weight(layer, "kernel_scale") for made in (plain.network, better))
        units = np.maximum(plain.network.weight(layer, "kernel_scale"), better.weight(layer, "kernel_scale"))
        assert (np.abs(new - old) <= units * (1 + 1e-6 * np.abs(better.weight(layer, "bias")))).all()
        moved += int((plain.network.weight(layer, "kernel") != better.weight(layer, "kernel")).sum())
    assert moved > 0


def test_sums_stay_within_32_bits_where_a_bias_is_large() -> None:
    network = lower(network_of("- pointwise: {name: a, out: 5}\n- pointwise: {name: b, out: 4}", "[1, 5, 4, 3]"))
    weights = {**network.weights, "a.bias": np.array([1e9, -1e9, 0, 1, 3e5], np.float32)}
    network = replace(network, weights=weights)
    given = samples(network)
    plain = quantize_network(network, given, PLAIN)
    better = reconstruct(plain.real, plain.network, given, biases=True).validate()
    channel_intervals(better)
    bound = bias_bound("a", 3)
    assert np.abs(better.weights["a.bias"].astype(np.int64)).max() <= bound
    assert np.abs(better.weights["a.kernel"].astype(np.int64)).max() <= 127
    for sample in given:
        run_all(better, quantize_sample(better, sample))


def test_channels_and_inputs_that_are_nothing_do_no_harm() -> None:
    network = lower(
        network_of("- pointwise: {name: a, out: 5, activation: relu}\n- conv: {name: b, out: 4, kernel: 3}")
    )
    weights = {key: value.copy() for key, value in network.weights.items()}
    weights["a.kernel"][..., 1] = 0
    weights["a.bias"][1] = -1  # after the relu an input of b that is always 0
    weights["b.kernel"][..., 2] = 0
    network = replace(network, weights=weights)
    given = samples(network)
    plain = quantize_network(network, given, PLAIN)
    better = reconstruct(plain.real, plain.network, given, biases=True).validate()
    assert not better.weights["a.kernel"][..., 1].any()
    assert not better.weights["b.kernel"][..., 2].any()
    assert better.weights["b.kernel_scale"][2] == plain.network.weights["b.kernel_scale"][2]
    wanted = [run(network, sample)["b"][..., 2] for sample in given]
    q = better.tensor("b").quantization
    assert q is not None
    for sample, floats in zip(given, wanted, strict=True):
        integers = run(better, quantize_sample(better, sample))["b"][..., 2]
        np.testing.assert_allclose(q.scale * (integers - float(q.zero_point)), floats, atol=q.scale)


def test_layers_of_very_many_taps_keep_their_nearest_integers() -> None:
    network = lower(network_of("- flatten\n- dense: {name: d, out: 2}", "[1, 24, 24, 9]"))
    given = samples(network, 3)
    plain = quantize_network(network, given, PLAIN)
    better = reconstruct(plain.real, plain.network, given, biases=True)
    np.testing.assert_array_equal(better.weights["d.kernel"], plain.network.weights["d.kernel"])


def test_a_single_sample_is_enough_and_the_same_call_gives_the_same_bytes() -> None:
    network = network_of(DS_CNN, "[1, 13, 9, 3]")
    plain = quantize_network(network, correlated(network, 1), PLAIN)
    first, second = (
        reconstruct(plain.real, plain.network, correlated(network, 1), biases=True) for _attempt in range(2)
    )
    assert {key: value.tobytes() for key, value in first.weights.items()} == {
        key: value.tobytes() for key, value in second.weights.items()
    }
