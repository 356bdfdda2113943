"""Slices and splits of ONNX and TFLite models, against onnxruntime and LiteRT, and what cannot be imported of them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from dscompile.errors import BadInputError, UnsupportedError
from dscompile.frontend.onnx.importer import import_onnx
from dscompile.frontend.tflite.importer import import_tflite
from dscompile.ir.ops import Dequantize, Quantize, Slice
from tests.import_onnx_models import checked, imported, model, node, op_names, randoms
from tests.import_qdq_models import differences, quantized
from tests.import_tflite_models import ModelMaker, int32, saved
from tests.import_tflite_models import checked as tflite_checked

FAR = 2**31 - 1


def onnx_slice(starts, ends, axes=None, steps=None):
    constants = {"starts": np.array(starts), "ends": np.array(ends)}
    names = ["r", "starts", "ends", "axes" if axes is not None else "_"]
    if axes is not None:
        constants["axes"] = np.array(axes)
    if steps is not None:
        names.append("steps")
        constants["steps"] = np.array(steps)
    return [node("Relu", "x", "r"), node("Slice", " ".join(names), "y")], constants


@pytest.mark.parametrize("channels", [3, 17, 58, 100])
@pytest.mark.parametrize(
    ("starts", "ends", "axes"),
    [
        ([1], [FAR], [1]),
        ([-2], [FAR], [1]),
        ([0], [-1], [1]),
        ([-1000], [2], [1]),
        ([1], [3], [2]),
        ([-3], [-1], [-1]),
        ([2, 1], [1000, -1], [3, 1]),
        ([0, 1, 2, 1], [1, 3, 4, 4], None),
        ([], [], []),
    ],
)
def test_a_slice_equals_onnxruntimes(starts, ends, axes, channels, tmp_path):
    nodes, constants = onnx_slice(np.int64(starts), np.int64(ends), None if axes is None else np.int64(axes))
    network = checked(model(nodes, {"x": (1, channels, 4, 5)}, constants), tmp_path)
    assert op_names(network) == (["Activate", "Slice"] if starts else ["Activate"])


def test_before_opset_10_a_slice_has_attributes(tmp_path):
    nodes = [node("Relu", "x", "r"), node("Slice", "r", starts=[1, -2], ends=[3, 99], axes=[1, 3])]
    network = checked(model(nodes, {"x": (1, 6, 4, 5)}, opset=9), tmp_path)
    assert network.layers[-1].op == Slice((0, 0, 3, 1), (1, 4, 2, 2))


def test_a_slice_of_a_vector(tmp_path):
    nodes, constants = onnx_slice([3], [-4], [1])
    checked(model(nodes, {"x": (1, 17)}, constants), tmp_path)


def test_a_slice_of_a_transposed_image_counts_in_its_axes(tmp_path):
    nodes = [
        node("Transpose", "x", "t", perm=[0, 2, 3, 1]),
        node("Slice", "t s e a", "c"),
        node("Transpose", "c", "b", perm=[0, 3, 1, 2]),
        node("Relu", "b"),
    ]
    constants = {"s": np.array([1]), "e": np.array([3]), "a": np.array([3])}
    network = checked(model(nodes, {"x": (1, 6, 4, 5)}, constants), tmp_path)
    assert op_names(network) == ["Slice", "Activate"]


@pytest.mark.parametrize(
    ("sizes", "outputs", "attributes", "opset"),
    [
        (None, 2, {}, 13),
        (None, 3, {}, 11),
        ([1, 4, 1], 3, {}, 13),
        (None, 4, {"num_outputs": 4, "axis": 1}, 18),
    ],
)
def test_a_split_equals_onnxruntimes(sizes, outputs, attributes, opset, tmp_path):
    names = [f"p{index}" for index in range(outputs)]
    split = node("Split", "x" if sizes is None else "x sizes", " ".join(names), **{"axis": 1, **attributes})
    relus = [node("Relu", name, f"y{index}") for index, name in enumerate(names)]
    constants = {} if sizes is None else {"sizes": np.array(sizes)}
    channels = 11 if opset == 18 else 6
    made = model(
        [split, *relus], {"x": (1, channels, 4, 5)}, constants, [f"y{index}" for index in range(outputs)], opset
    )
    network = checked(made, tmp_path)
    assert op_names(network).count("Slice") == outputs


def test_before_opset_13_a_split_has_an_attribute(tmp_path):
    split = node("Split", "x", "a b", axis=2, split=[1, 3])
    made = model([split, node("Relu", "b"), node("Sigmoid", "a", "z")], {"x": (1, 6, 4, 5)}, {}, ["y", "z"], 11)
    checked(made, tmp_path)


def test_a_split_of_a_constant_is_one(tmp_path):
    nodes = [node("Split", "c", "a b", axis=1), node("Add", "x a", "s"), node("Mul", "s b")]
    checked(model(nodes, {"x": (1, 3, 4, 5)}, {"c": randoms(1, 6, 1, 1)}, opset=13), tmp_path)


def test_one_part_of_a_split_is_enough(tmp_path):
    nodes = [node("Split", "x", "a b", axis=1), node("Relu", "b")]
    network = checked(model(nodes, {"x": (1, 6, 4, 5)}, opset=13), tmp_path)
    assert op_names(network) == ["Slice", "Activate"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([4], [0], [1], [-1]), "Slice: step -1; only positive steps are supported"),
        (([4], [0], [1], [0]), "Slice: step 0; only positive steps are supported"),
        (([3], [2], [1]), "Slice: leaves nothing of axis 1 of [1, 6, 4, 5]"),
    ],
)
def test_slices_that_are_none_of_the_irs_are_unsupported(arguments, message, tmp_path):
    nodes, constants = onnx_slice(*arguments)
    with pytest.raises(UnsupportedError, match=re.escape(message)) as caught:
        imported(model(nodes, {"x": (1, 6, 4, 5)}, constants), tmp_path)
    assert caught.value.code == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0], [4], [4]), "Slice: axis 4 of a tensor of rank 4"),
        (([0, 0], [4, 4], [1, -3]), "Slice: axes [1, -3] name an axis twice"),
        (([0, 0], [4], [1]), "Slice: 2 starts, 1 ends, 1 axes and 2 steps"),
    ],
)
def test_slices_that_are_wrong_are_bad_input(arguments, message, tmp_path):
    nodes, constants = onnx_slice(*arguments)
    with pytest.raises(BadInputError, match=re.escape(message)) as caught:
        imported(model(nodes, {"x": (1, 6, 4, 5)}, constants), tmp_path)
    assert caught.value.code == 3


def test_starts_computed_at_run_time_are_named(tmp_path):
    made = model([node("Slice", "x s s", "y")], {"x": (1, 6), "s": (1,)})
    with pytest.raises(UnsupportedError, match="Slice: starts computed at run time; only constants are supported"):
        imported(made, tmp_path)


@pytest.mark.parametrize(
    ("sizes", "opset", "message"),
    [
        (None, 13, "Split: 4 equal parts of axis 1 of [1, 6, 4, 5]"),
        ([1, 2, 2, 2], 13, "Split: parts of [1, 2, 2, 2] do not fill axis 1 of [1, 6, 4, 5]"),
        ([3, 3], 13, "Split: 2 sizes for 4 results"),
    ],
)
def test_splits_that_do_not_fit_are_bad_input(sizes, opset, message, tmp_path):
    split = node("Split", "x" if sizes is None else "x sizes", "a b c d", axis=1)
    constants = {} if sizes is None else {"sizes": np.array(sizes)}
    made = model([split, node("Relu", "d")], {"x": (1, 6, 4, 5)}, constants, opset=opset)
    with pytest.raises(BadInputError, match=re.escape(message)):
        imported(made, tmp_path)


def test_a_unit_of_shufflenet_in_qdq_moves_integers(tmp_path):
    nodes = [
        node("Split", "x", "left right", axis=1),
        node("Conv", "right w", "c"),
        node("Concat", "left c", "j", axis=1),
        node("Reshape", "j a", "p"),
        node("Transpose", "p", "t", perm=[0, 2, 1, 3, 4]),
        node("Reshape", "t b", "y"),
    ]
    constants = {
        "w": (0.3 * randoms(3, 3, 1, 1)).astype(np.float32),
        "a": np.array([1, 2, 3, 5, 4]),
        "b": np.array([1, 6, 5, 4]),
    }
    path = quantized(model(nodes, {"x": (1, 6, 5, 4)}, constants, opset=13), tmp_path, "s8")
    network = import_onnx(path)
    assert all(network.is_quantized_layer(layer) for layer in network.layers if isinstance(layer.op, Slice))
    kinds = [type(layer.op) for layer in network.layers]
    assert kinds.count(Slice) == 2
    assert kinds[0] == Quantize
    assert kinds[-1] == Dequantize
    assert differences(network, path, range(4)) == [0] * 4


# TFLite


def sliced(
    operator: str, inputs: str, constants: dict[str, np.ndarray], results: dict[str, tuple[int, ...]], **options: object
) -> ModelMaker:
    """An operator on the image x [1, 4, 5, 6], with a RELU behind each result."""
    maker = ModelMaker()
    maker.tensor("x", (1, 4, 5, 6))
    for name, values in constants.items():
        maker.constant(name, values)
    for name, shape in results.items():
        maker.tensor(f"part_{name}", shape)
        maker.tensor(name, shape)
    parts = " ".join(f"part_{name}" for name in results)
    maker.operator(operator, inputs, parts, **options)
    for name in results:
        maker.operator("RELU", f"part_{name}", name)
    return maker


def test_a_slice_equals_literts(tmp_path):
    maker = sliced(
        "SLICE", "x b s", {"b": int32(0, 1, 0, 2), "s": int32(1, 2, -1, 3)}, {"y": (1, 2, 5, 3)}, options="Slice"
    )
    assert tflite_checked(maker, tmp_path).layers[0].op == Slice((0, 1, 0, 2), (1, 2, 5, 3))


@pytest.mark.parametrize(
    ("begin", "end", "masks", "shape"),
    [
        ((0, 1, 0, 2), (1, 3, 5, 6), {}, (1, 2, 5, 4)),
        ((0, 0, 0, -4), (1, 99, 5, -1), {}, (1, 4, 5, 3)),
        ((0, 3, 1, 2), (0, 0, 3, 0), {"beginMask": 3, "endMask": 11}, (1, 4, 2, 4)),
        ((0, 0, 2, 0), (0, 0, 3, 0), {"endMask": 11, "beginMask": 11, "shrinkAxisMask": 4}, (1, 4, 6)),
        ((0, 0, -1, 0), (0, 0, 0, 0), {"endMask": 11, "beginMask": 11, "shrinkAxisMask": 4}, (1, 4, 6)),
    ],
)
def test_a_strided_slice_equals_literts(begin, end, masks, shape, tmp_path):
    constants = {"b": int32(*begin), "e": int32(*end), "s": int32(1, 1, 1, 1)}
    tflite_checked(
        sliced("STRIDED_SLICE", "x b e s", constants, {"y": shape}, options="StridedSlice", **masks), tmp_path
    )


def test_splits_equal_literts(tmp_path):
    results = {"y": (1, 4, 5, 3), "z": (1, 4, 5, 3)}
    maker = sliced("SPLIT", "a x", {"a": np.array(3, np.int32)}, results, options="Split", numSplits=2)
    assert op_names(tflite_checked(maker, tmp_path, outputs="y z")).count("Slice") == 2
    results = {"y": (1, 1, 5, 6), "z": (1, 3, 5, 6)}
    constants = {"n": int32(1, -1), "a": np.array(-3, np.int32)}
    maker = sliced("SPLIT_V", "x n a", constants, results, options="SplitV", numSplits=2)
    assert op_names(tflite_checked(maker, tmp_path, outputs="y z")).count("Slice") == 2


def test_a_shuffle_of_channels_in_keras_is_one_layer(tmp_path):
    maker = ModelMaker()
    maker.tensor("x", (1, 4, 5, 6))
    maker.tensor("parts", (1, 4, 5, 2, 3))
    maker.tensor("turned", (1, 4, 5, 3, 2))
    maker.tensor("y", (1, 4, 5, 6))
    maker.constant("a", int32(1, 4, 5, 2, 3))
    maker.constant("p", int32(0, 1, 2, 4, 3))
    maker.constant("b", int32(1, 4, 5, 6))
    maker.operator("RESHAPE", "x a", "parts", options="Reshape", newShape=[1, 4, 5, 2, 3])
    maker.operator("TRANSPOSE", "parts p", "turned", options="Transpose")
    maker.operator("RESHAPE", "turned b", "y", options="Reshape", newShape=[1, 4, 5, 6])
    assert op_names(tflite_checked(maker, tmp_path)) == ["Shuffle"]


def refused(maker: ModelMaker, folder: Path) -> str:
    with pytest.raises(BadInputError) as caught:
        import_tflite(saved(maker.content(), folder))
    assert caught.value.code == 3
    return caught.value.diagnostics[0].message


@pytest.mark.parametrize(
    ("strides", "options", "message"),
    [
        ((1, -1, 1, 1), {}, "STRIDED_SLICE: stride -1 along axis 1; only positive strides are supported"),
        ((1, 1, 1, 1), {"ellipsisMask": 1}, "STRIDED_SLICE: ellipses and new axes are not supported"),
        ((1, 1, 1, 1), {"newAxisMask": 2}, "STRIDED_SLICE: ellipses and new axes are not supported"),
        (
            (1, 1, 1),
            {},
            "STRIDED_SLICE: begin [0, 0, 0, 0], end [1, 4, 5, 3] and strides [1, 1, 1] do not fit together",
        ),
    ],
)
def test_strided_slices_of_other_kinds_are_refused(strides, options, message, tmp_path):
    constants = {"b": int32(0, 0, 0, 0), "e": int32(1, 4, 5, 3), "s": int32(*strides)}
    maker = sliced("STRIDED_SLICE", "x b e s", constants, {"y": (1, 4, 5, 3)}, options="StridedSlice", **options)
    assert refused(maker, tmp_path) == message


def test_other_slices_and_splits_that_do_not_fit_are_refused(tmp_path):
    constants = {"b": int32(0, 0, 0), "s": int32(1, 4, 5, 3)}
    maker = sliced("SLICE", "x b s", constants, {"y": (1, 4, 5, 3)}, options="Slice")
    assert (
        refused(maker, tmp_path) == "SLICE: begin [0, 0, 0] and size [1, 4, 5, 3] do not fit the axes of [1, 4, 5, 6]"
    )
    constants = {"b": int32(0, 0, 0, 4), "s": int32(1, 4, 5, 3)}
    maker = sliced("SLICE", "x b s", constants, {"y": (1, 4, 5, 3)}, options="Slice")
    assert refused(maker, tmp_path) == "SLICE: elements 4 to 7 of axis 3 of [1, 4, 5, 6]"
    maker = sliced("SLICE", "x x x", {}, {"y": (1, 4, 5, 3)}, options="Slice")
    assert refused(maker, tmp_path) == "SLICE: the begin computed at run time; only constants are supported"
    results = {"y": (1, 4, 5, 3), "z": (1, 4, 5, 3)}
    maker = sliced("SPLIT", "a x", {"a": np.array(2, np.int32)}, results, options="Split", numSplits=2)
    assert refused(maker, tmp_path) == "SPLIT: 2 equal parts of axis 2 of [1, 4, 5, 6]"
    maker = sliced("SPLIT", "a x", {"a": int32(2, 3)}, results, options="Split", numSplits=2)
    assert refused(maker, tmp_path) == "SPLIT: needs one axis, not [2, 3]"
    constants = {"n": int32(1, 2, 3), "a": np.array(3, np.int32)}
    maker = sliced("SPLIT_V", "x n a", constants, results, options="SplitV", numSplits=2)
    assert refused(maker, tmp_path) == "SPLIT_V: sizes [1, 2, 3] along axes [3] for 2 results"
