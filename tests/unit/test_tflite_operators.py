"""TFLite operators beyond those that classifiers need, one by one, against LiteRT."""

import numpy as np
import pytest

from dscompile.errors import BadInputError
from dscompile.frontend.tflite.importer import import_tflite
from dscompile.ir.ops import Resize
from tests.import_onnx_models import op_names
from tests.import_tflite_models import ModelMaker, checked, int32, randoms, saved
from tests.litert_int8 import differing_outputs, interpreter_of

SAME, VALID = 0, 1
IMAGE = (1, 5, 7, 6)


def maker_of(*shapes, **constants):
    """Tensors x, y, z, ... of these shapes, and constants."""
    maker = ModelMaker()
    for name, shape in zip("xyzuv", shapes, strict=False):
        maker.tensor(name, shape)
    for name, values in constants.items():
        maker.constant(name, values)
    return maker


def error_of(maker, folder, inputs="x"):
    with pytest.raises(BadInputError) as caught:
        import_tflite(saved(maker.content(inputs), folder))
    return [found.message for found in caught.value.diagnostics]


@pytest.mark.parametrize("op", ["RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"])
@pytest.mark.parametrize("size", [(10, 14), (9, 3), (5, 7), (1, 1), (13, 20)])
@pytest.mark.parametrize(("corners", "centers"), [(False, False), (True, False), (False, True)])
def test_images_are_resized_as_litert_does(op, size, corners, centers, tmp_path):
    maker = maker_of(IMAGE, (1, *size, 6), size=int32(*size))
    kind = "ResizeBilinear" if op == "RESIZE_BILINEAR" else "ResizeNearestNeighbor"
    maker.operator(op, "x size", options=kind, alignCorners=corners, halfPixelCenters=centers)
    network = checked(maker, tmp_path)
    assert isinstance(network.layers[0].op, Resize)


def test_odd_resizes_are_refused(tmp_path):
    maker = maker_of(IMAGE, (1, 9, 9, 6), size=int32(9, 9))
    fields = {"alignCorners": True, "halfPixelCenters": True}
    maker.operator("RESIZE_BILINEAR", "x size", options="ResizeBilinear", **fields)
    assert error_of(maker, tmp_path) == [
        "RESIZE_BILINEAR: align_corners and half_pixel_centers together are not supported"
    ]
    maker = maker_of(IMAGE, (1, 9, 9, 6), size=int32(9, 9, 9))
    maker.operator("RESIZE_BILINEAR", "x size", options="ResizeBilinear")
    assert error_of(maker, tmp_path) == ["RESIZE_BILINEAR: [9, 9, 9] is no size of an image"]


@pytest.mark.parametrize(
    ("padding", "size", "kernel", "stride", "result"),
    [
        (SAME, (5, 7), (3, 3), (2, 2), (10, 14)),
        (SAME, (5, 7), (3, 3), (2, 2), (9, 13)),
        (SAME, (5, 7), (2, 2), (2, 2), (10, 14)),
        (SAME, (5, 7), (4, 5), (1, 3), (5, 20)),
        (SAME, (5, 7), (1, 1), (2, 2), (10, 14)),
        (VALID, (5, 7), (3, 3), (2, 2), (11, 15)),
        (VALID, (5, 7), (3, 3), (2, 2), (12, 16)),
        (VALID, (5, 7), (2, 3), (3, 1), (14, 9)),
    ],
)
@pytest.mark.parametrize("bias", [False, True])
def test_transposed_convolutions_equal_litert(padding, size, kernel, stride, result, bias, tmp_path):
    maker = maker_of((1, *size, 6), (1, *result, 4), w=randoms(4, *kernel, 6), b=randoms(4, seed=2))
    maker.constant("shape", int32(1, *result, 4))
    operands = "shape w x b" if bias else "shape w x"
    maker.operator(
        "TRANSPOSE_CONV", operands, options="TransposeConv", padding=padding, strideH=stride[0], strideW=stride[1]
    )
    checked(maker, tmp_path)


