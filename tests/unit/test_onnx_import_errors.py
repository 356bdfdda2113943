"""What the ONNX importer says to models that it cannot import, and to files that are none."""

import math
import random
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from dscompile.errors import BadInputError, DscompileError, ToolError, UnsupportedError
from dscompile.frontend.onnx.importer import import_onnx
from tests.import_onnx_models import imported, model, node, randoms, saved

IMAGE = {"x": (1, 6, 9, 7)}


def error_of(made: onnx.ModelProto | bytes, folder: Path) -> DscompileError:
    """The error that importing the model raises; it must name the file."""
    path = saved(made, folder)
    with pytest.raises(DscompileError) as caught:
        import_onnx(path)
    assert all(found.position.file == str(path) for found in caught.value.diagnostics)
    return caught.value


def test_unsupported_operators_are_all_listed_at_once(tmp_path):
    nodes = [
        node("Einsum", "x", "a", equation="abcd->abdc", name="/enc/Einsum"),
        node("Relu", "a", "b"),
        node("Sin", "b", "c", name="/enc/Sin"),
        node("Sin", "c", "y", name="/enc/Sin_1"),
    ]
    error = error_of(model(nodes, IMAGE), tmp_path)
    assert isinstance(error, UnsupportedError)
    assert [(found.layer, found.message) for found in error.diagnostics] == [
        ("/enc/Einsum", "Einsum: this operator is not supported"),
        ("/enc/Sin", "Sin: this operator is not supported"),
        ("/enc/Sin_1", "Sin: this operator is not supported"),
    ]
    assert [found.help for found in error.diagnostics] == [None, None, "docs/importing.md lists what can be imported"]
    assert error.code == 3


def test_operators_that_no_output_needs_are_not_missed(tmp_path):
    made = model([node("Relu", "x"), node("Sin", "x", "unused")], IMAGE)
    assert len(imported(made, tmp_path).layers) == 1


def test_attributes_behind_an_unsupported_operator_are_checked_by_declared_shapes(tmp_path):
    made = model([node("Sin", "x", "a"), node("MaxPool", "a", kernel_shape=[2, 2], dilations=[2, 2])], IMAGE)
    made.graph.value_info.append(helper.make_tensor_value_info("a", TensorProto.FLOAT, ["batch", 6, 9, 7]))
    assert [found.message for found in error_of(made, tmp_path).diagnostics] == [
        "Sin: this operator is not supported",
        "MaxPool: dilations [2, 2] of a pool are not supported",
    ]


def test_operators_with_graphs_inside_are_named(tmp_path):
    inner = model([node("Relu", "x")], {}).graph
    made = model([node("If", "c", then_branch=inner, else_branch=inner)], IMAGE, {"c": np.array(True)})
    assert "If: this operator is not supported" in str(error_of(made, tmp_path))


