"""Whole networks from float32 to int8."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dscompile.errors import BadInputError, UnsupportedError
from dscompile.frontend.netfile import read_netfile
from dscompile.frontend.writer import write_netfile
from dscompile.ir.network import Network, NetworkBuilder
from dscompile.ir.ops import RELU, RELU6, Activate, Activation, Conv2D, Dense, Pool, Quantize
from dscompile.ir.tensor import Quantization, Tensor
from dscompile.oracle import run, run_all
from dscompile.quantization import Settings, quantize_network
from dscompile.quantization.bias_correction import correct_biases
from dscompile.quantization.calibration import observe
from dscompile.quantization.equalization import MEASURES, equalizable_pairs, equalize
from dscompile.quantization.lowering import lower
from dscompile.quantization.measure import quantize_sample
from dscompile.quantization.settings import METHODS
from tests.networks import STEPS, random_inputs, random_network
from tests.unit.netfiles import assert_same_network
from tests.unit.netfiles import network as network_of
from tests.unit.quantizing import DS_CNN, INVERTED, PLAIN, quantized, samples


def parameters_of(network: Network, tensor: str) -> Quantization:
    found = network.tensor(tensor).quantization
    assert found is not None
    return found


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("layers", [DS_CNN, INVERTED], ids=["ds_cnn", "inverted"])
def test_int8_networks_agree_with_float(layers: str, method: str) -> None:
    network = network_of(layers, "[1, 13, 9, 3]")
    settings = Settings(method=next(known for known in METHODS if known == method))
    result = quantize_network(network, samples(network), settings, against=samples(network, 16, seed=2))
    assert result.against is not None
    assert result.against.samples == 16
    assert result.against.cosine > 0.99
    assert result.against.sqnr_db > 18
    assert all(layer.sqnr_db > 18 for layer in result.layers)


def test_relu6_bounds_the_range_of_its_layer() -> None:
    loud = network_of("- conv: {name: c, out: 8, kernel: 3, activation: relu6}\n- pointwise: {out: 3}", "[1, 9, 7, 3]")
    weights = {key: 100 * value for key, value in loud.weights.items()}
    network = quantize_network(replace(loud, weights=weights), samples(loud), PLAIN).network
    assert parameters_of(network, "c") == Quantization((float(np.float32(6 / 255)),), -128)


def test_softmax_sigmoid_and_tanh_have_the_scales_that_tflite_demands() -> None:
    layers = "- sigmoid: {name: s}\n- tanh: {name: t}\n- flatten\n- dense: {name: d, out: 5}\n- softmax: {name: p}"
    network = quantized(layers).network
    assert parameters_of(network, "s") == Quantization((1 / 256,), -128)
    assert parameters_of(network, "t") == Quantization((1 / 128,), 0)
    assert parameters_of(network, "p") == Quantization((1 / 256,), -128)


def test_tied_tensors_share_the_range_of_all_values_computed_into_them() -> None:
    layers = """\
