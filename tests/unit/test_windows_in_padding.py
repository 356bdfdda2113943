"""Convolutions of images with few channels, some of whose windows see nothing but padding."""

from __future__ import annotations

import numpy as np
import pytest

from dscompile.ir.network import NetworkBuilder
from dscompile.ir.ops import Conv2D, Pads, Pair
from dscompile.ir.tensor import Tensor
from tests import native


@pytest.mark.parametrize("target", native.TARGETS_FIRST_FAST)
@pytest.mark.parametrize(
    ("image", "kernel", "pads"),
    [
        ((1, 1), (1, 1), Pads(0, 2, 2, 2)),
        ((4, 5), (1, 1), Pads(1, 1, 1, 1)),
        ((4, 5), (1, 1), Pads(0, 1, 0, 0)),
        ((4, 4), (3, 3), Pads(3, 4, 3, 4)),  # of the last window but one, only the first tap is inside
        ((1, 1), (3, 1), Pads(0, 4, 0, 2)),
    ],
    ids=["pixel", "pointwise", "only below", "3x3", "column"],
)
def test_windows_in_the_padding_have_weights_of_their_own(target: str, image: Pair, kernel: Pair, pads: Pads):
    net, rng = NetworkBuilder("padded"), np.random.default_rng(0)
    net.input(Tensor("x", (1, *image, 3)))
    weights = rng.normal(size=(*kernel, 3, 8)).astype(np.float32)
    net.add("y", Conv2D(8, kernel, pads=pads), ["x"], kernel=weights, bias=rng.normal(size=8).astype(np.float32))
    network = net.build(["y"])
    model = native.opened(network, native.target_here(target))
    assert not native.differences(model, network, native.input_sets(network, 0), near=True)