@pytest.mark.parametrize(
    ("shape", "padding", "stride", "message"),
    [
        ((1, 10, 14, 5), SAME, 2, "a kernel of [4, 3, 3, 6] does not make [1, 10, 14, 5] of [1, 5, 7, 6]"),
        ((1, 13, 14, 4), SAME, 2, "13 rows or columns come of 7, not of 5"),
        ((1, 20, 15, 4), VALID, 2, "20 rows or columns come of 9, not of 5"),
        ((1, 10, 14, 4), SAME, 0, "stride 0 must be positive"),
        ((1, 10, 14, 4), 9, 2, "padding 9 is neither SAME nor VALID"),
    ],
)
def test_transposed_convolutions_that_do_not_fit_are_refused(shape, padding, stride, message, tmp_path):
    maker = maker_of(IMAGE, shape, w=randoms(4, 3, 3, 6), shape=int32(*shape))
    fields = {"padding": padding, "strideH": stride, "strideW": stride}
    maker.operator("TRANSPOSE_CONV", "shape w x", options="TransposeConv", **fields)
    assert error_of(maker, tmp_path) == [f"TRANSPOSE_CONV: {message}"]


def test_depth_becomes_space_and_space_depth(tmp_path):
    maker = maker_of((1, 3, 5, 12), (1, 6, 10, 3))
    maker.operator("DEPTH_TO_SPACE", "x", options="DepthToSpace", blockSize=2)
    checked(maker, tmp_path)
    maker = maker_of((1, 6, 9, 2), (1, 2, 3, 18))
    maker.operator("SPACE_TO_DEPTH", "x", options="SpaceToDepth", blockSize=3)
    checked(maker, tmp_path)
    maker.graph.operators[0].builtinOptions.blockSize = 0
    assert error_of(maker, tmp_path) == ["SPACE_TO_DEPTH: block size 0 must be positive"]


@pytest.mark.parametrize("mode", [0, 1])
def test_mirrored_borders_equal_litert(mode, tmp_path):
    pads = [[0, 0], [2, 1], [0, 3], [0, 0]]
    maker = maker_of(IMAGE, (1, 8, 10, 6), pads=np.array(pads, np.int32))
    maker.operator("MIRROR_PAD", "x pads", options="MirrorPad", mode=mode)
    checked(maker, tmp_path)


def test_other_modes_of_borders_are_refused(tmp_path):
    maker = maker_of(IMAGE, (1, 8, 10, 6), pads=np.array([[0, 0], [2, 1], [0, 3], [0, 0]], np.int32))
    maker.operator("MIRROR_PAD", "x pads", options="MirrorPad", mode=7)
    assert error_of(maker, tmp_path) == ["MIRROR_PAD: mode 7 is neither REFLECT nor SYMMETRIC"]


@pytest.mark.parametrize("op", ["SUB", "DIV", "MAXIMUM", "MINIMUM"])
@pytest.mark.parametrize("order", ["x z", "x c", "c x"])
def test_differences_quotients_and_extremes_equal_litert(op, order, tmp_path):
    maker = maker_of(IMAGE, IMAGE, IMAGE, c=1.5 + np.abs(randoms(6)))
    options = {"SUB": "Sub", "DIV": "Div"}.get(op, "MaximumMinimum")
    fields = {"fusedActivationFunction": 1} if op == "SUB" else {}
    if op == "DIV" and order != "x c":  # nothing near zero may be divided by
        maker.tensor("e", IMAGE)
        maker.operator("LOGISTIC", "z" if "z" in order else "x", "e")
        order = order.replace("z", "e") if "z" in order else "c e"
    maker.operator(op, order, options=options, **fields)
    checked(maker, tmp_path, inputs="x z" if {"z", "e"} & set(order.split()) and "c" not in order else "x")


@pytest.mark.parametrize(
    ("op", "fields"), [("ELU", {}), ("GELU", {"approximate": False}), ("GELU", {"approximate": True})]
)
def test_smooth_activations_equal_litert(op, fields, tmp_path):
    maker = maker_of(IMAGE, IMAGE)
    maker.operator(op, "x", options="Gelu" if fields else "", **fields)
    checked(maker, tmp_path)


