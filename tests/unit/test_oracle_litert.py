"""SAME padding: the oracle with `same_pads` against LiteRT, which pads by itself."""

from __future__ import annotations

import numpy as np
import pytest

from dscompile.ir.network import NetworkBuilder
from dscompile.ir.ops import Conv2D, Pool
from dscompile.ir.shapes import same_pads
from dscompile.ir.tensor import Tensor
from dscompile.oracle import run
from tests.as_tflite import Window, run_litert

IMAGES = [(1, 1), (2, 3), (5, 6), (6, 5), (7, 8), (9, 10)]
WINDOWS = [
    ((1, 1), (2, 2), (1, 1)),
    ((2, 2), (1, 1), (1, 1)),
    ((2, 2), (2, 2), (1, 1)),
    ((3, 3), (1, 1), (1, 1)),
    ((3, 3), (2, 2), (1, 1)),
    ((3, 5), (2, 1), (1, 1)),
    ((5, 5), (2, 2), (1, 1)),
    ((7, 7), (3, 3), (1, 1)),
    ((10, 4), (2, 2), (1, 1)),
    ((3, 3), (1, 1), (2, 2)),
    ((2, 3), (1, 1), (3, 2)),
]


CASES = [
    (kind, *window)
    for kind in ("conv", "depthwise", "average", "max")
    for window in WINDOWS
    if window[2] == (1, 1) or kind in ("conv", "depthwise")  # TFLite's pools have no dilation
]


@pytest.mark.parametrize("image", IMAGES, ids=str)
@pytest.mark.parametrize(("kind", "kernel", "stride", "dilation"), CASES, ids=str)
def test_same_padding_equals_litert(kind, kernel, stride, dilation, image, rng):
    channels, outputs = 3, 4 if kind == "conv" else 3
    pads = same_pads(*image, kernel, stride, dilation)
    x = rng.normal(size=(1, *image, channels)).astype(np.float32)
    builder = NetworkBuilder("window")
    builder.input(Tensor("x", x.shape))
    if kind in ("average", "max"):
        weights = None
        builder.add("y", Pool(kind, kernel, stride, pads), ["x"])
    else:
        groups = channels if kind == "depthwise" else 1
        kernel_weights = rng.normal(size=(*kernel, channels // groups, outputs)).astype(np.float32)
        builder.add("y", Conv2D(outputs, kernel, stride, pads, dilation, groups), ["x"], kernel=kernel_weights)
        weights = kernel_weights.transpose((3, 0, 1, 2) if kind == "conv" else (2, 0, 1, 3))
    got = run(builder.build(["y"]), {"x": x})["y"]
    want = run_litert(Window(kind, kernel, stride, dilation), x, weights, got.shape)
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