def test_an_operator_of_another_domain_is_named_with_it(tmp_path):
    made = model([helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")], IMAGE)
    assert error_of(made, tmp_path).diagnostics[0].message == "com.microsoft.Gelu: this operator is not supported"


CROSSED = {"low": np.float32(3), "high": np.float32(2)}
REFUSED = [
    ([node("Clip", "x low high")], CROSSED, "Clip: from 3 to 2 it leaves nothing"),
    ([node("Conv", "x w")], {"w": randoms(4, 6, 3)}, "Conv: kernel of shape [4, 6, 3]; only 1-D and 2-D"),
    ([node("Conv", "x x")], {}, "Conv: the kernel is computed at run time; only constants are supported"),
    ([node("Conv", "x w")], {"w": randoms(4, 6, 3, 3).astype(np.float64)}, "Conv: the kernel is float64; only float32"),
    ([node("Conv", "x w", pads=[-1, 0, 0, 0])], {"w": randoms(4, 6, 3, 3)}, "negative padding (cropping)"),
    ([node("Conv", "x w", pads=[1, 1])], {"w": randoms(4, 6, 3, 3)}, "pads [1, 1]; only 2-D windows"),
    ([node("Conv", "x w", strides=[1])], {"w": randoms(4, 6, 3, 3)}, "strides [1]; only 2-D windows are supported"),
    (
        [node("AveragePool", "x", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1, count_include_pad=1)],
        {},
        "AveragePool: ceil_mode with windows that reach over the border of an average that counts padding",
    ),
    ([node("MaxPool", "x", "y i", kernel_shape=[2, 2]), node("Cast", "i", "z", to=1)], {}, "'i' is used too"),
    ([node("AveragePool", "x", kernel_shape=[2, 2], dilations=[1, 2])], {}, "dilations [1, 2] of a pool"),
    ([node("Squeeze", "x a", "s"), node("GlobalMaxPool", "s")], {"a": [0]}, "only images (rank 4) are supported"),
    (
        [node("Reshape", "x s", "r"), node("Conv", "r w")],
        {"s": [2, 3, 9, 7], "w": randoms(4, 3, 1, 1)},
        "Conv: batch 2; only",
    ),
    (
        [node("Reshape", "x s", "r"), node("GlobalMaxPool", "r")],
        {"s": [2, 3, 9, 7]},
        "GlobalMaxPool: batch 2; only batch 1",
    ),
    ([node("Gemm", "f w", transA=1)], {"w": randoms(6, 3)}, "Gemm: transA is not supported"),
    (
        [node("Gemm", "f w c")],
        {"w": randoms(378, 3), "c": randoms(3, 1)},
        "C of shape [3, 1]; only one number per column",
    ),
    ([node("MatMul", "w f")], {"w": randoms(3, 1)}, "MatMul: a constant on the left"),
    ([node("MatMul", "f f")], {}, "the right matrix is computed at run time"),
    ([node("MatMul", "f w")], {"w": randoms(2, 378, 3)}, "weights of rank 3; only matrices are supported"),
    ([node("HardSigmoid", "x", beta=0.4)], {}, "HardSigmoid: beta 0.4; only 0.5 is supported"),
    ([node("PRelu", "x s")], {"s": randoms(9, 7)}, "slope [9, 7] on [1, 6, 9, 7]; only one slope per channel"),
    ([node("Clip", "x m")], {"m": None}, "Clip: min is computed at run time"),
    ([node("Add", "x c")], {"c": np.ones(1, np.int64)}, "a constant of type int64 beside computed tensors"),
    ([node("Pad", "x p", mode="edge")], {"p": [0, 1, 0, 0] * 2}, "Pad: mode 'edge' over channels; only height and"),
    ([node("Pad", "x p")], {"p": [0, 0, -1, 0, 0, 0, 0, 0]}, "Pad: negative padding (cropping) is not supported"),
    ([node("Pad", "x p")], {"p": [1, 0, 0, 0, 0, 0, 0, 0]}, "Pad: padding of the batch is not supported"),
    ([node("Pad", "x p")], {"p": [0, 1 << 40, 0, 0, 0, 0, 0, 0]}, "elements of constant channels"),
    ([node("Pad", "f p")], {"p": [0, 1, 0, 0]}, "Pad: only images (rank 4) can be padded, the input is [1, 378]"),
    ([node("Reshape", "x x")], {}, "Reshape: a shape computed at run time; only constants are supported"),
    ([node("Squeeze", "x x")], {}, "Squeeze: axes computed at run time; only constants are supported"),
    ([node("Cast", "x", to=7)], {}, "only conversions to float32 are supported on computed tensors"),
    ([node("Dropout", "x r t")], {"r": np.float32(0.5), "t": np.array(True)}, "training_mode is set"),
    ([node("Gather", "x i", axis=1)], {"i": [[0]]}, "Gather: indices int64 [1, 1]; only a list of integers is"),
    ([node("Gather", "x x", axis=1)], {}, "Gather: indices computed at run time; only constants are supported"),
    ([node("Where", "c x x")], {"c": [True]}, "Where: this operator is supported on constants only"),
    ([node("Add", "c c", "d"), node("Relu", "d")], {"c": randoms(3)}, "Relu: input 0 is a constant"),
    ([node("Identity", "c")], {"c": randoms(3)}, "output 'y': depends on no input"),
    (
        [node("ConstantOfShape", "s", "c"), node("Add", "x c")],
        {"s": [1 << 20, 1 << 20]},
        "a constant of 1099511627776 elements",
    ),
    ([node("Cast", "c", "d", to=16), node("Add", "x d")], {"c": randoms(3)}, "conversion to element type 16"),
    (
        [node("Constant", "", "c", value_string="no"), node("Add", "x c")],
        {},
        "holds value_string; only numbers are supported",
    ),
    (
        [node("BatchNormalization", "x s s s s", training_mode=1)],
        {"s": randoms(6)},
        "only stored statistics per channel",
    ),
]


@pytest.mark.parametrize(("nodes", "constants", "message"), REFUSED, ids=[row[2][:40] for row in REFUSED])
def test_what_is_valid_but_not_supported_is_named(nodes, constants, message, tmp_path):
    arrays = {name: np.asarray(value) for name, value in constants.items() if value is not None}
    before = [node("Flatten", "x", "f"), node("ReduceMean", "x", "m", keepdims=0)]
    made = model([*before, *nodes], IMAGE, arrays, outputs=("y", "z") if "z" in nodes[-1].output else ("y",))
    error = error_of(made, tmp_path)
    assert isinstance(error, UnsupportedError)
    assert message in str(error)


WRONG = [
    (
        [node("Conv", "x w")],
        {"w": randoms(4, 5, 3, 3)},
        "with 1 groups on an input of 6 channels they must be [3, 3, 6, 4]",
    ),
    ([node("Conv", "x w", group=4)], {"w": randoms(4, 1, 3, 3)}, "Conv: 4 groups do not divide 6 input and 4 output"),
    ([node("Conv", "x w b")], {"w": randoms(4, 6, 3, 3), "b": randoms(5)}, "bias has shape [5], it must be [4]"),
    (
        [node("Conv", "x w", kernel_shape=[5, 5])],
        {"w": randoms(4, 6, 3, 3)},
        "kernel_shape [5, 5] contradicts weights of [3, 3]",
    ),
    ([node("Conv", "x w")], {"w": randoms(4, 6, 11, 3)}, "a window of 11 does not fit into 9"),
    ([node("Conv", "x w", strides=[0, 1])], {"w": randoms(4, 6, 3, 3)}, "strides [0, 1] must be positive"),
    ([node("Conv", "x w", auto_pad="SOME")], {"w": randoms(4, 6, 3, 3)}, "auto_pad 'SOME' is none of NOTSET"),
    ([node("Conv", "x")], {}, "Conv: input 1 is missing"),
    ([node("MaxPool", "x")], {}, "MaxPool: attribute 'kernel_shape' is missing"),
    ([node("MaxPool", "x", kernel_shape=1.5)], {}, "attribute 'kernel_shape' must be a list of integers"),
    ([node("MaxPool", "x", kernel_shape=[2, 2], ceil_mode="yes")], {}, "attribute 'ceil_mode' must be an integer"),
    ([node("LeakyRelu", "x", alpha="much")], {}, "LeakyRelu: attribute 'alpha' must be a number"),
    ([node("Elu", "x", alpha=-math.inf)], {}, "Elu: attribute 'alpha' is -inf; it must be finite"),
    ([node("Clip", "x low")], {"low": np.float32(math.nan)}, "Clip: its bounds nan and inf must be numbers"),
    ([node("Conv", "x w", auto_pad=1)], {"w": randoms(4, 6, 3, 3)}, "attribute 'auto_pad' must be a string"),
    ([node("Gemm", "x w")], {"w": randoms(6, 3)}, "needs two matrices, not [1, 6, 9, 7] and [6, 3]"),
    ([node("Gemm", "f w")], {"w": randoms(6, 3)}, "weights are [6, 3], they do not fit an input of [1, 378]"),
    ([node("Add", "x c")], {"c": randoms(5, 1, 1)}, "[1, 6, 9, 7] and [5, 1, 1] do not broadcast"),
    ([node("Div", "x c")], {"c": np.zeros(1, np.float32)}, "Div: divides by zero"),
    ([node("Concat", "x f", axis=1)], {}, "joins tensors of different ranks: [[1, 6, 9, 7], [1, 378]]"),
    ([node("Concat", "x x")], {}, "attribute 'axis' is missing"),
    ([node("Concat", "x x", axis=4)], {}, "axis 4 of a tensor of rank 4"),
    ([node("Reshape", "x s")], {"s": [1, 5]}, "[1, 6, 9, 7] has 378 elements, they do not fill [1, 5]"),
    ([node("Reshape", "x s")], {"s": [1, 2, 3, 7, 9, 0]}, "copies axis 5 of [1, 6, 9, 7]"),
    ([node("Reshape", "x s")], {"s": randoms(2)}, "shape must be a list of integers, not float32 [2]"),
    ([node("Squeeze", "x a")], {"a": [1]}, "axes [1] of [1, 6, 9, 7] are not all 1"),
    ([node("Unsqueeze", "x a")], {"a": [0, 0]}, "axes [0, 0] name an axis twice"),
    ([node("Transpose", "x", perm=[0, 1])], {}, "perm [0, 1] does not permute the axes of [1, 6, 9, 7]"),
    ([node("Pad", "x p")], {"p": [1, 1]}, "do not give a start and an end for each of 4 axes"),
    ([node("Clip", "x m")], {"m": randoms(2)}, "min must be one number, not float32 [2]"),
    ([node("PRelu", "x s")], {"s": randoms(1, 1, 6, 1, 1)}, "slope [1, 1, 6, 1, 1] does not broadcast"),
    (
        [node("BatchNormalization", "x s s s t")],
        {"s": randoms(6), "t": randoms(5)},
        "variance has shape [5], it must be [6]",
    ),
    (
        [node("Gather", "c i", "d"), node("Add", "x d")],
        {"c": randoms(2), "i": [7]},
        "cannot be evaluated on its constant inputs",
    ),
    ([node("Div", "a a", "d"), node("Reshape", "x d")], {"a": [0]}, "division by zero"),
    (
        [node("ConstantOfShape", "s", "c", value=1), node("Add", "x c")],
        {"s": [1]},
        "'value' must be a tensor of one element",
    ),
    ([node("Gather", "_ i", "d"), node("Add", "x d")], {"i": [0]}, "Gather: input 0 is missing"),
]


@pytest.mark.parametrize(("nodes", "constants", "message"), WRONG, ids=[row[2][:40] for row in WRONG])
def test_what_cannot_be_is_said_with_its_sizes(nodes, constants, message, tmp_path):
    arrays = {name: np.asarray(value) for name, value in constants.items()}
    error = error_of(model([node("Flatten", "x", "f"), *nodes], IMAGE, arrays), tmp_path)
    assert type(error) is BadInputError
    assert message in str(error)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"x": (1, 3, "height", 7)}, "axis 2 of input 'x' is dynamic ('height')"),
        ({"x": (8, 3, 9, 7)}, "input 'x' has batch 8; only batch 1 is supported"),
        ({"x": ()}, "input 'x' is a scalar"),
    ],
)
def test_inputs_that_cannot_be_imported(inputs, message, tmp_path):
    (found,) = error_of(model([node("Relu", "x")], inputs), tmp_path).diagnostics
    assert message in found.message
    assert found.help


