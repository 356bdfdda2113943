"""Int8 resizes, transposed convolutions, differences and extremes: the oracle against LiteRT's reference kernels."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import interpreter

from dscompile import oracle
from dscompile.ir.network import Array, Network, NetworkBuilder
from dscompile.ir.ops import Binary, ConvTranspose, DepthToSpace, Op, Pad, Pads, Resize, SpaceToDepth
from dscompile.ir.tensor import Quantization, Tensor
from tests.import_tflite_models import ModelMaker

Q = Quantization((0.05,), -3)
SHAPES = [
    ((5, 7), (10, 21)),
    ((9, 6), (4, 3)),
    ((17, 4), (13, 1)),
    ((33, 20), (65, 41)),
    ((1, 1), (5, 4)),
    ((6, 6), (20, 11)),
]


def litert(content: bytes, inputs: list[Array]) -> Array:
    """What LiteRT's reference kernels make of the inputs."""
    kind = interpreter.OpResolverType.BUILTIN_REF
    runner = interpreter.Interpreter(model_content=content, num_threads=1, experimental_op_resolver_type=kind)
    runner.allocate_tensors()
    for detail, array in zip(runner.get_input_details(), inputs, strict=True):
        runner.set_tensor(detail["index"], array)
    runner.invoke()
    result: Array = runner.get_tensor(runner.get_output_details()[0]["index"])
    return result


def integers(shape: tuple[int, ...], seed: int) -> Array:
    values: Array = np.random.default_rng(seed).integers(-128, 128, shape).astype(np.int8)
    return values


def one(op: Op, shape: tuple[int, ...], *, count: int = 1, made: Quantization = Q, **weights: Array) -> Network:
    """A network of one int8 operator."""
    net = NetworkBuilder("one", "tflite")
    names = [net.input(Tensor(f"x{number}", shape, "int8", Q)) for number in range(count)]
    return net.build([net.add("y", op, names, quantization=made, **weights)])


def resize_model(shape: tuple[int, ...], size: tuple[int, int], op: str, corners: bool, centers: bool) -> bytes:
    maker = ModelMaker()
    maker.quantized("x", shape, Q.scale, Q.zero_point)
    maker.constant("size", np.array(size, np.int32))
    maker.quantized("y", (1, *size, shape[3]), Q.scale, Q.zero_point)
    options = "ResizeBilinear" if op == "RESIZE_BILINEAR" else "ResizeNearestNeighbor"
    maker.operator(op, "x size", "y", options, alignCorners=corners, halfPixelCenters=centers)
    return maker.content()


@pytest.mark.parametrize(
    ("coordinates", "corners", "centers"),
    [("asymmetric", False, False), ("align_corners", True, False), ("half_pixel", False, True)],
)
@pytest.mark.parametrize("sizes", SHAPES, ids=str)
def test_bilinear_resizes_have_the_bytes_of_litert(coordinates, corners, centers, sizes):
    (height, width), size = sizes
    shape = (1, height, width, 3)
    x = integers(shape, 1)
    want = litert(resize_model(shape, size, "RESIZE_BILINEAR", corners, centers), [x])
    network = one(Resize(size, "bilinear", coordinates, arithmetic="tflite"), shape)
    np.testing.assert_array_equal(oracle.run(network, {"x0": x})["y"], want)


@pytest.mark.parametrize(
    ("coordinates", "rounding", "corners", "centers"),
    [
        ("asymmetric", "floor", False, False),
        ("align_corners", "round_prefer_ceil", True, False),
        ("tf_half_pixel_for_nn", "floor", False, True),
    ],
)
@pytest.mark.parametrize("sizes", SHAPES, ids=str)
def test_nearest_resizes_have_the_bytes_of_litert(coordinates, rounding, corners, centers, sizes):
    (height, width), size = sizes
    shape = (1, height, width, 3)
    x = integers(shape, 2)
    want = litert(resize_model(shape, size, "RESIZE_NEAREST_NEIGHBOR", corners, centers), [x])
    network = one(Resize(size, "nearest", coordinates, rounding, arithmetic="tflite"), shape)
    np.testing.assert_array_equal(oracle.run(network, {"x0": x})["y"], want)


@pytest.mark.parametrize("made", [Q, Quantization((0.11,), 7), Quantization((0.031,), -20)])
def test_differences_have_the_bytes_of_litert(made):
    shape = (1, 16, 16, 16)
    maker = ModelMaker()
    for name in ("a", "b"):
        maker.quantized(name, shape, Q.scale, Q.zero_point)
    maker.quantized("y", shape, made.scale, made.zero_point)
    maker.operator("SUB", "a b", "y", "Sub")
    inputs = [integers(shape, 3), integers(shape, 4)]
    network = one(Binary("sub"), shape, count=2, made=made)
    got = oracle.run(network, dict(zip(("x0", "x1"), inputs, strict=True)))["y"]
    np.testing.assert_array_equal(got, litert(maker.content("a b"), inputs))