@pytest.mark.parametrize("op", ["SUM", "REDUCE_MAX", "MEAN"])
@pytest.mark.parametrize("axes", [(1, 2), (3,), (1, 2, 3), (-2,), ()])
@pytest.mark.parametrize("keep", [False, True])
def test_reductions_equal_litert(op, axes, keep, tmp_path):
    over = {axis % 4 for axis in axes}
    shape = [1 if axis in over else size for axis, size in enumerate(IMAGE) if keep or axis not in over]
    maker = maker_of(IMAGE, shape, IMAGE, axes=np.array(axes, np.int32))
    maker.operator("RELU", "x", "z")
    maker.operator(op, "z axes", options="Reducer", keepDims=keep)
    if not axes:
        assert len(import_tflite(saved(maker.content(), tmp_path)).layers) == 1
        return
    checked(maker, tmp_path)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_tensors_are_packed_along_a_new_axis(axis, tmp_path):
    shape = [1, 3, 4]
    shape.insert(axis if axis >= 0 else 3, 3)
    maker = maker_of((1, 3, 4), shape, (1, 3, 4), c=randoms(1, 3, 4))
    maker.operator("RELU", "x", "z")
    maker.operator("PACK", "x c z", options="Pack", axis=axis, valuesCount=3)
    checked(maker, tmp_path)


def test_constants_alone_are_not_packed(tmp_path):
    maker = maker_of((1, 3), (2, 3), (2, 3), c=randoms(3))
    maker.operator("PACK", "c c", "z", options="Pack", axis=0, valuesCount=2)
    maker.operator("ADD", "x z", options="Add")
    assert error_of(maker, tmp_path) == ["PACK: all inputs are constants"]


def test_tensors_are_unpacked_along_an_axis(tmp_path):
    maker = maker_of((1, 2, 5), (1, 5), (1, 5))
    maker.operator("UNPACK", "x", "y z", options="Unpack", axis=1, num=2)
    network = checked(maker, tmp_path, outputs="y z")
    assert op_names(network).count("Slice") == 2
    maker = maker_of((1, 3, 5), (1, 5), (1, 5))
    maker.operator("UNPACK", "x", "y z", options="Unpack", axis=1, num=2)
    assert error_of(maker, tmp_path)[0] == "UNPACK: 2 results for axis 1 of [1, 3, 5]"


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("rank", [2, 3])
def test_products_with_a_constant_matrix_equal_litert(transposed, rank, tmp_path):
    matrix = randoms(*((9, 6) if transposed else (6, 9))).reshape(
        (1,) * (rank - 2) + ((9, 6) if transposed else (6, 9))
    )
    maker = maker_of((1, 4, 6), (1, 4, 9), w=matrix)
    maker.operator("BATCH_MATMUL", "x w", options="BatchMatMul", adjY=transposed)
    checked(maker, tmp_path)


def test_other_products_are_refused(tmp_path):
    maker = maker_of((2, 4, 6), (2, 4, 9), w=randoms(2, 6, 9))
    maker.graph.tensors[0].shape = [1, 8, 6]
    maker.operator("BATCH_MATMUL", "x w", options="BatchMatMul")
    assert error_of(maker, tmp_path) == [
        "BATCH_MATMUL: a second matrix of shape [2, 6, 9]; only one matrix is supported"
    ]
    maker = maker_of((1, 6, 4), (1, 4, 9), w=randoms(6, 9))
    maker.operator("BATCH_MATMUL", "x w", options="BatchMatMul", adjX=True)
    assert error_of(maker, tmp_path) == ["BATCH_MATMUL: a transposed first matrix is not supported"]


@pytest.mark.parametrize("op", ["BATCH_MATMUL", "DIV", "SUM"])
def test_operators_without_an_int8_form_say_so(op, tmp_path):
    maker = ModelMaker()
    for name in ("x", "y", "z"):
        maker.quantized(name, (1, 4), 0.5)
    maker.operator(op, "x z")
    assert error_of(maker, tmp_path, "x z") == [f"{op}: of int8 is not supported"]


