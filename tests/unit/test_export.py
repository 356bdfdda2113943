"""Networks as ONNX: what onnxruntime makes of them, what comes back, the files, and what is refused."""

from __future__ import annotations

import json
from typing import get_args

import numpy as np
import pytest

import dscompile
from dscompile import oracle
from dscompile.api.reference import oracle_outputs
from dscompile.errors import BadInputError, UnsupportedError, UsageError
from dscompile.frontend.load import load_network
from dscompile.frontend.netfile import read_netfile
from dscompile.frontend.onnx.export_ops import EXPORTERS
from dscompile.ir.network import Network, NetworkBuilder
from dscompile.ir.ops import RELU, ArgMax, Conv2D, Op, Pads, Pool, Transpose
from dscompile.ir.tensor import Tensor
from tests.as_onnx import run_onnxruntime
from tests.mcu import random_inputs as border_inputs
from tests.models import model_path
from tests.networks import random_inputs, random_network
from tests.streaming import random_streaming

onnx = pytest.importorskip("onnx")


def assert_same_in_onnxruntime(network: Network, seed: int = 0, tolerance: float = 1e-5) -> None:
    inputs = random_inputs(network, seed)
    expected, got = oracle.run(network, inputs), run_onnxruntime(network, inputs)
    for name, array in expected.items():
        scale = max(float(np.abs(array).max()), 1e-6)
        assert float(np.abs(got[name] - array).max()) <= tolerance * scale, name


@pytest.mark.parametrize("seed", range(20))
def test_onnxruntime_computes_the_same(seed):
    assert_same_in_onnxruntime(random_network(seed), seed)


@pytest.mark.slow
def test_onnxruntime_computes_the_same_for_many_networks():
    for seed in range(100, 300):
        assert_same_in_onnxruntime(random_network(seed), seed)


@pytest.mark.parametrize("seed", range(6))
def test_states_are_inputs_and_outputs_behind_those_of_the_user(seed):
    network = random_streaming(seed)
    model = dscompile.export_onnx(network)
    assert [info.name for info in model.graph.input] == [*network.user_inputs, "state"]
    assert [info.name for info in model.graph.output] == [*network.user_outputs, "next"]
    assert_same_in_onnxruntime(network, seed)


@pytest.mark.parametrize("name", ["vww_96_float", "pretrainedResnet_float"])
def test_trained_networks_of_tflite_are_the_same(name):
    assert_same_in_onnxruntime(load_network(model_path(f"{name}.tflite")).network)


ONNX_MODELS = (
    "mobilenetv1_100",
    "mobilenetv2_100",
    "mobilenetv2_100.bn",
    "mobilenetv3_large_100",
    "mobilenetv3_small_100.raw",
    "shufflenetv2_x1_0",
    "efficientnet_b0",
)


@pytest.mark.slow
@pytest.mark.sampled
@pytest.mark.models
@pytest.mark.parametrize("name", ONNX_MODELS)
def test_networks_of_onnx_come_back_without_a_transpose(name):
    network = load_network(model_path(f"onnx/{name}.onnx")).network
    assert [node.op_type for node in dscompile.export_onnx(network).graph.node].count("Transpose") <= 16 * (
        "shuffle" in name
    )
    assert_same_in_onnxruntime(network, tolerance=1e-4)


@pytest.mark.parametrize("seed", range(10))
def test_an_exported_network_is_imported_as_the_same_function(seed):
    network = random_network(
        seed, steps=("conv", "depthwise", "pool", "residual", "prelu", "concat", "dense", "flatten")
    )
    again = dscompile.import_onnx(dscompile.export_onnx(network))
    assert again.name == network.name
    inputs = border_inputs(network, seed)
    expected, got = oracle_outputs(network, inputs), oracle_outputs(again, inputs)
    assert list(got) == list(expected)
    for name, array in expected.items():
        np.testing.assert_allclose(got[name], array, rtol=0, atol=1e-5 * max(1.0, float(np.abs(array).max())))


def convolution(border: str = "nhwc") -> Network:
    builder = NetworkBuilder("one")
    builder.input(Tensor("x", (1, 5, 6, 3), border=border))
    kernel = np.random.default_rng(0).normal(size=(3, 3, 3, 4)).astype(np.float32)
    builder.add("conv", Conv2D(4, (3, 3), pads=Pads(1, 1, 1, 1), activation=RELU), ["x"], kernel=kernel)
    builder.tensors["conv"] = Tensor("conv", (1, 5, 6, 4), border=border)
    return builder.build(["conv"])


