"""Real models: imported, written as net.yaml, read back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dscompile.errors import BadInputError
from dscompile.frontend.load import load_network
from dscompile.frontend.netfile import read_netfile
from dscompile.frontend.writer import write_netfile
from tests.unit.netfiles import assert_same_network

pytestmark = pytest.mark.models


@pytest.mark.parametrize(
    "name",
    [
        "vww_96_float.tflite",
        "pretrainedResnet_float.tflite",
        pytest.param("onnx/mobilenetv2_100.bn.onnx", marks=pytest.mark.slow),
        pytest.param("onnx/mobilenetv3_large_100.onnx", marks=pytest.mark.slow),
    ],
)
def test_an_imported_model_reads_back(name: str, model_path: Callable[[str], Path], tmp_path: Path) -> None:
    network = load_network(model_path(name)).network
    path = write_netfile(network, tmp_path)
    assert_same_network(read_netfile(path).network, network)


def test_a_truncated_model_and_a_text_called_onnx_are_bad_input(
    model_path: Callable[[str], Path], tmp_path: Path
) -> None:
    data = model_path("vww_96_float.tflite").read_bytes()
    (tmp_path / "short.tflite").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.onnx").write_text("This is a text.\n")
    for name in ("short.tflite", "text.onnx"):
        with pytest.raises(BadInputError) as caught:
            load_network(tmp_path / name)
        assert name in str(caught.value)
