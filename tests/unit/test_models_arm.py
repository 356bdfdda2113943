"""Real networks for 64-bit Arm, under qemu-aarch64, against the oracle; no instruction of theirs spills."""

from __future__ import annotations

import pytest

from dscompile.api.networks import read_network
from tests.arm import run_network
from tests.models import model_path
from tests.native import ARM, target_here

pytestmark = [pytest.mark.slow, pytest.mark.models, pytest.mark.sampled]

# Model -> the most instructions per multiply-accumulate. Narrow layers and activations other than ReLU cost more, swish
# most of all.
MODELS = {
    "vww_96_float.tflite": 0.34,
    "pretrainedResnet_float.tflite": 0.32,
    "face_landmark.tflite": 0.39,
    "onnx/mobilenetv1_100.onnx": 0.31,
    "onnx/mobilenetv2_100.onnx": 0.33,
    "onnx/mobilenetv2_100.bn.onnx": 0.33,
    "onnx/mobilenetv3_large_100.onnx": 0.34,
    "onnx/mobilenetv3_small_100.raw.onnx": 0.36,
    "onnx/efficientnet_b0.onnx": 0.45,
}


@pytest.mark.sampled
@pytest.mark.parametrize("name", MODELS)
def test_a_model_equals_the_oracle(name):
    path = model_path(name)
    run = run_network(read_network(path, None).network, target_here(ARM), ("cortex-a72",))
    assert run.passed, run.message
    assert run.instructions_per_mac <= MODELS[name]
