"""Kernels of GPUs beside the modules: pools, dense layers, softmax, sums; each against NumPy, every access checked."""

from __future__ import annotations

import numpy as np
import pytest

from dscompile.ir.network import Array
from dscompile.ir.ops import NONE, RELU
from dscompile.plan.gpu.kernels import DENSE_PANEL, QUAD, GpuDenseKernel
from dscompile.plan.kernels import ElementwiseKernel, PoolKernel, SoftmaxKernel
from dscompile.plan.layout import Blocked
from dscompile.plan.packing import pack_dense, pack_vector
from dscompile.run.cuda_kernel import ShimKernel
from dscompile.run.operands import aligned_buffer, aligned_copy
from tests.gpu_modules import TARGET, to_quads
from tests.tools import require_tools


@pytest.mark.parametrize(
    ("function", "size", "channels", "window", "stride"),
    [
        ("max", (96, 96), 16, 2, 2),
        ("average", (17, 13), 3, 3, 2),
        ("average", (7, 7), 100, 7, 1),  # a block to a quad, its threads to slices of the window
        ("average", (13, 13), 17, 13, 1),
    ],
)
def test_pools(
    function: str, size: tuple[int, int], channels: int, window: int, stride: int, rng: np.random.Generator
) -> None:
    require_tools("g++")
    height, width = size
    result = ((height - window) // stride + 1, (width - window) // stride + 1)
    image, made = Blocked(*size, channels, QUAD), Blocked(*result, channels, QUAD)
    kernel = PoolKernel(
        function, *size, *result, image.blocks, QUAD, (window, window), (stride, stride), 0, 0, 0, image.strides,
        made.strides, NONE,
    )  # fmt: skip
    x = rng.standard_normal((height, width, channels)).astype(np.float32)
    y = aligned_buffer(made.elements)
    ShimKernel(kernel, None, TARGET)(aligned_copy(to_quads(x)), y)
    views = np.lib.stride_tricks.sliding_window_view(x, (window, window), (0, 1))[::stride, ::stride]
    expected = views.max((3, 4)) if function == "max" else views.mean((3, 4))
    np.testing.assert_allclose(_from_quads(y, made), expected, atol=1e-5)


def _from_quads(y: Array, layout: Blocked) -> Array:
    quads = y.reshape(layout.blocks, layout.height, layout.width, QUAD)
    return quads.transpose(1, 2, 0, 3).reshape(layout.height, layout.width, -1)[:, :, : layout.channels]


@pytest.mark.parametrize(("depth", "units"), [(1024, 1000), (17, 3), (100, 58)])
def test_dense_layers(depth: int, units: int, rng: np.random.Generator) -> None:
    require_tools("g++")
    kernel = GpuDenseKernel(depth, units, RELU)
    x = rng.standard_normal(depth).astype(np.float32)
    weights = rng.standard_normal((depth, units)).astype(np.float32)
    bias = rng.standard_normal(units).astype(np.float32)
    whole = kernel.panels * DENSE_PANEL
    packed = [pack_dense(weights, DENSE_PANEL, 0, whole), pack_vector(bias, 0, whole)]
    y = aligned_buffer(units)
    traffic = ShimKernel(kernel, None, TARGET)(aligned_copy(x), *map(aligned_copy, packed), y)
    expected = np.maximum(x.astype(np.float64) @ weights + bias, 0)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    # Weights and input are read once: by each block its panel, and the whole input.
    once = 4 * (depth * kernel.panels + depth * units + units)
    assert traffic.traffic("other").load_bytes == once


@pytest.mark.parametrize(("rows", "length"), [(1, 1000), (3, 17), (104, 1)])
def test_softmax(rows: int, length: int, rng: np.random.Generator) -> None:
    require_tools("g++")
    x = (4 * rng.standard_normal((rows, length))).astype(np.float32)
    y = aligned_buffer(rows * length)
    ShimKernel(SoftmaxKernel(rows, length, 1.5), None, TARGET)(aligned_copy(x), y)
    power = np.exp(1.5 * (x - x.max(1, keepdims=True)).astype(np.float64))
    np.testing.assert_allclose(y.reshape(rows, length), power / power.sum(1, keepdims=True), rtol=1e-5, atol=1e-8)


def test_sums_of_images(rng: np.random.Generator) -> None:
    require_tools("g++")
    image = Blocked(9, 7, 17, QUAD)
    kernel = ElementwiseKernel("add", 9, 7, image.blocks, QUAD, image.strides, image.strides, image.strides, RELU)
    a, b = (rng.standard_normal((9, 7, 17)).astype(np.float32) for _ in range(2))
    y = aligned_buffer(image.elements)
    traffic = ShimKernel(kernel, None, TARGET)(aligned_copy(to_quads(a)), aligned_copy(to_quads(b)), y)
    np.testing.assert_allclose(_from_quads(y, image), np.maximum(a + b, 0), atol=1e-6)
    assert traffic.traffic("other").load_bytes == 2 * y.nbytes