def test_borders_keep_names_shapes_and_layouts():
    model = dscompile.export_onnx(convolution("nchw"))
    (given,), (made,) = model.graph.input, model.graph.output
    sizes = [[dim.dim_value for dim in info.type.tensor_type.shape.dim] for info in (given, made)]
    assert (given.name, made.name, sizes) == ("x", "conv", [[1, 3, 5, 6], [1, 4, 5, 6]])
    assert [node.op_type for node in model.graph.node] == ["Conv", "Relu"]
    assert [tensor.name for tensor in model.graph.initializer] == ["conv.kernel"]
    transposed = dscompile.export_onnx(convolution())
    assert [node.op_type for node in transposed.graph.node] == ["Transpose", "Conv", "Relu", "Transpose"]
    assert (model.opset_import[0].version, model.producer_name) == (17, "dscompile")


def test_the_json_is_protobufs_own_and_has_the_key_by_which_netron_knows_it(tmp_path):
    from google.protobuf import json_format

    result = dscompile.export(convolution(), tmp_path / "one.json")
    text = result.path.read_text(encoding="utf-8")
    assert "irVersion" in json.loads(text)
    assert json_format.Parse(text, onnx.ModelProto()) == dscompile.export_onnx(convolution())


def test_files_are_the_same_every_time(tmp_path):
    first = dscompile.export(convolution(), tmp_path / "a.onnx").path
    second = dscompile.export(convolution(), tmp_path / "b.onnx").path
    assert first.read_bytes() == second.read_bytes()
    assert onnx.load(first) == dscompile.export_onnx(convolution())


def test_a_netfile_is_exported_beside_the_directory_one_is_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dscompile.init(tmp_path)
    result = dscompile.export("net.yaml")
    assert str(result.path) == "net.onnx"
    expected = read_netfile(tmp_path / "net.yaml").network
    assert_same_in_onnxruntime(expected)


def test_other_files_than_onnx_and_json_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"'net.txt' is neither .onnx nor .json"):
        dscompile.export(convolution(), "net.txt")
    path = dscompile.export(convolution(), tmp_path / "a.onnx").path
    with pytest.raises(UsageError, match="is the network that is read"):
        dscompile.export(path, path)


def test_every_operator_has_a_form():
    assert set(EXPORTERS) == set(get_args(Op))


@pytest.mark.parametrize("border", ["nhwc", "nchw"])
@pytest.mark.parametrize("op", [ArgMax(), ArgMax(keep_axis=True), ArgMax(last=True)], ids=str)
def test_indices_of_images_and_vectors_are_the_same(op, border):
    net = NetworkBuilder("indices")
    image = net.input(Tensor("x", (1, 4, 5, 7), border=border))
    pool = net.add("pool", Pool("max", (2, 2)), [image])
    vector = net.input(Tensor("v", (1, 9)))
    made = [net.add(f"{source}_index", op, [source]) for source in (image, pool, vector)]
    turned = net.add("turned", Transpose((0, 2, 1)), [net.add("map", ArgMax(), [pool])])
    network = net.build([*made, turned])
    rng = np.random.default_rng(1)
    inputs = {name: rng.integers(0, 4, network.shape(name)).astype(np.float32) for name in network.inputs}
    expected, got = oracle.run(network, inputs), run_onnxruntime(network, inputs)
    for name in network.outputs:
        assert got[name].dtype == np.int32
        np.testing.assert_array_equal(got[name], expected[name])


def test_indices_come_back():
    net = NetworkBuilder("indices")
    network = net.build([net.add("map", ArgMax(last=True), [net.input(Tensor("x", (1, 4, 5, 7)))])])
    again = dscompile.import_onnx(dscompile.export_onnx(network))
    x = np.random.default_rng(2).normal(size=(1, 4, 5, 7)).astype(np.float32)
    np.testing.assert_array_equal(oracle_outputs(again, {"x": x})["map"], oracle.run(network, {"x": x})["map"])
    assert ArgMax(last=True) in [layer.op for layer in again.layers]


def test_layers_without_a_form_are_all_named(monkeypatch):
    kept = {op: exporter for op, exporter in EXPORTERS.items() if op is not Conv2D}
    monkeypatch.setattr("dscompile.frontend.onnx.export.EXPORTERS", kept)
    with pytest.raises(UnsupportedError, match="layer conv: conv2d has no form in ONNX here"):
        dscompile.export_onnx(convolution())


def test_something_else_than_a_model_is_refused():
    with pytest.raises(UsageError, match=r"'str' is no onnx.ModelProto"):
        dscompile.import_onnx("net.onnx")
    with pytest.raises(BadInputError, match="it holds no graph"):
        dscompile.import_onnx(onnx.ModelProto())
