"""Int8 networks as QDQ ONNX: the bytes of onnxruntime, what comes back, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import dscompile
from dscompile import oracle
from dscompile.api.reference import oracle_outputs
from dscompile.errors import BadInputError, UnsupportedError
from dscompile.frontend.load import load_network
from dscompile.ir.network import Network, NetworkBuilder
from dscompile.ir.ops import (
    NONE,
    RELU,
    RELU6,
    Activate,
    Activation,
    ArgMax,
    Binary,
    Conv2D,
    ConvTranspose,
    Dense,
    Dequantize,
    Lookup,
    Mean,
    Op,
    Pads,
    Pool,
    Quantize,
    Resize,
    Softmax,
)
from dscompile.ir.tensor import Quantization, Tensor
from tests.as_onnx import run_onnxruntime
from tests.mcu import random_inputs as border_inputs
from tests.models import model_path
from tests.quantized_networks import INT8_STEPS, random_int8_network

onnx = pytest.importorskip("onnx")

# What onnxruntime computes in float32, or by a table of its own.
OTHERS = {"activate", "softmax", "squeeze_excite", "transposed"}
EXACT_STEPS = [step for step in INT8_STEPS if step not in OTHERS]


def is_exact(network: Network) -> bool:
    """Whether all layers are of those that docs/commands.md names."""

    def exact(op: Op, dtype: str) -> bool:
        match op:
            case Binary(kind=kind):
                return kind in ("add", "mul", "max", "min")
            case Pool(kind=kind):
                return kind == "max"
            case Resize(method=method):
                return method == "nearest"
            case Quantize():
                return dtype == "float32"
            case Activate() | Softmax() | ConvTranspose():
                return False
            case _:
                return True

    return all(
        exact(layer.op, network.tensor(layer.inputs[0]).dtype if layer.inputs else "") for layer in network.layers
    )


def inputs_of(network: Network, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    tensors = [network.tensor(name) for name in network.inputs]
    return {
        t.name: rng.normal(size=t.shape).astype(np.float32)
        if t.dtype == "float32"
        else rng.integers(-128, 128, t.shape).astype(t.dtype)
        for t in tensors
    }


def assert_same_bytes(network: Network, seed: int = 0) -> None:
    inputs = inputs_of(network, seed)
    expected, got = oracle.run(network, inputs), run_onnxruntime(network, inputs)
    for name, array in expected.items():
        assert got[name].dtype == array.dtype
        np.testing.assert_array_equal(got[name], array)


def rounded_as_stored(network: Network) -> Network:
    """The network with all sums and products rounded as int8."""
    ops = [
        replace(layer.op, rounded_as="int8") if isinstance(layer.op, Binary) else layer.op for layer in network.layers
    ]
    return network.with_layers([replace(layer, op=op) for layer, op in zip(network.layers, ops, strict=True)])


def exact_networks(first: int, count: int) -> list[Network]:
    made = (
        rounded_as_stored(random_int8_network(seed, "float32", steps=EXACT_STEPS))
        for seed in range(first, first + count)
    )
    return [network for network in made if is_exact(network)]


def test_random_networks_have_the_same_bytes_in_onnxruntime():
    networks = exact_networks(0, 60)
    assert len(networks) >= 20
    assert {Conv2D, Dense, Binary} <= {type(layer.op) for network in networks for layer in network.layers}
    for seed, network in enumerate(networks):
        assert_same_bytes(network, seed)


def all_outputs_depend_on_inputs(network: Network) -> bool:
    known = set(network.inputs)
    for layer in network.layers:
        if known & set(layer.inputs):
            known.add(layer.output)
    return known >= set(network.outputs)


def test_exported_networks_come_back_as_integers():
    for seed, network in enumerate(filter(all_outputs_depend_on_inputs, exact_networks(0, 40))):
        model = dscompile.export_onnx(network)
        assert {tensor.name for tensor in model.graph.initializer} <= {
            n for node in model.graph.node for n in node.input
        }
        again = dscompile.import_onnx(model)
        assert (again.rounding, again.inputs, len(again.outputs)) == ("float32", network.inputs, len(network.outputs))
        inputs = border_inputs(network, seed)
        expected, got = oracle_outputs(network, inputs), oracle_outputs(again, inputs)
        for name, array in expected.items():
            np.testing.assert_array_equal(got[name], array)


def test_a_convolution_comes_back_as_the_same_layer():
    network = convolution(RELU, Quantization((0.05,), -128)).build(["conv"])
    (layer,) = [la for la in dscompile.import_onnx(dscompile.export_onnx(network)).layers if isinstance(la.op, Conv2D)]
    assert layer.op == network.layers[0].op


@pytest.mark.slow
def test_many_random_networks_have_the_same_bytes_in_onnxruntime():
    for seed, network in enumerate(exact_networks(1000, 500)):
        assert_same_bytes(network, seed)


def scaled(scale: float, zero_point: int) -> Quantization:
    """Scales are float32, in files and in ONNX."""
    return Quantization((float(np.float32(scale)),), zero_point)


Q = scaled(0.05, -3)


def convolution(activation: Activation = NONE, made: Quantization = Q, *, depthwise: bool = False) -> NetworkBuilder:
    """A 3x3 convolution of x [1, 9, 7, 8] to `conv`, with a scale per channel and a bias."""
    net, rng = NetworkBuilder("conv", "float32"), np.random.default_rng(4)
    net.input(Tensor("x", (1, 9, 7, 8), "int8", scaled(0.03, 5)))
    op = Conv2D(8, (3, 3), (2, 2), Pads(1, 1, 1, 1), groups=8 if depthwise else 1, activation=activation)
    net.add(
        "conv",
        op,
        ["x"],
        dtype="int8",
        quantization=made,
        kernel=rng.integers(-127, 128, (3, 3, 1 if depthwise else 8, 8)).astype(np.int8),
        kernel_scale=rng.uniform(1e-4, 2e-3, 8).astype(np.float32),
        bias=rng.integers(-9000, 9000, 8).astype(np.int32),
    )
    return net


@pytest.mark.parametrize("depthwise", [False, True], ids=["full", "depthwise"])
@pytest.mark.parametrize("zero_point", [-128, -3])
@pytest.mark.parametrize("activation", [NONE, RELU, RELU6, Activation("clip", -1.0, 0.5)], ids=lambda a: a.name)
def test_convolutions_have_the_same_bytes_whatever_clamps_them(activation, zero_point, depthwise):
    network = convolution(activation, scaled(0.05, zero_point), depthwise=depthwise).build(["conv"])
    for seed in range(4):
        assert_same_bytes(network, seed)


def kinds(network: Network) -> list[str]:
    return [node.op_type for node in dscompile.export_onnx(network).graph.node if node.op_type != "Transpose"]


def test_a_relu_that_integers_do_by_themselves_stays_to_be_seen():
    saturating = convolution(RELU, scaled(0.05, -128)).build(["conv"])
    pair = ["QuantizeLinear", "DequantizeLinear"]
    weights = ["DequantizeLinear"] * 2
    assert kinds(saturating) == ["DequantizeLinear", *pair, *weights, "Conv", "Relu", "QuantizeLinear", *pair[::-1]]
    clamping = convolution(RELU).build(["conv"])
    conv = ["DequantizeLinear", *pair, *weights, "Conv", *pair]
    assert kinds(clamping) == [*conv, "Clip", "QuantizeLinear", "DequantizeLinear", "QuantizeLinear"]
    bound_by_range = convolution(RELU6, scaled(6.01 / 255, -128)).build(["conv"])
    assert "Clip" not in kinds(bound_by_range)


def tail(*ops: tuple[Op, Quantization | None]) -> Network:
    """Layers behind a convolution."""
    net, last = convolution(), "conv"
    for number, (op, quantization) in enumerate(ops):
        dtype = "int8" if quantization is not None else None
        last = net.add(f"layer{number}", op, [last], dtype=dtype, quantization=quantization)
    return net.build([last])


@pytest.mark.parametrize(
    "network",
    [
        tail((Mean(), scaled(0.02, 4))),
        tail((Pool("max", (2, 2)), None)),
        tail((Pool("max"), None), (Dequantize(), None)),
        tail((ArgMax(), None)),
        tail((ArgMax(keep_axis=True), None)),
    ],
    ids=lambda network: "_".join(type(layer.op).__name__ for layer in network.layers[1:]).lower(),
)
def test_means_maxima_and_indices_behind_a_convolution_are_the_same(network):
    for seed in range(4):
        assert_same_bytes(network, seed)


TABLE = np.random.default_rng(0).integers(-128, 128, 256).astype(np.int8)


def looked_up(stored: str) -> Network:
    """Float borders, and a sum that is rounded so, for which all integers are stored as such."""
    net = NetworkBuilder("table", "float32")
    net.input(Tensor("x", (1, 4, 8, 8)))
    net.add("q", Quantize(), ["x"], dtype="int8", quantization=scaled(0.02, 3))
    net.add("looked", Lookup(), ["q"], quantization=Q, table=TABLE)
    net.add("sum", Binary("add", rounded_as=stored), ["looked", "q"], quantization=Q)
    return net.build([net.add("y", Dequantize(), ["sum"])])


def lookups_only() -> Network:
    """An int8 input and output, and two tables that nothing else reads."""
    net = NetworkBuilder("tables", "float32")
    net.input(Tensor("x", (1, 2, 128, 1), "int8", scaled(0.02, 3), "nchw"))
    net.add("first", Lookup(), ["x"], quantization=Q, table=TABLE)
    return net.build([net.add("second", Lookup(), ["first"], quantization=scaled(1.7e-5, 127), table=TABLE[::-1])])


LOOKUPS = [looked_up("int8"), looked_up("uint8"), lookups_only()]
LOOKUP_NAMES = ["int8", "uint8", "int8 borders"]


@pytest.mark.parametrize("network", LOOKUPS, ids=LOOKUP_NAMES)
def test_lookups_have_the_same_bytes(network):
    assert_same_bytes(network)


@pytest.mark.parametrize("network", LOOKUPS, ids=LOOKUP_NAMES)
def test_lookups_come_back_as_the_tables_that_they_were(network):
    again = dscompile.import_onnx(dscompile.export_onnx(network))
    found, wanted = ([la for la in net.layers if isinstance(la.op, Lookup)] for net in (again, network))
    for got, layer in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(again.weight(got, "table"), network.weight(layer, "table"))
        assert again.tensor(got.output).quantization == network.tensor(layer.output).quantization
    (given,), (wanted_input,) = ([net.tensor(name) for name in net.inputs] for net in (again, network))
    assert (given.border_shape, given.quantization) == (wanted_input.border_shape, wanted_input.quantization)
    inputs = border_inputs(network, 0)
    expected = oracle_outputs(network, inputs)
    for name, array in oracle_outputs(again, inputs).items():
        np.testing.assert_array_equal(array, expected[name])


@pytest.mark.parametrize(
    "table", [np.zeros(255, np.float32), np.zeros(256, np.float16), np.full(256, np.nan, np.float32)]
)
def test_tables_of_other_sizes_are_refused(table):
    model = dscompile.export_onnx(lookups_only())
    (stored,) = [tensor for tensor in model.graph.initializer if tensor.name == "first.table"]
    stored.CopyFrom(onnx.numpy_helper.from_array(table, "first.table"))
    with pytest.raises(UnsupportedError, match="of integers in something else than a table: 256 float32 constants"):
        dscompile.import_onnx(model)


@pytest.mark.parametrize("kind", ["Cast", "Gather"])
def test_tables_without_positions_are_refused(kind):
    model = dscompile.export_onnx(lookups_only())
    for node in model.graph.node:
        if node.op_type == kind:
            del node.input[-1]
    with pytest.raises(BadInputError, match=f"layer second.*{kind}: cannot be evaluated on its constant inputs"):
        dscompile.import_onnx(model)


@pytest.mark.parametrize(
    ("op", "quantization"),
    [
        (Activate(Activation("hard_swish")), scaled(0.04, -10)),
        (Activate(Activation("sigmoid")), scaled(1 / 256, -128)),
        (Pool("average", (2, 2)), Q),
        (Softmax(), scaled(1 / 256, -128)),
        (Resize((7, 9), "bilinear"), Q),
    ],
    ids=lambda value: type(value).__name__.lower(),
)
def test_operators_that_onnxruntime_computes_in_float_differ_by_at_most_a_step(op, quantization):
    network = tail((op, quantization))
    for seed in range(4):
        inputs = inputs_of(network, seed)
        expected, got = oracle.run(network, inputs), run_onnxruntime(network, inputs)
        for name, array in expected.items():
            assert np.abs(got[name].astype(int) - array.astype(int)).max() <= 1


def test_sums_of_unsigned_integers_are_written_with_such():
    net = NetworkBuilder("sum", "float32")
    given = [net.input(Tensor(name, (1, 4, 5, 6))) for name in "ab"]
    terms = [
        net.add(f"{name}q", Quantize(), [name], dtype="int8", quantization=scaled(scale, 7))
        for name, scale in zip(given, (0.05, 0.03), strict=True)
    ]
    total = net.add("sum", Binary("add", rounded_as="uint8"), terms, dtype="int8", quantization=scaled(0.04, -8))
    network = net.build([net.add("real", Dequantize(), [total])])
    zeros = [onnx.numpy_helper.to_array(t) for t in dscompile.export_onnx(network).graph.initializer]
    assert sorted(int(zero) for zero in zeros if zero.dtype == np.uint8) == [120, 135, 135]
    for seed in range(4):
        assert_same_bytes(network, seed)


@pytest.mark.parametrize("name", ["vww_96_int8", "kws_ref_model_int8", "pretrainedResnet_quant"])
def test_trained_networks_agree_but_for_their_softmax(name):
    network = load_network(model_path(f"{name}.tflite"), rounding="float32").network
    inputs = inputs_of(network, 0)
    expected, got = oracle.run(network, inputs), run_onnxruntime(network, inputs)
    (output,) = network.outputs
    assert np.abs(got[output].astype(int) - expected[output].astype(int)).max() <= 2


def test_what_qdq_cannot_say_is_refused_with_all_reasons():
    net = NetworkBuilder("odd", "tflite")
    x = net.input(Tensor("x", (1, 4, 5, 6), "int8", Q))
    net.add(
        "up",
        ConvTranspose(6, (2, 2), (2, 2), groups=2),
        [x],
        dtype="int8",
        quantization=Q,
        kernel=np.ones((2, 2, 3, 6), np.int8),
        kernel_scale=np.arange(1, 7, dtype=np.float32),
    )
    net.add("signed", Binary("add"), ["up", "up"], dtype="int8", quantization=Q)
    net.add("unsigned", Binary("add", rounded_as="uint8"), ["signed", "signed"], dtype="int8", quantization=Q)
    with pytest.raises(UnsupportedError) as caught:
        dscompile.export_onnx(net.build(["unsigned"]))
    differ = "differ in a group and between groups"
    mixture = "some sums are rounded as uint8; ONNX has no such mixture"
    assert [(found.layer, found.message) for found in caught.value.diagnostics] == [
        (None, "its int8 layers round as 'tflite', and ONNX can say only what the rounding 'float32' does"),
        (None, f"'x' is int8, and {mixture}"),
        (None, f"'unsigned' is int8, and {mixture}"),
        ("up", f"is a transposed convolution in groups whose scales {differ}, which ONNX cannot have"),
        ("signed", "is rounded as int8, and others are as uint8; ONNX has no such mixture"),
    ]
    assert "--rounding float32" in (caught.value.diagnostics[0].help or "")


@pytest.mark.parametrize("scales", [[0.01, 0.02, 0.03] * 2, [0.01] * 3 + [0.02] * 3], ids=["within", "between"])
def test_transposed_convolutions_in_groups_have_scales_along_one_axis(scales):
    net = NetworkBuilder("up", "float32")
    x = net.input(Tensor("x", (1, 4, 5, 6), "int8", Q))
    net.add(
        "up",
        ConvTranspose(6, (2, 2), (2, 2), groups=2),
        [x],
        dtype="int8",
        quantization=Q,
        kernel=np.random.default_rng(0).integers(-9, 9, (2, 2, 3, 6)).astype(np.int8),
        kernel_scale=np.array(scales, np.float32),
    )
    network = net.build(["up"])
    inputs = inputs_of(network, 0)
    difference = run_onnxruntime(network, inputs)["up"].astype(int) - oracle.run(network, inputs)["up"].astype(int)
    assert np.abs(difference).max() <= 1


def test_the_network_itself_is_left_as_it_was():
    network = convolution(RELU6).build(["conv"])
    before = replace(network)
    dscompile.export_onnx(network)
    assert network == before
