"""Networks built in Python: the layers of a net.yaml, its defaults, and errors with the line of the program."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest

import dscompile
from dscompile import oracle
from dscompile.errors import BadInputError, UsageError
from dscompile.frontend.kinds import KINDS
from dscompile.frontend.netfile import netfile_from_text
from dscompile.ir.network import Network

NET = """\
dscompile: 1
network:
  name: kws
  input: {name: mfcc, shape: [1, 49, 10, 1]}
  defaults: {padding: same, activation: relu}
  layers:
    - conv: {name: stem, out: 16, kernel: [10, 4], stride: 2}
    - separable: {name: block, out: 16, kernel: 3, repeat: 2}
    - inverted_residual: {name: ir, out: 16, expand: 2, squeeze_excite: 0.25}
    - split: {name: halves, parts: 2}
    - concat: {name: swapped, from: [halves.1, halves.0]}
    - pool: {kind: average, over: all}
    - dense: {name: classifier, out: 4, activation: none}
    - softmax
  labels: [a, b, c, d]
weights: {seed: 7}
"""


def start() -> dscompile.NetworkBuilder:
    return dscompile.NetworkBuilder("kws", defaults={"padding": "same", "activation": "relu"})


def keyword_spotter(**weights: object) -> Network:
    net = start()
    x = net.input("mfcc", [1, 49, 10, 1])
    x = net.conv(x, name="stem", out=16, kernel=[10, 4], stride=2)
    x = net.separable(x, name="block", out=16, kernel=3, repeat=2)
    x = net.inverted_residual(x, name="ir", out=16, expand=2, squeeze_excite=0.25)
    first, second = net.split(x, name="halves", parts=2)
    x = net.concat(second, first, name="swapped")
    x = net.pool(x, kind="average", over="all")
    net.softmax(net.dense(x, name="classifier", out=4, activation="none"))
    return net.build(labels=["a", "b", "c", "d"], **weights)


def test_a_network_in_code_is_that_of_a_netfile():
    built, read = keyword_spotter(seed=7), netfile_from_text(NET, Path("net.yaml")).network
    assert built.layers == read.layers
    assert (dict(built.tensors), built.outputs, built.labels) == (dict(read.tensors), read.outputs, read.labels)
    assert all(np.array_equal(built.weights[key], read.weights[key]) for key in read.weights)
    assert list(built.weights) == list(read.weights)


def test_every_kind_of_layer_is_a_method():
    net = start()
    for kind in KINDS:
        assert callable(getattr(net, kind))
        assert kind in dir(net)
    with pytest.raises(AttributeError, match="there is no kind of layer 'covn'; did you mean 'conv'"):
        net.covn("x")


def test_weights_come_with_layers_in_a_mapping_or_from_a_file(tmp_path):
    kernel, bias = np.full((1, 1, 2, 3), 2.0), np.ones(3)

    def build(given=None, **rest):
        net = dscompile.NetworkBuilder("point")
        net.pointwise(net.input("x", [1, 1, 1, 2]), name="p", out=3, weights=given)
        return net.build(**rest)

    path = tmp_path / "w.npz"
    np.savez(path, **{"p.kernel": kernel, "p.bias": bias})
    arrays = {"p.kernel": kernel, "p.bias": bias}
    networks = (build({"kernel": kernel, "bias": bias}), build(weights=arrays), build(weights=path))
    for network in networks:
        assert network.weights["p.kernel"].dtype == np.float32
        assert oracle.run(network, {"x": np.ones((1, 1, 1, 2), np.float32)})["p"].tolist() == [[[[5.0, 5.0, 5.0]]]]
    mixed = build({"kernel": kernel}, seed=3)
    assert np.array_equal(mixed.weights["p.kernel"], networks[0].weights["p.kernel"])
    assert mixed.weights["p.bias"].shape == (3,)
    with pytest.raises(UsageError, match="the weights are those of"):
        build({"kernel": kernel}, weights=path)


def test_given_arrays_are_copied():
    kernel = np.ones((1, 1, 1, 1), np.float32)
    net = dscompile.NetworkBuilder("point")
    net.pointwise(net.input("x", [1, 1, 1, 1]), name="p", out=1, weights={"kernel": kernel})
    network = net.build()
    kernel[:] = 2
    assert network.weights["p.kernel"].item() == 1


def test_missing_and_misshapen_weights_name_the_line_of_their_layer():
    net = start()
    x = net.input("x", [1, 4, 4, 3])
    line = inspect.currentframe().f_lineno + 1
    net.conv(x, name="c", out=2, kernel=3)
    with pytest.raises(BadInputError, match=r"weight 'c.kernel' is missing in 'weights'") as refused:
        net.build()
    position = refused.value.diagnostics[0].position
    assert (Path(position.file), position.line) == (Path(__file__), line)
    assert position.text.strip() == 'net.conv(x, name="c", out=2, kernel=3)'
    with pytest.raises(BadInputError, match=r"has shape \[3, 3\], it must be \[3, 3, 3, 2\]"):
        net.build(weights={"c.kernel": np.zeros((3, 3))})


def test_what_a_layer_gets_wrong_is_an_error_at_once():
    net = start()
    x = net.input("x", [1, 8, 8, 3])
    for call, message in (
        (lambda: net.conv(x, out=4, kernel=3, strides=2), "unknown key 'strides' of conv"),
        (lambda: net.conv(x, out=4), "conv needs 'kernel'"),
        (lambda: net.conv("y", out=4, kernel=3), "reads 'y', which is no input or layer"),
        (lambda: net.conv(x, out=4, kernel=9, padding="valid"), "a window of 9 does not fit into 8"),
        (lambda: net.add(x), "needs 2 inputs, got 1"),
        (lambda: net.input("z", [2, 8, 8, 3]), "the first size is the batch, which must be 1, not 2"),
        (lambda: net.layer("konv", x, out=4), "unknown layer 'konv'"),
    ):
        with pytest.raises(BadInputError, match=message):
            call()
    with pytest.raises(UsageError, match="a layer's keys are numbers, texts, lists and mappings, not set"):
        net.conv(x, out=4, kernel={3})
    with pytest.raises(BadInputError, match="unknown key 'pading' of defaults"):
        dscompile.NetworkBuilder("n", defaults={"pading": "same"})


def test_several_inputs_outputs_and_layouts():
    net = dscompile.NetworkBuilder("pair")
    left, right = net.input("left", (1, 3, 5, 4), layout="nchw"), net.input("right", [1, 5, 4, 3])
    total = net.add(left, right, name="sum")
    assert net.shape(total) == (1, 5, 4, 3)
    mean = net.pool(total, kind="average", over="all", name="mean")
    network = net.build({"name": total, "layout": "nchw"}, mean)
    assert network.outputs == ("sum", "mean")
    assert network.tensor("sum").border == "nchw"
    with pytest.raises(BadInputError, match="output 'men' is made by no layer"):
        net.build("men")


def test_int8_layers_have_their_scales_as_keys():
    net = dscompile.NetworkBuilder("tiny")
    x = net.input("x", [1, 2, 2, 1], dtype="int8", scale=0.5, zero_point=3)
    net.pool(x, kind="max", kernel=2)
    network = net.build(rounding="half-up")
    assert network.is_quantized
    assert network.rounding == "half-up"


def test_networks_in_memory_are_taken_where_paths_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network = keyword_spotter(seed=7)
    assert isinstance(network, dscompile.Network)
    assert dscompile.check(network).inspection.macs == dscompile.inspect(network).macs
    model = dscompile.build(network, "c99")
    assert str(model.path) == "build/kws-c99"
    assert model.artifact.manifest.origin == "kws"
    x = np.random.default_rng(0).normal(size=(1, 49, 10, 1)).astype(np.float32)
    np.testing.assert_allclose(model(x), oracle.run(network, {"mfcc": x})["softmax"], atol=1e-5)
    verified = dscompile.verify(model.path, network)
    assert verified.ok
    assert [check.against for check in verified.checks] == ["oracle", "selftest.c", "oracle, other inputs"]
    np.savez("calib.npz", mfcc=np.repeat(x, 2, axis=0))
    for output in (None, "again.yaml"):  # the name is still the function's after the first call's imports
        quantized = dscompile.quantize(
            network, "calib.npz", output, equalize=False, bias_correction=False, weight_rounding="nearest"
        )
        assert quantized.path == Path(output or "kws_int8.yaml")
    assert dscompile.factorize(network, rank=1, fit=False).path == Path("kws_factorized.yaml")
    with pytest.raises(UsageError, match="the network 'kws' in memory has its weights already"):
        dscompile.check(network, weights="calib.npz")
    with pytest.raises(UsageError, match="the network 'kws' in memory has its rounding already"):
        dscompile.build(network, "c99", rounding="tflite")
