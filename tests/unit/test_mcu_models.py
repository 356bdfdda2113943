"""Real int8 networks as C on this machine: every output bit for bit the oracle's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dscompile.frontend.load import load_network
from dscompile.target import find_target
from tests.mcu import HostModel, differences, write
from tests.sanitized import SanitizedModel

MODELS = (
    "kws_ref_model_int8",
    "vww_96_int8",
    "micro_speech_quantized",
    "pretrainedResnet_quant",
    "ad01_int8",
)


@pytest.mark.slow
@pytest.mark.models
@pytest.mark.parametrize("kernels", [("c99",), ("dsp", "c99")], ids=["portable", "pairs"])
@pytest.mark.parametrize("name", MODELS)
def test_model_as_c_equals_the_oracle_on_20_inputs(name, kernels, model_path, tmp_path):
    network = load_network(model_path(f"{name}.tflite")).network
    artifact = write(network, tmp_path / "a", replace(find_target("c99"), kernels=kernels))
    assert differences(HostModel(artifact, flags=("-O2",)), network, range(10)) == []  # each also in place
    assert differences(HostModel(artifact, "clang", ("-O2",)), network, range(10, 20)) == []


@pytest.mark.slow
@pytest.mark.models
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("kernels", [("c99",), ("dsp", "c99")], ids=["portable", "pairs"])
@pytest.mark.parametrize("name", MODELS)
def test_model_as_c_is_clean_under_sanitizers_on_20_inputs(name, kernels, compiler, model_path, tmp_path):
    network = load_network(model_path(f"{name}.tflite")).network
    artifact = write(network, tmp_path / "a", replace(find_target("c99"), kernels=kernels))
    assert differences(SanitizedModel(artifact, compiler, tmp_path), network, range(20)) == []  # each also in place


@pytest.mark.slow
@pytest.mark.models
def test_float_model_as_c_equals_the_oracle(model_path, tmp_path):
    network = load_network(model_path("vww_96_float.tflite")).network
    artifact = write(network, tmp_path / "a")
    assert differences(HostModel(artifact, flags=("-O2",)), network, range(2)) == []


@pytest.mark.slow
@pytest.mark.models
def test_shufflenet_as_c_equals_onnxruntime(model_path, tmp_path):
    path = model_path("onnx/shufflenetv2_x1_0.onnx")
    artifact = write(load_network(path).network, tmp_path / "a")
    x, expected = (np.load(path.with_suffix(f".{kind}.npy")) for kind in ("in", "ref"))
    got = HostModel(artifact, flags=("-O2",)).run({"input": x})["output"]
    assert np.abs(got - expected).max() <= 1e-5 * np.abs(expected).max()
