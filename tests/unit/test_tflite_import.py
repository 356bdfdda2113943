"""TFLite operators, one by one and in their odd cases, against LiteRT; real models."""

import numpy as np
import pytest

from dscompile.frontend.tflite.importer import import_tflite
from dscompile.ir.cost import layer_macs, layer_parameters
from dscompile.ir.ops import RELU, RELU6, Activation, Conv2D, Dense, Pads, Pool
from tests.import_onnx_models import op_names
from tests.import_tflite_models import ModelMaker, assert_equals_litert, checked, int32, randoms, saved

SAME, VALID = 0, 1
ACTIVATIONS = {"NONE": 0, "RELU": 1, "RELU_N1_TO_1": 2, "RELU6": 3}


def window(kernel, stride, padding, size, dilation=(1, 1)):
    """Windows along an axis pair, counted one by one."""
    counts = []
    for k, s, n, d in zip(kernel, stride, size, dilation, strict=True):
        extent = (k - 1) * d + 1
        counts.append(len(range(0, n, s)) if padding == SAME else len(range(0, n - extent + 1, s)))
    return counts


@pytest.mark.parametrize("padding", [SAME, VALID])
@pytest.mark.parametrize(
    ("size", "kernel", "stride", "dilation"),
    [
        ((9, 7), (3, 3), (1, 1), (1, 1)),
        ((9, 7), (3, 3), (2, 2), (1, 1)),
        ((10, 8), (3, 5), (2, 2), (1, 1)),
        ((11, 9), (2, 3), (1, 1), (2, 3)),
        ((9, 9), (7, 7), (3, 2), (1, 1)),
        ((5, 4), (1, 1), (2, 2), (1, 1)),
    ],
)
@pytest.mark.parametrize(("channels", "filters", "groups"), [(3, 17, 1), (1, 4, 1), (6, 4, 2)])
def test_convolutions_equal_litert(size, kernel, stride, dilation, padding, channels, filters, groups, tmp_path):
    maker = ModelMaker()
    maker.tensor("x", (1, *size, channels))
    maker.tensor("y", (1, *window(kernel, stride, padding, size, dilation), filters))
    maker.constant("w", randoms(filters, *kernel, channels // groups))
    maker.constant("b", randoms(filters, seed=2))
    fields = {
        "strideH": stride[0],
        "strideW": stride[1],
        "dilationHFactor": dilation[0],
        "dilationWFactor": dilation[1],
    }
    maker.operator("CONV_2D", "x w b", options="Conv2D", padding=padding, fusedActivationFunction=1, **fields)
    network = checked(maker, tmp_path)
    assert network.layers[0].op.groups == groups
    assert network.layers[0].op.activation == RELU


@pytest.mark.parametrize("padding", [SAME, VALID])
@pytest.mark.parametrize(
    ("size", "kernel", "stride", "dilation", "multiplier"),
    [
        ((9, 7), (3, 3), (1, 1), 1, 1),
        ((9, 7), (3, 3), (2, 2), 1, 2),
        ((10, 8), (5, 5), (2, 2), 1, 1),
        ((11, 9), (3, 3), (1, 1), 2, 1),
        ((49, 10), (10, 8), (2, 2), 1, 3),
    ],
)
@pytest.mark.parametrize("channels", [1, 3, 17])
def test_depthwise_convolutions_equal_litert(size, kernel, stride, dilation, multiplier, padding, channels, tmp_path):
    maker = ModelMaker()
    maker.tensor("x", (1, *size, channels))
    counts = window(kernel, stride, padding, size, (dilation, dilation))
    maker.tensor("y", (1, *counts, channels * multiplier))
    maker.constant("w", randoms(1, *kernel, channels * multiplier))
    maker.constant("b", randoms(channels * multiplier, seed=2))
    fields = {"strideH": stride[0], "strideW": stride[1], "dilationHFactor": dilation, "dilationWFactor": dilation}
    maker.operator(
        "DEPTHWISE_CONV_2D", "x w b", options="DepthwiseConv2D", padding=padding, depthMultiplier=multiplier, **fields
    )
    network = checked(maker, tmp_path)
    assert network.layers[0].op.groups == channels


def test_same_padding_of_an_even_image_puts_the_odd_row_last(tmp_path):
    maker = ModelMaker()
    maker.tensor("x", (1, 8, 8, 1))
    maker.tensor("y", (1, 4, 4, 3))
    maker.constant("w", randoms(3, 3, 3, 1))
    maker.operator("CONV_2D", "x w _", options="Conv2D", padding=SAME, strideH=2, strideW=2)
    network = import_tflite(saved(maker.content(), tmp_path))
    assert network.layers[0].op == Conv2D(3, (3, 3), (2, 2), Pads(top=0, bottom=1, left=0, right=1))
    assert not network.has_weight(network.layers[0], "bias")


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("shape", [(1, 12), (1, 2, 3, 2), (1, 5, 12), (1, 2, 3, 12)])
@pytest.mark.parametrize("bias", [False, True])
def test_fully_connected_flattens_or_keeps_its_axes(shape, keep, bias, tmp_path):
    if keep and shape[-1] != 12:
        shape = (1, 1, 1, 12)
    rows = int(np.prod(shape)) // 12
    maker = ModelMaker()
    maker.tensor("x", shape)
    maker.tensor("y", (*shape[:-1], 5) if keep else (rows, 5))
    maker.constant("w", randoms(5, 12))
    maker.constant("b", randoms(5, seed=2))
    maker.operator("FULLY_CONNECTED", f"x w {'b' if bias else '_'}", options="FullyConnected", keepNumDims=keep)
    network = checked(maker, tmp_path)
    if rows == 1:
        assert Dense(5) in [layer.op for layer in network.layers]


@pytest.mark.parametrize("kind", ["AVERAGE_POOL_2D", "MAX_POOL_2D"])
@pytest.mark.parametrize("padding", [SAME, VALID])
@pytest.mark.parametrize(("kernel", "stride"), [((3, 3), (2, 2)), ((2, 4), (1, 3)), ((9, 7), (1, 1))])
def test_pools_equal_litert(kind, padding, kernel, stride, tmp_path):
    maker = ModelMaker()
    maker.tensor("x", (1, 9, 7, 5))
    maker.tensor("y", (1, *window(kernel, stride, padding, (9, 7)), 5))
    fields = {"filterHeight": kernel[0], "filterWidth": kernel[1], "strideH": stride[0], "strideW": stride[1]}
    maker.operator(kind, "x", options="Pool2D", padding=padding, fusedActivationFunction=3, **fields)
    (layer,) = checked(maker, tmp_path).layers
    assert isinstance(layer.op, Pool)
    assert (layer.op.activation, layer.op.count_pads) == (RELU6, False)


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("axes", [(1, 2), (-2, -3), (2,), (1,), (3,)])
def test_means_equal_litert(axes, keep, tmp_path):
    shape = (1, 9, 7, 5)
    positive = {axis % 4 for axis in axes}
    result = [1 if axis in positive else size for axis, size in enumerate(shape) if keep or axis not in positive]
    maker = ModelMaker()
    maker.tensor("x", shape)
    maker.tensor("y", result)
    maker.constant("axes", int32(*axes))
    maker.operator("MEAN", "x axes", options="Reducer", keepDims=keep)
    network = checked(maker, tmp_path)
    if positive == {1, 2}:
        assert network.layers[0].op == Pool("average")


def test_mean_over_no_axes_is_no_layer(tmp_path):
    maker = ModelMaker()
    for name in ("x", "m", "y"):
        maker.tensor(name, (1, 3, 4, 5))
    maker.constant("axes", np.zeros(0, np.int32))
    maker.operator("MEAN", "x axes", "m", options="Reducer", keepDims=True)
    maker.operator("RELU", "m")
    assert op_names(import_tflite(saved(maker.content(), tmp_path))) == ["Activate"]


@pytest.mark.parametrize("op", ["ADD", "MUL"])
@pytest.mark.parametrize(
    "shapes", [((1, 9, 7, 5), (1, 9, 7, 5)), ((1, 9, 7, 5), (1, 1, 1, 5)), ((1, 1, 1, 5), (1, 9, 7, 5))]
)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_two_tensors_broadcast_as_in_litert(op, shapes, activation, tmp_path):
    maker = ModelMaker()
    maker.tensor("a", shapes[0])
    maker.tensor("b", shapes[1])
    maker.tensor("y", (1, 9, 7, 5))
    maker.operator(op, "a b", options=op.title(), fusedActivationFunction=ACTIVATIONS[activation])
    checked(maker, tmp_path, "a b")


@pytest.mark.parametrize("op", ["ADD", "MUL"])
@pytest.mark.parametrize("shape", [(), (5,), (1, 1, 1, 5), (1, 9, 7, 5)])
@pytest.mark.parametrize("on_the_left", [False, True])
def test_constants_on_either_side(op, shape, on_the_left, tmp_path):
    maker = ModelMaker()
    maker.tensor("x", (1, 9, 7, 5))
    maker.tensor("y", (1, 9, 7, 5))
    maker.constant("c", randoms(*shape))
    maker.operator(op, "c x" if on_the_left else "x c", options=op.title())
    assert op_names(checked(maker, tmp_path)) == ["Constant", "Binary"]


@pytest.mark.parametrize("axis", [3, -1, 1, 2])
def test_concatenation_with_a_constant_and_an_activation(axis, tmp_path):
    shape = [1, 4, 3, 5]
    maker = ModelMaker()
    maker.tensor("a", shape)
    maker.tensor("b", shape)
    maker.constant("c", randoms(*shape))
    shape[axis] *= 3
    maker.tensor("y", shape)
    maker.operator("CONCATENATION", "a c b", options="Concatenation", axis=axis)
    assert op_names(checked(maker, tmp_path, "a b")) == ["Constant", "Concat"]
    maker.graph.operators[0].builtinOptions.fusedActivationFunction = 1
    network = import_tflite(saved(maker.content("a b"), tmp_path))
    assert network.layers[-1].op.activation == RELU


@pytest.mark.parametrize(
    ("op", "activation"),
    [
        ("RELU", Activation("clip", 0.0)),
        ("RELU6", Activation("clip", 0.0, 6.0)),
        ("RELU_N1_TO_1", Activation("clip", -1.0, 1.0)),
        ("RELU_0_TO_1", Activation("clip", 0.0, 1.0)),
        ("HARD_SWISH", Activation("hard_swish")),
        ("LOGISTIC", Activation("sigmoid")),
        ("TANH", Activation("tanh")),
    ],
)
@pytest.mark.parametrize("shape", [(1, 9, 7, 5), (1, 17)])
def test_activations_equal_litert(op, activation, shape, tmp_path):
    maker = ModelMaker()
    maker.tensor("x", shape)
    maker.tensor("y", shape)
    maker.operator(op, "x")
    assert checked(maker, tmp_path).layers[0].op.activation == activation


def test_leaky_relu_and_prelu_equal_litert(tmp_path):
    maker = ModelMaker()
    for name in ("x", "a", "b", "y"):
        maker.tensor(name, (1, 9, 7, 5))
    maker.constant("slopes", randoms(1, 1, 5))
    maker.constant("slope", randoms(1, 1, 1))
    maker.operator("LEAKY_RELU", "x", "a", options="LeakyRelu", alpha=0.25)
    maker.operator("PRELU", "a slopes", "b")
    maker.operator("PRELU", "b slope", "y")
    network = checked(maker, tmp_path)
    assert [layer.op.activation.kind for layer in network.layers] == ["leaky_relu", "prelu", "leaky_relu"]
    assert network.layers[0].op.activation.alpha == 0.25


@pytest.mark.parametrize("shape", [(1, 12), (1, 3, 5), (1, 4, 3, 5)])
def test_softmax_takes_the_last_axis_and_beta(shape, tmp_path):
    maker = ModelMaker()
    maker.tensor("x", shape)
    maker.tensor("y", shape)
    maker.operator("SOFTMAX", "x", options="Softmax", beta=0.5)
    assert checked(maker, tmp_path).layers[0].op.beta == 0.5


@pytest.mark.parametrize("as_option", [False, True])
def test_reshape_takes_its_shape_from_an_input_or_an_option(as_option, tmp_path):
    maker = ModelMaker()
    maker.tensor("x", (1, 3, 4, 5))
    maker.tensor("y", (1, 6, 10))
    maker.constant("shape", int32(1, -1, 10))
    if as_option:
        maker.operator("RESHAPE", "x", options="Reshape", newShape=[1, 6, 10])
    else:
        maker.operator("RESHAPE", "x shape")
    assert op_names(checked(maker, tmp_path)) == ["Reshape"]


def test_a_shape_that_keras_computes_from_the_batch_is_the_declared_one(tmp_path):
    maker = ModelMaker()
    maker.tensor("x", (1, 3, 4, 5), signature=(-1, 3, 4, 5))
    maker.tensor("shape", (4,), "int32")
    maker.tensor("batch", (), "int32")
    maker.tensor("target", (2,), "int32")
    maker.tensor("y", (1, 60), signature=(-1, 60))
    maker.constant("begin", int32(0))
    maker.constant("end", int32(1))
    maker.constant("sixty", np.array(60, np.int32))
    maker.operator("SHAPE", "x", "shape", options="Shape", outType=2)
    maker.operator("STRIDED_SLICE", "shape begin end end", "batch", options="StridedSlice", shrinkAxisMask=1)
    maker.operator("PACK", "batch sixty", "target", options="Pack", valuesCount=2)
    maker.operator("RESHAPE", "x target", "y", options="Reshape")
    assert op_names(checked(maker, tmp_path)) == ["Reshape"]


def test_squeeze_and_expand_dims_equal_litert(tmp_path):
    maker = ModelMaker()
    maker.tensor("x", (1, 1, 4, 5))
    maker.tensor("s", (1, 4, 5))
    maker.tensor("e", (1, 4, 1, 5))
    maker.tensor("y", (4, 5))
    maker.constant("axis", int32(-2))
    maker.operator("SQUEEZE", "x", "s", options="Squeeze", squeezeDims=[1])
    maker.operator("EXPAND_DIMS", "s axis", "e", options="ExpandDims")
    maker.operator("SQUEEZE", "e", "y", options="Squeeze", squeezeDims=[])
    assert op_names(checked(maker, tmp_path)) == ["Reshape"]


def test_padding_with_zeros_and_with_a_value(tmp_path):
    maker = ModelMaker()
    maker.tensor("x", (1, 4, 3, 5))
    maker.tensor("p", (1, 5, 6, 5))
    maker.tensor("y", (1, 6, 6, 5))
    maker.constant("first", int32((0, 0), (1, 0), (0, 3), (0, 0)))
    maker.constant("second", int32((0, 0), (0, 1), (0, 0), (0, 0)))
    maker.constant("value", np.array(-1.5, np.float32))
    maker.operator("PAD", "x first", "p")
    maker.operator("PADV2", "p second value")
    network = checked(maker, tmp_path)
    assert [(layer.op.pads, layer.op.value) for layer in network.layers] == [
        (Pads(top=1, bottom=0, left=0, right=3), 0.0),
        (Pads(top=0, bottom=1, left=0, right=0), -1.5),
    ]


def test_a_leading_transposition_becomes_the_inputs_border(tmp_path):
    maker = ModelMaker()
    maker.tensor("x", (1, 3, 9, 7))
    maker.tensor("t", (1, 9, 7, 3))
    maker.tensor("y", (1, 9, 7, 4))
    maker.constant("permutation", int32(0, 2, 3, 1))
    maker.constant("w", randoms(4, 1, 1, 3))
    maker.constant("b", randoms(4))
    maker.operator("TRANSPOSE", "x permutation", "t")
    maker.operator("CONV_2D", "t w b", options="Conv2D", strideH=1, strideW=1)
    network = checked(maker, tmp_path)
    assert op_names(network) == ["Conv2D"]
    assert network.tensor("x").border == "nchw"


@pytest.mark.parametrize("permutation", [(0, 3, 1, 2), (0, 2, 1, 3), (3, 2, 1, 0)])
def test_other_transpositions_equal_litert(permutation, tmp_path):
    shape = (1, 4, 3, 5)
    maker = ModelMaker()
    maker.tensor("x", shape)
    maker.tensor("r", shape)
    maker.tensor("y", [shape[axis] for axis in permutation])
    maker.constant("permutation", int32(*permutation))
    maker.operator("RELU", "x", "r")
    maker.operator("TRANSPOSE", "r permutation")
    checked(maker, tmp_path)


def test_data_behind_the_flatbuffer_are_found(tmp_path):
    maker = ModelMaker()
    maker.tensor("x", (1, 5))
    maker.tensor("y", (1, 5))
    maker.constant("c", randoms(5))
    maker.operator("ADD", "x c", options="Add")
    buffer = maker.model.buffers[1]
    buffer.data, buffer.size, buffer.offset = None, 20, 1 << 20
    start = len(maker.content())
    buffer.offset = start
    network = import_tflite(saved(maker.content() + randoms(5).tobytes(), tmp_path))
    np.testing.assert_array_equal(network.weights["y_constant.value"].reshape(-1), randoms(5))


@pytest.mark.models
@pytest.mark.parametrize(
    ("name", "macs", "parameters", "shapes"),
    [
        ("vww_96_float", 7_489_664, 210_850, {"input_1": (1, 96, 96, 3), "Identity": (1, 2)}),
        ("pretrainedResnet_float", 12_501_632, 77_706, {"input_1": (1, 32, 32, 3), "Identity": (1, 10)}),
        (
            "face_landmark",
            34_979_040,
            669_197,
            {"input_1": (1, 192, 192, 3), "conv2d_20": (1, 1, 1, 1404), "conv2d_30": (1, 1, 1, 1)},
        ),
    ],
)
def test_real_models_equal_litert_and_keep_their_borders(name, macs, parameters, shapes, model_path):
    path = model_path(f"{name}.tflite")
    network = import_tflite(path)
    assert sum(layer_macs(network, layer) for layer in network.layers) == macs
    assert sum(layer_parameters(network, layer) for layer in network.layers) == parameters
    assert {key: network.tensor(key).border_shape for key in (*network.inputs, *network.outputs)} == shapes
    assert_equals_litert(network, path, relative=1e-5, seeds=(1, 2, 3))


@pytest.mark.models
def test_layers_of_a_real_model_are_named_after_what_was_trained(model_path):
    names = [layer.name for layer in import_tflite(model_path("vww_96_float.tflite")).layers]
    assert names[:4] == ["conv2d", "depthwise_conv2d", "conv2d_1", "depthwise_conv2d_1"]
    assert names[-4:] == ["average_pooling2d", "flatten", "dense", "softmax"]
