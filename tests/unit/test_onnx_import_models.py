"""Real ONNX models: their cost, their borders and their results beside onnxruntime's; and the names of layers."""

from collections import Counter

import numpy as np
import pytest

from dscompile.errors import UnsupportedError
from dscompile.frontend.import_names import network_name, short_names, source_name
from dscompile.frontend.onnx.importer import import_onnx
from dscompile.ir.cost import layer_macs, layer_parameters
from dscompile.ir.ops import Resize
from tests.import_onnx_models import assert_equals_onnxruntime, imported, model, node, randoms

MODELS = {
    "mobilenetv1_100": (568_740_352, 4_221_032),
    "mobilenetv2_100": (300_774_272, 3_487_816),
    "mobilenetv2_100.bn": (300_774_272, 3_538_984),
    "mobilenetv3_large_100": (216_589_760, 5_470_832),
    "mobilenetv3_small_100.raw": (56_510_400, 2_536_800),
    "efficientnet_b0": (385_814_752, 5_267_540),
    "shufflenetv2_x1_0": (144_907_992, 2_270_514),
}


@pytest.mark.models
@pytest.mark.parametrize("name", MODELS)
def test_real_models_have_their_papers_cost_and_keep_their_borders(name, model_path):
    network = import_onnx(model_path(f"onnx/{name}.onnx"))
    macs, parameters = MODELS[name]
    assert sum(layer_macs(network, layer) for layer in network.layers) == macs
    assert sum(layer_parameters(network, layer) for layer in network.layers) == parameters
    assert (network.inputs, network.outputs) == (("input",), ("output",))
    assert network.tensor("input").shape == (1, 224, 224, 3)
    assert network.tensor("input").border_shape == (1, 3, 224, 224)
    assert network.tensor("output").border_shape == (1, 1000)


@pytest.mark.models
@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_real_models_give_what_onnxruntime_gives(name, model_path):
    path = model_path(f"onnx/{name}.onnx")
    assert_equals_onnxruntime(import_onnx(path), path, relative=1e-4, seeds=(1, 2))


@pytest.mark.models
def test_shufflenet_has_one_shuffle_per_unit_and_no_transposition(model_path):
    network = import_onnx(model_path("onnx/shufflenetv2_x1_0.onnx"))
    kinds = Counter(type(layer.op).__name__ for layer in network.layers)
    assert (kinds["Shuffle"], kinds["Slice"], kinds["Concat"], kinds["Transpose"]) == (16, 26, 16, 0)


@pytest.mark.models
def test_layers_of_a_real_model_have_short_names(model_path):
    network = import_onnx(model_path("onnx/mobilenetv3_large_100.onnx"))
    assert [layer.name for layer in network.layers[:6]] == [
        "conv_stem",
        "bn1.act",
        "blocks.0.0.conv_dw",
        "blocks.0.0.bn1.act",
        "blocks.0.0.conv_pw",
        "blocks.0.0.add",
    ]
    assert [layer.name for layer in network.layers[-2:]] == ["flatten", "classifier"]
    assert network.layers[-1].output == "output"


@pytest.mark.models
@pytest.mark.parametrize(
    ("name", "shapes", "resizes", "output"),
    [
        ("onnx/fast_scnn.onnx", {}, 6, (1, 512, 1024, 19)),
        ("onnx/deeplabv3_mobilenetv2.onnx", {}, 2, (1, 257, 257, 21)),
        ("ch_PP-OCRv4_det_infer.onnx", {"x": (1, 3, 480, 640)}, 6, (1, 480, 640, 1)),
        ("ch_ppocr_mobile_v2.0_cls_mobile.onnx", {"x": (1, 3, 48, 192)}, 0, (1, 2)),
    ],
)
def test_networks_for_whole_images_import(name, shapes, resizes, output, model_path):
    network = import_onnx(model_path(name), shapes=shapes)
    assert sum(isinstance(layer.op, Resize) for layer in network.layers) == resizes
    assert [network.shape(name) for name in network.outputs] == [output]


