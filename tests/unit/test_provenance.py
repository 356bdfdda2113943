"""The bill of materials in a manifest: the files that a build read, and the tools that decide on its bytes."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import shutil
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import dscompile
from dscompile.api import provenance
from dscompile.artifact import InputFile, read_manifest
from dscompile.frontend.load import load_network
from dscompile.plan.tuning_file import write_tuning
from dscompile.target import find_target, target_path
from dscompile.toolchain import find_toolchain
from tests.cli.conftest import TINY
from tests.tuning_files import tuning_file

C99 = find_target("c99")


def listed(files: tuple[InputFile, ...]) -> list[tuple[str, str]]:
    return [(file.role, file.name) for file in files]


@pytest.fixture
def net(tmp_path: Path) -> Path:
    """A network whose weights are in a file."""
    dscompile.init(tmp_path / "net")
    return tmp_path / "net" / "net.yaml"


def test_a_build_writes_down_what_it_read_and_used(net: Path, tmp_path: Path) -> None:
    model = dscompile.build(net, "c99", tmp_path / "out")
    made_from = read_manifest(tmp_path / "out" / "manifest.json").made_from
    assert made_from == model.artifact.manifest.made_from
    assert listed(made_from.files) == [
        ("network", "net.yaml"),
        ("weights", "tiny_ds_cnn.npz"),
        ("target", "c99.yaml"),
    ]
    for file, path in zip(made_from.files, (net, net.parent / "tiny_ds_cnn.npz", target_path("c99")), strict=True):
        content = path.read_bytes()
        assert (file.size_bytes, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert [(tool.name, tool.version) for tool in made_from.tools] == [
        ("dscompile", dscompile.__version__),
        ("python", platform.python_version()),
        ("numpy", np.__version__),
        ("jinja2", importlib.metadata.version("jinja2")),
        ("c compiler", find_toolchain(C99).version),
    ]


def test_weights_given_to_a_build_take_the_place_of_those_of_the_file(net: Path, tmp_path: Path) -> None:
    other = shutil.copy(net.parent / "tiny_ds_cnn.npz", tmp_path / "other.npz")
    model = dscompile.build(net, "c99", tmp_path / "out", weights=other)
    assert ("weights", "other.npz") in listed(model.artifact.manifest.made_from.files)
    assert ("weights", "tiny_ds_cnn.npz") not in listed(model.artifact.manifest.made_from.files)


def test_a_network_in_memory_and_random_weights_have_no_files(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    from_memory = dscompile.build(load_network(tmp_path / "tiny.yaml").network, "c99", tmp_path / "memory")
    assert listed(from_memory.artifact.manifest.made_from.files) == [("target", "c99.yaml")]
    from_file = dscompile.build(tmp_path / "tiny.yaml", "c99", tmp_path / "file")
    assert listed(from_file.artifact.manifest.made_from.files) == [("network", "tiny.yaml"), ("target", "c99.yaml")]


def test_external_data_of_onnx_models_are_weights(tmp_path: Path) -> None:
    kernel = numpy_helper.from_array(np.ones((2, 3, 1, 1), np.float32), "w")
    scale = numpy_helper.from_array(np.full((1,), 2, np.float32), "two")
    nodes = [
        helper.make_node("Constant", [], ["two"], value=scale),
        helper.make_node("Conv", ["x", "w"], ["y"]),
        helper.make_node("Mul", ["y", "two"], ["z"]),
    ]
    shapes = {"x": (1, 3, 4, 4), "z": (1, 2, 4, 4)}
    infos = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()}
    graph = helper.make_graph(nodes, "net", [infos["x"]], [infos["z"]], [kernel])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    tensors = {"w.bin": model.graph.initializer[0], "deep/two.bin": model.graph.node[0].attribute[0].t}
    for location, tensor in tensors.items():
        (tmp_path / location).parent.mkdir(exist_ok=True)
        (tmp_path / location).write_bytes(tensor.raw_data)
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    built = dscompile.build(tmp_path / "net.onnx", "c99", tmp_path / "out")
    assert listed(built.artifact.manifest.made_from.files)[:-1] == [
        ("network", "net.onnx"),
        ("weights", "w.bin"),
        ("weights", "two.bin"),
    ]


def test_a_target_is_its_file_and_those_of_its_variants(tmp_path: Path) -> None:
    own = shutil.copy(target_path("c99"), tmp_path / "mine.yaml")
    assert listed(provenance.target_files(str(own), C99)) == [("target", "mine.yaml")]
    assert listed(provenance.target_files("x86", find_target("x86"))) == [
        ("target", f"{name}.yaml") for name in ("x86", *find_target("x86").variants)
    ]
    assert listed(provenance.target_files("host", C99)) == [("target", "c99.yaml")]


@pytest.mark.slow
def test_libraries_name_tvm_its_llvm_and_their_tuning_records(net: Path, tmp_path: Path) -> None:
    write_tuning(tuning_file(), tmp_path / "mine.json")
    model = dscompile.build(net, "x86-avx2", tmp_path / "out", tuning=[tmp_path / "mine.json"])
    made_from = model.artifact.manifest.made_from
    assert listed(made_from.files)[-3:] == [
        ("target", "x86-avx2.yaml"),
        ("tuning", "mine.json"),
        ("tuning", "x86-avx2.json"),
    ]
    versions = {tool.name: tool.version for tool in made_from.tools}
    assert list(versions) == [
        "dscompile", "python", "numpy", "jinja2", "apache-tvm", "apache-tvm-ffi", "llvm", "c compiler",
    ]  # fmt: skip
    assert versions["apache-tvm"] == importlib.metadata.version("apache-tvm")
    assert int(versions["llvm"]) >= 15
    without = dscompile.build(net, "x86-avx2", tmp_path / "plain", tuning=None)
    assert "tuning" not in dict(listed(without.artifact.manifest.made_from.files))


def test_a_package_that_nobody_installed_has_an_unknown_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert ("numpy", "unknown") in [(tool.name, tool.version) for tool in provenance.tools(C99)]
