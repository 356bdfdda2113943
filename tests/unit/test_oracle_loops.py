"""The oracle against plain Python loops, written from the definitions and one output element at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dscompile.ir.network import NetworkBuilder
from dscompile.ir.ops import Activate, Activation, BatchNorm, Conv2D, Dense, Pads, Pool, Softmax
from dscompile.ir.tensor import Tensor
from dscompile.oracle import run


def evaluate(op, x, **weights):
    """The oracle's result for one layer."""
    builder = NetworkBuilder("one_layer")
    builder.add("layer", op, [builder.input(Tensor("x", x.shape))], "y", **weights)
    return run(builder.build(["y"]), {"x": x})["y"]


def pixel(x, row, column, channel, outside=0.0):
    """One element of x [1, H, W, C], or `outside` of it."""
    inside = 0 <= row < x.shape[1] and 0 <= column < x.shape[2]
    return float(x[0, row, column, channel]) if inside else outside


def naive_convolution(op, x, kernel, bias):
    (kh, kw), (sh, sw), (dh, dw), pads = op.kernel, op.stride, op.dilation, op.pads
    rows = 1 + (x.shape[1] + pads.top + pads.bottom - (1 + (kh - 1) * dh)) // sh
    columns = 1 + (x.shape[2] + pads.left + pads.right - (1 + (kw - 1) * dw)) // sw
    inputs_per_group, outputs_per_group = x.shape[3] // op.groups, op.out_channels // op.groups
    result = np.empty((1, rows, columns, op.out_channels))
    for out in range(op.out_channels):
        first_input = out // outputs_per_group * inputs_per_group
        for row in range(rows):
            for column in range(columns):
                top, left = row * sh - pads.top, column * sw - pads.left
                products = [
                    pixel(x, top + i * dh, left + j * dw, first_input + k) * float(kernel[i, j, k, out])
                    for i in range(kh)
                    for j in range(kw)
                    for k in range(inputs_per_group)
                ]
                result[0, row, column, out] = math.fsum([*products, float(bias[out])])
    return result


