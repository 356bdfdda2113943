"""Other runtimes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dscompile.errors import ToolError, UsageError
from dscompile.report.peers import open_peer, reference_for

VWW = Path(__file__).resolve().parents[1] / "data" / "vww_96_float.tflite"


def test_every_format_has_its_home_runtime():
    assert reference_for(Path("a.onnx")) == "onnxruntime"
    assert reference_for(Path("a.onnx"), "float32") == "onnxruntime with exact sums"
    assert reference_for(Path("a.tflite")) == "litert"
    with pytest.raises(UsageError, match=r"nothing to compare 'a.yaml' with"):
        reference_for(Path("a.yaml"))


def test_what_cannot_be_opened():
    with pytest.raises(UsageError, match="unknown runtime 'caffe'"):
        open_peer("caffe", VWW)
    with pytest.raises(UsageError, match=r"onnxruntime does not read 'vww_96_float.tflite'"):
        open_peer("onnxruntime", VWW)
    with pytest.raises(UsageError, match=r"there is no file 'none.tflite'"):
        open_peer("litert", Path("none.tflite"))


def test_a_damaged_model(tmp_path: Path):
    pytest.importorskip("onnxruntime")
    path = tmp_path / "text.onnx"
    path.write_text("hello")
    with pytest.raises(ToolError, match="onnxruntime cannot load"):
        open_peer("onnxruntime", path)


def test_a_runtime_that_is_not_installed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "ai_edge_litert", None)
    with pytest.raises(ToolError, match="ai-edge-litert is not installed") as caught:
        open_peer("litert", VWW)
    assert caught.value.diagnostics[0].help == "pip install 'dscompile[bench]'"


def test_litert_runs_and_refuses_other_shapes():
    pytest.importorskip("ai_edge_litert")
    peer = open_peer("litert", VWW)
    (scores,) = peer.run([np.zeros((1, 96, 96, 3), np.float32)])
    assert scores.shape == (1, 2)
    assert float(scores.sum()) == pytest.approx(1.0, abs=1e-5)
    assert len(peer.latencies_us([np.zeros((1, 96, 96, 3), np.float32)], repeats=4, warmup=1)) == 4
    with pytest.raises(UsageError, match=r"litert cannot run .* on the artifact's inputs"):
        peer.run([np.zeros((1, 5), np.float32)])
