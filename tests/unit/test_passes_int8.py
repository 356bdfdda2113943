"""What the passes make of int8 networks: fewer layers and channels, the same integers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dscompile.errors import BadInputError
from dscompile.frontend.tflite.importer import import_tflite
from dscompile.ir.cost import layer_macs
from dscompile.ir.intervals import channel_intervals, check_accumulators
from dscompile.ir.ops import (
    RELU,
    Activate,
    Binary,
    Constant,
    Conv2D,
    Dense,
    Dequantize,
    Pad,
    Pads,
    Pool,
    Quantize,
    Reshape,
    Transpose,
)
from dscompile.ir.tensor import Quantization
from dscompile.oracle import run_all
from dscompile.passes import canonicalize
from dscompile.passes.constant_channels import remove_constant_channels
from tests.import_onnx_models import op_names
from tests.int8_networks import Int8Net, Q, assert_same, random_input, random_int8_network
from tests.litert_int8 import integer_inputs, oracle_tensors

DATA = Path(__file__).resolve().parents[1] / "data"
OTHER = Quantization((0.02,), 10)
ONES = np.ones((1, 1, 3, 3))


def kernel(*columns):
    """A 1x1 kernel [1, 1, C_in, C_out] from its columns."""
    return np.array(columns).T[None, None]


def macs(network):
    return sum(layer_macs(network, layer) for layer in network.layers)


def parameter_bytes(network):
    """Kernels, and 12 bytes per channel for bias, multiplier and shift."""
    kernels = sum(array.size for key, array in network.weights.items() if key.endswith(".kernel"))
    return kernels + 12 * sum(array.size for key, array in network.weights.items() if key.endswith(".bias"))


def test_clips_of_the_same_scale_narrow_the_clamp_before_them():
    net = Int8Net()
    net.linear("conv", Conv2D(3, (1, 1)), "x", 50 * ONES)
    net.add("y", Activate(RELU), ["conv"])
    network = net.build(["y"])
    small = canonicalize(network)
    assert [(layer.name, layer.output, layer.op.activation) for layer in small.layers] == [("conv", "y", RELU)]
    assert_same(network, small)


def test_clips_that_rescale_stay():
    net = Int8Net()
    net.linear("conv", Conv2D(3, (1, 1)), "x", 50 * ONES)
    net.add("y", Activate(RELU), ["conv"], quantization=OTHER)
    assert op_names(canonicalize(net.build(["y"]))) == ["Conv2D", "Activate"]


def test_pads_with_the_zero_point_become_padding():
    net = Int8Net()
    net.add("pad", Pad(Pads(1, 2, 0, 3)), ["x"])
    net.linear("y", Conv2D(3, (3, 3)), "pad", 50 * np.ones((3, 3, 3, 3)))
    network = net.build(["y"])
    small = canonicalize(network)
    assert [layer.op for layer in small.layers] == [Conv2D(3, (3, 3), pads=Pads(1, 2, 0, 3))]
    assert_same(network, small)


def test_pads_with_other_values_stay():
    net = Int8Net()
    net.add("pad", Pad(Pads(1, 2, 0, 3), 0.5), ["x"])
    net.linear("y", Conv2D(3, (3, 3)), "pad", np.ones((3, 3, 3, 3)))
    assert op_names(canonicalize(net.build(["y"]))) == ["Pad", "Conv2D"]


def test_conversions_that_change_nothing_go():
    net = Int8Net()
    net.add("same", Quantize(), ["x"], quantization=Q)
    net.add("other", Quantize(), ["same"], quantization=OTHER)
    net.add("y", Dequantize(), ["other"])
    assert op_names(canonicalize(net.build(["y"]))) == ["Quantize", "Dequantize"]


def test_constants_are_moved_but_not_computed():
    net = Int8Net()
    values = np.arange(12, dtype=np.int8)
    net.add("c", Constant((1, 12)), quantization=OTHER, value=values.reshape(1, 12))
    net.add("r", Reshape((1, 1, 3, 4)), ["c"])
    net.add("t", Transpose((0, 1, 3, 2)), ["r"])
    net.add("y", Binary("add"), ["x", "t"], quantization=OTHER)
    network = net.build(["y"])
    small = canonicalize(network)
    assert op_names(small) == ["Constant", "Binary"]
    assert small.weight(small.layers[0], "value").dtype == np.int8
    np.testing.assert_array_equal(small.weight(small.layers[0], "value")[0, 0], values.reshape(3, 4).T)
    assert_same(network, small)


@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.parametrize("op", ["add", "mul"])
def test_sums_and_products_with_constants_stay(op, value):
    net = Int8Net()
    net.add("c", Constant((1, 1, 1, 3)), quantization=Q, value=np.full((1, 1, 1, 3), value, np.int8))
    net.linear("conv", Conv2D(3, (1, 1)), "x", ONES)
    net.add("y", Binary(op), ["conv", "c"])
    assert op_names(canonicalize(net.build(["y"]))) == ["Constant", "Conv2D", "Binary"]


# Channel 0 varies; channel 1 is always 0 (the zero point, -3), and channel 2 always 127.
SOME_CONSTANT = kernel([90, 0, 0], [0, 0, 0], [0, 0, 0])
ITS_BIAS = np.array([0, 0, 1_000_000])


def test_constant_channels_go_into_the_bias_of_the_next_layer():
    net = Int8Net()
    net.linear("a", Conv2D(3, (1, 1)), "x", SOME_CONSTANT, ITS_BIAS)
    net.linear("y", Conv2D(2, (1, 1)), "a", kernel([5, 6, 7], [-1, 2, -3]), np.array([10, 20]))
    network = net.build(["y"])
    small = remove_constant_channels(network)
    assert small.shape("a") == (1, 4, 4, 1)
    assert small.layers[0].op.out_channels == 1
    assert small.weights["y.kernel"].reshape(-1).tolist() == [5, -1]
    assert small.weights["y.bias"].tolist() == [10 + 7 * 130, 20 - 3 * 130]
    assert_same(network, small)


def test_a_layer_without_bias_gets_one():
    net = Int8Net((1, 3))
    net.linear("a", Dense(3), "x", SOME_CONSTANT[0, 0], ITS_BIAS)
    net.linear("y", Dense(2), "a", kernel([5, 6, 7], [-1, 2, -3])[0, 0])
    network = net.build(["y"])
    small = remove_constant_channels(network)
    assert small.weights["y.bias"].tolist() == [910, -390]
    assert_same(network, small)


def test_with_padding_only_the_zero_point_may_go():
    net = Int8Net()
    net.linear("a", Conv2D(3, (1, 1)), "x", SOME_CONSTANT, ITS_BIAS)
    net.linear("y", Conv2D(2, (3, 3), pads=Pads(1, 1, 1, 1)), "a", np.ones((3, 3, 3, 2)))
    network = net.build(["y"])
    small = remove_constant_channels(network)
    assert small.weights["a.bias"].tolist() == [0, 1_000_000]
    assert_same(network, small)


def test_a_bias_that_a_layer_gets_loses_the_channels_that_it_loses():
    net = Int8Net()
    net.linear("a", Conv2D(3, (1, 1)), "x", SOME_CONSTANT, ITS_BIAS)
    net.linear("b", Conv2D(2, (1, 1)), "a", kernel([5, 6, 7], [0, 0, 0]))
    net.linear("y", Conv2D(1, (1, 1)), "b", kernel([3, 4]))
    network = net.build(["y"])
    small = remove_constant_channels(network)
    assert (small.shape("b"), small.weights["b.bias"].tolist()) == ((1, 4, 4, 1), [7 * 130])
    assert_same(network, small)


@pytest.mark.parametrize("multiplier", [1, 2])
def test_depthwise_layers_lose_their_channels_too(multiplier):
    net = Int8Net()
    net.linear("a", Conv2D(3, (1, 1)), "x", SOME_CONSTANT, ITS_BIAS)
    depthwise = Conv2D(3 * multiplier, (3, 3), groups=3)
    net.linear("b", depthwise, "a", np.arange(27 * multiplier).reshape(3, 3, 1, 3 * multiplier) % 11)
    net.linear("y", Conv2D(1, (1, 1)), "b", np.ones((1, 1, 3 * multiplier, 1)))
    network = net.build(["y"])
    small = remove_constant_channels(network)
    assert small.shape("b") == (1, 2, 2, multiplier)
    assert small.layers[1].op.groups == 1
    assert_same(network, small)


def test_a_channel_that_only_a_constant_one_reads_goes_though_it_varies():
    net = Int8Net()
    net.linear("a", Conv2D(3, (1, 1)), "x", 50 * ONES)
    weights = np.ones((3, 3, 1, 3))
    weights[..., 1] = 0
    net.linear("b", Conv2D(3, (3, 3), pads=Pads(1, 1, 1, 1), groups=3), "a", weights, np.array([0, 500_000, 0]))
    net.linear("y", Conv2D(1, (1, 1)), "b", np.ones((1, 1, 3, 1)))
    network = net.build(["y"])
    small = remove_constant_channels(network)
    assert (small.shape("a"), small.shape("b")) == ((1, 4, 4, 2), (1, 4, 4, 2))
    assert_same(network, small)


def test_channels_go_through_pools_and_the_reshape_of_a_pixel():
    net = Int8Net()
    net.linear("a", Conv2D(3, (1, 1)), "x", SOME_CONSTANT, ITS_BIAS)
    net.add("p", Pool("average", activation=RELU), ["a"])
    net.add("f", Reshape((1, 3)), ["p"])
    net.linear("y", Dense(2), "f", np.ones((3, 2)))
    network = net.build(["y"])
    small = remove_constant_channels(network)
    assert [small.shape(name) for name in ("a", "p", "f")] == [(1, 4, 4, 1), (1, 1, 1, 1), (1, 1)]
    assert_same(network, small)


def test_one_channel_stays_of_a_layer_that_is_all_constant():
    net = Int8Net()
    net.linear("a", Conv2D(3, (1, 1)), "x", 0 * ONES, ITS_BIAS)
    net.linear("y", Conv2D(3, (1, 1)), "a", ONES)
    network = net.build(["y"])
    small = remove_constant_channels(network)
    assert small.shape("a") == (1, 4, 4, 1)
    assert_same(network, small)


@pytest.mark.parametrize("reader", ["output", "sum", "image"])
def test_channels_that_others_read_stay(reader):
    net = Int8Net()
    net.linear("a", Conv2D(3, (1, 1)), "x", SOME_CONSTANT, ITS_BIAS)
    net.linear("y", Conv2D(3, (1, 1)), "a", ONES)
    outputs = ["y"]
    if reader == "output":
        outputs.append("a")
    elif reader == "sum":
        outputs.append(net.add("s", Binary("add"), ["a", "x"]))
    else:
        net.add("f", Reshape((1, 48)), ["a"])
        outputs.append(net.linear("d", Dense(1), "f", np.ones((48, 1))))
    network = net.build(outputs)
    assert remove_constant_channels(network) is network


@pytest.mark.parametrize("seed", range(60))
def test_random_networks_keep_every_bit(seed):
    network = random_int8_network(seed)
    small = canonicalize(network)
    assert canonicalize(small) is small
    assert_same(network, small, 8)


def test_random_networks_do_lose_channels():
    shrunk = [
        seed for seed in range(60) if macs(canonicalize(random_int8_network(seed))) < macs(random_int8_network(seed))
    ]
    assert len(shrunk) > 15


@pytest.mark.parametrize("seed", range(20))
def test_intervals_hold_everything_that_a_network_makes(seed):
    network = random_int8_network(seed)
    intervals = channel_intervals(network)
    for number in range(8):
        for name, array in run_all(network, random_input(network, number)).items():
            rows = array.reshape(-1, array.shape[-1])
            assert (rows >= intervals[name].low).all(), name
            assert (rows <= intervals[name].high).all(), name


def test_vww_loses_half_of_its_products():
    network = import_tflite(DATA / "vww_96_int8.tflite")
    small = canonicalize(network)
    assert (macs(network), parameter_bytes(network)) == (7_489_664, 240_968)
    assert (macs(small), parameter_bytes(small)) == (3_727_313, 41_234)
    for seed in range(4):
        inputs = integer_inputs(network, seed)
        wanted, got = oracle_tensors(network, inputs), oracle_tensors(small, inputs)
        np.testing.assert_array_equal(wanted[network.outputs[0]], got[network.outputs[0]])


@pytest.mark.parametrize("rounding", ["float32", "half-up", "single"])
def test_vww_keeps_its_results_in_every_rounding(rounding):
    network = import_tflite(DATA / "vww_96_int8.tflite", rounding)
    small = canonicalize(network)
    assert macs(small) < 3_910_000
    inputs = integer_inputs(network, 1)
    wanted, got = oracle_tensors(network, inputs), oracle_tensors(small, inputs)
    np.testing.assert_array_equal(wanted[network.outputs[0]], got[network.outputs[0]])


def test_kws_has_no_constant_channels():
    network = import_tflite(DATA / "kws_ref_model_int8.tflite")
    assert macs(canonicalize(network)) == macs(network)


@pytest.mark.models
def test_resnet_has_no_constant_channels(model_path):
    network = import_tflite(model_path("pretrainedResnet_quant.tflite"))
    assert macs(canonicalize(network)) == macs(network)


def overflowing(bias, rounding="tflite", scale=0.01):
    net = Int8Net(rounding=rounding)
    net.linear("y", Conv2D(2, (1, 1)), "x", kernel([127, 127, 127], [0, 0, 0]), np.array([bias, bias]), scale)
    return net.build(["y"])


def test_sums_that_fit_are_proven():
    # 3 inputs of up to 130, times 127
    check_accumulators(overflowing(2**31 - 1 - 3 * 130 * 127))
    check_accumulators(overflowing(-(2**31) + 3 * 125 * 127))


@pytest.mark.parametrize(
    ("bias", "interval"),
    [(2**31 - 3 * 130 * 127, "2147386493 to 2147483648"), (-(2**31) - 1 + 3 * 125 * 127, "-2147483649 to -2147386494")],
)
def test_sums_that_can_overflow_name_layer_and_channel(bias, interval):
    with pytest.raises(BadInputError) as caught:
        canonicalize(overflowing(bias))
    (found,) = caught.value.diagnostics
    assert found.layer == "y"
    assert found.message == f"the sums of output channel 0 can be from {interval}, which overflows 32 bits"


def test_sums_that_overflow_when_shifted_are_found_too():
    # factor 0.05 * 64 / 0.05 = 64, a shift by 7
    with pytest.raises(BadInputError, match=r"output channel 0 \(and 1 more channels\) can be from"):
        check_accumulators(overflowing(2**25, scale=64.0))
    check_accumulators(overflowing(2**25, "float32", scale=64.0))
