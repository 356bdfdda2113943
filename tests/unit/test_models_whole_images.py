"""Real networks that make images again, with resizes and transposed convolutions, against onnxruntime."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

import dscompile
from tests.models import model_path
from tests.native import TARGETS, target_here

pytestmark = [pytest.mark.slow, pytest.mark.models]

CASES = [
    ("ch_ppocr_mobile_v2.0_cls_mobile.onnx", (1, 3, 48, 192), ("c99", "arm64-neon")),
    ("ch_PP-OCRv4_det_infer.onnx", (1, 3, 64, 96), (TARGETS[0],)),
]
LARGE = ["onnx/deeplabv3_mobilenetv2.onnx", "onnx/fast_scnn.onnx"]


def strokes(shape: tuple[int, ...]) -> np.ndarray:
    """Something like lines of text, dark on bright, in the normalization of the text detector."""
    _, channels, height, width = shape
    page, rng = np.ones((height, width), np.float32), np.random.default_rng(0)
    for top in range(10, height - 20, 30):
        for left in range(8, width - 12, 12):
            across, down = rng.integers(0, 8, 2)
            page[top + 2 * across : top + 2 * across + 3, left : left + 8] = 0
            page[top : top + 18, left + down : left + down + 2] = 0
    return np.repeat(((page - 0.45) / 0.225)[None, None], channels, axis=1).astype(np.float32)


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("name", "shape", "target"), [(name, shape, target) for name, shape, targets in CASES for target in targets]
)
def test_whole_images_equal_onnxruntime(name, shape, target, tmp_path):
    assert_equals_onnxruntime(name, shape, target, tmp_path)


@pytest.mark.seldom
@pytest.mark.parametrize("name", LARGE)
def test_large_images_equal_onnxruntime(name, tmp_path):
    assert_equals_onnxruntime(name, None, TARGETS[0], tmp_path)


def assert_equals_onnxruntime(name, shape, target, tmp_path) -> None:
    if target != "c99":
        target_here(target)
    path = model_path(name)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    shapes = None if shape is None else {given.name: shape}
    model = dscompile.build(path, target, tmp_path / "artifact", input_shapes=shapes)
    x = strokes(shape or tuple(given.shape))
    (want,) = session.run(None, {given.name: x})
    got = model(x)
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= 1e-4 * np.abs(want).max()