- pointwise: {name: small, out: 4, from: x}
- pointwise: {name: large, out: 4, from: x}
- concat: {name: both, from: [small, large]}
- pool: {name: peak, kind: max, kernel: 2}
- pad: {name: framed, padding: 1, value: -50}
- pointwise: {name: last, out: 3}"""
    network = network_of(layers, "[1, 8, 6, 3]")
    weights = {key: value * (40 if key.startswith("large") else 1) for key, value in network.weights.items()}
    given = samples(network)
    result = quantize_network(replace(network, weights=weights), given, PLAIN)
    shared = {parameters_of(result.network, name) for name in ("small", "large", "both", "peak", "framed")}
    assert len(shared) == 1
    values = [run_all(result.real, sample) for sample in given]
    high = max(float(value["large"].max()) for value in values)
    low = min(-50.0, *(float(value["large"].min()) for value in values))
    assert shared.pop().scale == pytest.approx((high - low) / 255, rel=1e-6)


def test_fixed_scales_are_brought_to_that_of_a_concat() -> None:
    layers = "- sigmoid: {name: gate}\n- concat: {name: both, from: [gate, x]}\n- pointwise: {out: 2}"
    network = quantized(layers).network
    rescaled = network.producers["gate.rescaled"]
    assert rescaled.op == Quantize()
    assert parameters_of(network, "gate") == Quantization((1 / 256,), -128)
    assert parameters_of(network, "gate.rescaled") == parameters_of(network, "x") == parameters_of(network, "both")


def test_activations_that_are_no_clamps_become_layers_of_their_own() -> None:
    network = quantized(
        "- pointwise: {name: p, out: 4, activation: hard_swish}\n- pointwise: {name: q, out: 2}"
    ).network
    assert [(layer.name, layer.output) for layer in network.layers] == [
        ("p", "p.linear"),
        ("p.hard_swish", "p"),
        ("q", "q"),
    ]


def test_an_average_that_counts_padding_becomes_a_pad_and_a_pool() -> None:
    layers = "- pool: {name: a, kind: average, kernel: 3, stride: 2, padding: 1, count_pads: true}"
    result = quantized(layers)
    assert [layer.name for layer in result.network.layers] == ["a.pad", "a"]
    assert result.agreement.sqnr_db > 28


def test_batch_norm_behind_nothing_can_be_quantized() -> None:
    network = network_of("- batch_norm: {name: n}\n- relu: {name: r}\n- pool: {kind: max, kernel: 2}", "[1, 8, 6, 3]")
    result = quantize_network(network, samples(network), PLAIN)
    assert isinstance(result.network.layers[0].op, Conv2D)
    assert result.agreement.sqnr_db > 35


def test_prelu_of_one_slope_is_leaky_relu() -> None:
    network = network_of("- prelu: {name: p}", "[1, 4, 4, 3]")
    uniform = replace(network, weights={"p.slope": np.full(3, 0.25, np.float32)})
    assert lower(uniform).layers[0].op == Activate(Activation("leaky_relu", alpha=0.25))


def test_prelu_of_several_slopes_becomes_parts_that_int8_has() -> None:
    network = network_of("- prelu: {name: p}", "[1, 4, 4, 3]")
    network = replace(network, weights={"p.slope": np.float32([0.25, -0.5, 2.0])})
    lowered = lower(network)
    assert [layer.name for layer in lowered.layers] == ["p.positive", "p.negative", "p.slope", "p.scaled", "p"]
    (sample,) = samples(network, 1)
    np.testing.assert_allclose(run(lowered, sample)["p"], run(network, sample)["p"], rtol=1e-6)
    assert quantize_network(network, samples(network), PLAIN).agreement.sqnr_db > 35


def test_an_int8_network_is_not_quantized_again() -> None:
    network = quantized("- relu").network
    with pytest.raises(UnsupportedError, match="'test' is an int8 network already"):
        quantize_network(network, samples(network, 1), PLAIN)


def test_no_samples_and_infinite_tensors_are_refused() -> None:
    network = network_of("- pointwise: {name: p, out: 2}", "[1, 2, 2, 3]")
    with pytest.raises(BadInputError, match="there is no calibration sample"):
        quantize_network(network, (), PLAIN)
    huge = replace(network, weights={key: value * np.float32(1e38) for key, value in network.weights.items()})
    given = [{"x": np.full((1, 2, 2, 3), 1e30, np.float32)}]
    with pytest.raises(BadInputError, match=r"layer p: 'p' becomes infinite or NaN with sample 0"):
        quantize_network(huge, given, PLAIN)


def test_a_layer_that_gives_almost_nothing_is_refused_with_advice() -> None:
    builder = NetworkBuilder("n")
    builder.input(Tensor("x", (1, 2)))
    builder.add("d", Dense(1), ["x"], kernel=np.float32([[1.0], [-1.0]]))
    network = builder.build(["d"])
    given = [{"x": np.float32([[1.0, 1.0 + 2**-23]])}]
    tiny = [{"x": np.float32([[1e10, 1e10]])}, {"x": np.float32([[1e-20, 0.0]])}]
    assert quantize_network(network, given, PLAIN).network.rounding == "tflite"
    with pytest.raises(UnsupportedError, match="layer d: its results stay within 1e-20, far below its products"):
        quantize_network(network, tiny, PLAIN)


@pytest.mark.parametrize("measure", MEASURES)
def test_equalization_leaves_the_float_function_unchanged(measure: str) -> None:
    layers = """\
