"""Trained int8 models, bit for bit: every layer beside TFLite's reference kernels, outputs beside LiteRT's default."""

from __future__ import annotations

from pathlib import Path

import pytest

from dscompile.frontend.tflite.importer import import_tflite
from dscompile.ir.cost import layer_macs
from tests.litert_int8 import differing_layers, differing_outputs, interpreter_of

DATA = Path(__file__).resolve().parents[1] / "data"
COMMITTED = ("kws_ref_model_int8", "vww_96_int8", "micro_speech_quantized")
# name -> elements of all compared layers, MACs
MODELS = {
    "kws_ref_model_int8": (72_088, 2_656_768),
    "vww_96_int8": (231_812, 7_489_664),
    "micro_speech_quantized": (4_008, 336_000),
    "pretrainedResnet_quant": (114_772, 12_501_632),
    "ad01_int8": (1_672, 264_192),
}
INPUTS = 20


@pytest.fixture(params=[pytest.param(name, marks=() if name in COMMITTED else pytest.mark.models) for name in MODELS])
def model(request, model_path):
    """A model's name and path."""
    name = request.param
    return name, DATA / f"{name}.tflite" if name in COMMITTED else model_path(f"{name}.tflite")


def test_every_layer_equals_the_reference_kernels(model):
    name, path = model
    network = import_tflite(path)
    elements, macs = MODELS[name]
    assert network.rounding == "tflite"
    assert sum(layer_macs(network, layer) for layer in network.layers) == macs
    bad, compared = differing_layers(network, interpreter_of(path, "reference"), range(INPUTS))
    assert bad == []
    assert compared == INPUTS * elements


def test_outputs_in_float32_rounding_equal_litert_as_it_runs_by_default(model):
    _, path = model
    network = import_tflite(path, "float32")
    assert network.rounding == "float32"
    assert differing_outputs(network, interpreter_of(path, "xnnpack"), range(INPUTS)) == [0] * INPUTS


@pytest.mark.models
@pytest.mark.slow
def test_mobilenet_v2_with_a_leading_transpose(model_path):
    path = model_path("mobilenet_v2_quantized_1x3x224x224.tflite")
    network = import_tflite(path)
    assert network.tensor(network.inputs[0]).border_shape == (1, 3, 224, 224)
    assert differing_layers(network, interpreter_of(path, "reference"), range(8)) == ([], 8 * 6_896_776)
    network = import_tflite(path, "float32")  # whose sums XNNPACK rounds otherwise than onnxruntime
    assert differing_outputs(network, interpreter_of(path, "xnnpack"), range(6)) == [0] * 6
