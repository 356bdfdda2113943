"""Random networks over a window of frames, as networks that take new frames alone: every step as the window."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import dscompile
from dscompile.api.sliding import slid
from dscompile.ir.network import Network
from tests.quantized_networks import Quantizer
from tests.sliding import Windows, assert_same, assert_slides, newest, random_window, sound

pytestmark = [pytest.mark.slow, pytest.mark.sampled]


def drawn(seed: int) -> Network:
    """A random network: every second one in int8, of these every second one with float borders."""
    network = random_window(seed)
    if seed % 2 == 0:
        return network
    return Quantizer(network, np.random.default_rng(seed), "tflite", float_borders=seed % 4 == 1).run()


@pytest.mark.parametrize("seed", range(60))
def test_each_step_gives_what_the_window_gives(seed: int) -> None:
    network = drawn(seed)
    made = assert_slides(network, steps=8)
    if 2 * made.step < made.window // 2:
        assert_slides(network, step=2 * made.step, steps=5)


@pytest.mark.parametrize(("seed", "target"), [(seed, ("c99", "cortex-m4")[seed // 2 % 2]) for seed in range(60, 88)])
def test_each_step_in_c_gives_what_the_window_gives(seed: int, target: str, tmp_path: Path) -> None:
    network = drawn(seed)
    made = slid(network)
    model = dscompile.build(made.network, target, tmp_path / "c")
    assert isinstance(model, dscompile.Model)
    stream, pairs = model.stream(), []
    for inputs, window in Windows(network, 1, made.step, sound(network, 8 * made.step, 1)):
        results = stream.run(inputs)
        pairs.append(({name: newest(window[name], results[name]) for name in network.outputs}, results))
    assert_same(pairs, network.outputs)
