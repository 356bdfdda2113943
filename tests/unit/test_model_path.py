"""Where tests find the real models, and what happens where they are not."""

from __future__ import annotations

import pytest

from tests.models import model_path


def test_model_is_found_in_the_folder_of_the_environment(tmp_path, monkeypatch):
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "net.onnx").touch()
    monkeypatch.setenv("DSCOMPILE_MODELS", str(tmp_path))
    assert model_path("onnx/net.onnx") == tmp_path / "onnx" / "net.onnx"


def test_missing_model_skips_the_test_and_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("DSCOMPILE_MODELS", str(tmp_path))
    monkeypatch.delenv("DSCOMPILE_REQUIRE_MODELS", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"model absent\.tflite is not in .*; set DSCOMPILE_MODELS"):
        model_path("absent.tflite")


def test_missing_model_fails_where_models_are_required(tmp_path, monkeypatch):
    monkeypatch.setenv("DSCOMPILE_MODELS", str(tmp_path))
    monkeypatch.setenv("DSCOMPILE_REQUIRE_MODELS", "1")
    with pytest.raises(pytest.fail.Exception, match=r"model absent\.tflite is not in"):
        model_path("absent.tflite")
