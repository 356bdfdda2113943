"""Real int8 networks on CPUs with vector units: every output bit for bit the oracle's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dscompile.frontend.load import load_network
from dscompile.frontend.onnx.importer import import_onnx
from tests.import_onnx_models import model, node, randoms
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


@pytest.mark.parametrize("activations", ["u8", "s8"])
def test_a_qdq_block_of_mobilenet_v2_equals_onnxruntime(activations, tmp_path):
    made = model(
        [
            node("Conv", "x we be", "e", kernel_shape=[1, 1]),
            node("Clip", "e zero six", "er"),
            node("Conv", "er wd bd", "d", kernel_shape=[3, 3], pads=[1, 1, 1, 1], group=48),
            node("Clip", "d zero six", "dr"),
            node("Conv", "dr wp bp", "p", kernel_shape=[1, 1]),
            node("Add", "p x"),
        ],
        {"x": (1, 16, 9, 11)},
        {
            **{"we": randoms(48, 16, 1, 1), "be": randoms(48, seed=2), "wd": randoms(48, 1, 3, 3)},
            **{"bd": randoms(48, seed=3), "wp": randoms(16, 48, 1, 1), "bp": randoms(16, seed=4)},
            **{"zero": np.float32(0), "six": np.float32(6)},
        },
    )
    assert_equals_onnxruntime(quantized(made, tmp_path, activations))


@pytest.mark.sampled
@pytest.mark.slow
@pytest.mark.models
@pytest.mark.parametrize("activations", ["u8", "s8"])
def test_qdq_mobilenet_v2_equals_onnxruntime(activations, model_path, tmp_path):
    assert_equals_onnxruntime(quantized(model_path("onnx/mobilenetv2_100.onnx"), tmp_path, activations, count=2))


def assert_equals_onnxruntime(path: Path) -> None:
    network = import_onnx(path)
    compiled, session = load(network, target_here("x86-avx2")), session_of(path)
    (name,) = network.inputs
    for seed in range(4):
        x = np.random.default_rng(seed).standard_normal(network.tensor(name).border_shape).astype(np.float32)
        (want,) = session.run(None, {name: x})
        np.testing.assert_array_equal(compiled.run({name: x})[network.outputs[0]], want)
