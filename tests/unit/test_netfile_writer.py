"""A written network is the network that was read."""

from __future__ import annotations

import stat
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dscompile.errors import BadInputError, ToolError, UnsupportedError
from dscompile.frontend.netfile import read_netfile
from dscompile.frontend.writer import network_text, write_netfile
from dscompile.frontend.zoo import zoo_path
from dscompile.ir.network import Network, NetworkBuilder
from dscompile.ir.ops import RELU, Activate, Activation, Conv2D
from dscompile.ir.tensor import Tensor
from tests.networks import random_network
from tests.quantized_networks import random_int8_network
from tests.unit.netfiles import assert_same_network, network

NAMES = st.text(min_size=1, max_size=12).filter(lambda text: text.strip() and text.isprintable())
WORDS = st.sampled_from(
    ["yes", "No", "null", "~", "1e5", "0x1", "- a", "a: b", "#", "{", "'", '"', "\\", "relu", "x/y;z"]
)


def renamed(net: Network, names: list[str]) -> Network:
    """`net` with its tensors and layers called by `names`, as far as they go."""
    tensors = dict(zip(net.tensors, names, strict=False))
    layers = dict(zip((layer.name for layer in net.layers), reversed(names), strict=False))
    return Network(
        net.name,
        tuple(tensors.get(name, name) for name in net.inputs),
        tuple(tensors.get(name, name) for name in net.outputs),
        {tensors.get(name, name): replace(t, name=tensors.get(name, name)) for name, t in net.tensors.items()},
        tuple(
            replace(
                layer,
                name=layers.get(layer.name, layer.name),
                inputs=tuple(tensors.get(name, name) for name in layer.inputs),
                output=tensors.get(layer.output, layer.output),
            )
            for layer in net.layers
        ),
        {
            f"{layers.get(layer.name, layer.name)}.{key.removeprefix(layer.name + '.')}": array
            for layer in net.layers
            for key, array in net.weights.items()
            if key.rpartition(".")[0] == layer.name
        },
        net.labels,
    ).validate()


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    size=st.integers(1, 12),
    names=st.lists(NAMES | WORDS, unique=True, max_size=8),
    weights_format=st.sampled_from(["npz", "safetensors"]),
)
def test_any_network_reads_back_as_it_was_written(
    seed: int, size: int, names: list[str], weights_format: Literal["npz", "safetensors"]
) -> None:
    net = renamed(random_network(seed, max_layers=size), names)
    with tempfile.TemporaryDirectory() as directory:
        path = write_netfile(net, Path(directory), weights_format=weights_format)
        assert_same_network(read_netfile(path).network, net)


@pytest.mark.parametrize("seed", range(1, 40, 8))
def test_int8_networks_read_back(seed: int, tmp_path: Path) -> None:
    net = random_int8_network(seed, "float32")
    assert_same_network(read_netfile(write_netfile(net, tmp_path)).network, net)


@settings(max_examples=20, deadline=None)
@given(labels=st.lists(NAMES | WORDS, min_size=3, max_size=3))
def test_any_label_reads_back(labels: list[str]) -> None:
    builder = NetworkBuilder("n")
    builder.input(Tensor("x", (1, 3)))
    builder.add("relu", Activate(RELU), ["x"])
    net = builder.build(["relu"], labels)
    with tempfile.TemporaryDirectory() as directory:
        assert read_netfile(write_netfile(net, Path(directory))).network.labels == tuple(labels)


def test_zoo_networks_read_back(tmp_path: Path) -> None:
    net = read_netfile(zoo_path("ds_cnn")).network
    assert_same_network(read_netfile(write_netfile(net, tmp_path)).network, net)


def test_the_written_file_is_one_a_person_would_write(tmp_path: Path) -> None:
    net = read_netfile(zoo_path("ds_cnn")).network
    path = write_netfile(net, tmp_path, "kws.yaml")
    assert (
        path.read_text()
        == """\
dscompile: 1
network:
  name: ds_cnn
  input: {name: mfcc, shape: [1, 49, 10, 1]}
  defaults: {activation: relu}
  layers:
    - conv: {name: stem, out: 64, kernel: [10, 4], stride: 2}
    - depthwise: {name: block1.depthwise, kernel: 3}
    - pointwise: {name: block1.pointwise, out: 64}
    - depthwise: {name: block2.depthwise, kernel: 3}
    - pointwise: {name: block2.pointwise, out: 64}
    - depthwise: {name: block3.depthwise, kernel: 3}
    - pointwise: {name: block3.pointwise, out: 64}
    - depthwise: {name: block4.depthwise, kernel: 3}
    - pointwise: {name: block4.pointwise, out: 64}
    - pool: {kind: average, over: all}
    - flatten: {name: classifier.flatten}
    - dense: {name: classifier, out: 12, activation: none}
    - softmax
  labels: [silence, unknown, "yes", "no", up, down, left, right, "on", "off", stop, go]
weights: {file: ds_cnn.npz}
"""
    )
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["ds_cnn.npz", "kws.yaml"]