def test_operators_that_are_not_supported_are_listed_beside_inputs_that_are_not(tmp_path):
    nodes = [node("Relu", "x", "r"), node("Sin", "r", "s", name="/enc/Sin"), node("LSTM", "s", name="/enc/LSTM")]
    error = error_of(model(nodes, {"x": (8, 3, 9, "w")}), tmp_path)
    assert [(found.layer, found.message) for found in error.diagnostics] == [
        (None, "input 'x' has batch 8; only batch 1 is supported"),
        (None, "axis 3 of input 'x' is dynamic ('w')"),
        ("/enc/Sin", "Sin: this operator is not supported"),
        ("/enc/LSTM", "LSTM: this operator is not supported"),
    ]
    assert error.diagnostics[-1].help == "docs/importing.md lists what can be imported"


def with_function(*nodes: onnx.NodeProto) -> onnx.ModelProto:
    """A model whose only node calls a function of its own, made of these nodes from `a` to `b`."""
    made = model([helper.make_node("Block", ["x"], ["y"], name="block", domain="own")], IMAGE)
    made.opset_import.append(helper.make_opsetid("own", 1))
    opsets = list(made.opset_import)
    made.functions.append(helper.make_function("own", "Block", ["a"], ["b"], list(nodes), opsets))
    return made


