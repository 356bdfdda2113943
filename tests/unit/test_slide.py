"""Networks over a window of frames as networks that take new frames alone: every step as the window, to the bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import dscompile
from dscompile import NetworkBuilder
from dscompile.api.sliding import slid
from dscompile.errors import BadInputError, DscompileError, UnsupportedError, UsageError
from dscompile.frontend.load import load_network
from dscompile.ir.network import Array, Layer, Network
from dscompile.ir.ops import Quantize
from dscompile.ir.state import slots, state_bytes
from dscompile.ir.tensor import Quantization, Tensor
from dscompile.oracle.stream import Stream
from dscompile.quantization import Settings
from tests.native import TARGETS, target_here
from tests.quantized_networks import Quantizer
from tests.sliding import (
    Windows,
    assert_same,
    assert_slides,
    broadcast_network,
    keyword_network,
    quantized,
    sound,
    temporal_network,
)
from tests.streaming import ring
from tests.unit.netfiles import network as network_of

Outputs = dict[str, Array]
EXACT = Settings(weight_rounding="nearest")


def both(layers: str, shape: str = "[1, 12, 3, 5]") -> tuple[Network, Network]:
    """The network of these lines of a net.yaml, in float32 and in int8."""
    network = network_of(layers, shape)
    return network, Quantizer(network, np.random.default_rng(11), "tflite", float_borders=False).run()


# What slides, layer by layer; no line pads time.
CASES = {
    "kernel_1": "- conv: {out: 4, kernel: 1}\n- pool: {kind: average, over: all}",
    "kernel_3": "- conv: {out: 4, kernel: 3, padding: valid}\n- pool: {kind: average, over: all}",
    "kernel_3_padded_over_columns": "- conv: {out: 4, kernel: 3, padding: [0, 0, 1, 1]}\n- flatten\n- dense: {out: 3}",
    "dilation_2": "- conv: {out: 4, kernel: [3, 1], dilation: [2, 1], padding: valid}\n- flatten\n- dense: {out: 3}",
    "dilations_2_and_3": "- depthwise: {kernel: [3, 1], dilation: [2, 1], padding: valid}\n"
    "- conv: {out: 3, kernel: [2, 2], dilation: [3, 1], padding: valid}\n- flatten\n- dense: {out: 3}",
    "multiplier_2": "- depthwise: {kernel: [3, 3], multiplier: 2, padding: valid}\n- flatten\n- dense: {out: 3}",
    "groups": "- conv: {out: 10, kernel: 2, groups: 5, padding: valid}\n- flatten\n- dense: {out: 3}",
    "stride_2": "- conv: {out: 4, kernel: [4, 3], stride: [2, 1], padding: valid}\n- flatten\n- dense: {out: 3}",
    "stride_2_kernel_1": "- conv: {out: 4, kernel: 1, stride: [2, 1], padding: valid}\n- flatten\n- dense: {out: 3}",
    "stride_2_with_a_row_left_over": "- conv: {out: 4, kernel: [3, 3], stride: [2, 1], padding: valid}\n- flatten\n"
    "- dense: {out: 3}",
    "strides_2_and_2": "- conv: {out: 4, kernel: [2, 3], stride: [2, 1], padding: valid}\n"
    "- conv: {out: 5, kernel: [3, 1], stride: [2, 1], padding: valid}\n- flatten\n- dense: {out: 3}",
    "stride_3_then_dilation_2": "- conv: {out: 4, kernel: [2, 3], stride: [3, 1], padding: valid}\n"
    "- depthwise: {kernel: [2, 1], dilation: [2, 1], padding: valid}\n- flatten\n- dense: {out: 3}",
    "average_over_time": "- conv: {out: 4, kernel: [3, 1], padding: valid}\n"
    "- pool: {kind: average, kernel: [3, 1], stride: 1, padding: valid}\n- flatten\n- dense: {out: 3}",
    "maximum_of_two_rows": "- conv: {out: 4, kernel: [3, 1], padding: valid}\n"
    "- pool: {kind: max, kernel: [2, 3], stride: [2, 1], padding: valid}\n- flatten\n- dense: {out: 3}",
    "residual_cropped": "- conv: {name: c, out: 5, kernel: [3, 1], padding: valid}\n"
    "- slice: {name: s, from: x, rows: [1, 11]}\n- add: {from: [s, c]}\n- flatten\n- dense: {out: 3}",
    "residual_cropped_at_the_end": "- conv: {name: c, out: 5, kernel: [3, 1], padding: valid}\n"
    "- slice: {name: s, from: x, rows: [0, 10]}\n- add: {from: [s, c]}\n- flatten\n- dense: {out: 3}",
    "residual_cropped_at_the_start": "- conv: {name: c, out: 5, kernel: [3, 1], padding: valid}\n"
    "- slice: {name: s, from: x, rows: [2, 12]}\n- add: {from: [s, c]}\n- flatten\n- dense: {out: 3}",
    "concatenation": "- conv: {name: a, out: 3, kernel: [3, 1], padding: valid}\n"
    "- conv: {name: b, from: x, out: 4, kernel: [2, 1], dilation: [2, 1], padding: valid}\n"
    "- concat: {from: [a, b]}\n- flatten\n- dense: {out: 3}",
    "two_readers_of_one_past": "- conv: {name: a, out: 4, kernel: [4, 1], padding: valid}\n"
    "- slice: {name: s, from: x, rows: [1, 12]}\n- conv: {name: b, from: s, out: 4, kernel: [3, 1], padding: valid}\n"
    "- depthwise: {name: d, from: x, kernel: [2, 1], padding: valid}\n"
    "- pool: {name: p, kind: max, over: all, from: d}\n"
    "- add: {name: e, from: [a, b]}\n- flatten: {name: f}\n- dense: {name: g, out: 5}\n"
    "- flatten: {name: h, from: p}\n- add: {from: [g, h]}",
    "last_row": "- conv: {out: 4, kernel: [3, 1], padding: valid}\n- slice: {rows: [9, 10]}\n- flatten\n"
    "- dense: {out: 3}",
    "every_second_row": "- conv: {out: 4, kernel: [3, 1], padding: valid}\n"
    "- pool: {kind: max, kernel: 1, stride: [2, 1], padding: valid}\n- flatten\n- dense: {out: 3}",
    "gate_over_the_window": "- conv: {name: c, out: 4, kernel: [3, 3], padding: valid}\n"
    "- pool: {name: p, kind: average, over: all}\n- pointwise: {name: g, out: 4}\n- mul: {from: [c, g]}\n"
    "- pool: {kind: average, over: all}",
    "same_padding_after_the_window": "- conv: {out: 4, kernel: [3, 1], padding: valid}\n"
    "- pool: {kind: average, kernel: [10, 1], padding: valid}\n- conv: {out: 4, kernel: 3, padding: same}\n"
    "- flatten\n- dense: {out: 3}",
    "one_column": "- conv: {out: 4, kernel: [3, 3], padding: valid}\n- activation: {kind: hard_swish}\n"
    "- reshape: {shape: [1, 10, 1, 4]}\n- conv: {out: 2, kernel: [2, 1], padding: valid}\n- flatten\n- dense: {out: 3}",
    "rows_of_scores": "- conv: {out: 4, kernel: [3, 3], padding: valid}\n- softmax",
}


@pytest.mark.parametrize("case", CASES)
def test_each_step_gives_what_the_window_gives(case: str) -> None:
    network, integers = both(CASES[case])
    assert_slides(network, steps=20)
    assert_slides(integers, steps=20)


@pytest.mark.parametrize("step", [2, 4, 6, 8])
def test_a_step_may_take_several_rows(step: int) -> None:
    for case in ("stride_2_with_a_row_left_over", "residual_cropped"):
        for network in both(CASES[case]):
            assert_slides(network, step=step, steps=12)


def test_time_may_be_any_axis() -> None:
    columns = (
        "- conv: {out: 4, kernel: [3, 2], padding: valid}\n- depthwise: {kernel: [1, 3], dilation: [1, 2], "
        "padding: valid}\n- flatten\n- dense: {out: 3}"
    )
    for network in both(columns, "[1, 3, 12, 5]"):
        assert_slides(network, axis=2, steps=20)
    assert_slides(network_of(columns, "[1, 1, 12, 5]".replace("1, 12", "3, 12")), axis=2)
    net = NetworkBuilder("spectrogram")
    x = net.conv(net.input("x", [1, 2, 8, 20], layout="nchw"), out=4, kernel=[8, 3], padding="valid")
    network = net.build(net.dense(net.pool(x, kind="average", over="all"), out=3), seed=1)
    made = slid(network, axis=3)
    assert made.network.tensor("x").border_shape == (1, 2, 8, 1)
    assert_slides(network, axis=3)


def test_networks_for_keywords_of_other_forms_slide() -> None:
    for network, axis, step, at_least in ((temporal_network(), 1, 4, 10), (broadcast_network(), 3, 1, 20)):
        made = assert_slides(network, axis=axis, steps=30)
        assert made.step == step
        assert made.macs_before > at_least * made.macs_after
        assert_slides(quantized(network), axis=axis, steps=30)


def test_raw_samples_slide_through_reshapes_and_transposes() -> None:
    net = NetworkBuilder("samples")
    x = net.reshape(net.input("x", [1, 64]), shape=[1, 1, 64, 1])
    x = net.conv(x, out=4, kernel=[1, 8], stride=[1, 4], padding="valid", activation="relu")
    x = net.transpose(x, permutation=[0, 2, 1, 3])
    x = net.conv(x, out=4, kernel=[3, 1], padding="valid")
    made = assert_slides(net.build(net.dense(net.flatten(x), out=3), seed=1))
    assert (made.window, made.step) == (64, 4)


def test_an_input_of_uint8_slides_in_front_of_its_quantization() -> None:
    network = both(CASES["kernel_3"])[1]
    whole = Tensor("bytes", network.shape("x"), "uint8", Quantization((0.02,), 100))
    inner = network.tensor("x")
    made = replace(
        network,
        inputs=("bytes",),
        tensors={**network.tensors, "bytes": whole, "x": inner},
        layers=(Layer("signed", Quantize(), ("bytes",), "x"), *network.layers),
    ).validate()
    assert [state.name for state in assert_slides(made, steps=20).network.states] == ["x_past", "conv_past"]


def test_constants_may_be_added_to_all_rows_alike() -> None:
    for shape, whole in (([1, 1, 3, 4], False), ([4], False), ([1, 10, 1, 1], True)):
        net = NetworkBuilder("shifted")
        x = net.conv(net.input("x", [1, 12, 3, 5]), out=4, kernel=[3, 1], padding="valid")
        x = net.add(x, net.constant(shape=shape))
        x = net.conv(x, out=4, kernel=[2, 1], padding="valid")
        made = assert_slides(net.build(net.dense(net.flatten(x), out=3), seed=1))
        assert ("add" in made.whole) == whole


def told(network: Network, kind: type[DscompileError], step: int | None = None, axis: int | None = None) -> list[str]:
    """What is said of a network that cannot slide, with the layers."""
    with pytest.raises(kind) as caught:
        slid(network, step=step, axis=axis)
    return [f"{found.layer}: {found.message}" if found.layer else found.message for found in caught.value.diagnostics]


def test_every_layer_that_pads_time_is_named() -> None:
    network = network_of(
        "- conv: {name: first, out: 4, kernel: 3, padding: valid}\n- pad: {name: second, padding: [2, 0, 0, 0]}\n"
        "- depthwise: {name: third, kernel: 3, padding: same}\n"
        "- pool: {kind: max, kernel: 3, stride: 1, padding: same}\n- flatten\n- dense: {out: 3}",
        "[1, 12, 5, 5]",
    )
    ends = "after it; rows at its ends then differ from those that the window before had there"
    assert told(network, BadInputError) == [
        f"second: pads every window over time, by 2 before and 0 {ends}",
        f"third: pads every window over time, by 1 before and 1 {ends}",
        f"pool: pads every window over time, by 1 before and 1 {ends}",
    ]


def test_a_step_must_fit_strides_and_window() -> None:
    network = network_of(CASES["strides_2_and_2"], "[1, 20, 3, 5]")
    assert told(network, UsageError, step=6) == [
        "a step of 6 frames does not fit: strides over time make a row of 4 frames"
    ]
    assert told(network, UsageError, step=20) == ["a step of 20 frames leaves nothing of a window of 20"]


def test_networks_that_would_gain_nothing_are_refused() -> None:
    dense = network_of("- flatten\n- dense: {out: 3}", "[1, 12, 1, 5]")
    assert told(dense, UnsupportedError) == [
        "a step of 1 frame would multiply no less than a window of 12: layer 'flatten' reads all of it"
    ]
    rows = network_of("- conv: {out: 4, kernel: 3, padding: valid}", "[1, 12, 3, 5]")
    assert told(rows, UnsupportedError, step=10) == ["a step of 10 frames would multiply no less than a window of 12"]


def test_an_axis_must_hold_frames() -> None:
    network = network_of(CASES["kernel_3"], "[1, 12, 3, 5]")
    for axis in (0, 4):
        assert told(network, UsageError, axis=axis) == [
            f"axis {axis} of input 'x', [1, 12, 3, 5], holds no frames one after the other"
        ]
    single = network_of("- pointwise: {out: 2}", "[1, 1, 1, 1]")
    assert told(single, UsageError) == ["input 'x' is [1, 1, 1, 1], a single frame"]
    assert told(single, UsageError, axis=1) == [
        "axis 1 of input 'x', [1, 1, 1, 1], holds no frames one after the other"
    ]


def test_networks_with_state_or_several_inputs_are_refused() -> None:
    assert told(ring(), UnsupportedError) == ["'ring' keeps state already: it takes new frames alone as it is"]
    net = NetworkBuilder("two")
    network = net.build(net.add(net.input("a", [1, 4]), net.input("b", [1, 4])))
    assert told(network, UnsupportedError) == ["'two' has the inputs 'a', 'b'; only networks of one input can slide"]


def test_rows_of_indices_cannot_be_kept() -> None:
    layers = "- conv: {out: 4, kernel: [3, 1], padding: valid}\n- argmax: {name: best}\n- flatten"
    network = network_of(layers, "[1, 12, 3, 5]")
    assert told(network, UnsupportedError) == [
        "rows of 'best' have to be kept, and they are int32; only float32 and int8 can be"
    ]


def test_names_of_states_avoid_those_that_are_taken() -> None:
    network = network_of(
        "- relu: {name: x_rows}\n- conv: {from: x, name: x_past, out: 5, kernel: [3, 1], padding: valid}\n"
        "- slice: {from: x_rows, name: s, rows: [2, 12]}\n- add: {from: [x_past, s]}\n- flatten\n- dense: {out: 3}",
        "[1, 12, 3, 5]",
    )
    assert [state.name for state in assert_slides(network).network.states] == ["x_past_2", "add_past"]


def test_labels_stay_with_an_output_of_the_window_and_not_with_rows_of_it() -> None:
    labels = tuple("abcdefghijkl")
    assert slid(replace(keyword_network(4), labels=labels)).network.labels == labels
    rows = network_of("- conv: {out: 1, kernel: [3, 3], padding: valid}", "[1, 14, 3, 5]")
    assert slid(replace(rows, labels=labels)).network.labels == ()


# Keyword spotting, quantized by the project itself


Spotting = tuple[Network, list[tuple[Outputs, Outputs]]]


@pytest.fixture(scope="module")
def spotting() -> Spotting:
    """The network, and of 300 steps the new frames and what it makes of the window that ends with them."""
    network = quantized(keyword_network(5, 31))
    return network, list(Windows(network, 1, 2, sound(network, 600, 1)))


def test_the_oracle_equals_keyword_spotting_over_300_windows(spotting: Spotting, tmp_path: Path) -> None:
    network, windows = spotting
    assert len(windows) == 300
    stream = Stream(load_network(dscompile.stream(network, tmp_path / "stream.yaml").path).network)
    assert_same([(window, stream.step(inputs)) for inputs, window in windows], network.outputs)


def test_standalone_c_equals_keyword_spotting_over_300_windows(spotting: Spotting, tmp_path: Path) -> None:
    network, windows = spotting
    model = dscompile.build(slid(network).network, "c99", tmp_path / "c99")
    assert isinstance(model, dscompile.Model)
    stream = model.stream()
    assert_same([(window, stream.run(inputs)) for inputs, window in windows], network.outputs)


@pytest.mark.slow
@pytest.mark.every_case
@pytest.mark.parametrize(("target", "steps"), [(TARGETS[0], 60), ("arm64-neon", 30), ("cortex-m4", 30)])
def test_other_targets_equal_keyword_spotting(target: str, steps: int, spotting: Spotting, tmp_path: Path) -> None:
    if target != "cortex-m4":
        target_here(target)
    network, windows = spotting
    model = dscompile.build(slid(network).network, target, tmp_path / target)
    assert isinstance(model, dscompile.Model)
    stream = model.stream()
    assert_same([(window, stream.run(inputs)) for inputs, window in windows[:steps]], network.outputs)


@pytest.mark.slow
def test_float_keyword_spotting_equals_its_windows_within_rounding(tmp_path: Path) -> None:
    network = keyword_network(8)
    model = dscompile.build(slid(network).network, "c99", tmp_path / "c99")
    assert isinstance(model, dscompile.Model)
    stream = model.stream()
    assert_same(
        [(window, stream.run(inputs)) for inputs, window in Windows(network, 1, 2, sound(network, 80, 1))],
        network.outputs,
    )


def test_a_step_multiplies_new_rows_alone_and_keeps_what_kernels_reach() -> None:
    made = slid(keyword_network(16))
    assert (made.window, made.step, made.steps_to_fill) == (49, 2, 25)
    assert made.whole == ("pool", "dense.flatten", "dense", "softmax")
    per_row = 5 * 16 * (10 * 4) + 4 * (5 * 16 * 9 + 5 * 16 * 16)
    assert made.macs_after == per_row + 16 * 12
    kept = [made.network.shape(state.name)[1] for state in made.network.states]
    assert kept == [10 - 2 + 1, 2, 2, 2, 2, 11]  # of 49 frames the stem, two by two, leaves the last
    rows = 9 * 10 + 4 * 2 * 5 * 16 + 11 * 5 * 16
    assert (
        state_bytes(slots(made.network.states, made.network.tensors)) == 4 * rows + 8
    )  # each from a multiple of 16 on


@pytest.mark.slow
def test_onnxruntime_on_each_window_agrees(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    network = quantized(keyword_network(8, softmax=False), replace(EXACT, rounding="float32"))
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.qdqisint8allowed", "1")
    session = onnxruntime.InferenceSession(dscompile.export(network, tmp_path / "kws.onnx").path, options)
    model = dscompile.build(slid(network).network, "c99", tmp_path / "c99")
    assert isinstance(model, dscompile.Model)
    stream, frames, pairs = model.stream(), sound(network, 348, 1), []
    (name,) = network.inputs
    for step in range(150):
        got = stream.run({name: frames[:, 2 * step : 2 * step + 2]})
        first = 2 * step + 2 - 49
        if first >= 0:
            want = session.run(None, {name: frames[:, first : first + 49]})
            pairs.append((dict(zip(network.outputs, want, strict=True)), got))
    assert_same(pairs, network.outputs)
