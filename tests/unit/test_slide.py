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
from dscompile.ir.network import Network
from dscompile.ir.state import slots, state_bytes
from dscompile.oracle.stream import Stream
from tests.quantized_networks import Quantizer
from tests.sliding import Windows, assert_same, assert_slides, keyword_network, newest, quantized, sound
from tests.streaming import ring
from tests.unit.netfiles import network as network_of


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
    "- depthwise: {name: d, from: x, kernel: [2, 1], padding: valid}\n- pool: {name: p, kind: max, over: all, from: d}\n"
    "- add: {name: e, from: [a, b]}\n- flatten: {name: f}\n- dense: {name: g, out: 5}\n"
    "- flatten: {name: h, from: p}\n- add: {from: [g, h]}",
    "last_row": "- conv: {out: 4, kernel: [3, 1], padding: valid}\n- slice: {rows: [9, 10]}\n- flatten\n- dense: {out: 3}",
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


def test_raw_samples_slide_through_reshapes_and_transposes() -> None:
    net = NetworkBuilder("samples")
    x = net.reshape(net.input("x", [1, 64]), shape=[1, 1, 64, 1])
    x = net.conv(x, out=4, kernel=[1, 8], stride=[1, 4], padding="valid", activation="relu")
    x = net.transpose(x, permutation=[0, 2, 1, 3])
    x = net.conv(x, out=4, kernel=[3, 1], padding="valid")
    made = assert_slides(net.build(net.dense(net.flatten(x), out=3), seed=1))
    assert (made.window, made.step) == (64, 4)


def test_constants_may_be_added_to_all_rows_alike() -> None:
    for shape, whole in (([1, 1, 3, 4], False), ([4], False), ([1, 10, 1, 1], True)):
        net = NetworkBuilder("shifted")
        x = net.conv(net.input("x", [1, 12, 3, 5]), out=4, kernel=[3, 1], padding="valid")
        x = net.add(x, net.constant(shape=shape))
        x = net.conv(x, out=4, kernel=[2, 1], padding="valid")
        made = assert_slides(net.build(net.dense(net.flatten(x), out=3), seed=1))
        assert ("add" in made.whole) == whole