def test_functions_of_a_model_are_put_in_place(tmp_path):
    network = imported(with_function(node("Relu", "a", "r"), node("Sigmoid", "r", "b")), tmp_path)
    assert [layer.op.activation.name for layer in network.layers] == ["relu", "sigmoid"]
    error = error_of(with_function(node("Sin", "a", "b")), tmp_path)
    assert "Sin: this operator is not supported" in str(error)


def test_functions_that_cannot_be_put_in_place_are_refused(tmp_path):
    calls_itself = with_function(helper.make_node("Block", ["a"], ["b"], domain="own"))
    error = error_of(calls_itself, tmp_path)
    assert "cannot be put in place: own::Block -> own::Block. Model-local functions must not be recursive" in str(error)
    with_another_input = with_function(node("Relu", "a", "b"))
    with_another_input.graph.node[0].input.append("x")
    assert "cannot be put in place: Number of actual parameters" in str(error_of(with_another_input, tmp_path))


def test_dynamic_axes_are_all_reported_with_a_way_out(tmp_path):
    error = error_of(model([node("Relu", "x")], {"x": ("n", 3, "h", "w")}), tmp_path)
    assert len(error.diagnostics) == 2
    assert "--input-shape" in error.diagnostics[0].help


@pytest.mark.parametrize("batch", ["n", -1, 0, 1])
def test_an_open_batch_becomes_one(batch, tmp_path):
    made = model([node("Relu", "x")], {"x": (batch, 3, 9, 7)})
    assert imported(made, tmp_path).tensor("x").border_shape == (1, 3, 9, 7)


