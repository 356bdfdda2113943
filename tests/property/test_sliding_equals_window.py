"""Random networks over a window of frames, as networks that take new frames alone: every step as the window."""

from __future__ import annotations

import numpy as np
import pytest

from tests.quantized_networks import Quantizer
from tests.sliding import assert_slides, random_window

pytestmark = [pytest.mark.slow, pytest.mark.sampled]


@pytest.mark.parametrize("seed", range(60))
def test_each_step_gives_what_the_window_gives(seed: int) -> None:
    network = random_window(seed)
    if seed % 2:
        network = Quantizer(network, np.random.default_rng(seed), "tflite", float_borders=seed % 4 == 1).run()
    made = assert_slides(network, steps=8)
    if 2 * made.step < made.window // 2:
        assert_slides(network, step=2 * made.step, steps=5)
