"""ONNX operators, one by one and in their odd cases, against onnxruntime."""

import numpy as np
import pytest

from dscompile.ir.ops import HARD_SIGMOID, Activate, Activation, Conv2D, Dense, Pads, Pool, Shuffle
from tests.import_onnx_models import checked, imported, model, node, op_names, randoms

IMAGE = {"x": (1, 6, 9, 7)}


@pytest.mark.parametrize(
    ("kernel", "attributes"),
    [
        ((8, 6, 3, 3), {}),
        ((8, 6, 1, 1), {}),
        ((9, 2, 3, 3), {"group": 3}),
        ((6, 1, 3, 3), {"group": 6, "pads": [1, 1, 1, 1]}),
        ((12, 1, 5, 5), {"group": 6, "pads": [2, 2, 2, 2], "strides": [2, 2]}),
        ((17, 6, 3, 3), {"dilations": [2, 3]}),
        ((4, 6, 3, 2), {"pads": [2, 0, 1, 1], "strides": [2, 1]}),
        ((4, 6, 3, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
        ((4, 6, 2, 4), {"auto_pad": "SAME_LOWER", "strides": [2, 3]}),
        ((4, 6, 4, 4), {"auto_pad": "SAME_LOWER"}),
        ((4, 6, 3, 3), {"auto_pad": "VALID", "strides": [3, 2]}),
        ((4, 6, 3, 3), {"kernel_shape": [3, 3]}),
    ],
)
@pytest.mark.parametrize("bias", [False, True])
def test_convolutions_equal_onnxruntime(kernel, attributes, bias, tmp_path):
    constants = {"w": randoms(*kernel), "b": randoms(kernel[0], seed=2)}
    network = checked(model([node("Conv", "x w b" if bias else "x w", **attributes)], IMAGE, constants), tmp_path)
    assert op_names(network) == ["Conv2D"]


def test_same_lower_puts_the_odd_row_of_padding_first(tmp_path):
    conv = node("Conv", "x w", auto_pad="SAME_LOWER", strides=[2, 2])
    network = imported(model([conv], {"x": (1, 1, 8, 8)}, {"w": randoms(3, 1, 3, 3)}), tmp_path)
    assert network.layers[0].op == Conv2D(3, (3, 3), (2, 2), Pads(top=1, bottom=0, left=1, right=0))


def test_pads_are_read_as_top_left_bottom_right(tmp_path):
    conv = node("Conv", "x w", pads=[1, 2, 3, 4])
    network = imported(model([conv], {"x": (1, 1, 8, 8)}, {"w": randoms(3, 1, 5, 5)}), tmp_path)
    assert network.layers[0].op == Conv2D(3, (5, 5), pads=Pads(top=1, bottom=3, left=2, right=4))


@pytest.mark.parametrize(
    ("op", "attributes", "activation"),
    [
        ("Relu", {}, "relu"),
        ("HardSwish", {}, "hard_swish"),
        ("HardSigmoid", {}, "hard_sigmoid"),
        ("HardSigmoid", {"alpha": 1 / 6}, "hard_sigmoid"),
        ("Sigmoid", {}, "sigmoid"),
        ("Tanh", {}, "tanh"),
        ("LeakyRelu", {}, "leaky_relu"),
        ("LeakyRelu", {"alpha": 0.25}, "leaky_relu"),
    ],
)
def test_activations_equal_onnxruntime(op, attributes, activation, tmp_path):
    network = checked(model([node(op, "x", **attributes)], IMAGE), tmp_path)
    (layer,) = network.layers
    assert isinstance(layer.op, Activate)
    assert layer.op.activation.name == activation


def test_a_sixth_in_single_precision_is_the_hard_sigmoid_of_the_papers(tmp_path):
    network = imported(model([node("HardSigmoid", "x", alpha=0.1666666716337204)], IMAGE), tmp_path)
    assert network.layers[0].op == Activate(HARD_SIGMOID)


@pytest.mark.parametrize(
    ("low", "high", "want"),
    [
        (0.0, 6.0, Activation("clip", 0.0, 6.0)),
        (0.0, None, Activation("clip", 0.0)),
        (None, 1.5, Activation("clip", high=1.5)),
        (-1.0, 1.0, Activation("clip", -1.0, 1.0)),
        (0.0, float(np.finfo(np.float32).max), Activation("clip", 0.0)),
    ],
)
@pytest.mark.parametrize("opset", [9, 13])
def test_clip_reads_its_limits_from_attributes_or_inputs(low, high, want, opset, tmp_path):
    limits = {name: value for name, value in (("min", low), ("max", high)) if value is not None}
    if opset < 11:
        made = model([node("Clip", "x", **limits)], IMAGE, opset=opset)
    else:
        names = " ".join(name if name in limits else "_" for name in ("min", "max"))
        made = model([node("Clip", f"x {names}")], IMAGE, {n: np.float32(v) for n, v in limits.items()}, opset=opset)
    assert checked(made, tmp_path).layers[0].op == Activate(want)


@pytest.mark.parametrize("shape", [(6, 1, 1), (1, 6, 1, 1), (1,)])
def test_prelu_slopes_per_channel_equal_onnxruntime(shape, tmp_path):
    checked(model([node("PRelu", "x s")], IMAGE, {"s": randoms(*shape)}), tmp_path)


@pytest.mark.parametrize("shape", [(1, 5, 4, 3), (1, 5, 4), (1, 5)])
def test_batch_norm_of_images_sequences_and_vectors(shape, tmp_path):
    constants = {name: randoms(5, seed=seed) for seed, name in enumerate("gbm")} | {"v": np.abs(randoms(5)) + 0.1}
    network = checked(model([node("BatchNormalization", "x g b m v", epsilon=1e-3)], {"x": shape}, constants), tmp_path)
    assert network.layers[-1 if len(shape) != 3 else 1].op.epsilon == pytest.approx(1e-3)


@pytest.mark.parametrize("op", ["Add", "Mul", "Sub"])
@pytest.mark.parametrize(
    "shapes", [((1, 6, 9, 7), (1, 6, 9, 7)), ((1, 6, 1, 1), (1, 6, 9, 7)), ((6, 1, 1), (1, 6, 9, 7))]
)
@pytest.mark.parametrize("swapped", [False, True])
def test_two_tensors_broadcast_as_in_onnxruntime(op, shapes, swapped, tmp_path):
    if len(shapes[0]) == 3:
        # An input cannot have a batch of 6, a squeezed one can.
        nodes = [node("Squeeze", "s axes", "a"), node(op, "b a" if swapped else "a b")]
        made = model(nodes, {"s": (1, *shapes[0]), "b": shapes[1]}, {"axes": np.array([0])})
    else:
        made = model([node(op, "b a" if swapped else "a b")], {"a": shapes[0], "b": shapes[1]})
    checked(made, tmp_path)


@pytest.mark.parametrize(
    ("op", "on_the_left"),
    [("Add", False), ("Add", True), ("Mul", False), ("Mul", True), ("Sub", False), ("Sub", True), ("Div", False)],
)
@pytest.mark.parametrize("shape", [(), (1,), (6, 1, 1), (1, 6, 1, 1), (7,), (1, 6, 9, 7)])
def test_constants_on_either_side(op, shape, on_the_left, tmp_path):
    constant = (np.abs(randoms(*shape)) + 0.5).astype(np.float32)
    made = model([node(op, "c x" if on_the_left else "x c")], IMAGE, {"c": constant})
    assert op_names(checked(made, tmp_path))[-1] == "Binary"


def test_a_constant_as_long_as_the_width_is_not_taken_for_one_per_channel(tmp_path):
    nodes = [node("Conv", "x w", "c"), node("Add", "c k")]
    constants = {"w": randoms(4, 4, 1, 1), "k": randoms(4)}
    network = checked(model(nodes, {"x": (1, 4, 4, 4)}, constants), tmp_path)
    assert op_names(network) == ["Conv2D", "Constant", "Binary"]


@pytest.mark.parametrize("shape", [(6, 1, 1), (1, 6, 1, 1), (1,), ()])
def test_an_added_constant_per_channel_becomes_the_bias(shape, tmp_path):
    nodes = [node("Conv", "x w b", "c"), node("Add", "k c")]
    constants = {"w": randoms(6, 6, 3, 3), "b": randoms(6), "k": randoms(*shape, seed=4)}
    network = checked(model(nodes, IMAGE, constants), tmp_path)
    assert op_names(network) == ["Conv2D"]
    assert network.outputs == ("y",)


def test_an_added_constant_stays_where_the_sum_before_it_is_read_too(tmp_path):
    nodes = [node("Conv", "x w", "c"), node("Add", "c k", "d"), node("Mul", "c d")]
    constants = {"w": randoms(6, 6, 3, 3), "k": randoms(6, 1, 1)}
    assert "Constant" in op_names(checked(model(nodes, IMAGE, constants), tmp_path))


def test_an_added_constant_stays_where_the_sum_before_it_is_an_output(tmp_path):
    nodes = [node("Conv", "x w", "c"), node("Add", "c k")]
    made = model(nodes, IMAGE, {"w": randoms(6, 6, 3, 3), "k": randoms(6, 1, 1)}, outputs=("y", "c"))
    network = checked(made, tmp_path)
    assert network.outputs == ("y", "c")


def test_sum_adds_any_number_of_tensors(tmp_path):
    checked(model([node("Sum", "a b c")], dict.fromkeys("abc", (1, 3, 5, 4))), tmp_path)


@pytest.mark.parametrize("axis", [1, -3, 2, 3])
def test_concat_joins_along_the_axis_of_the_source(axis, tmp_path):
    inputs = dict.fromkeys("ab", (1, 3, 5, 4))
    network = checked(model([node("Concat", "a k b", axis=axis)], inputs, {"k": randoms(1, 3, 5, 4)}), tmp_path)
    assert network.layers[-1].op.axis == {1: 3, -3: 3, 2: 1, 3: 2}[axis]


def test_concat_of_one_tensor_is_that_tensor(tmp_path):
    nodes = [node("Concat", "x", "c", axis=1), node("Relu", "c")]
    assert op_names(checked(model(nodes, IMAGE), tmp_path)) == ["Activate"]


@pytest.mark.parametrize("kind", ["AveragePool", "MaxPool"])
@pytest.mark.parametrize(
    "attributes",
    [
        {"kernel_shape": [3, 3]},
        {"kernel_shape": [3, 2], "strides": [2, 3], "pads": [1, 0, 2, 1]},
        {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"},
        {"kernel_shape": [2, 4], "strides": [2, 2], "auto_pad": "SAME_LOWER"},
        {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
    ],
)
def test_pools_equal_onnxruntime(kind, attributes, tmp_path):
    inputs = {"x": (1, 5, 9, 7)}
    assert op_names(checked(model([node(kind, "x", **attributes)], inputs), tmp_path)) == ["Pool"]


@pytest.mark.parametrize("count", [0, 1])
def test_average_pool_counts_padding_only_when_told(count, tmp_path):
    attributes = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": count}
    network = checked(model([node("AveragePool", "x", **attributes)], IMAGE), tmp_path)
    assert network.layers[0].op == Pool("average", (3, 3), pads=Pads(1, 1, 1, 1), count_pads=bool(count))


@pytest.mark.parametrize("op", ["GlobalAveragePool", "GlobalMaxPool"])
def test_global_pools_take_the_whole_image(op, tmp_path):
    network = checked(model([node(op, "x")], IMAGE), tmp_path)
    assert network.layers[0].op.kernel == (0, 0)
    assert network.tensor("y").border_shape == (1, 6, 1, 1)


@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("axes", [[2, 3], [-1, -2], [2], [3], [1], [1, 2, 3], [0, 2]])
@pytest.mark.parametrize("opset", [13, 18])
def test_means_over_any_axes_equal_onnxruntime(axes, keep, opset, tmp_path):
    if opset < 18:
        made = model([node("ReduceMean", "x", axes=axes, keepdims=keep)], IMAGE, opset=opset)
    else:
        made = model([node("ReduceMean", "x a", keepdims=keep)], IMAGE, {"a": np.array(axes)}, opset=opset)
    network = checked(made, tmp_path)
    if sorted(axes) in ([2, 3], [-2, -1]):
        assert network.layers[0].op == Pool("average")


def test_mean_of_a_sequence(tmp_path):
    checked(model([node("ReduceMean", "x", axes=[1], keepdims=0)], {"x": (1, 12, 5)}), tmp_path)


def test_mean_without_axes_takes_all_unless_told_otherwise(tmp_path):
    checked(model([node("ReduceMean", "x", keepdims=1)], IMAGE, opset=18), tmp_path)
    network = checked(model([node("ReduceMean", "x", noop_with_empty_axes=1)], IMAGE, opset=18), tmp_path)
    assert op_names(network) == ["Reshape"]


@pytest.mark.parametrize("shape", [(1, 6, 1, 1), (1, 1, 4, 5)])
def test_flattening_one_pixel_or_one_channel_moves_nothing(shape, tmp_path):
    network = checked(model([node("Flatten", "x")], {"x": shape}), tmp_path)
    assert op_names(network) == ["Reshape"]


@pytest.mark.parametrize("flatten", [node("Flatten", "x"), node("Reshape", "x s"), node("Flatten", "x", axis=-1)])
def test_flattening_an_image_keeps_the_order_of_the_source(flatten, tmp_path):
    network = checked(model([flatten], IMAGE, {"s": np.array([1, -1])}), tmp_path)
    assert op_names(network) == ["Transpose", "Reshape"]


def test_pixels_joined_to_one_axis_stay_where_they_are_until_someone_wants_them_elsewhere(tmp_path):
    joined = node("Reshape", "x s", "r")
    constants = {"s": np.array([1, 6, -1]), "w": randoms(6, 5)}
    assert op_names(checked(model([joined, node("Relu", "r")], IMAGE, constants), tmp_path))[-1] == "Transpose"
    rows = [joined, node("Transpose", "r", "t", perm=[0, 2, 1]), node("MatMul", "t w")]
    assert "Transpose" not in op_names(checked(model(rows, IMAGE, constants), tmp_path))


def test_a_dense_layer_behind_a_flattened_image_takes_over_its_order(tmp_path):
    nodes = [node("Flatten", "x", "f"), node("Gemm", "f w b", transB=1)]
    constants = {"w": randoms(5, 6 * 9 * 7), "b": randoms(5)}
    assert op_names(checked(model(nodes, IMAGE, constants), tmp_path)) == ["Reshape", "Dense"]


def test_a_flattened_image_that_is_also_an_output_keeps_its_order(tmp_path):
    nodes = [node("Flatten", "x", "f"), node("Gemm", "f w")]
    made = model(nodes, IMAGE, {"w": randoms(6 * 9 * 7, 5)}, outputs=("y", "f"))
    assert op_names(checked(made, tmp_path)) == ["Transpose", "Reshape", "Dense"]


@pytest.mark.parametrize(
    ("target", "allow_zero"),
    [
        ([1, 2, 27, 7], 0),
        ([0, -1], 0),
        ([0, 0, 63], 0),
        ([1, 7, 9, 6], 1),
        ([-1], 0),
        ([1, 2, 3, 9, 7], 0),
        ([6, 63], 0),
    ],
)
def test_reshapes_count_elements_in_the_order_of_the_source(target, allow_zero, tmp_path):
    nodes = [node("Reshape", "x s", "r", allowzero=allow_zero), node("Relu", "r")]
    checked(model(nodes, IMAGE, {"s": np.array(target)}), tmp_path)


@pytest.mark.parametrize("opset", [11, 13])
@pytest.mark.parametrize(("shape", "axes"), [((1, 6, 1, 1), [2, 3]), ((1, 6, 1, 7), [2]), ((1, 6, 1, 7), [-2, 0])])
def test_squeezing_moves_nothing_but_the_outputs_order(shape, axes, opset, tmp_path):
    if opset < 13:
        nodes = [node("Squeeze", "x", "s", axes=axes), node("Unsqueeze", "s", "u", axes=[0])]
    else:
        nodes = [node("Squeeze", "x a", "s"), node("Unsqueeze", "s z", "u")]
    made = model([*nodes, node("Relu", "u")], {"x": shape}, {"a": np.array(axes), "z": np.array([0])}, opset=opset)
    checked(made, tmp_path)


def test_squeeze_without_axes_drops_all_of_size_one(tmp_path):
    network = checked(model([node("Squeeze", "x")], {"x": (1, 6, 1, 5)}), tmp_path)
    assert network.shape("y") == (6, 5)


@pytest.mark.parametrize("permutation", [[0, 2, 3, 1], [0, 3, 1, 2], [0, 1, 3, 2], [3, 2, 1, 0], None])
def test_transpositions_equal_onnxruntime(permutation, tmp_path):
    attributes = {} if permutation is None else {"perm": permutation}
    checked(model([node("Relu", "x", "r"), node("Transpose", "r", **attributes)], IMAGE), tmp_path)


def test_a_model_between_two_transpositions_has_none_left(tmp_path):
    nodes = [
        node("Transpose", "x", "t", perm=[0, 3, 1, 2]),
        node("Conv", "t w", "c"),
        node("Transpose", "c", perm=[0, 2, 3, 1]),
    ]
    network = checked(model(nodes, {"x": (1, 9, 7, 3)}, {"w": randoms(5, 3, 3, 3)}), tmp_path)
    assert op_names(network) == ["Conv2D"]
    assert network.tensor("x").border == network.tensor("y").border == "nhwc"


def test_channel_shuffle_equals_onnxruntime(tmp_path):
    nodes = [
        node("Reshape", "x a", "r"),
        node("Transpose", "r", "t", perm=[0, 2, 1, 3, 4]),
        node("Reshape", "t b", "s"),
        node("Conv", "s w"),
    ]
    constants = {"a": np.array([1, 2, 3, 9, 7]), "b": np.array([1, 6, 9, 7]), "w": randoms(4, 6, 3, 3)}
    network = checked(model(nodes, IMAGE, constants), tmp_path)
    assert [layer.op for layer in network.layers[:1]] == [Shuffle(2)]
    assert op_names(network) == ["Shuffle", "Conv2D"]


@pytest.mark.parametrize(
    ("shape", "groups"), [((1, 6, 9, 7), 3), ((1, 6, 1, 1), 2), ((1, 100, 1, 5), 25), ((1, 58, 3, 1), 29)]
)
def test_a_channel_shuffle_of_any_size_is_one_layer(shape, groups, tmp_path):
    _, channels, height, width = shape
    nodes = [
        node("Relu", "x", "r"),
        node("Reshape", "r a", "p"),
        node("Transpose", "p", "t", perm=[0, 2, 1, 3, 4]),
        node("Reshape", "t b", "s"),
        node("MaxPool", "s", kernel_shape=[1, 1]),
    ]
    constants = {"a": np.array([1, groups, channels // groups, height, width]), "b": np.array(shape)}
    network = checked(model(nodes, {"x": shape}, constants), tmp_path)
    assert [layer.op for layer in network.layers if isinstance(layer.op, Shuffle)] == [Shuffle(groups)]
    assert "Transpose" not in op_names(network)


@pytest.mark.parametrize("permutation", [[0, 1, 2, 4, 3], [0, 2, 3, 1, 4], [0, 3, 1, 2, 4]])
def test_what_is_almost_a_channel_shuffle_is_none(permutation, tmp_path):
    nodes = [
        node("Reshape", "x a", "r"),
        node("Transpose", "r", "t", perm=permutation),
        node("Reshape", "t b", "s"),
        node("Relu", "s"),
    ]
    constants = {"a": np.array([1, 3, 2, 6, 6]), "b": np.array([1, 6, 6, 6])}
    assert "Shuffle" not in op_names(checked(model(nodes, {"x": (1, 6, 6, 6)}, constants), tmp_path))


@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("bias", [None, (), (1,), (5,), (1, 5)])
def test_gemm_with_its_factors(transposed, bias, tmp_path):
    constants = {"w": randoms(5, 17) if transposed else randoms(17, 5)}
    if bias is not None:
        constants["b"] = randoms(*bias)
    gemm = node("Gemm", "x w b" if bias is not None else "x w", alpha=0.5, beta=3.0, transB=transposed)
    network = checked(model([gemm], {"x": (1, 17)}, constants), tmp_path)
    assert network.layers[0].op == Dense(5)


def test_gemm_on_several_rows_becomes_a_pointwise_convolution(tmp_path):
    nodes = [node("Reshape", "x s", "r"), node("Gemm", "r w b")]
    constants = {"s": np.array([3, 4]), "w": randoms(4, 5), "b": randoms(5)}
    network = checked(model(nodes, {"x": (1, 12)}, constants), tmp_path)
    assert "Conv2D" in op_names(network)
    assert network.shape("y") == (3, 5)


@pytest.mark.parametrize("shape", [(1, 17), (1, 3, 17), (1, 2, 3, 17), (1, 1, 17)])
def test_matmul_with_a_constant_and_an_added_bias(shape, tmp_path):
    nodes = [node("MatMul", "x w", "m"), node("Add", "m b")]
    network = checked(model(nodes, {"x": shape}, {"w": randoms(17, 5), "b": randoms(5)}), tmp_path)
    if len(shape) == 2:
        assert op_names(network) == ["Dense"]


@pytest.mark.parametrize("shape", [(1, 6), (1, 4, 6), (1, 6, 1, 1), (1, 3, 4, 5)])
@pytest.mark.parametrize("axis", [1, -1, None])
@pytest.mark.parametrize("opset", [11, 13])
def test_softmax_in_both_of_its_meanings(shape, axis, opset, tmp_path):
    attributes = {} if axis is None else {"axis": axis}
    checked(model([node("Softmax", "x", **attributes)], {"x": shape}, opset=opset), tmp_path)


@pytest.mark.parametrize("opset", [9, 13])
def test_padding_of_height_and_width(opset, tmp_path):
    pads = [0, 0, 1, 2, 0, 0, 3, 0]
    if opset < 11:
        made = model([node("Pad", "x", pads=pads, value=1.5)], IMAGE, opset=opset)
    else:
        made = model([node("Pad", "x p v")], IMAGE, {"p": np.array(pads), "v": np.float32(1.5)}, opset=opset)
    assert op_names(checked(made, tmp_path)) == ["Pad"]


def test_padding_given_for_some_axes(tmp_path):
    constants = {"p": np.array([1, 2, 0, 3]), "axes": np.array([-1, 2])}
    checked(model([node("Pad", "x p _ axes")], IMAGE, constants, opset=18), tmp_path)


def test_padding_of_channels_joins_constant_ones(tmp_path):
    made = model([node("Pad", "x p")], IMAGE, {"p": np.array([0, 2, 1, 0, 0, 3, 0, 0])})
    assert op_names(checked(made, tmp_path)) == ["Pad", "Constant", "Constant", "Concat"]


def test_padding_by_nothing_is_no_layer(tmp_path):
    nodes = [node("Pad", "x p", "q"), node("Relu", "q")]
    assert op_names(checked(model(nodes, IMAGE, {"p": np.zeros(8, np.int64)}), tmp_path)) == ["Activate"]


def test_what_does_nothing_at_inference_is_no_layer(tmp_path):
    nodes = [node("Identity", "x", "a"), node("Dropout", "a r", "b"), node("Cast", "b", "c", to=1), node("Relu", "c")]
    assert op_names(checked(model(nodes, IMAGE, {"r": np.float32(0.3)}), tmp_path)) == ["Activate"]


def test_shapes_that_an_exporter_computes_are_folded(tmp_path):
    nodes = [
        node("Shape", "x", "shape"),
        node("Gather", "shape zero", "batch"),
        node("Unsqueeze", "batch first", "batches"),
        node("Slice", "shape one four first", "rest"),
        node("Cast", "rest", "real", to=1),
        node("Div", "real real", "ones"),
        node("Cast", "ones", "integer", to=7),
        node("Slice", "integer zeros one first", "head"),
        node("Mul", "head minus", "tail"),
        node("Concat", "batches tail", "target", axis=0),
        node("Reshape", "x target"),
    ]
    constants = {
        "zero": np.array(0),
        "first": np.array([0]),
        "zeros": np.array([0]),
        "one": np.array([1]),
        "four": np.array([4]),
        "minus": np.array([-1]),
    }
    assert checked(model(nodes, IMAGE, constants), tmp_path).shape("y") == (1, 378)


@pytest.mark.parametrize(
    ("nodes", "constants"),
    [
        ([node("Transpose", "k", "w", perm=[1, 0, 2, 3])], {"k": randoms(6, 5, 1, 1)}),
        ([node("Mul", "k s", "w")], {"k": randoms(5, 6, 1, 1), "s": randoms(5, 1, 1, 1)}),
        ([node("Constant", "", "w", value_floats=[1.0, 2.0])], {}),
        ([node("ConstantOfShape", "s", "w")], {"s": np.array([5, 6, 3, 3])}),
        ([node("Expand", "k s", "w")], {"k": randoms(5, 1, 1, 1), "s": np.array([5, 6, 3, 3])}),
        (
            [node("Sqrt", "k", "a"), node("Reciprocal", "a", "b"), node("Neg", "b", "w")],
            {"k": np.abs(randoms(5, 6, 1, 1))},
        ),
        ([node("Squeeze", "k z", "a"), node("Identity", "a", "w")], {"k": randoms(1, 5, 6, 1, 1), "z": np.array([0])}),
        ([node("Equal", "k k", "c"), node("Where", "c k k", "w")], {"k": randoms(5, 6, 2, 2)}),
        (
            [node("Max", "k z", "a"), node("Min", "a o", "w")],
            {"k": randoms(5, 6, 2, 2), "z": np.float32(-1), "o": np.float32(1)},
        ),
        ([node("Pow", "k two", "w")], {"k": randoms(5, 6, 2, 2), "two": np.float32(2)}),
    ],
)
def test_weights_that_are_computed_from_constants_are_folded(nodes, constants, tmp_path):
    if nodes[0].op_type == "Constant":
        nodes = [nodes[0], node("Reshape", "w s", "k")]
        constants = {"s": np.array([1, 2, 1, 1])}
        made = model([*nodes, node("Conv", "x k")], {"x": (1, 2, 9, 7)}, constants)
    else:
        made = model([*nodes, node("Conv", "x w")], IMAGE, constants)
    assert op_names(checked(made, tmp_path)) == ["Conv2D"]


def test_constants_of_single_numbers_and_shapes_of_constants(tmp_path):
    nodes = [
        node("Constant", "", "two", value_float=2.0),
        node("Constant", "", "minus", value_int=-1),
        node("Shape", "k", "shape"),
        node("Mul", "shape minus", "target"),
        node("Reshape", "x target", "r"),
        node("Mul", "r two"),
    ]
    assert checked(model(nodes, IMAGE, {"k": randoms(1)}), tmp_path).shape("y") == (378,)


def test_integer_division_of_shapes_truncates(tmp_path):
    nodes = [node("Div", "a b", "q"), node("Concat", "one q", "s", axis=0), node("Reshape", "x s")]
    constants = {"a": np.array([757, -3]), "b": np.array([2, 2]), "one": np.array([1])}
    assert checked(model(nodes, {"x": (1, 18, 21)}, constants), tmp_path).shape("y") == (1, 378, 1)