def test_inputs_that_fit_no_buffer_are_refused(tmp_path):
    error = error_of(model([node("Relu", "x")], {"x": (1, 1 << 20, 1 << 20)}), tmp_path)
    assert "input 'x' has 1099511627776 elements, more than any buffer holds" in str(error)


def test_inputs_of_another_type_are_refused(tmp_path):
    made = model([node("Relu", "x")], IMAGE)
    made.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    assert "input 'x' is uint8; only float32 is supported" in str(error_of(made, tmp_path))
    made.graph.input[0].type.tensor_type.elem_type = 99
    assert "input 'x' is of unknown type 99" in str(error_of(made, tmp_path))
    made.graph.input[0].type.tensor_type.ClearField("shape")
    assert "input 'x' has no shape" in str(error_of(made, tmp_path))


def test_old_opsets_are_refused(tmp_path):
    assert "opset 6 is older than 7" in str(error_of(model([node("Relu", "x")], IMAGE, opset=6), tmp_path))


def test_sparse_initializers_are_refused(tmp_path):
    made = model([node("Relu", "x")], IMAGE)
    made.graph.sparse_initializer.add()
    assert "sparse initializers are not supported" in str(error_of(made, tmp_path))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is empty"),
        (b"this is not a model, it is a text\n", "its protobuf encoding is broken"),
        (b"\x08\x08", "it holds no graph"),
        (model([node("Relu", "x")], IMAGE).SerializeToString()[:-9], "its protobuf encoding is broken"),
    ],
)
def test_files_that_are_no_models(content, why, tmp_path):
    error = error_of(content, tmp_path)
    assert type(error) is BadInputError
    assert error.diagnostics[0].message == f"not a valid ONNX file: {why}"


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(BadInputError, match=r"cannot read .*absent\.onnx: No such file or directory"):
        import_onnx(tmp_path / "absent.onnx")


