"""Int8 operators one by one, in their odd cases: the oracle against LiteRT's reference kernels, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from dscompile.frontend.tflite.importer import import_tflite
from dscompile.ir.ops import Activate, Binary, Mean
from tests.import_tflite_models import ModelMaker, int32, saved
from tests.litert_int8 import differing_outputs, interpreter_of

SAME, VALID = 0, 1
NONE, RELU, RELU_N1_TO_1, RELU6 = 0, 1, 2, 3
SEEDS = range(6)


def small_integers(rng, *shape):
    """An int8 constant that uses the whole range."""
    return rng.integers(-127, 128, shape).astype(np.int8)


def exact(maker, folder, inputs="x", rounding=None, kernels="reference", seeds=SEEDS):
    """The imported network, after the oracle gave for it what LiteRT gives for the file, bit for bit."""
    path = saved(maker.content(inputs), folder)
    network = import_tflite(path, rounding)
    assert differing_outputs(network, interpreter_of(path, kernels), seeds) == [0] * len(seeds)
    return network


def image_maker(shape, scale=0.05, zero_point=-3, dtype="int8"):
    maker = ModelMaker()
    maker.quantized("x", shape, scale, zero_point, dtype)
    return maker


WINDOWS = [
    ((9, 7), (3, 3), (1, 1), SAME, (1, 1)),
    ((9, 7), (3, 3), (2, 2), SAME, (1, 1)),
    ((8, 10), (5, 3), (2, 1), SAME, (1, 1)),
    ((11, 9), (7, 7), (1, 1), VALID, (1, 1)),
    ((11, 9), (3, 3), (1, 1), SAME, (2, 3)),
    ((5, 4), (1, 1), (2, 2), VALID, (1, 1)),
]


def output_size(size, kernel, stride, padding, dilation):
    """Windows along both axes, counted one by one."""
    if padding == SAME:
        return [len(range(0, n, s)) for n, s in zip(size, stride, strict=True)]
    return [len(range(0, n - (k - 1) * d, s)) for n, k, s, d in zip(size, kernel, stride, dilation, strict=True)]


@pytest.mark.parametrize(("rounding", "kernels"), [(None, "reference"), ("float32", "xnnpack")])
@pytest.mark.parametrize("activation", [NONE, RELU, RELU6])
@pytest.mark.parametrize(("size", "kernel", "stride", "padding", "dilation"), WINDOWS)
@pytest.mark.parametrize(("channels", "multiplier", "filters"), [(3, 0, 17), (1, 0, 4), (5, 1, 0), (3, 2, 0)])
def test_convolutions(
    channels, multiplier, filters, size, kernel, stride, padding, dilation, activation, rounding, kernels, rng, tmp_path
):
    filters = filters or channels * multiplier
    maker = image_maker((1, *size, channels))
    shape = (1, *kernel, filters) if multiplier else (filters, *kernel, channels)
    scales = rng.uniform(0.001, 0.01, filters).astype(np.float32)
    maker.quantized("w", (), scales, values=small_integers(rng, *shape), axis=3 if multiplier else 0)
    bias = rng.integers(-20000, 20000, filters).astype(np.int32)
    maker.quantized("b", (), np.float32(0.05) * scales, values=bias)
    maker.quantized("y", (1, *output_size(size, kernel, stride, padding, dilation), filters), 0.043, -11)
    options = {
        "padding": padding,
        "strideH": stride[0],
        "strideW": stride[1],
        "dilationHFactor": dilation[0],
        "dilationWFactor": dilation[1],
        "fusedActivationFunction": activation,
    }
    if multiplier:
        maker.operator("DEPTHWISE_CONV_2D", "x w b", options="DepthwiseConv2D", depthMultiplier=multiplier, **options)
    else:
        maker.operator("CONV_2D", "x w b", options="Conv2D", **options)
    exact(maker, tmp_path, rounding=rounding, kernels=kernels, seeds=range(2))


@pytest.mark.parametrize("large", [0.3, 40.0])
def test_convolutions_with_one_scale_and_factors_around_and_above_one(large, rng, tmp_path):
    maker = image_maker((1, 4, 4, 3), 0.05)
    maker.quantized("w", (), large, values=small_integers(rng, 8, 1, 1, 3))
    maker.quantized("b", (), 0.05 * large, values=np.zeros(8, np.int32))
    maker.quantized("y", (1, 4, 4, 8), 0.04, 5)
    maker.operator("CONV_2D", "x w b", options="Conv2D", strideH=1, strideW=1)
    exact(maker, tmp_path)


@pytest.mark.parametrize(("rounding", "kernels"), [(None, "reference"), ("float32", "xnnpack")])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("activation", [NONE, RELU, RELU6])
@pytest.mark.parametrize("with_bias", [False, True])
def test_fully_connected(with_bias, activation, per_channel, rounding, kernels, rng, tmp_path):
    maker = image_maker((1, 100), 0.07, 4)
    scales = rng.uniform(0.001, 0.01, 257).astype(np.float32) if per_channel else 0.0043
    maker.quantized("w", (), scales, values=small_integers(rng, 257, 100))
    if with_bias:
        bias = rng.integers(-5000, 5000, 257).astype(np.int32)
        maker.quantized("b", (), np.float32(0.07) * np.asarray(scales, np.float32), values=bias)
    maker.quantized("y", (1, 257), 0.31, -7)
    names = "x w b" if with_bias else "x w _"
    maker.operator("FULLY_CONNECTED", names, options="FullyConnected", fusedActivationFunction=activation)
    exact(maker, tmp_path, rounding=rounding, kernels=kernels)


@pytest.mark.parametrize("op", ["Add", "Mul"])
@pytest.mark.parametrize("activation", [NONE, RELU, RELU_N1_TO_1, RELU6])
@pytest.mark.parametrize(
    ("first", "second", "made"),
    [
        ((0.05, -3), (0.02, 10), (0.06, 7)),
        ((0.011, 0), (0.3, -128), (0.25, -128)),
        ((0.05, 1), (0.05, 1), (0.05, 1)),
        ((0.5, 1), (0.25, 1), (0.003, 1)),
    ],
)
def test_sums_and_products(first, second, made, activation, op, tmp_path):
    maker = ModelMaker()
    maker.quantized("x", (1, 9, 7, 17), *first)
    maker.quantized("z", (1, 9, 7, 17), *second)
    maker.quantized("y", (1, 9, 7, 17), *made)
    maker.operator(op.upper(), "x z", options=op, fusedActivationFunction=activation)
    exact(maker, tmp_path, "x z")


# Ratios of 2^-1 to 2^2, with ties; one of 2^-5, with its zero point behind the shift; one that XNNPACK leaves alone.
@pytest.mark.parametrize("op", ["Add", "Sub"])
@pytest.mark.parametrize(
    ("first", "second", "made"),
    [
        ((0.05, -3), (0.06, 100), (0.07, 5)),
        ((0.5, -7), (0.25, 3), (1.0, 2)),
        ((0.05, -3), (0.2, -128), (0.05, 127)),
        ((0.05, 11), (0.02, 4), (1.3, -60)),
        ((0.05, 11), (0.00002, 4), (0.1, -60)),
    ],
)
def test_sums_in_the_rounding_float32_are_those_of_xnnpack(op, first, second, made, tmp_path):
    maker = ModelMaker()
    maker.quantized("x", (1, 9, 7, 17), *first)
    maker.quantized("z", (1, 9, 7, 17), *second)
    maker.quantized("y", (1, 9, 7, 17), *made)
    maker.operator(op.upper(), "x z", options=op)
    exact(maker, tmp_path, "x z", "float32", "xnnpack")


@pytest.mark.parametrize("made", [(0.07, 5), (0.05 * 0.06 * 16, 5), (0.05 * 0.06 * 2, -40)])  # two with many halves
def test_products_in_the_rounding_float32_are_those_of_xnnpack(made, tmp_path):
    maker = ModelMaker()
    maker.quantized("x", (1, 9, 7, 17), 0.05, -3)
    maker.quantized("z", (1, 9, 7, 17), 0.06, 100)
    maker.quantized("y", (1, 9, 7, 17), *made)
    maker.operator("MUL", "x z", options="Mul")
    exact(maker, tmp_path, "x z", "float32", "xnnpack")


@pytest.mark.parametrize("op", ["Add", "Mul"])
@pytest.mark.parametrize("shape", [(1, 1, 1, 5), (5,), (1, 4, 3, 1), (1, 4, 3, 5)])
def test_sums_and_products_with_constants_of_other_shapes(op, shape, rng, tmp_path):
    maker = image_maker((1, 4, 3, 5))
    maker.quantized("c", (), 0.013, 20, values=small_integers(rng, *shape))
    maker.quantized("y", (1, 4, 3, 5), 0.07, 1)
    maker.operator(op.upper(), "x c", options=op)
    exact(maker, tmp_path)


@pytest.mark.parametrize("kind", ["AVERAGE", "MAX"])
@pytest.mark.parametrize("activation", [NONE, RELU, RELU6])
@pytest.mark.parametrize(("size", "kernel", "stride", "padding", "dilation"), [w for w in WINDOWS if w[4] == (1, 1)])
def test_pools(kind, activation, size, kernel, stride, padding, dilation, tmp_path):
    maker = image_maker((1, *size, 3), 0.05, -20)
    maker.quantized("y", (1, *output_size(size, kernel, stride, padding, dilation), 3), 0.05, -20)
    maker.operator(
        f"{kind}_POOL_2D",
        "x",
        options="Pool2D",
        padding=padding,
        strideH=stride[0],
        strideW=stride[1],
        filterHeight=kernel[0],
        filterWidth=kernel[1],
        fusedActivationFunction=activation,
    )
    exact(maker, tmp_path)


@pytest.mark.parametrize(("made", "zero_point"), [(0.05, -3), (0.013, 40), (0.4, -128)])
@pytest.mark.parametrize(
    ("axes", "keep", "result"),
    [
        ((1, 2), True, (1, 1, 1, 17)),
        ((1, 2), False, (1, 17)),
        ((1,), True, (1, 1, 7, 17)),
        ((3,), False, (1, 9, 7)),
        ((1, 2, 3), False, (1,)),
    ],
)
def test_means(axes, keep, result, made, zero_point, tmp_path):
    maker = image_maker((1, 9, 7, 17))
    maker.constant("axes", int32(*axes))
    maker.quantized("y", result, made, zero_point)
    maker.operator("MEAN", "x axes", options="Reducer", keepDims=keep)
    network = exact(maker, tmp_path, seeds=range(30))
    assert any(isinstance(layer.op, Mean) for layer in network.layers)


def test_means_over_rows_of_one(tmp_path):
    maker = image_maker((1, 1, 1, 100))
    maker.constant("axes", int32(1, 2))
    maker.quantized("y", (1, 100), 0.07, -3)
    maker.operator("MEAN", "x axes", options="Reducer")
    exact(maker, tmp_path)


@pytest.mark.parametrize("beta", [1.0, 0.3])
@pytest.mark.parametrize("scale", [0.003, 0.05, 0.0625, 0.7, 1.3])
@pytest.mark.parametrize("shape", [(1, 2), (1, 12), (1, 500), (1, 3, 2, 5)])  # LiteRT aborts on more equal ones
def test_softmax(shape, scale, beta, tmp_path):
    maker = image_maker(shape, scale, 11)
    maker.quantized("y", shape, 1 / 256, -128)
    maker.operator("SOFTMAX", "x", options="Softmax", beta=beta)
    exact(maker, tmp_path)


EVERY = (1, 16, 16, 3)


@pytest.mark.parametrize("scale", [0.003, 0.0235, 0.05, 0.1, 1.0])
@pytest.mark.parametrize(
    ("op", "made"),
    [
        ("HARD_SWISH", (0.04, -119)),
        ("HARD_SWISH", (0.0091, -10)),
        ("HARD_SWISH", (1.2, 3)),
        ("LOGISTIC", (1 / 256, -128)),
        ("TANH", (1 / 128, 0)),
        ("RELU", (0.04, -128)),
        ("RELU", (0.017, -30)),
        ("RELU6", (0.0235, -128)),
        ("RELU6", (0.07, 5)),
        ("RELU_N1_TO_1", (0.009, 5)),
    ],
)
@pytest.mark.parametrize("zero_point", [-128, -3, 90])
def test_activations(op, made, scale, zero_point, tmp_path):
    maker = image_maker(EVERY, scale, zero_point)
    maker.quantized("y", EVERY, *made)
    maker.operator(op, "x")
    network = exact(maker, tmp_path, seeds=range(2))
    assert isinstance(network.layers[0].op, Activate)


@pytest.mark.parametrize("alpha", [0.01, 0.3, 1.5])
@pytest.mark.parametrize("made", [(0.05, -3), (0.02, 4), (0.2, -100)])
def test_leaky_relu(made, alpha, tmp_path):
    maker = image_maker(EVERY)
    maker.quantized("y", EVERY, *made)
    maker.operator("LEAKY_RELU", "x", options="LeakyRelu", alpha=alpha)
    exact(maker, tmp_path)


@pytest.mark.parametrize("axis", [1, 3, -1])
def test_concatenations(axis, tmp_path):
    maker = image_maker((1, 4, 3, 5))
    maker.quantized("z", (1, 4, 3, 5), 0.05, -3)
    maker.quantized("y", (1, 8, 3, 5) if axis == 1 else (1, 4, 3, 10), 0.05, -3)
    maker.operator("CONCATENATION", "x z", options="Concatenation", axis=axis)
    exact(maker, tmp_path, "x z")


def test_concatenations_with_constants(rng, tmp_path):
    maker = image_maker((1, 4, 3, 5))
    maker.quantized("c", (), 0.05, -3, values=small_integers(rng, 1, 4, 3, 2))
    maker.quantized("y", (1, 4, 3, 7), 0.05, -3)
    maker.operator("CONCATENATION", "x c", options="Concatenation", axis=3)
    exact(maker, tmp_path)


@pytest.mark.parametrize("value", [None, -77])
@pytest.mark.parametrize(
    ("paddings", "result"),
    [(((0, 0), (1, 2), (0, 3), (0, 0)), (7, 6, 5)), (((0, 0), (0, 0), (1, 0), (2, 4)), (4, 4, 11))],
)
def test_pads(paddings, result, value, tmp_path):
    maker = image_maker((1, 4, 3, 5))
    maker.constant("p", int32(*paddings))
    maker.quantized("y", (1, *result), 0.05, -3)
    if value is not None:
        maker.quantized("v", (), 0.05, -3, values=np.array([value], np.int8))
    maker.operator("PAD" if value is None else "PADV2", "x p" if value is None else "x p v")
    exact(maker, tmp_path)


def test_reshapes_and_transposes(tmp_path):
    maker = image_maker((1, 4, 3, 5))
    maker.constant("p", int32(0, 3, 1, 2))
    maker.constant("s", int32(1, 60))
    maker.quantized("t", (1, 5, 4, 3), 0.05, -3)
    maker.quantized("y", (1, 60), 0.05, -3)
    maker.operator("TRANSPOSE", "x p", "t", options="Transpose")
    maker.operator("RESHAPE", "t s", options="Reshape")
    exact(maker, tmp_path)


@pytest.mark.parametrize(
    ("given", "made"),
    [
        (("int8", 0.05, -3), ("int8", 0.02, 10)),
        (("int8", 0.05, -3), ("int8", 0.3, 10)),
        (("uint8", 0.05, 125), ("int8", 0.05, -3)),
        (("uint8", 0.05, 100), ("int8", 0.031, -3)),
        (("int8", 0.05, -3), ("uint8", 0.05, 125)),
        (("float32", 1.0, 0), ("int8", 0.02, -3)),
        (("float32", 1.0, 0), ("int8", 0.25, 0)),
        (("float32", 1.0, 0), ("uint8", 0.02, 130)),
    ],
)
def test_quantize(given, made, tmp_path):
    maker = ModelMaker()
    if given[0] == "float32":
        maker.tensor("x", EVERY)
    else:
        maker.quantized("x", EVERY, given[1], given[2], given[0])
    maker.quantized("y", EVERY, made[1], made[2], made[0])
    maker.operator("QUANTIZE", "x")
    network = exact(maker, tmp_path)
    assert (network.tensor("x").dtype, network.tensor("y").dtype) == (given[0], made[0])


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_dequantize(dtype, tmp_path):
    maker = image_maker(EVERY, 0.0371, 17, dtype)
    maker.tensor("y", EVERY)
    maker.operator("DEQUANTIZE", "x")
    exact(maker, tmp_path)


def test_float_layers_between_integers(tmp_path):
    maker = image_maker(EVERY)
    maker.tensor("f", EVERY)
    maker.tensor("r", EVERY)
    maker.quantized("y", EVERY, 0.02, -100)
    maker.operator("DEQUANTIZE", "x", "f")
    maker.operator("RELU6", "f", "r")
    maker.operator("QUANTIZE", "r")
    exact(maker, tmp_path)


@pytest.mark.parametrize("size", [1, 3])
def test_rounding_half_up_is_that_of_the_optimized_convolutions(size, rng, tmp_path):
    maker = image_maker((1, 16, 16, 17))
    scales = rng.uniform(0.001, 0.01, 64).astype(np.float32)
    maker.quantized("w", (), scales, values=small_integers(rng, 64, size, size, 17))
    maker.quantized("b", (), np.float32(0.05) * scales, values=rng.integers(-20000, 20000, 64).astype(np.int32))
    maker.quantized("y", (1, 17 - size, 17 - size, 64), 0.9, 5)
    maker.operator("CONV_2D", "x w b", options="Conv2D", strideH=1, strideW=1, padding=VALID)
    exact(maker, tmp_path, rounding="half-up", kernels="optimized")
    with pytest.raises(AssertionError):
        exact(maker, tmp_path, kernels="optimized")


def test_a_mean_in_float32_rounding_is_that_of_litert_as_it_runs_by_default(tmp_path):
    maker = image_maker((1, 9, 7, 17))
    maker.constant("axes", int32(1, 2))
    maker.quantized("y", (1, 1, 1, 17), 0.0071, 5)
    maker.operator("MEAN", "x axes", options="Reducer", keepDims=True)
    exact(maker, tmp_path, rounding="float32", kernels="xnnpack", seeds=range(30))


def test_sums_of_int8_stay_layers(rng, tmp_path):
    maker = image_maker((1, 4, 3, 5))
    maker.quantized("c", (), 0.013, 20, values=small_integers(rng, 5))
    maker.quantized("w", (), 0.01, values=small_integers(rng, 5, 1, 1, 5))
    maker.quantized("b", (), 0.0005, values=np.zeros(5, np.int32))
    maker.quantized("h", (1, 4, 3, 5), 0.07, 1)
    maker.quantized("y", (1, 4, 3, 5), 0.07, 1)
    maker.operator("CONV_2D", "x w b", "h", options="Conv2D", strideH=1, strideW=1)
    maker.operator("ADD", "h c", options="Add")
    network = exact(maker, tmp_path)
    assert isinstance(network.layers[-1].op, Binary)
