"""The oracle on whole networks, imported, against the runtimes their files were made for."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from ai_edge_litert import interpreter

from dscompile.frontend.load import load_network
from dscompile.ir.network import Network
from dscompile.ir.ops import Activate, BatchNorm, Conv2D, Pad
from dscompile.oracle import from_border, run, to_border
from dscompile.passes import canonicalize
from tests.models import model_path

pytestmark = [pytest.mark.models, pytest.mark.slow]

ONNX_MODELS = ["mobilenetv1_100", "mobilenetv2_100", "mobilenetv2_100.bn", "mobilenetv3_large_100", "efficientnet_b0"]

# Standard deviations of the inputs. With its random weights, efficientnet_b0 answers inputs of 3.0 with activations of
# 29 000, and amplifies rounding: an error in the last bit of the input moves its outputs by 7e-4 of their maximum
# (measured with the oracle itself). There a comparison to 1e-4 says nothing about who is right.
INPUT_SCALES = dict.fromkeys(ONNX_MODELS, (1.0, 0.1, 3.0)) | {"efficientnet_b0": (1.0, 0.1, 0.5)}


def run_at_border(network: Network, x):
    """The first output for the only input, both as the user's buffers hold them."""
    (source,), result = network.inputs, network.outputs[0]
    outputs = run(network, {source: from_border(network.tensor(source), x)})
    return to_border(network.tensor(result), outputs[result])


@pytest.mark.sampled
@pytest.mark.parametrize("name", ONNX_MODELS)
def test_oracle_equals_onnxruntime(name, rng):
    path = model_path(f"onnx/{name}.onnx")
    network = load_network(path).network
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for scale in INPUT_SCALES[name]:
        x = (scale * rng.normal(size=session.get_inputs()[0].shape)).astype(np.float32)
        (want,) = session.run(None, {session.get_inputs()[0].name: x})
        got = run_at_border(network, x)
        assert got.shape == want.shape
        assert np.abs(got - want).max() <= 1e-4 * np.abs(want).max()


@pytest.mark.parametrize(("name", "image"), [("vww_96_float", 96), ("pretrainedResnet_float", 32)])
def test_oracle_equals_litert(name, image, rng):
    path = model_path(f"{name}.tflite")
    network = load_network(path).network
    runner = interpreter.Interpreter(str(path), num_threads=1)
    runner.allocate_tensors()
    for _ in range(5):
        x = rng.uniform(0, 1, (1, image, image, 3)).astype(np.float32)
        runner.set_tensor(runner.get_input_details()[0]["index"], x)
        runner.invoke()
        want = runner.get_tensor(runner.get_output_details()[0]["index"])
        np.testing.assert_allclose(run_at_border(network, x), want, rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", ONNX_MODELS)
def test_passes_keep_what_a_model_computes(name, rng):
    network = load_network(model_path(f"onnx/{name}.onnx")).network
    (source,), (result,) = network.inputs, network.outputs
    x = rng.normal(size=network.shape(source)).astype(np.float32)
    want, got = run(network, {source: x})[result], run(canonicalize(network).validate(), {source: x})[result]
    assert np.abs(got - want).max() <= 1e-5 * np.abs(want).max()


@pytest.mark.parametrize("name", ONNX_MODELS)
def test_canonical_models_have_no_layer_left_to_fold(name):
    network = canonicalize(load_network(model_path(f"onnx/{name}.onnx")).network)
    assert [layer.name for layer in network.layers if isinstance(layer.op, Activate | BatchNorm | Pad)] == []


def test_batch_norm_kept_or_folded_by_the_exporter_gives_the_same_layers():
    kept, folded = (
        canonicalize(load_network(model_path(f"onnx/{name}.onnx")).network)
        for name in ("mobilenetv2_100.bn", "mobilenetv2_100")
    )
    assert [layer.op for layer in kept.layers] == [layer.op for layer in folded.layers]
    assert sum(isinstance(layer.op, Conv2D) for layer in kept.layers) == 52