def test_a_graph_without_opset(tmp_path):
    made = model([node("Relu", "x")], IMAGE)
    del made.opset_import[:]
    assert "it names no opset" in str(error_of(made, tmp_path))


@pytest.mark.parametrize(
    ("nodes", "why"),
    [
        ([node("Add", "x w")], "'w', which y reads, is made by no node and held by no initializer"),
        ([node("Relu", "x", "z")], "output 'y' is made by no node and held by no initializer"),
        ([node("Add", "x b", "a"), node("Relu", "a", "b"), node("Relu", "b")], "its graph has a cycle through a"),
        ([node("Add", "x y")], "its graph has a cycle through y"),
        ([node("Relu", "x"), node("Tanh", "x")], "'y' is made twice (node y)"),
    ],
)
def test_graphs_that_cannot_be_computed(nodes, why, tmp_path):
    assert f"not a valid ONNX file: {why}" in str(error_of(model(nodes, IMAGE), tmp_path))


def test_two_inputs_of_one_name(tmp_path):
    made = model([node("Relu", "x")], IMAGE)
    made.graph.input.append(made.graph.input[0])
    assert "two inputs have the same name" in str(error_of(made, tmp_path))


def test_nodes_out_of_order_are_put_in_order(tmp_path):
    network = imported(model([node("Tanh", "a"), node("Relu", "x", "a")], IMAGE), tmp_path)
    assert [layer.op.activation.name for layer in network.layers] == ["relu", "tanh"]


def test_initializers_that_lie_about_their_size(tmp_path):
    made = model([node("Conv", "x w")], IMAGE, {"w": randoms(4, 6, 3, 3)})
    made.graph.initializer[0].dims[0] = 1 << 40
    assert "the data of tensor 'w' do not fit its shape [1099511627776, 6, 3, 3]" in str(error_of(made, tmp_path))
    made.graph.initializer[0].dims[0] = -4
    assert "tensor 'w' has shape [-4, 6, 3, 3]" in str(error_of(made, tmp_path))


def test_initializers_that_lie_about_their_type(tmp_path):
    made = model([node("Conv", "x w")], IMAGE, {"w": randoms(4, 6, 3, 3)})
    made.graph.initializer[0].data_type = TensorProto.INT32
    assert "the kernel is int32; only float32 is supported" in str(error_of(made, tmp_path))
    made.graph.initializer[0].data_type = 77
    assert "the data of tensor 'w' do not fit" in str(error_of(made, tmp_path))


def test_a_broken_tensor_in_an_attribute(tmp_path):
    made = model([node("Constant", "", "c", value=helper.make_tensor("k", TensorProto.FLOAT, [2], [1, 2]))], IMAGE)
    made.graph.node[0].attribute[0].t.dims[0] = 5
    assert "not a valid ONNX file: Constant : the data of tensor 'k' do not fit" in str(error_of(made, tmp_path))


def external(location: str, **entries: str) -> onnx.ModelProto:
    """A model whose kernel lies outside its file."""
    made = model([node("Conv", "x w")], IMAGE, {"w": randoms(4, 6, 3, 3)})
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=value)
    return made


def test_external_data_beside_the_model(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "w.bin").write_bytes(bytes(64) + randoms(4, 6, 3, 3).tobytes() + bytes(9))
    network = imported(external("data/w.bin", offset="64", length="864"), tmp_path)
    np.testing.assert_array_equal(network.weights["y.kernel"], randoms(4, 6, 3, 3).transpose(2, 3, 1, 0))