@pytest.mark.parametrize(("begin", "end", "stride"), [(0, 9, 2), (1, 8, 3), (-7, 9, 4), (8, 9, 5)])
def test_slices_may_skip_elements(begin, end, stride, tmp_path):
    size = len(range(9)[begin:end:stride])
    maker = maker_of((1, 4, 9, 6), (1, 4, size, 6))
    for name, values in (("b", (0, 0, begin, 0)), ("e", (1, 4, end, 6)), ("s", (1, 1, stride, 1))):
        maker.constant(name, int32(*values))
    maker.operator("STRIDED_SLICE", "x b e s", options="StridedSlice")
    checked(maker, tmp_path)


def int8_image(maker, *names, shape=IMAGE, scale=0.05, zero_point=-3):
    for name in names:
        maker.quantized(name, shape, scale, zero_point)


def assert_int8_equals_litert(maker, folder, inputs="x", outputs="y"):
    """No element of any output differs from LiteRT's reference kernels."""
    path = saved(maker.content(inputs, outputs), folder)
    network = import_tflite(path)
    assert differing_outputs(network, interpreter_of(path, "reference"), range(4)) == [0] * 4


@pytest.mark.parametrize(("padding", "result"), [(SAME, (10, 14)), (VALID, (11, 15))])
def test_int8_transposed_convolutions_equal_litert_bit_for_bit(padding, result, tmp_path):
    rng = np.random.default_rng(5)
    maker = ModelMaker()
    int8_image(maker, "x")
    int8_image(maker, "y", shape=(1, *result, 4), scale=0.4)
    scales = np.array([0.01, 0.02, 0.015, 0.03], np.float32)
    maker.quantized("w", (), scales, [0] * 4, values=rng.integers(-127, 128, (4, 3, 3, 6)).astype(np.int8))
    maker.quantized("b", (), 0.05 * scales, [0] * 4, values=rng.integers(-900, 900, 4).astype(np.int32))
    maker.constant("shape", int32(1, *result, 4))
    fields = {"padding": padding, "strideH": 2, "strideW": 2}
    maker.operator("TRANSPOSE_CONV", "shape w x b", options="TransposeConv", **fields)
    assert_int8_equals_litert(maker, tmp_path)


@pytest.mark.parametrize("op", ["RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"])
@pytest.mark.parametrize(("corners", "centers"), [(False, False), (True, False), (False, True)])
def test_int8_images_are_resized_bit_for_bit(op, corners, centers, tmp_path):
    maker = ModelMaker()
    int8_image(maker, "x")
    int8_image(maker, "y", shape=(1, 9, 13, 6))
    maker.constant("size", int32(9, 13))
    kind = "ResizeBilinear" if op == "RESIZE_BILINEAR" else "ResizeNearestNeighbor"
    maker.operator(op, "x size", options=kind, alignCorners=corners, halfPixelCenters=centers)
    assert_int8_equals_litert(maker, tmp_path)


@pytest.mark.parametrize("op", ["MAXIMUM", "MINIMUM", "SUB"])
def test_int8_extremes_and_differences_equal_litert_bit_for_bit(op, tmp_path):
    maker = ModelMaker()
    int8_image(maker, "x", "z")
    int8_image(maker, "y", **({"scale": 0.09, "zero_point": 7} if op == "SUB" else {}))
    maker.operator(op, "x z", options="Sub" if op == "SUB" else "MaximumMinimum")
    assert_int8_equals_litert(maker, tmp_path, "x z")


@pytest.mark.parametrize(
    ("op", "shape", "constant", "options", "fields"),
    [
        ("MIRROR_PAD", (1, 8, 10, 12), np.array([[0, 0], [2, 1], [0, 3], [0, 0]], np.int32), "MirrorPad", {"mode": 0}),
        ("DEPTH_TO_SPACE", (1, 10, 14, 3), None, "DepthToSpace", {"blockSize": 2}),
        ("REDUCE_MAX", (1, 1, 1, 12), int32(1, 2), "Reducer", {"keepDims": True}),
    ],
)
def test_other_int8_operators_equal_litert_bit_for_bit(op, shape, constant, options, fields, tmp_path):
    maker = ModelMaker()
    int8_image(maker, "x", shape=(1, 5, 7, 12))
    int8_image(maker, "y", shape=shape)
    if constant is not None:
        maker.constant("c", constant)
    maker.operator(op, "x" if constant is None else "x c", options=options, **fields)
    assert_int8_equals_litert(maker, tmp_path)