def test_many_labels_are_wrapped() -> None:
    labels = [f"a label with the number {number}" for number in range(256)]
    net = replace(network("- relu"), labels=tuple(labels))
    assert max(len(line) for line in network_text(net).splitlines()) <= 120


@pytest.mark.parametrize("weights_format", ["npz", "safetensors"])
def test_the_same_network_gives_the_same_bytes(
    weights_format: Literal["npz", "safetensors"], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = read_netfile(zoo_path("ds_cnn")).network
    write_netfile(net, tmp_path / "a", weights_format=weights_format)
    monkeypatch.setattr("time.time", lambda: 2e9)
    write_netfile(net, tmp_path / "b", weights_format=weights_format)
    for name in ("net.yaml", f"ds_cnn.{weights_format}"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_written_weights_are_a_plain_npz(tmp_path: Path) -> None:
    net = read_netfile(zoo_path("ds_cnn")).network
    write_netfile(net, tmp_path)
    with np.load(tmp_path / "ds_cnn.npz", allow_pickle=False) as arrays:
        assert set(arrays) == set(net.weights)
        assert np.array_equal(arrays["stem.kernel"], net.weights["stem.kernel"])


def test_a_network_without_weights_has_no_weights_file(tmp_path: Path) -> None:
    path = write_netfile(network("- relu"), tmp_path)
    assert "weights" not in path.read_text()
    assert [entry.name for entry in tmp_path.iterdir()] == ["net.yaml"]


def test_writing_replaces_files_and_leaves_nothing_else(tmp_path: Path) -> None:
    for layers in ("- conv: {out: 3, kernel: 3}", "- conv: {out: 5, kernel: 1}"):
        net = network(layers)
        assert_same_network(read_netfile(write_netfile(net, tmp_path)).network, net)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["net.yaml", "test.npz"]
    assert stat.S_IMODE((tmp_path / "net.yaml").stat().st_mode) & 0o400


def test_a_refusing_disk_is_a_tool_error_and_keeps_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_netfile(network("- conv: {out: 3, kernel: 3}"), tmp_path)
    before = {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()}

    def full(_descriptor: int, _content: memoryview) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dscompile.frontend.paths.os.write", full)
    with pytest.raises(ToolError, match=r"cannot write into .*: No space left on device"):
        write_netfile(network("- conv: {out: 5, kernel: 3}"), tmp_path)
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == before


def test_a_directory_that_is_a_file_is_a_tool_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ToolError, match="cannot write into"):
        write_netfile(network("- relu"), tmp_path / "file")


def test_nan_weights_are_refused_by_name(tmp_path: Path) -> None:
    net = network("- conv: {name: stem, out: 3, kernel: 3}")
    weights = {**net.weights, "stem.bias": np.float32([1, np.nan, 2])}
    with pytest.raises(BadInputError, match=r"layer stem: weight 'stem.bias' holds NaN or infinity"):
        write_netfile(replace(net, weights=weights), tmp_path)
    assert not list(tmp_path.iterdir())


def test_weights_of_another_type_are_refused(tmp_path: Path) -> None:
    conv = network("- conv: {name: stem, out: 3, kernel: 3}")
    weights = {**conv.weights, "stem.bias": np.int32([1, 2, 3])}
    with pytest.raises(BadInputError, match=r"weight 'stem.bias' is int32, it must be float32"):
        write_netfile(replace(conv, weights=weights), tmp_path)


def test_prelu_inside_a_convolution_is_refused(tmp_path: Path) -> None:
    builder = NetworkBuilder("n")
    builder.input(Tensor("x", (1, 3, 3, 2)))
    op = Conv2D(2, (1, 1), activation=Activation("prelu"))
    builder.add("c", op, ["x"], kernel=np.ones((1, 1, 2, 2), np.float32))
    with pytest.raises(UnsupportedError, match="prelu inside another layer has no weights"):
        write_netfile(builder.build(["c"]), tmp_path)


@pytest.mark.parametrize("name", ["a\nb", "", "a/b"])
def test_names_that_no_file_can_hold_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="cannot be written"):
        write_netfile(replace(network("- relu"), name=name), tmp_path)


def test_weights_file_is_called_like_the_network_without_odd_characters(tmp_path: Path) -> None:
    net = replace(network("- conv: {out: 3, kernel: 3}"), name="Net é: 1")
    assert_same_network(read_netfile(write_netfile(net, tmp_path)).network, net)
    assert (tmp_path / "Net_1.npz").is_file()