@pytest.mark.parametrize(
    ("location", "entries", "message"),
    [
        ("../w.bin", {}, "lies in '../w.bin', outside the model's directory"),
        ("link.bin", {}, "lies in 'link.bin', outside the model's directory"),
        ("/etc/hostname", {}, "lies in '/etc/hostname', which is not beside the model"),
        ("C:\\w.bin", {}, "which is not beside the model"),
        ("", {}, "which is not beside the model"),
        ("absent.bin", {}, "cannot read 'absent.bin', which holds tensor 'w': No such file or directory"),
        ("w.bin", {"offset": "1"}, "tensor 'w' needs 864 B at 1 of 'w.bin'"),
        ("w.bin", {"offset": "-4"}, "tensor 'w' needs 864 B at -4 of 'w.bin'"),
        ("w.bin", {"length": "800"}, "tensor 'w' needs 864 B at 0 of 'w.bin'"),
        ("w.bin", {"offset": "four"}, "the data of tensor 'w' do not fit its shape"),
    ],
)
def test_external_data_elsewhere_or_too_short(location, entries, message, tmp_path):
    inside = tmp_path / "model"
    inside.mkdir()
    (tmp_path / "w.bin").write_bytes(bytes(864))
    (inside / "w.bin").write_bytes(bytes(864))
    (inside / "link.bin").symlink_to(tmp_path / "w.bin")
    assert message in str(error_of(external(location, **entries), inside))


def test_without_the_onnx_package_one_command_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ToolError, match=r"needs the onnx package") as caught:
        import_onnx(tmp_path / "net.onnx")
    assert caught.value.diagnostics[0].help == "install it with: pip install 'dscompile[onnx]'"
    assert caught.value.code == 5


def small_network() -> bytes:
    """A model with something of everything, in two kilobytes."""
    nodes = [
        node("Conv", "x w b", "c", strides=[2, 2], pads=[1, 1, 1, 1], name="/stem/Conv"),
        node("Clip", "c low high", "r"),
        node("Pad", "r pads", "p"),
        node("Conv", "p dw", "d", group=8),
        node("PRelu", "d slopes", "e"),
        node("Add", "e r", "s"),
        node("MaxPool", "s", "m", kernel_shape=[2, 2], strides=[2, 2]),
        node("ReduceMean", "m", "v", axes=[2, 3]),
        node("Shape", "v", "shape"),
        node("Gather", "shape zero", "batch"),
        node("Concat", "batch rest", "target", axis=0),
        node("Reshape", "v target", "f"),
        node("MatMul", "f fc", "logits"),
        node("Softmax", "logits"),
    ]
    constants = {
        "w": randoms(8, 3, 3, 3),
        "b": randoms(8),
        "low": np.float32(0),
        "high": np.float32(6),
        "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        "dw": randoms(8, 1, 3, 3),
        "slopes": randoms(8, 1, 1),
        "zero": np.array([0]),
        "rest": np.array([-1]),
        "fc": randoms(8, 10),
    }
    return model(nodes, {"x": ("n", 3, 17, 17)}, constants, opset=13).SerializeToString()


def test_mutilated_files_give_clear_errors_and_nothing_else(tmp_path):
    whole = small_network()
    assert len(imported(onnx.load_from_string(whole), tmp_path).layers) == 11
    rng = random.Random(20240229)
    refused = 0
    for _ in range(400):
        data = bytearray(whole)
        if rng.random() < 0.2:
            del data[rng.randrange(len(data)) :]
        for _ in range(rng.randrange(1, 5)):
            at = rng.randrange(len(data) + 1)
            data[at : at + rng.randrange(6)] = rng.randbytes(rng.randrange(6))
        started = time.monotonic()
        try:
            import_onnx(saved(bytes(data), tmp_path))
        except DscompileError:
            refused += 1
        assert time.monotonic() - started < 5
    assert refused > 200
