"""Real int8 networks on CPUs with vector units: every output bit for bit the oracle's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dscompile.frontend.load import load_network
from dscompile.frontend.onnx.importer import import_onnx
from tests.import_qdq_models import quantized, session_of
from tests.mcu import random_inputs
from tests.native import TARGETS, differences, load, opened, target_here

MODELS = (
    "kws_ref_model_int8",
    "vww_96_int8",
    "micro_speech_quantized",
    "pretrainedResnet_quant",
    "ad01_int8",
)
INT8_TARGETS = ("x86-avx512vnni", *TARGETS)
ARM = ("arm64-neon", "arm64-dotprod", "arm64-i8mm")
DATA = Path(__file__).resolve().parents[1] / "data"


@pytest.mark.parametrize("target", INT8_TARGETS)
def test_keyword_spotting_equals_the_oracle(target):
    network = load_network(DATA / "kws_ref_model_int8.tflite").network
    inputs = [random_inputs(network, seed) for seed in range(5)]
    assert differences(load(network, target_here(target)), network, inputs) == []


@pytest.mark.slow
@pytest.mark.models
@pytest.mark.parametrize("target", INT8_TARGETS)
@pytest.mark.parametrize("name", MODELS)
def test_model_equals_the_oracle_on_20_inputs(name, target, model_path):
    network = load_network(model_path(f"{name}.tflite")).network
    inputs = [random_inputs(network, seed) for seed in range(20)]
    assert differences(load(network, target_here(target)), network, inputs) == []


@pytest.mark.sampled
@pytest.mark.slow
@pytest.mark.models
@pytest.mark.parametrize("rounding", ["float32", "half-up", "single"])
@pytest.mark.parametrize("name", MODELS)
def test_model_in_other_roundings_equals_the_oracle(name, rounding, model_path):
    network = load_network(model_path(f"{name}.tflite"), rounding=rounding).network
    inputs = [random_inputs(network, seed) for seed in range(5)]
    assert differences(load(network, target_here("x86-avx2")), network, inputs) == []


@pytest.mark.sampled
@pytest.mark.slow
@pytest.mark.models
@pytest.mark.parametrize("target", ARM)
@pytest.mark.parametrize("name", MODELS)
def test_model_on_arm64_equals_the_oracle(name, target, model_path):
    network = load_network(model_path(f"{name}.tflite")).network
    inputs = [random_inputs(network, seed) for seed in range(3)]
    assert differences(opened(network, target_here(target)), network, inputs) == []


@pytest.mark.sampled
@pytest.mark.slow
@pytest.mark.models
@pytest.mark.parametrize("activations", ["u8", "s8"])
def test_qdq_mobilenet_v2_equals_onnxruntime(activations, model_path, tmp_path):
    path = quantized(model_path("onnx/mobilenetv2_100.onnx"), tmp_path, activations, count=2)
    network = import_onnx(path)
    model, session = load(network, target_here("x86-avx2")), session_of(path)
    (name,) = network.inputs
    for seed in range(4):
        x = np.random.default_rng(seed).standard_normal((1, 3, 224, 224)).astype(np.float32)
        (want,) = session.run(None, {name: x})
        np.testing.assert_array_equal(model.run({name: x})[network.outputs[0]], want)
