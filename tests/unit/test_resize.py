"""Resizing: coordinates and interpolation against onnxruntime and LiteRT's rules, shapes, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from dscompile import oracle
from dscompile.errors import BadInputError, UnsupportedError
from dscompile.ir.network import NetworkBuilder
from dscompile.ir.ops import Resize
from dscompile.ir.resampling import fixed_point_coordinates, nearest_indices, source_coordinates
from dscompile.ir.shapes import ShapeError, output_shape
from dscompile.ir.tensor import Quantization, Tensor
from tests.import_onnx_models import checked, imported, model, node

SIZES = [(5, 7, 10, 21), (9, 6, 4, 3), (17, 4, 13, 1), (33, 33, 65, 129), (1, 1, 5, 4)]
ABSENT = np.zeros(0, np.float32)


def resized(shape, wanted, opset=13, **attributes):
    """A model of one Resize; `wanted` are sizes if they are integers, else factors."""
    numbers = np.array([1, 1, *wanted], np.int64 if isinstance(wanted[0], int) else np.float32)
    if isinstance(wanted[0], int):
        numbers[:2] = shape[:2]
    names, constants = "x roi scales", {"roi": ABSENT, "scales": numbers}
    if isinstance(wanted[0], int):
        names, constants = "x roi scales sizes", {"roi": ABSENT, "scales": ABSENT, "sizes": numbers}
    return model([node("Resize", names, **attributes)], {"x": shape}, constants, opset=opset)


@pytest.mark.parametrize(
    ("coordinates", "opset"),
    [
        ("half_pixel", 11),
        ("half_pixel_symmetric", 19),
        ("pytorch_half_pixel", 22),
        ("align_corners", 13),
        ("asymmetric", 18),
        ("tf_half_pixel_for_nn", 12),
    ],
)
def test_bilinear_equals_onnxruntime_in_all_coordinates(coordinates, opset, tmp_path):
    attributes = {"mode": "linear", "coordinate_transformation_mode": coordinates}
    for *given, height, width in SIZES:
        network = checked(resized((1, 3, *given), (height, width), opset, **attributes), tmp_path)
        assert [layer.op.method for layer in network.layers] == ["bilinear"]


@pytest.mark.parametrize("rounding", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
@pytest.mark.parametrize("coordinates", ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"])
def test_nearest_equals_onnxruntime_in_all_roundings(rounding, coordinates, tmp_path):
    attributes = {"mode": "nearest", "coordinate_transformation_mode": coordinates, "nearest_mode": rounding}
    for *given, height, width in SIZES:
        checked(resized((1, 3, *given), (height, width), **attributes), tmp_path, relative=0.0)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("factors", [(2.0, 2.0), (1.5, 0.6), (2.7, 3.3), (2.0, 0.5)], ids=str)
@pytest.mark.parametrize("opset", [11, 18])
def test_factors_that_no_size_gives_equal_onnxruntime(mode, factors, opset, tmp_path):
    checked(resized((1, 2, 11, 13), factors, opset, mode=mode), tmp_path)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("factors", [(2.0, 3.0), (1.5, 0.6), (2.7, 3.3), (2.0, 0.5)], ids=str)
def test_resize_of_opset_10_rounds_up_where_it_shrinks(mode, factors, tmp_path):
    constants = {"scales": np.array([1, 1, *factors], np.float32)}
    checked(model([node("Resize", "x scales", mode=mode)], {"x": (1, 3, 9, 8)}, constants, opset=10), tmp_path)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("opset", [7, 9])
def test_upsample_equals_onnxruntime(mode, opset, tmp_path):
    factors = np.array([1, 1, 2, 2.5], np.float32)
    if opset == 7:
        made = model([node("Upsample", "x", mode=mode, scales=factors.tolist())], {"x": (1, 3, 5, 6)}, opset=7)
    else:
        made = model([node("Upsample", "x s", mode=mode)], {"x": (1, 3, 5, 6)}, {"s": factors}, opset=9)
    checked(made, tmp_path)


@pytest.mark.parametrize("policy", ["stretch", "not_larger", "not_smaller"])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_axes_and_the_policy_for_the_aspect_ratio(policy, mode, tmp_path):
    attributes = {"axes": [2, 3], "keep_aspect_ratio_policy": policy, "mode": mode}
    made = model([node("Resize", "x _ _ s", **attributes)], {"x": (1, 3, 11, 9)}, {"s": np.array([7, 30])}, opset=18)
    checked(made, tmp_path)


@pytest.mark.parametrize(
    ("attributes", "wanted", "message"),
    [
        ({"mode": "cubic"}, (4, 4), "mode 'cubic' is not supported, only nearest and linear are"),
        ({"mode": "linear", "antialias": 1}, (2, 2), "antialias is not supported"),
        (
            {"coordinate_transformation_mode": "tf_crop_and_resize"},
            (4, 4),
            "coordinate_transformation_mode 'tf_crop_and_resize' is not supported",
        ),
    ],
)
def test_what_resize_cannot_is_named(attributes, wanted, message, tmp_path):
    with pytest.raises(UnsupportedError, match=message):
        imported(resized((1, 3, 5, 5), wanted, 18, **attributes), tmp_path)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (resized((1, 3, 5, 5), (4, 4), nearest_mode="up"), "nearest_mode 'up' does not exist"),
        (resized((1, 3, 5, 5), (0.1, 1.0)), "scale 0.1 leaves nothing of 5"),
        (resized((1, 3, 5, 5), (-1.0, 1.0)), "sizes and scales must be positive"),
        (resized((1, 3, 5, 5), (2, 2, 2)), "5 numbers for 4 axes"),
        (model([node("Resize", "x")], {"x": (1, 3, 5, 5)}), "neither scales nor sizes are given"),
        (model([node("Upsample", "x")], {"x": (1, 3, 5, 5)}, opset=7), "attribute 'scales' is missing"),
        (
            model([node("Upsample", "x", scales=[1, 1, 2, 2])], {"x": (1, 3, 5, 5)}, opset=7),
            "attribute 'scales' must be a list of numbers",
        ),
        (
            model(
                [node("Resize", "x _ _ s", axes=[2, 3], keep_aspect_ratio_policy="bent")],
                {"x": (1, 3, 5, 5)},
                {"s": np.array([2, 2])},
                opset=18,
            ),
            "keep_aspect_ratio_policy 'bent' does not exist",
        ),
    ],
)
def test_a_damaged_resize_is_a_bad_input(made, message, tmp_path):
    with pytest.raises(BadInputError, match=message):
        imported(made, tmp_path)


def test_channels_cannot_be_resized(tmp_path):
    made = model([node("Resize", "x _ s")], {"x": (1, 3, 5, 5)}, {"s": np.array([1, 2, 1, 1], np.float32)})
    with pytest.raises(UnsupportedError, match=r"resizes axis 1 of .* only height and width can be resized"):
        imported(made, tmp_path)


def test_an_image_keeps_its_channels_and_must_keep_a_pixel():
    assert output_shape(Resize((4, 9)), [(1, 5, 5, 3)]) == (1, 4, 9, 3)
    with pytest.raises(ShapeError, match=r"resizes to \[0, 9\], which is no image"):
        output_shape(Resize((0, 9)), [(1, 5, 5, 3)])


def test_tflite_multiplies_by_the_step_and_onnx_divides_by_the_factor():
    tflite = Resize((21, 1), coordinates="asymmetric", arithmetic="tflite")
    step = np.float32(9) / np.float32(21)
    np.testing.assert_array_equal(source_coordinates(tflite, 0, 9), np.arange(21, dtype=np.float32) * step)
    onnx = Resize((21, 1), coordinates="asymmetric")
    factor = np.float32(21) / np.float32(9)
    np.testing.assert_array_equal(source_coordinates(onnx, 0, 9), np.arange(21, dtype=np.float32) / factor)


def test_nearest_pixels_of_tflite():
    """By hand from its reference kernel, get_nearest_neighbor."""
    plain = Resize((4, 1), coordinates="asymmetric", rounding="floor", arithmetic="tflite")
    assert nearest_indices(plain, 0, 3).tolist() == [0, 0, 1, 2]
    centers = Resize((4, 1), coordinates="tf_half_pixel_for_nn", rounding="floor", arithmetic="tflite")
    assert nearest_indices(centers, 0, 3).tolist() == [0, 1, 1, 2]
    corners = Resize((4, 1), coordinates="align_corners", rounding="round_prefer_ceil", arithmetic="tflite")
    assert nearest_indices(corners, 0, 3).tolist() == [0, 1, 1, 2]


def test_int8_coordinates_have_ten_bits():
    op = Resize((5, 1), "bilinear", "half_pixel", arithmetic="tflite")
    # step = (1024 * 3 + 2) // 5 = 614: o * 614 + 307 - 512
    assert fixed_point_coordinates(op, 0, 3).tolist() == [-205, 409, 1023, 1637, 2251]
    corners = Resize((5, 1), "bilinear", "align_corners", arithmetic="tflite")
    assert fixed_point_coordinates(corners, 0, 3).tolist() == [0, 512, 1024, 1536, 2048]
    onnx = Resize((5, 1), "bilinear", "pytorch_half_pixel")
    assert fixed_point_coordinates(onnx, 0, 3).tolist() == [-205, 410, 1024, 1638, 2253]


def test_int8_bilinear_rounds_halves_away_from_zero():
    builder = NetworkBuilder("n", "tflite")
    scale = Quantization((0.5,), 3)
    builder.input(Tensor("x", (1, 1, 2, 1), "int8", scale))
    builder.add("y", Resize((1, 4), "bilinear", "half_pixel", arithmetic="tflite"), ["x"])
    network = builder.build(["y"])
    x = np.array([-5, 4], np.int8).reshape(1, 1, 2, 1)
    # -5, -5 + 9 / 4 = -2.75, -5 + 27 / 4 = 1.75, 4
    assert oracle.run(network, {"x": x})["y"].reshape(-1).tolist() == [-5, -3, 2, 4]
    x = np.array([0, 2], np.int8).reshape(1, 1, 2, 1)
    assert oracle.run(network, {"x": x})["y"].reshape(-1).tolist() == [0, 1, 2, 2]
