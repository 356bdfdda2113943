"""Models that PyTorch and Keras turn into ONNX and TFLite: with stand-ins for both, and with torch where it is."""

import importlib.util
import os
import sys
import types

import numpy as np
import pytest

import dscompile
from dscompile.api.reference import oracle_outputs
from dscompile.errors import BadInputError, ToolError, UnsupportedError
from dscompile.frontend.exported import load_keras, load_module, load_pt2
from dscompile.frontend.load import load_network
from tests.import_tflite_models import ModelMaker
from tests.networks import random_network


def require_torch():
    """Skips the test by name without torch, or fails it where DSCOMPILE_REQUIRE_TORCH is set."""
    if importlib.util.find_spec("torch") is not None and importlib.util.find_spec("onnxscript") is not None:
        return
    if os.environ.get("DSCOMPILE_REQUIRE_TORCH"):
        pytest.fail("torch is missing (pip install 'dscompile[torch]'), and DSCOMPILE_REQUIRE_TORCH is set")
    pytest.skip("torch is not installed")


class Program:
    """A stand-in for torch.export.ExportedProgram: it is the ONNX model that it becomes."""

    def __init__(self, content):
        self.content = content

    def save(self, name):
        with open(name, "wb") as file:
            file.write(self.content)


class Module:
    """A stand-in for torch.nn.Module."""

    training = True

    def __init__(self, content):
        self.content = content
        self.modes = []

    def eval(self):
        self.training = False
        self.modes.append("eval")

    def train(self, mode):
        self.training = mode
        self.modes.append(mode)


@pytest.fixture
def torch(monkeypatch):
    """A module torch that can do no more than what importing needs; it notes what it was asked for."""
    fake = types.ModuleType("torch")
    fake.asked = []

    def load(path):
        with open(path, "rb") as file:
            content = file.read()
        if content == b"damaged":
            raise RuntimeError("\x1b[31mPytorchStreamReader failed\x1b[0m\nand more")
        return Program(content)

    def export(module, tensors):
        fake.asked.append(tensors)
        assert not module.training
        if module.content == b"odd":
            raise RuntimeError("data-dependent control flow")
        return Program(module.content)

    def to_onnx(program, dynamo, verbose):
        assert (dynamo, verbose) == (True, False)
        return program

    fake.as_tensor = np.asarray
    fake.export = types.ModuleType("torch.export")
    fake.export.load, fake.export.export, fake.export.ExportedProgram = load, export, Program
    fake.onnx = types.ModuleType("torch.onnx")
    fake.onnx.export = to_onnx
    for module in (fake, fake.export, fake.onnx, types.ModuleType("onnxscript")):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return fake


@pytest.fixture(scope="module")
def onnx_bytes():
    return dscompile.export_onnx(random_network(3)).SerializeToString()


def test_a_pt2_file_becomes_a_network(torch, onnx_bytes, tmp_path):
    path = tmp_path / "my net.pt2"
    path.write_bytes(onnx_bytes)
    net = load_network(path)
    assert net.path == path
    assert net.network.name == "my_net"
    assert len(net.network.layers) > 1
    written = dscompile.import_model(path, tmp_path / "net.yaml")
    assert dscompile.check(written.path).inspection.macs >= 0


def test_a_module_is_exported_as_it_infers_and_left_as_it_was(torch, onnx_bytes, tmp_path):
    module = Module(onnx_bytes)
    result = dscompile.import_torch(module, [np.ones((1, 3), np.float32)], tmp_path / "n.yaml", name="small")
    assert result.network.name == "small"
    assert module.modes == ["eval", True]
    assert torch.asked[0][0].tolist() == [[1, 1, 1]]