- conv: {name: a, out: 12, kernel: 3, activation: relu}
- depthwise: {name: b, kernel: 3, multiplier: 2, activation: relu}
- conv: {name: c, out: 6, kernel: 3, groups: 3}
- pointwise: {name: d, out: 5, activation: relu}
- pointwise: {name: e, out: 4}"""
    network = lower(network_of(layers, "[1, 7, 5, 3]"))
    given = samples(network, 4)
    seen = observe(network, given, lambda _done, _total: None)
    pairs = equalizable_pairs(network, seen)
    assert [(pair.first.name, pair.second.name) for pair in pairs] == [("a", "b"), ("b", "c"), ("c", "d"), ("d", "e")]
    balanced = equalize(network, seen, pairs, next(known for known in MEASURES if known == measure))
    assert not np.allclose(balanced.weights["a.kernel"], network.weights["a.kernel"])
    for sample in given:
        wanted = run(network, sample)["e"]
        np.testing.assert_allclose(run(balanced, sample)["e"], wanted, atol=1e-5 * np.abs(wanted).max(), rtol=0)


def test_activations_are_equal_before_a_depthwise_layer_after_equalization() -> None:
    network = lower(network_of("- pointwise: {name: a, out: 6, activation: relu}\n- depthwise: {name: b, kernel: 3}"))
    given = samples(network, 4)
    seen = observe(network, given, lambda _done, _total: None)
    balanced = equalize(network, seen, equalizable_pairs(network, seen), "noise")
    peaks = observe(balanced, given, lambda _done, _total: None)["a"].peaks
    np.testing.assert_allclose(peaks, seen["a"].peaks.max(), rtol=1e-5)


def test_only_relu6_that_never_reaches_6_takes_part_in_equalization() -> None:
    network = lower(network_of("- pointwise: {name: a, out: 6, activation: relu6}\n- pointwise: {name: b, out: 3}"))
    given = samples(network, 2)
    seen = observe(network, given, lambda _done, _total: None)
    pairs = equalizable_pairs(network, seen)
    assert [pair.first.name for pair in pairs] == ["a"]
    op = equalize(network, seen, pairs, "noise").layers[0].op
    assert isinstance(op, Conv2D)
    assert op.activation == RELU
    loud = [{"x": 100 * sample["x"]} for sample in given]
    assert equalizable_pairs(network, observe(network, loud, lambda _done, _total: None)) == ()


def test_layers_that_others_read_too_are_not_equalized() -> None:
    layers = "- pointwise: {name: a, out: 4}\n- pointwise: {name: b, out: 4}\n- add: {name: c, from: [a, b]}"
    network = lower(network_of(layers))
    seen = observe(network, samples(network, 1), lambda _done, _total: None)
    assert equalizable_pairs(network, seen) == ()


def unbalanced() -> Network:
    """A pointwise layer whose channels differ by powers of two up to 256, before a depthwise one that levels them."""
    network = network_of("- pointwise: {name: a, out: 9, activation: relu}\n- depthwise: {name: b, kernel: 3}")
    factors = 2.0 ** np.arange(9)
    weights = dict(network.weights)
    weights["a.kernel"] = (weights["a.kernel"].astype(np.float64) * factors).astype(np.float32)
    weights["a.bias"] = (weights["a.bias"].astype(np.float64) * factors).astype(np.float32)
    weights["b.kernel"] = (weights["b.kernel"].astype(np.float64) / factors).astype(np.float32)
    return replace(network, weights=weights)


def test_equalization_helps_unbalanced_channels_and_is_reported() -> None:
    network = unbalanced()
    result = quantize_network(network, samples(network), replace(PLAIN, equalize=True))
    step = result.steps[0]
    assert (step.name, step.kept) == ("equalization by noise", True)
    assert step.after_db > step.before_db + 10
    assert result.agreement.sqnr_db == pytest.approx(max(step.after_db for step in result.steps), abs=1e-6)


def test_bias_correction_restores_the_means_of_sums() -> None:
    layers = "- conv: {name: a, out: 8, kernel: 3, activation: relu}\n- pointwise: {name: b, out: 6}"
    network = lower(network_of(layers))
    given = samples(network)
    plain = quantize_network(network, given, PLAIN).network
    weights = {key: value + 40 if key.endswith("bias") else value for key, value in plain.weights.items()}
    shifted = replace(plain, weights=weights)
    integers = [quantize_sample(shifted, sample) for sample in given]
    corrected = correct_biases(network, shifted, given)
    wanted = np.mean([run(network, sample)["b"] for sample in given], axis=(0, 1, 2, 3))
    q = parameters_of(corrected, "b")
    before, after = (
        np.mean([q.scale * (run(made, one)["b"] - float(q.zero_point)) for one in integers], axis=(0, 1, 2, 3))
        for made in (shifted, corrected)
    )
    assert np.abs(after - wanted).max() < 0.5 * q.scale
    assert np.abs(after - wanted).max() < 0.5 * np.abs(before - wanted).max()
    changed = {key for key in weights if not np.array_equal(weights[key], corrected.weights[key])}
    assert changed == {"a.bias", "b.bias"}


def test_bias_correction_is_kept_where_it_helps() -> None:
    network = network_of(DS_CNN, "[1, 13, 9, 3]")
    given = [{"x": np.abs(sample["x"])} for sample in samples(network)]
    result = quantize_network(network, given, Settings(equalize=False, weight_rounding="nearest"))
    (step,) = result.steps
    assert step.name == "bias correction"
    assert step.kept == (step.after_db > step.before_db)


def test_what_does_not_help_is_left_out() -> None:
    network = network_of(DS_CNN, "[1, 13, 9, 3]")
    result = quantize_network(network, samples(network), Settings())
    kept = [step for step in result.steps if step.kept]
    assert all(step.after_db > step.before_db for step in kept)
    assert all(step.after_db <= step.before_db for step in result.steps if not step.kept)
    plain = quantize_network(network, samples(network), replace(PLAIN, method="mse"))
    assert plain.steps == ()
    assert plain.agreement.sqnr_db <= result.agreement.sqnr_db


def test_the_result_reads_back_identically(tmp_path: Path) -> None:
    result = quantized(INVERTED, "[1, 13, 9, 3]", Settings(rounding="float32"), rest="  labels: [a, b, c, d, e]\n")
    read_back = read_netfile(write_netfile(result.network, tmp_path, weights_stem="other")).network
    assert (tmp_path / "other.npz").is_file()
    assert_same_network(result.network, read_back)
    assert read_back.rounding == "float32"


@pytest.mark.parametrize("seed", range(12))
def test_random_networks_stay_near_float(seed: int, tmp_path: Path) -> None:
    network = random_network(seed=seed, max_layers=6, steps=STEPS.keys() - {"quotient"})  # int8 has no division
    given = [random_inputs(network, seed=index) for index in range(4)]
    if any(isinstance(layer.op, Activate) and layer.op.activation.kind == "prelu" for layer in lower(network).layers):
        return
    result = quantize_network(network, given, Settings(method="min-max"))
    assert result.agreement.cosine > 0.9
    assert_same_network(result.network, read_netfile(write_netfile(result.network, tmp_path)).network)


def test_layer_reports_tell_ranges_and_clipping() -> None:
    network = network_of("- pointwise: {name: p, out: 4, activation: relu}\n- pool: {name: q, kind: max, kernel: 2}")
    result = quantize_network(network, samples(network), replace(PLAIN, method="percentile", keep=0.9))
    first, second = result.layers
    assert (first.name, first.kind, first.low, first.zero_point) == ("p", "pointwise", 0.0, -128)
    assert 0.08 < first.clipped < 0.12
    assert first.kernel_sqnr_db is not None
    assert 40 < first.kernel_sqnr_db < 60
    assert (second.kind, second.kernel_sqnr_db, second.scale) == ("max pool", None, first.scale)


def test_one_output_element_has_no_top1() -> None:
    assert quantized("- flatten\n- dense: {out: 1}").agreement.top1 is None


def test_ops_of_the_example_are_all_there() -> None:
    kinds = {type(layer.op) for layer in quantized(INVERTED, "[1, 13, 9, 3]").network.layers}
    assert {Conv2D, Dense, Pool, Activate} <= kinds
    activations = {
        layer.op.activation
        for layer in quantized(INVERTED, "[1, 13, 9, 3]").network.layers
        if isinstance(layer.op, Conv2D)
    }
    assert RELU6 in activations