CONVOLUTIONS = {
    "3x3_same": ((1, 5, 6, 3), Conv2D(4, (3, 3), pads=Pads(1, 1, 1, 1))),
    "3x3_valid_stride_2_odd": ((1, 7, 5, 2), Conv2D(3, (3, 3), (2, 2))),
    "stride_2_pads_bottom_right_only": ((1, 6, 6, 3), Conv2D(2, (3, 3), (2, 2), Pads(0, 1, 0, 1))),
    "all_four_pads_differ": ((1, 3, 4, 1), Conv2D(1, (4, 5), (1, 2), Pads(3, 0, 1, 4))),
    "5x5_on_one_pixel": ((1, 1, 1, 3), Conv2D(17, (5, 5), pads=Pads(2, 2, 2, 2))),
    "7x7_stride_3": ((1, 9, 8, 1), Conv2D(2, (7, 7), (3, 3), Pads(3, 3, 3, 3))),
    "dilation_2_by_3": ((1, 8, 9, 2), Conv2D(3, (3, 2), dilation=(2, 3), pads=Pads(2, 2, 0, 3))),
    "rectangular_stride": ((1, 7, 8, 2), Conv2D(2, (2, 3), (3, 1))),
    "two_groups": ((1, 4, 4, 6), Conv2D(4, (3, 3), groups=2, pads=Pads(1, 1, 1, 1))),
    "depthwise": ((1, 5, 5, 17), Conv2D(17, (3, 3), groups=17, pads=Pads(1, 1, 1, 1))),
    "depthwise_multiplier_2": ((1, 5, 4, 3), Conv2D(6, (3, 3), (2, 2), Pads(1, 1, 0, 1), groups=3)),
    "depthwise_of_one_channel": ((1, 4, 4, 1), Conv2D(8, (3, 3))),
    "pointwise_100": ((1, 2, 3, 100), Conv2D(17, (1, 1))),
    "pointwise_stride_2": ((1, 5, 5, 3), Conv2D(4, (1, 1), (2, 2))),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolution_equals_a_sum_per_output_element(name, rng):
    shape, op = CONVOLUTIONS[name]
    x = rng.normal(size=shape).astype(np.float32)
    kernel = rng.normal(size=(*op.kernel, shape[3] // op.groups, op.out_channels)).astype(np.float32)
    bias = rng.normal(size=op.out_channels).astype(np.float32)
    want = naive_convolution(op, x, kernel, bias).astype(np.float32)
    np.testing.assert_allclose(evaluate(op, x, kernel=kernel, bias=bias), want, rtol=2e-7, atol=1e-12)


def test_depthwise_multiplier_orders_outputs_by_input_channel_first():
    x = np.float32([[[[10, 20]]]])
    kernel = np.float32([[[[1, 2, 3, 4]]]])
    assert evaluate(Conv2D(4, (1, 1), groups=2), x, kernel=kernel).tolist() == [[[[10, 20, 60, 80]]]]


def test_sums_are_kept_in_float64_until_the_end_of_the_layer():
    x = np.float32([[1e8, 1, -1e8]])
    assert evaluate(Dense(1), x, kernel=np.ones((3, 1), np.float32)).tolist() == [[1.0]]


def test_dense_is_a_matrix_product_plus_bias():
    kernel = np.float32([[1, 2], [3, 4], [5, 6]])
    result = evaluate(Dense(2), np.float32([[1, 10, 100]]), kernel=kernel, bias=np.float32([0.5, -0.5]))
    assert result.tolist() == [[531.5, 641.5]]


@pytest.mark.parametrize("kind", ["average", "average_counting_pads", "max"])
@pytest.mark.parametrize(
    ("kernel", "stride", "pads"),
    [
        ((2, 2), (2, 2), Pads()),
        ((3, 3), (2, 2), Pads(0, 1, 0, 1)),
        ((3, 2), (1, 3), Pads(2, 0, 1, 1)),
        ((5, 5), (1, 1), Pads(2, 2, 2, 2)),
        ((0, 0), (1, 1), Pads()),
    ],
)
def test_pools_take_only_what_lies_in_the_window(kind, kernel, stride, pads, rng):
    x = rng.normal(size=(1, 7, 5, 3)).astype(np.float32) - 5  # all negative: a padded 0 would win a maximum
    op = Pool("max" if kind == "max" else "average", kernel, stride, pads, count_pads=kind.endswith("pads"))
    kh, kw = (7, 5) if kernel == (0, 0) else kernel
    result = evaluate(op, x)
    for row, column, channel in np.ndindex(result.shape[1:]):
        window = [
            pixel(x, row * stride[0] - pads.top + i, column * stride[1] - pads.left + j, channel, outside=math.nan)
            for i in range(kh)
            for j in range(kw)
        ]
        inside = [value for value in window if not math.isnan(value)]
        divisor = len(window) if op.count_pads else len(inside)
        want = max(inside) if kind == "max" else math.fsum(inside) / divisor
        assert result[0, row, column, channel] == pytest.approx(want, rel=1e-7)


ACTIVATIONS = {
    "none": (Activation(), lambda x: x),
    "relu": (Activation("clip", 0, math.inf), lambda x: x if x > 0 else 0.0),
    "relu6": (Activation("clip", 0, 6), lambda x: min(6.0, max(0.0, x))),
    "clip": (Activation("clip", -1.5, 2.5), lambda x: -1.5 if x < -1.5 else 2.5 if x > 2.5 else x),
    "hard_swish": (Activation("hard_swish"), lambda x: x * min(6.0, max(0.0, x + 3)) / 6),
    "hard_sigmoid": (Activation("hard_sigmoid", alpha=0.2), lambda x: min(1.0, max(0.0, 0.2 * x + 0.5))),
    "swish": (Activation("swish"), lambda x: x / (1 + math.exp(-x))),
    "sigmoid": (Activation("sigmoid"), lambda x: 1 / (1 + math.exp(-x))),
    "tanh": (Activation("tanh"), lambda x: 1 - 2 / (math.exp(2 * x) + 1)),
    "leaky_relu": (Activation("leaky_relu", alpha=0.1), lambda x: x if x > 0 else 0.1 * x),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_follow_their_formulas(name):
    activation, formula = ACTIVATIONS[name]
    x = np.float32([-90, -6, -3.5, -3, -1.5, -0.1, 0, 0.1, 1, 2.5, 3, 5.9, 6, 7, 90])
    want = [formula(float(value)) for value in x]
    np.testing.assert_allclose(evaluate(Activate(activation), x.reshape(1, 15))[0], want, rtol=1e-7, atol=1e-15)


@pytest.mark.parametrize("name", ["relu6", "hard_swish", "tanh"])
def test_an_activation_inside_a_layer_equals_the_layer_before_it(name, rng):
    activation, formula = ACTIVATIONS[name]
    x = rng.normal(size=(1, 4)).astype(np.float32)
    kernel = 4 * rng.normal(size=(4, 9)).astype(np.float32)
    want = [formula(value) for value in (x.astype(float) @ kernel.astype(float))[0]]
    np.testing.assert_allclose(evaluate(Dense(9, activation), x, kernel=kernel)[0], want, rtol=1e-7, atol=1e-15)


def test_sigmoid_of_large_numbers_does_not_overflow():
    result = evaluate(Activate(Activation("sigmoid")), np.float32([[-1e30, 1e30]]))
    assert result.tolist() == [[0.0, 1.0]]


def test_prelu_has_a_slope_per_channel():
    x = np.float32([[[[-1, -1, 2]]]])
    result = evaluate(Activate(Activation("prelu")), x, slope=np.float32([0.5, 3, 7]))
    assert result.tolist() == [[[[-0.5, -3, 2]]]]


def test_softmax_with_beta_sums_to_one_and_stands_large_numbers():
    result = evaluate(Softmax(beta=2.0), np.float32([[1000, 1000 + math.log(3) / 2, -1000]]))
    np.testing.assert_allclose(result, [[0.25, 0.75, 0]], rtol=3e-5)


def test_batch_norm_follows_its_formula():
    result = evaluate(
        BatchNorm(epsilon=0.25),
        np.float32([[3, 3]]),
        gamma=np.float32([4, 4]),
        beta=np.float32([10, 20]),
        mean=np.float32([1, 2]),
        variance=np.float32([0.75, 3.75]),
    )
    assert result.tolist() == [[18, 22]]