@pytest.mark.parametrize(("kind", "op"), [("max", "MAXIMUM"), ("min", "MINIMUM")])
def test_extremes_have_the_bytes_of_litert(kind, op):
    shape = (1, 4, 5, 6)
    maker = ModelMaker()
    for name in ("a", "b", "y"):
        maker.quantized(name, shape, Q.scale, Q.zero_point)
    maker.operator(op, "a b", "y", "MaximumMinimum")
    inputs = [integers(shape, 3), integers(shape, 4)]
    got = oracle.run(one(Binary(kind), shape, count=2), dict(zip(("x0", "x1"), inputs, strict=True)))["y"]
    np.testing.assert_array_equal(got, litert(maker.content("a b"), inputs))


@pytest.mark.parametrize(("kernel", "stride"), [((3, 3), (2, 2)), ((2, 2), (2, 2)), ((4, 3), (1, 2))])
def test_transposed_convolutions_have_the_bytes_of_litert(kernel, stride):
    """VALID: the result holds every product."""
    rng, shape, filters = np.random.default_rng(5), (1, 5, 4, 6), 7
    weights = rng.integers(-127, 128, (filters, *kernel, 6)).astype(np.int8)
    scales = rng.uniform(0.001, 0.004, filters).astype(np.float32)
    bias = rng.integers(-3000, 3000, filters).astype(np.int32)
    size = tuple((count - 1) * step + extent for count, step, extent in zip(shape[1:3], stride, kernel, strict=True))
    made = Quantization((0.13,), 4)
    maker = ModelMaker()
    maker.constant("size", np.array([1, *size, filters], np.int32))
    maker.quantized("w", weights.shape, scales, 0, values=weights)
    maker.quantized("x", shape, Q.scale, Q.zero_point)
    maker.quantized("b", (filters,), scales * np.float32(Q.scale), 0, values=bias)
    maker.quantized("y", (1, *size, filters), made.scale, made.zero_point)
    maker.operator(
        "TRANSPOSE_CONV", "size w x b", "y", "TransposeConv", padding=1, strideH=stride[0], strideW=stride[1]
    )
    maker.model.operatorCodes[-1].version = 3
    x = integers(shape, 6)
    network = one(
        ConvTranspose(filters, kernel, stride),
        shape,
        made=made,
        kernel=weights.transpose(1, 2, 3, 0),
        kernel_scale=scales,
        bias=bias,
    )
    np.testing.assert_array_equal(oracle.run(network, {"x0": x})["y"], litert(maker.content(), [x]))


@pytest.mark.parametrize(
    ("op", "name", "options", "fields", "shape"),
    [
        (DepthToSpace((2, 2)), "DEPTH_TO_SPACE", "DepthToSpace", {"blockSize": 2}, (1, 3, 4, 12)),
        (SpaceToDepth((2, 2)), "SPACE_TO_DEPTH", "SpaceToDepth", {"blockSize": 2}, (1, 6, 4, 3)),
    ],
)
def test_blocks_are_those_of_litert(op, name, options, fields, shape):
    network = one(op, shape)
    maker = ModelMaker()
    maker.quantized("x", shape, Q.scale, Q.zero_point)
    maker.quantized("y", network.shape("y"), Q.scale, Q.zero_point)
    maker.operator(name, "x", "y", options, **fields)
    x = integers(shape, 7)
    np.testing.assert_array_equal(oracle.run(network, {"x0": x})["y"], litert(maker.content(), [x]))


@pytest.mark.parametrize(("mode", "number"), [("reflect", 0), ("symmetric", 1)])
def test_mirrored_borders_are_those_of_litert(mode, number):
    shape = (1, 5, 4, 3)
    network = one(Pad(Pads(2, 1, 3, 2), mode=mode), shape)
    maker = ModelMaker()
    maker.quantized("x", shape, Q.scale, Q.zero_point)
    maker.constant("pads", np.array([[0, 0], [2, 1], [3, 2], [0, 0]], np.int32))
    maker.quantized("y", network.shape("y"), Q.scale, Q.zero_point)
    maker.operator("MIRROR_PAD", "x pads", "y", "MirrorPad", mode=number)
    x = integers(shape, 8)
    np.testing.assert_array_equal(oracle.run(network, {"x0": x})["y"], litert(maker.content(), [x]))