@pytest.mark.models
@pytest.mark.parametrize("name", ["ch_ppocr_mobile_v2.0_cls_mobile", "ch_PP-OCRv4_det_infer"])
def test_real_models_of_open_size_ask_for_a_fixed_one(name, model_path):
    with pytest.raises(UnsupportedError, match="axis 2 of input 'x' is dynamic"):
        import_onnx(model_path(f"{name}.onnx"))


@pytest.mark.models
@pytest.mark.slow
def test_a_real_model_of_open_size_equals_onnxruntime(model_path):
    path = model_path("ch_ppocr_mobile_v2.0_cls_mobile.onnx")
    network = import_onnx(path, shapes={"x": (1, 3, 48, 192)})
    assert_equals_onnxruntime(network, path, relative=1e-4)
    assert sum(layer_macs(network, layer) for layer in network.layers) == pytest.approx(16e6, rel=0.05)


@pytest.mark.parametrize(
    ("names", "want"),
    [
        (["/conv_stem/Conv", "/bn1/act/Clip"], ["conv_stem", "bn1.act"]),
        (
            ["/blocks/blocks.0/blocks.0.0/conv/Conv", "/blocks/blocks.0/blocks.0.0/Add"],
            ["blocks.0.0.conv", "blocks.0.0.add"],
        ),
        (["/act/Sigmoid", "/act/Mul"], ["act.sigmoid", "act.mul"]),
        (["Conv_12", "123", "", "/"], ["Conv_12", "clip", "add", "mul"]),
        (["a b", "a$b", "1x1"], ["a_b", "a_b_1", "add_1x1"]),
        (["StatefulPartitionedCall/functional_1/conv2d/Conv2D", "sequential/relu"], ["conv2d", "relu"]),
        (["größe", "日本"], ["gr_e", "clip"]),
    ],
)
def test_names_are_short_unique_and_clean(names, want):
    kinds = ["conv", "clip", "add", "mul"]
    if "Sigmoid" in names[0]:
        kinds = ["sigmoid", "mul"]
    elif len(names) == 2 and "Add" in names[1]:
        kinds = ["conv", "add"]
    sources = [source_name(name, kind, leaf_names_operator=False) for name, kind in zip(names, kinds, strict=False)]
    assert short_names(sources) == want


def test_a_network_is_named_after_its_file_as_a_c_identifier():
    assert network_name("mobilenetv2_100.bn") == "mobilenetv2_100_bn"
    assert network_name("2x2-net") == "net_2x2_net"
    assert network_name("...") == "net"


def test_borders_keep_names_and_order(tmp_path):
    nodes = [node("Relu", "b", "second"), node("Tanh", "a", "first.out"), node("Add", "a b", "3")]
    shapes = {"b": (1, 3, 5, 4), "a": (1, 3, 5, 4), "unused": (1, 7)}
    network = imported(model(nodes, shapes, outputs=("first.out", "second", "3")), tmp_path)
    assert network.inputs == ("b", "a", "unused")
    assert network.outputs == ("first.out", "second", "output_3")


def test_one_tensor_under_two_output_names_is_copied(tmp_path):
    nodes = [node("Relu", "x", "y"), node("Identity", "y", "z"), node("Identity", "x", "w")]
    network = imported(model(nodes, {"x": (1, 3, 5, 4)}, outputs=("y", "z", "w")), tmp_path)
    assert network.outputs == ("y", "z", "w")
    assert [layer.output for layer in network.layers] == ["y", "z", "w"]


def test_an_output_may_have_the_name_of_another_layer(tmp_path):
    nodes = [node("Conv", "x w", "c", name="y"), node("Relu", "c", "y", name="c")]
    network = imported(model(nodes, {"x": (1, 3, 5, 4)}, {"w": randoms(4, 3, 1, 1)}), tmp_path)
    assert [(layer.name, layer.output) for layer in network.layers] == [("y", "y_1"), ("c", "y")]


def test_weights_are_read_only_float32(tmp_path):
    network = imported(model([node("Conv", "x w")], {"x": (1, 3, 5, 4)}, {"w": randoms(4, 3, 1, 1)}), tmp_path)
    (weights,) = network.weights.values()
    assert weights.dtype == np.float32
    assert not weights.flags.writeable
