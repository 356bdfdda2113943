"""Natural images: crops of the photographs that scikit-image ships inside its package."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# All photographs and scans in the package, by name.
PHOTOGRAPHS = (
    "astronaut",
    "brick",
    "camera",
    "cell",
    "chelsea",
    "clock",
    "coffee",
    "coins",
    "grass",
    "gravel",
    "hubble_deep_field",
    "immunohistochemistry",
    "moon",
    "motorcycle",
    "page",
    "retina",
    "rocket",
    "text",
)


def split(part: int, parts: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The photographs to learn from and those that are held out: every `parts`-th, from number `part`."""
    held_out = PHOTOGRAPHS[part::parts]
    return tuple(name for name in PHOTOGRAPHS if name not in held_out), held_out


def photographs(names: tuple[str, ...]) -> list[NDArray[np.uint8]]:
    """The photographs [H, W, 3], or the test is skipped because scikit-image is not installed."""
    data = pytest.importorskip("skimage.data", reason="scikit-image is not installed")
    images = [
        np.asarray(data.stereo_motorcycle()[0] if name == "motorcycle" else getattr(data, name)()) for name in names
    ]
    return [image[..., :3] if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2) for image in images]


@cache
def crops(names: tuple[str, ...], count: int, size: int, seed: int) -> Floats:
    """Crops [count, size, size, 3] from 0 to 1: squares of all sizes, mirrored, brighter and darker; area-averaged.

    Each is an image of 8 bits, as a camera delivers it: its values are multiples of 1/255.
    Several networks look at the same crops, which nobody may change.
    """
    rng = np.random.default_rng(seed)
    images = photographs(names)
    made = np.empty((count, size, size, 3), np.float32)
    for index in range(count):
        image = images[index % len(images)]
        side = int(rng.integers(size, min(image.shape[:2]) + 1))
        top, left = (int(rng.integers(0, extent - side + 1)) for extent in image.shape[:2])
        crop = _resized(image[top : top + side, left : left + side].astype(np.float64) / 255, size)
        if rng.random() < 0.5:
            crop = crop[:, ::-1]
        levels = np.rint(255 * np.clip(crop * rng.uniform(0.6, 1.3) + rng.uniform(-0.1, 0.1), 0, 1))
        made[index] = levels / 255
    made.flags.writeable = False
    return made


def _resized(image: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """A square image averaged over equal strips of rows and columns, each at least one wide."""
    side = image.shape[0]
    edges = np.arange(size + 1) * side // size
    starts, widths = edges[:-1], np.diff(edges)
    rows = np.add.reduceat(image, starts, axis=0) / widths[:, None, None]
    return np.asarray(np.add.reduceat(rows, starts, axis=1) / widths[None, :, None])
