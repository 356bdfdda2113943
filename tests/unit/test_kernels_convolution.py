"""Convolution kernels (pointwise, dense, depthwise) against NumPy, and what they touch in memory."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from dscompile.ir.ops import HARD_SWISH, NONE, RELU, RELU6, SWISH, Activation, Pads
from dscompile.plan.kernels import ConvKernel, DepthwiseKernel, Epilogue, ImageStrides
from dscompile.plan.knobs import DepthwiseKnobs, TileKnobs
from dscompile.plan.layout import Blocked, TileStrides
from tests.kernels import assert_close, finished, from_blocks, run_kernel, to_blocks
from tests.native import TARGETS_FIRST_FAST, target_here

pytestmark = pytest.mark.sampled

HALO = Pads(1, 2, 3, 1)  # around every image, so that rows and blocks have gaps between them


@dataclass(frozen=True)
class Case:
    """A convolution of `height` x `width` outputs; the input is as large as that needs."""

    height: int
    width: int
    channels: int
    filters: int
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    activation: Activation = NONE
    residual: Activation | None = None
    tile: int = 1
    rows: int = 1
    panel_blocks: int = 1
    unroll: int = 1
    panel_outer: bool = True
    prefetch: bool = False
    flat: str = ""

    @property
    def image(self) -> tuple[int, int]:
        return tuple(
            (n - 1) * s + (k - 1) * d + 1
            for n, k, s, d in zip((self.height, self.width), self.kernel, self.stride, self.dilation, strict=True)
        )

    def taps(self, x):
        """(row of the kernel, column of the kernel, the pixels it sees) of every tap."""
        for r in range(self.kernel[0]):
            for q in range(self.kernel[1]):
                top, left = r * self.dilation[0], q * self.dilation[1]
                rows = slice(top, top + (self.height - 1) * self.stride[0] + 1, self.stride[0])
                columns = slice(left, left + (self.width - 1) * self.stride[1] + 1, self.stride[1])
                yield r, q, x[rows, columns].astype(np.float64)

    def __str__(self) -> str:
        size = f"{self.height}x{self.width}x{self.channels}-{self.filters}"
        extras = [f"{self.flat}{self.activation.name}"]
        extras += [f"res-{self.residual.name}"] if self.residual is not None else []
        flags = ("" if self.panel_outer else "i") + ("p" if self.prefetch else "")
        extras += [f"t{self.rows}x{self.tile}x{self.panel_blocks}u{self.unroll}{flags}"]
        return f"{size}-k{self.kernel}-s{self.stride}-d{self.dilation}-{'-'.join(extras)}".replace(" ", "")


CONVOLUTIONS = [
    Case(5, 7, 1, 1, tile=7),
    Case(3, 4, 3, 17, tile=2, activation=RELU),
    Case(2, 5, 17, 100, tile=5, panel_blocks=2, activation=RELU6),
    Case(4, 6, 100, 48, tile=3, panel_blocks=3, activation=HARD_SWISH, residual=NONE),
    Case(3, 4, 32, 64, tile=4, panel_blocks=2, panel_outer=False, residual=RELU),
    Case(3, 8, 33, 96, tile=4, panel_blocks=2, prefetch=True),
    Case(2, 6, 32, 64, tile=3, prefetch=True, panel_outer=False),
    Case(1, 21, 16, 16, tile=7, unroll=4, activation=RELU, residual=RELU6),
    Case(3, 5, 3, 16, kernel=(3, 3), stride=(2, 2), tile=5, activation=RELU),
    Case(3, 5, 3, 17, kernel=(3, 3), stride=(2, 2), tile=5, flat="nhwc", activation=SWISH),
    Case(3, 5, 1, 33, kernel=(5, 5), stride=(2, 1), tile=5, flat="nchw"),
    Case(2, 3, 17, 16, kernel=(7, 7), tile=3),
    Case(1, 4, 5, 20, kernel=(21, 1), tile=2, residual=NONE),
    Case(4, 4, 20, 16, kernel=(3, 3), dilation=(2, 3), tile=2),
    Case(3, 3, 40, 16, stride=(2, 2), tile=3),
]
DEPTHWISE = [
    Case(5, 7, 1, 1, kernel=(3, 3), tile=7),
    Case(4, 6, 3, 3, kernel=(3, 3), stride=(2, 2), tile=3, rows=2, activation=RELU6),
    Case(3, 5, 17, 17, kernel=(3, 3), stride=(2, 2), tile=5, rows=3, activation=RELU),
    Case(4, 5, 100, 100, kernel=(5, 5), tile=5, rows=2, activation=HARD_SWISH),
    Case(3, 4, 33, 33, kernel=(7, 7), tile=2, activation=NONE, residual=RELU),
    Case(2, 3, 20, 20, kernel=(21, 1), tile=3, activation=RELU, residual=NONE),
    Case(2, 3, 20, 20, kernel=(9, 9), tile=3),
    Case(4, 4, 40, 40, kernel=(3, 3), dilation=(2, 3), tile=4, activation=SWISH),
    Case(1, 1, 5, 5, kernel=(2, 2), tile=1),
    Case(3, 3, 16, 16, kernel=(1, 1), stride=(2, 2), tile=3),
]


@pytest.mark.parametrize("name", TARGETS_FIRST_FAST)
@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_a_convolution_equals_numpy_and_writes_only_its_view(case, name, rng):
    target = target_here(name)
    lanes = target.lanes
    panel = case.panel_blocks * lanes
    filters = -(-case.filters // panel) * panel
    output = Blocked(case.height, case.width, filters, lanes, HALO)
    kernel = ConvKernel(
        case.height, case.width, case.channels, filters, panel, lanes, case.kernel, case.stride, case.dilation,
        x=_input_strides(case, lanes),
        y=output.strides,
        epilogue=_epilogue(case, output),
    )  # fmt: skip
    x = rng.normal(size=(*case.image, case.channels)).astype(np.float32)
    weights = rng.normal(size=(*case.kernel, case.channels, filters)).astype(np.float32)
    weights[..., case.filters :] = 0.0
    bias = rng.normal(size=filters).astype(np.float32)
    inputs = {
        "x": x.transpose(2, 0, 1) if case.flat else to_blocks(x, lanes),
        "weights": np.stack([weights[..., start : start + panel] for start in range(0, filters, panel)]),
        "bias": bias,
    }
    residual = _add_residual(case, inputs, rng, (case.height, case.width, filters), lanes)
    acc = sum(pixels @ weights[r, q].astype(np.float64) for r, q, pixels in case.taps(x))

    knobs = TileKnobs(case.tile, case.unroll, case.panel_outer, case.prefetch)
    got = run_kernel(kernel, knobs, target, inputs, (filters // lanes, case.height, case.width, lanes))
    assert_close(from_blocks(got, filters), finished(acc, bias, kernel.epilogue, residual))


@pytest.mark.parametrize("name", TARGETS_FIRST_FAST)
@pytest.mark.parametrize("case", DEPTHWISE, ids=str)
def test_a_depthwise_kernel_equals_numpy_and_writes_only_its_view(case, name, rng):
    target = target_here(name)
    lanes, channels = target.lanes, case.channels
    image, output = (Blocked(*size, channels, lanes, HALO) for size in (case.image, (case.height, case.width)))
    kernel = DepthwiseKernel(
        case.height, case.width, output.blocks, lanes, case.kernel, case.stride, case.dilation,
        x=image.strides,
        y=output.strides,
        epilogue=_epilogue(case, output),
    )  # fmt: skip
    x = rng.normal(size=(*case.image, channels)).astype(np.float32)
    weights = rng.normal(size=(*case.kernel, channels)).astype(np.float32)
    bias = rng.normal(size=output.blocks * lanes).astype(np.float32)
    inputs = {"x": to_blocks(x, lanes), "weights": np.nan_to_num(to_blocks(weights, lanes)), "bias": bias}
    residual = _add_residual(case, inputs, rng, (case.height, case.width, channels), lanes)
    acc = sum(pixels * weights[r, q] for r, q, pixels in case.taps(x))

    knobs = DepthwiseKnobs(case.tile, case.rows)
    got = run_kernel(kernel, knobs, target, inputs, (output.blocks, case.height, case.width, lanes))
    assert_close(from_blocks(got, channels), finished(acc, bias[:channels], kernel.epilogue, residual))


@pytest.mark.parametrize("name", TARGETS_FIRST_FAST)
@pytest.mark.parametrize("pixels", [3, 4])
def test_a_pointwise_kernel_reads_an_image_in_tiles(pixels, name, rng):
    target = target_here(name)
    lanes, tiles = target.lanes, 2
    output = Blocked(3, tiles * pixels, 2 * lanes, lanes, HALO)
    view = TileStrides(block=5 * lanes, row=40 * lanes, tile=20 * lanes, pixel=lanes, pixels=pixels)
    kernel = ConvKernel(
        3, tiles * pixels, 3 * lanes, 2 * lanes, 2 * lanes, lanes, (1, 1), (1, 1), (1, 1), view, output.strides,
        Epilogue(RELU),
    )  # fmt: skip
    x = rng.normal(size=(3, tiles * pixels, 3 * lanes)).astype(np.float32)
    weights, bias = (rng.normal(size=size).astype(np.float32) for size in ((3 * lanes, 2 * lanes), 2 * lanes))
    inputs = {"x": _in_tiles(to_blocks(x, lanes), pixels), "weights": weights[None, None, None], "bias": bias}

    got = run_kernel(kernel, TileKnobs(pixels), target, inputs, (2, 3, tiles * pixels, lanes))
    expected = finished(x.astype(np.float64) @ weights, bias, kernel.epilogue, None)
    assert_close(from_blocks(got, 2 * lanes), expected)


@pytest.mark.parametrize("name", TARGETS_FIRST_FAST)
@pytest.mark.parametrize("activation", [RELU6, SWISH], ids=lambda activation: activation.name)
@pytest.mark.parametrize("far", [False, True], ids=["near", "far"])
def test_a_depthwise_kernel_writes_an_image_in_tiles(far, activation, name, rng):
    target = target_here(name)
    lanes, pixels, case = target.lanes, 4, Case(4, 8, 3, 3, kernel=(3, 3))
    channels = 3 * lanes
    image = Blocked(*case.image, channels, lanes, HALO)
    row = (1 << 17) if far else 40 * lanes
    view = TileStrides(block=5 * lanes, row=row, tile=20 * lanes, pixel=lanes, pixels=pixels)
    kernel = DepthwiseKernel(
        4, 8, 3, lanes, (3, 3), (1, 1), (1, 1), image.strides, view, Epilogue(activation)
    )  # fmt: skip
    x = rng.normal(size=(*case.image, channels)).astype(np.float32)
    weights, bias = (rng.normal(size=size).astype(np.float32) for size in ((3, 3, channels), channels))
    inputs = {"x": to_blocks(x, lanes), "weights": to_blocks(weights, lanes), "bias": bias}
    acc = sum(seen * weights[r, q] for r, q, seen in case.taps(x))

    got = run_kernel(kernel, DepthwiseKnobs(pixels, 2), target, inputs, (3, 4, 2, pixels, lanes))
    assert_close(from_blocks(got.reshape(3, 4, 8, lanes), channels), finished(acc, bias, kernel.epilogue, None))


def _in_tiles(blocks, pixels: int):
    """[blocks][H][W][lanes] -> [blocks][H][tiles][pixels][lanes]."""
    count, height, width, lanes = blocks.shape
    return blocks.reshape(count, height, width // pixels, pixels, lanes)


def _input_strides(case: Case, lanes: int):
    height, width = case.image
    if case.flat == "nhwc":
        return ImageStrides(1, (width + 2) * case.channels, case.channels)
    if case.flat == "nchw":
        return ImageStrides((height + 1) * (width + 2), width + 2, 1)
    return Blocked(height, width, case.channels, lanes, HALO).strides


def _epilogue(case: Case, output: Blocked) -> Epilogue:
    if case.residual is None:
        return Epilogue(case.activation)
    other = replace(output, halo=Pads(2, 2, 2, 2)).strides
    return Epilogue(case.activation, other, case.residual)


def _add_residual(case: Case, inputs, rng, shape, lanes):
    if case.residual is None:
        return None
    residual = rng.normal(size=shape).astype(np.float32)
    inputs["residual"] = to_blocks(residual, lanes)
    return residual.astype(np.float64)
