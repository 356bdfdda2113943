"""Weights of four bits in .onnx and .tflite files: the same integers, stored in as many bits."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from dscompile.errors import BadInputError
from dscompile.frontend.tflite.importer import import_tflite
from tests.import_qdq_models import exact
from tests.import_tflite_models import ModelMaker, saved
from tests.litert_int8 import differing_outputs, interpreter_of

IMAGE = (1, 5, 4, 6)


def extremes(*shape):
    """Integers from -8 to 7, both among them."""
    values = np.random.default_rng(5).integers(-8, 8, shape).astype(np.int8)
    values.reshape(-1)[:2] = (-8, 7)
    return values


def tflite_model(op, kernel, **options):
    """An int8 layer with a kernel of four bits, on an image of six channels or (FULLY_CONNECTED) 15 inputs."""
    maker = ModelMaker()
    scales = np.linspace(0.01, 0.03, kernel.shape[3 if op.startswith("DEPTHWISE") else 0]).astype(np.float32)
    maker.quantized("x", (1, 15) if op == "FULLY_CONNECTED" else IMAGE, 0.5, 3)
    maker.quantized("y", (1, 7) if op == "FULLY_CONNECTED" else (*IMAGE[:3], scales.size), 0.25, -9)
    maker.four_bits("w", kernel, scales)
    if op.startswith("DEPTHWISE"):
        maker.graph.tensors[-1].quantization.quantizedDimension = 3
    bias = np.random.default_rng(2).integers(-900, 900, scales.size).astype(np.int32)
    maker.quantized("b", (), 0.5 * scales, values=bias)
    maker.operator(op, "x w b", "y", **options)
    return maker


WINDOW = {"strideH": 1, "strideW": 1}
TFLITE = {
    "conv": (tflite_model("CONV_2D", extremes(9, 3, 3, 6), options="Conv2D", **WINDOW), "int4"),
    "dense": (tflite_model("FULLY_CONNECTED", extremes(7, 15), options="FullyConnected"), "int4"),
    "depthwise": (
        tflite_model("DEPTHWISE_CONV_2D", extremes(1, 3, 3, 6), options="DepthwiseConv2D", depthMultiplier=1, **WINDOW),
        "plain",
    ),
}


@pytest.mark.parametrize("name", TFLITE)
def test_kernels_of_a_tflite_file_equal_litert_and_stay_four_bits(name, tmp_path):
    maker, storage = TFLITE[name]
    path = saved(maker.content(), tmp_path)
    network = import_tflite(path)
    assert [layer.storage for layer in network.layers] == [storage]
    assert network.weights[f"{network.layers[0].name}.kernel"].min() == -8
    assert differing_outputs(network, interpreter_of(path, "reference"), range(3)) == [0, 0, 0]


def test_four_bits_beside_float32_inputs_become_float32(tmp_path):
    maker = ModelMaker()
    maker.tensor("x", (1, 15))
    maker.tensor("y", (1, 7))
    kernel = extremes(7, 15)
    maker.four_bits("w", kernel, np.full(7, 0.25, np.float32))
    maker.operator("FULLY_CONNECTED", "x w _", "y", "FullyConnected")
    network = import_tflite(saved(maker.content(), tmp_path))
    (layer,) = network.layers
    assert layer.storage == "plain"
    np.testing.assert_array_equal(network.weight(layer, "kernel"), 0.25 * kernel.T.astype(np.float32))


def test_a_tflite_file_with_too_few_bytes_of_int4_is_refused(tmp_path):
    maker = tflite_model("FULLY_CONNECTED", extremes(7, 15), options="FullyConnected")
    maker.model.buffers[1].data = maker.model.buffers[1].data[:-1]
    with pytest.raises(BadInputError, match=r"tensor 'w', int4 \[7, 15\], has 52 B of data instead of 53"):
        import_tflite(saved(maker.content(), tmp_path))


def test_activations_of_int4_are_refused(tmp_path):
    maker = ModelMaker()
    for name in ("x", "y"):
        maker.quantized(name, (1, 9), 0.5, 0, "int4")
    maker.operator("RELU", "x")
    with pytest.raises(BadInputError, match=r"tensor 'x' \(and 1 more\) is int4; only float32 and int8"):
        import_tflite(saved(maker.content(), tmp_path))


def onnx_model(folder, kind):
    """A convolution in QDQ format whose kernel is INT4, or UINT4 around 8."""
    rng = np.random.default_rng(0)
    kernel = extremes(6, 8, 1, 1).astype(np.int32) + (8 if kind == "UINT4" else 0)
    scale = (rng.random(6) * 0.05 + 0.01).astype(np.float32)
    code, zero = getattr(TensorProto, kind), 8 if kind == "UINT4" else 0
    numbers = {
        "ws": scale,
        "s": np.float32(0.05),
        "z": np.int8(3),
        "t": np.float32(0.1),
        "u": np.int8(-5),
        "b": rng.integers(-200, 200, 6).astype(np.int32),
        "bs": np.float32(0.05) * scale,
        "bz": np.zeros(6, np.int32),
    }
    initializers = [
        helper.make_tensor("w", code, kernel.shape, kernel.reshape(-1).tolist()),
        helper.make_tensor("wz", code, (6,), [zero] * 6),
        *(numpy_helper.from_array(np.asarray(array), name) for name, array in numbers.items()),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=0),
        helper.make_node("DequantizeLinear", ["b", "bs", "bz"], ["bd"], axis=0),
        helper.make_node("Conv", ["xd", "wd", "bd"], ["h"], name="conv"),
        helper.make_node("QuantizeLinear", ["h", "t", "u"], ["hq"]),
        helper.make_node("DequantizeLinear", ["hq", "t", "u"], ["y"]),
    ]
    borders = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", [1, 8, 4, 4]), ("y", [1, 6, 4, 4]))
    ]
    graph = helper.make_graph(nodes, "four_bits", borders[:1], borders[1:], initializers)
    path = folder / "four_bits.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    return path


@pytest.mark.parametrize("kind", ["INT4", "UINT4"])
def test_kernels_of_an_onnx_file_equal_onnxruntime_and_stay_four_bits(kind, tmp_path):
    network = exact(onnx_model(tmp_path, kind))
    (conv,) = (layer for layer in network.layers if layer.name == "conv")
    assert conv.storage == "int4"
    assert network.weight(conv, "kernel").min() == -8