def test_a_module_is_called_after_its_class(torch, onnx_bytes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert dscompile.import_torch(Program(onnx_bytes)).path.name == "program.yaml"
    assert type("MobileNetV2", (Module,), {})(onnx_bytes).training
    named = dscompile.import_torch(type("MobileNetV2", (Module,), {})(onnx_bytes), [np.zeros(1)])
    assert named.path.name == "mobile_net_v2.yaml"


def test_what_torch_refuses_is_said_in_one_line(torch, tmp_path):
    path = tmp_path / "net.pt2"
    path.write_bytes(b"damaged")
    with pytest.raises(BadInputError, match="torch cannot read") as caught:
        load_pt2(path)
    assert caught.value.diagnostics[0].message == f"torch cannot read '{path}': PytorchStreamReader failed"
    assert caught.value.diagnostics[0].position.file == str(path)
    module = Module(b"odd")
    with pytest.raises(UnsupportedError, match="torch cannot export 'net' to ONNX: data-dependent control flow"):
        load_module(module, [], "net")
    assert module.training  # also after a failure


def test_errors_of_the_import_name_the_file_that_was_given(torch, tmp_path):
    path = tmp_path / "net.pt2"
    path.write_bytes(b"not onnx")
    with pytest.raises(BadInputError, match="not a valid ONNX file") as caught:
        load_pt2(path)
    assert caught.value.diagnostics[0].position.file == str(path)


def test_without_torch_the_one_command_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    path = tmp_path / "net.pt2"
    path.write_bytes(b"x")
    with pytest.raises(ToolError, match="importing PyTorch models needs onnxscript") as caught:
        load_network(path)
    assert "pip install 'dscompile[torch]'" in caught.value.diagnostics[0].help
    assert caught.value.code == 5


@pytest.fixture
def tensorflow(monkeypatch):
    """A module tensorflow whose converter gives back what the file holds."""
    fake = types.ModuleType("tensorflow")

    def load_model(path, compile):
        assert compile is False
        with open(path, "rb") as file:
            content = file.read()
        if content == b"damaged":
            raise OSError("Unable to synchronously open file")
        return content

    converter = types.SimpleNamespace(from_keras_model=lambda model: types.SimpleNamespace(convert=lambda: model))
    fake.keras = types.SimpleNamespace(models=types.SimpleNamespace(load_model=load_model))
    fake.lite = types.SimpleNamespace(TFLiteConverter=converter)
    monkeypatch.setitem(sys.modules, "tensorflow", fake)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_keras_file_becomes_a_network(suffix, tensorflow, tmp_path):
    maker = ModelMaker()
    maker.tensor("x", (1, 3))
    maker.tensor("y", (1, 3))
    maker.operator("RELU", "x")
    path = tmp_path / f"model{suffix}"
    path.write_bytes(maker.content())
    net = load_network(path)
    assert (net.path, net.network.name, len(net.network.layers)) == (path, "model", 1)


def test_what_tensorflow_refuses_is_said_in_one_line(tensorflow, tmp_path):
    path = tmp_path / "model.keras"
    path.write_bytes(b"damaged")
    with pytest.raises(BadInputError, match=r"TensorFlow cannot convert '.*model.keras': Unable to synchronously open"):
        load_keras(path)


def test_without_tensorflow_the_one_command_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    path = tmp_path / "model.h5"
    path.write_bytes(b"x")
    with pytest.raises(ToolError, match=r"reading .h5 files needs TensorFlow") as caught:
        load_network(path)
    assert caught.value.diagnostics[0].help == "pip install tensorflow"


@pytest.mark.slow
def test_a_torch_module_and_its_pt2_file_give_what_torch_gives(tmp_path):
    require_torch()
    import torch

    class Separable(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = torch.nn.Conv2d(3, 8, 3, stride=2, padding=1)
            self.norm = torch.nn.BatchNorm2d(8)
            self.depthwise = torch.nn.Conv2d(8, 8, 3, padding=1, groups=8)
            self.pointwise = torch.nn.Conv2d(8, 16, 1)
            self.head = torch.nn.Linear(16, 5)

        def forward(self, x):
            x = torch.relu(self.norm(self.stem(x)))
            x = torch.nn.functional.hardswish(self.pointwise(self.depthwise(x)))
            return self.head(x.mean((2, 3)))

    torch.manual_seed(0)
    module = Separable()
    with torch.no_grad():
        module(torch.randn(8, 3, 32, 32))  # so that batch norm has statistics of its own
        module.eval()
        x = torch.randn(1, 3, 32, 32)
        want = module(x).numpy()
    module.train()
    imported = dscompile.import_torch(module, (x,), tmp_path / "module.yaml").network
    assert module.training
    module.eval()
    torch.export.save(torch.export.export(module, (x,)), str(tmp_path / "net.pt2"))
    for network in (imported, load_pt2(tmp_path / "net.pt2").network):
        (got,) = oracle_outputs(network, {network.inputs[0]: x.numpy()}).values()
        np.testing.assert_allclose(got, want, atol=1e-5 * float(np.abs(want).max()))
