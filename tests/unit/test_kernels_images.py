"""Kernels on whole images and vectors (pool, element-wise, pack, unpack, fill, flat, dense, softmax) against NumPy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dscompile.ir.ops import HARD_SIGMOID, HARD_SWISH, NONE, RELU, RELU6, SIGMOID, TANH, Activation, Pads
from dscompile.plan.kernels import (
    DenseKernel,
    ElementwiseKernel,
    FillKernel,
    FlatKernel,
    ImageStrides,
    PackKernel,
    PoolKernel,
    SoftmaxKernel,
    UnpackKernel,
)
from dscompile.plan.knobs import DenseKnobs
from dscompile.plan.layout import Blocked, Strides
from tests.kernels import activated, assert_close, from_blocks, run_kernel, to_blocks
from tests.native import TARGETS_FIRST_FAST, target_here

HALO = Pads(1, 2, 3, 1)
CHANNELS = (1, 3, 17, 100)

pytestmark = [pytest.mark.sampled, pytest.mark.parametrize("name", TARGETS_FIRST_FAST)]


def image(rng, height, width, channels):
    return rng.normal(size=(height, width, channels)).astype(np.float32)


# Pooling


def pooled(x, kernel, stride, pads, shape, function, divisor):
    """Window by window, cut to what lies inside the image."""
    y = np.zeros((*shape, x.shape[2]))
    for h in range(shape[0]):
        for w in range(shape[1]):
            top, left = h * stride[0] - pads[0], w * stride[1] - pads[1]
            window = x[max(top, 0) : top + kernel[0], max(left, 0) : left + kernel[1]].astype(np.float64)
            if function == "max":
                y[h, w] = window.max(axis=(0, 1))
            else:
                y[h, w] = window.sum(axis=(0, 1)) / (divisor or window.shape[0] * window.shape[1])
    return y


POOLS = [  # size, channels, kernel, stride, pads (top, left), outputs
    ((7, 7), 100, (7, 7), (1, 1), (0, 0), (1, 1)),
    ((7, 9), 3, (2, 2), (2, 2), (0, 0), (3, 4)),
    ((7, 9), 17, (3, 3), (2, 2), (1, 1), (4, 5)),
    ((5, 5), 1, (5, 5), (1, 1), (2, 2), (5, 5)),
    ((4, 6), 33, (3, 1), (1, 2), (2, 0), (4, 3)),
]


@pytest.mark.parametrize("function", ["average", "max"])
@pytest.mark.parametrize("case", POOLS, ids=str)
def test_pooling_takes_only_taps_inside_the_image(case, function, name, rng):
    size, channels, window, stride, pads, shape = case
    target = target_here(name)
    x = image(rng, *size, channels) - 5.0  # all negative: a zero that takes part in a maximum would win
    source, result = (Blocked(*s, channels, target.lanes, HALO) for s in (size, shape))
    kernel = PoolKernel(
        function, *size, *shape, source.blocks, target.lanes, window, stride, *pads, 0, source.strides, result.strides
    )
    got = run_kernel(
        kernel, None, target, {"x": to_blocks(x, target.lanes)}, (result.blocks, *shape, target.lanes)
    )  # fmt: skip
    assert_close(from_blocks(got, channels), pooled(x, window, stride, pads, shape, function, 0))


@pytest.mark.parametrize("function", ["average", "max"])
@pytest.mark.parametrize("size", [(7, 7), (14, 14), (5, 9), (4, 11)], ids=str)
def test_pooling_over_a_large_image_adds_up_columns_apart(size, function, name, rng):
    target = target_here(name)
    x = image(rng, *size, 20) - 5.0
    source, result = Blocked(*size, 20, target.lanes, HALO), Blocked(1, 1, 20, target.lanes)
    kernel = PoolKernel(
        function, *size, 1, 1, source.blocks, target.lanes, size, (1, 1), 0, 0, 0, source.strides, result.strides
    )
    got = run_kernel(kernel, None, target, {"x": to_blocks(x, target.lanes)}, (result.blocks, 1, 1, target.lanes))
    assert_close(from_blocks(got, 20), pooled(x, size, (1, 1), (0, 0), (1, 1), function, 0))


def test_an_average_that_counts_padding_divides_by_all_taps_and_applies_its_activation(name, rng):
    target = target_here(name)
    x = image(rng, 5, 4, 20)
    source, result = Blocked(5, 4, 20, target.lanes), Blocked(5, 4, 20, target.lanes, HALO)
    kernel = PoolKernel(
        "average", 5, 4, 5, 4, source.blocks, target.lanes, (3, 3), (1, 1), 1, 1, 9, source.strides, result.strides,
        RELU,
    )  # fmt: skip
    got = run_kernel(kernel, None, target, {"x": to_blocks(x, target.lanes)}, (result.blocks, 5, 4, target.lanes))
    assert_close(from_blocks(got, 20), np.maximum(pooled(x, (3, 3), (1, 1), (1, 1), (5, 4), "average", 9), 0))


# Element by element, blocked


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize(("function", "activation"), [("add", RELU6), ("mul", NONE), ("add", HARD_SWISH)])
def test_two_images_of_different_halos_are_combined(function, activation, channels, name, rng):
    target = target_here(name)
    first, second = image(rng, 3, 5, channels), image(rng, 3, 5, channels)
    layout = Blocked(3, 5, channels, target.lanes, HALO)
    other = replace(layout, halo=Pads(2, 2, 2, 2))
    kernel = ElementwiseKernel(
        function, 3, 5, layout.blocks, target.lanes, layout.strides, layout.strides, other.strides, activation
    )
    inputs = {"a": to_blocks(first, target.lanes), "b": to_blocks(second, target.lanes)}
    got = run_kernel(kernel, None, target, inputs, (layout.blocks, 3, 5, target.lanes))
    combined = first.astype(np.float64) + second if function == "add" else first.astype(np.float64) * second
    assert_close(from_blocks(got, channels), activated(combined, activation))


def test_one_vector_of_channels_scales_all_pixels(name, rng):
    target = target_here(name)
    x, scale = image(rng, 4, 3, 33), image(rng, 1, 1, 33)
    layout = Blocked(4, 3, 33, target.lanes, HALO)
    kernel = ElementwiseKernel(
        "mul", 4, 3, layout.blocks, target.lanes, layout.strides, layout.strides, Strides(target.lanes, 0, 0)
    )
    vector = np.broadcast_to(to_blocks(scale, target.lanes), (layout.blocks, 4, 3, target.lanes))
    inputs = {"a": to_blocks(x, target.lanes), "b": vector}
    got = run_kernel(kernel, None, target, inputs, (layout.blocks, 4, 3, target.lanes))
    assert_close(from_blocks(got, 33), x.astype(np.float64) * scale)


def test_prelu_has_one_slope_per_channel(name, rng):
    target = target_here(name)
    x, slope = image(rng, 4, 3, 17), image(rng, 1, 1, 17)
    layout = Blocked(4, 3, 17, target.lanes, HALO)
    kernel = ElementwiseKernel(
        "copy", 4, 3, layout.blocks, target.lanes, layout.strides, layout.strides, None, Activation("prelu")
    )
    inputs = {"a": to_blocks(x, target.lanes), "slope": to_blocks(slope, target.lanes).ravel()}
    got = run_kernel(kernel, None, target, inputs, (layout.blocks, 4, 3, target.lanes))
    assert_close(from_blocks(got, 17), np.where(x > 0, x, slope * x))


# Between flat and blocked images: pointers of the user's are aligned to 4 bytes only


@pytest.mark.parametrize("channels", [*CHANNELS, 32])
@pytest.mark.parametrize("order", ["nhwc", "nchw"])
def test_packing_a_flat_image_zeroes_the_unused_lanes(order, channels, name, rng):
    target = target_here(name)
    x = image(rng, 3, 5, channels)
    layout = Blocked(3, 5, channels, target.lanes, HALO)
    kernel = PackKernel(3, 5, channels, target.lanes, _flat_strides(order, channels), layout.strides)
    got = run_kernel(kernel, None, target, {"x": x.transpose(2, 0, 1)}, (layout.blocks, 3, 5, target.lanes))
    np.testing.assert_array_equal(got, np.nan_to_num(to_blocks(x, target.lanes)))


@pytest.mark.parametrize("channels", [*CHANNELS, 32])
@pytest.mark.parametrize("order", ["nhwc", "nchw"])
def test_unpacking_writes_the_true_channels_only(order, channels, name, rng):
    target = target_here(name)
    x = image(rng, 3, 5, channels)
    layout = Blocked(3, 5, channels, target.lanes, HALO)
    kernel = UnpackKernel(3, 5, channels, target.lanes, layout.strides, _flat_strides(order, channels))
    got = run_kernel(kernel, None, target, {"x": to_blocks(x, target.lanes)}, (channels, 3, 5))
    np.testing.assert_array_equal(got, x.transpose(2, 0, 1))


def _flat_strides(order, channels):
    return ImageStrides(1, 5 * channels, channels) if order == "nhwc" else ImageStrides(15, 5, 1)


# Flat tensors


def test_filling_leaves_the_gaps_between_rows_alone(name):
    kernel = FillKernel(outer=3, rows=2, length=17, outer_stride=100, row_stride=30, value=-1.5)
    got = run_kernel(kernel, None, target_here(name), {}, (3, 2, 17))
    np.testing.assert_array_equal(got, np.full((3, 2, 17), -1.5, np.float32))


def test_a_transpose_is_a_copy_with_other_strides(name, rng):
    x = image(rng, 4, 3, 17)
    kernel = FlatKernel("copy", (17, 4, 3), (1, 51, 17), (12, 3, 1))
    got = run_kernel(kernel, None, target_here(name), {"a": x.transpose(2, 0, 1)}, (17, 4, 3))
    np.testing.assert_array_equal(got, x.transpose(2, 0, 1))


@pytest.mark.parametrize("function", ["add", "mul"])
def test_flat_operands_repeat_where_their_stride_is_zero(function, name, rng):
    x, y = rng.normal(size=(3, 5, 7)).astype(np.float32), rng.normal(size=(5, 1)).astype(np.float32)
    kernel = FlatKernel(function, (3, 5, 7), (35, 7, 1), (40, 8, 1), (0, 1, 0), TANH)
    inputs = {"a": x, "b": np.broadcast_to(y, (3, 5, 7))}
    got = run_kernel(kernel, None, target_here(name), inputs, (3, 5, 7))
    combined = x.astype(np.float64) + y if function == "add" else x.astype(np.float64) * y
    assert_close(got, np.tanh(combined))


def test_flat_prelu_takes_its_slopes_along_the_last_axis(name, rng):
    x, slope = rng.normal(size=(3, 17)).astype(np.float32), rng.normal(size=17).astype(np.float32)
    kernel = FlatKernel("copy", (3, 17), (17, 1), (17, 1), None, Activation("prelu"))
    got = run_kernel(kernel, None, target_here(name), {"a": x, "slope": slope}, (3, 17))
    assert_close(got, np.where(x > 0, x, slope * x))


@pytest.mark.parametrize(
    ("channels", "units", "lanes", "vectors", "partial_sums", "activation"),
    [
        (1, 1, 1, 1, 1, NONE),
        (17, 12, 4, 3, 1, SIGMOID),
        (100, 64, 0, 2, 4, RELU),
        (33, 16, 0, 1, 3, HARD_SIGMOID),
        (51, 3, 1, 1, 3, TANH),
        (7, 256, 0, 8, 1, RELU6),
    ],
)
def test_a_dense_layer_of_any_width(channels, units, lanes, vectors, partial_sums, activation, name, rng):
    target = target_here(name)
    lanes = lanes or target.lanes
    panel = vectors * lanes
    x, bias = rng.normal(size=channels).astype(np.float32), rng.normal(size=units).astype(np.float32)
    weights = (rng.normal(size=(channels, units)) / np.sqrt(channels)).astype(np.float32)
    kernel = DenseKernel(channels, units, panel, lanes, activation)
    panels = np.stack([weights[:, start : start + panel] for start in range(0, units, panel)])
    inputs = {"x": x, "weights": panels, "bias": bias}
    got = run_kernel(kernel, DenseKnobs(partial_sums), target, inputs, (units,))
    assert_close(got, activated(x.astype(np.float64) @ weights.astype(np.float64) + bias, activation))


@pytest.mark.parametrize(("streams", "vectors", "panels"), [(2, 1, 2), (3, 4, 6), (5, 2, 5)])
def test_a_dense_layer_goes_through_several_panels_at_once(streams, vectors, panels, name, rng):
    target = target_here(name)
    if target.multiply != "broadcast":
        pytest.skip("a schedule of x86 only")
    panel, units, channels = vectors * target.lanes, vectors * panels * target.lanes, 37
    x, bias = rng.normal(size=channels).astype(np.float32), rng.normal(size=units).astype(np.float32)
    weights = (rng.normal(size=(channels, units)) / 6).astype(np.float32)
    kernel = DenseKernel(channels, units, panel, target.lanes, RELU)
    packed = np.stack([weights[:, start : start + panel] for start in range(0, units, panel)])
    got = run_kernel(kernel, DenseKnobs(streams=streams), target, {"x": x, "weights": packed, "bias": bias}, (units,))
    assert_close(got, activated(x.astype(np.float64) @ weights.astype(np.float64) + bias, RELU))


@pytest.mark.parametrize(("rows", "length", "beta"), [(1, 1, 1.0), (3, 2, 1.0), (5, 1001, 0.5), (1, 17, 4.0)])
def test_softmax_is_normalized_over_the_last_axis(rows, length, beta, name, rng):
    x = (50 * rng.normal(size=(rows, length))).astype(np.float32)
    got = run_kernel(SoftmaxKernel(rows, length, beta), None, target_here(name), {"x": x}, (rows, length))
    powers = np.exp(beta * (x.astype(np.float64) - x.max(axis=1, keepdims=True)))
    np.testing.assert_allclose(got, powers / powers.sum(axis=1, keepdims=True), rtol=2e-5, atol=1e-30)
    np.testing.assert_allclose(got.sum(axis=1), 1.0, rtol=1e-5)
