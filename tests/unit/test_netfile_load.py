"""Loading by suffix and content."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from dscompile.errors import BadInputError, UsageError
from dscompile.frontend.load import load_network
from dscompile.frontend.loaded import NetFile
from dscompile.frontend.zoo import zoo_path
from dscompile.ir.network import Network
from tests.unit.netfiles import frame, network

TFLITE = b"\x1c\x00\x00\x00TFL3" + bytes(20)


@pytest.mark.parametrize("name", ["net.yaml", "net.yml", "NET.YAML"])
def test_yaml_is_read_as_a_net_yaml(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(frame("- relu"))
    file = load_network(tmp_path / name)
    assert (file.network.name, file.path) == ("test", tmp_path / name)


@pytest.mark.parametrize(
    ("suffix", "module", "function"),
    [(".onnx", "onnx.importer", "import_onnx"), (".tflite", "tflite.importer", "load_tflite")],
)
def test_models_go_to_their_importers(
    suffix: str, module: str, function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / f"model{suffix}"
    model.write_bytes(TFLITE)
    imported = network("- relu")
    seen: list[tuple[Path, str | None]] = []

    def importer(path: Path, rounding: str | None, _shapes: object = None) -> Network | NetFile:
        seen.append((path, rounding))
        return imported if suffix == ".onnx" else NetFile(imported, path)

    stand_in = types.ModuleType(f"dscompile.frontend.{module}")
    setattr(stand_in, function, importer)
    monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)
    file = load_network(model)
    assert file.network is imported
    assert (seen, dict(file.budgets), file.quantization) == ([(model, None)], {}, None)
    load_network(model, rounding="single")
    assert seen[1] == (model, "single")
    with pytest.raises(UsageError, match="carries its own weights"):
        load_network(model, tmp_path / "w.npz")


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("net.yaml", TFLITE, "is a TensorFlow Lite model"),
        ("model.bin", TFLITE, "is a TensorFlow Lite model"),
        ("model.pb", b"x", "files ending in '.pb' are not supported"),
        ("model", b"x", "files without an ending are not supported"),
        ("net.yaml", b"", "is empty"),
        ("model.onnx", b"", "is empty"),
        ("net.yaml", b"\x08\x07\x12\x00\xff", "is not UTF-8 text (byte 4)"),
    ],
)
def test_files_that_cannot_be_networks(name: str, data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BadInputError) as caught:
        load_network(tmp_path / name)
    assert message in caught.value.diagnostics[0].message


@pytest.mark.parametrize("name", ["x.yaml", "x.onnx", "x.tflite", "x.bin"])
def test_missing_files_directories_and_pipes(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="does not exist") as caught:
        load_network(tmp_path / name)
    assert "supported are net.yaml" in (caught.value.diagnostics[0].help or "")
    (tmp_path / name).mkdir()
    with pytest.raises(BadInputError, match="is a directory"):
        load_network(tmp_path / name)
    (tmp_path / name).rmdir()
    os.mkfifo(tmp_path / name)
    with pytest.raises(BadInputError, match="is not a file"):
        load_network(tmp_path / name)


def test_an_unreadable_file_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.yaml"
    path.write_text(frame("- relu"))

    def denied(self: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(BadInputError, match=r"cannot be read: Permission denied"):
        load_network(path)


def test_reading_without_weights_imports_neither_tvm_nor_archives() -> None:
    code = (
        "import sys; from pathlib import Path; from dscompile.frontend.load import load_network\n"
        f"load_network(Path({str(zoo_path('mobilenet_v2'))!r}), load_weights=False)\n"
        "print(sorted({'tvm', 'onnx', 'tflite', 'rich', 'safetensors', 'zipfile'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
