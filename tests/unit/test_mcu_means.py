"""Int8 means of whole images: their searched rounding against the oracle, turns of the loop, estimates."""

from __future__ import annotations

import numpy as np
import pytest

from dscompile.ir.network import Layer, Network
from dscompile.ir.ops import Mean
from dscompile.ir.tensor import Quantization, Rounding, Tensor
from dscompile.oracle import run
from dscompile.plan.mcu.costs import kernel_instructions
from dscompile.plan.mcu.epilogues import IntegerEpilogue
from dscompile.plan.mcu.small_kernels import MeanKernel
from tests.mcu import HostModel, assert_equals_oracle, here, planned, write

ROUNDINGS: tuple[Rounding, ...] = ("tflite", "float32", "half-up", "single")


def mean(height: int, width: int, channels: int, rounding: Rounding = "tflite", *, given: int = -3) -> Network:
    """A network that is a mean of an image."""
    tensors = {
        "x": Tensor("x", (1, height, width, channels), "int8", Quantization((0.0517,), given)),
        "y": Tensor("y", (1, 1, 1, channels), "int8", Quantization((0.0311,), 5)),
    }
    layer = Layer("y", Mean(), ("x",), "y")
    return Network("mean", ("x",), ("y",), tensors, (layer,), rounding=rounding).validate()


MEANS = {
    "three_by_three": mean(3, 3, 8),
    "six_by_six": mean(6, 6, 12, given=-128),
    "odd_sizes": mean(5, 7, 4),
    "a_prime_number_of_pixels": mean(11, 1, 4),
    "one_pixel": mean(1, 1, 4),
    "many_pixels": mean(17, 19, 4),
    "channels_that_fill_no_four": mean(3, 3, 7),
    "one_channel": mean(4, 5, 1),
}


def kernel_of(network: Network, core: str = "cortex-m4") -> MeanKernel:
    (kernel,) = (f.kernel for f in planned(network, here(core)).functions if isinstance(f.kernel, MeanKernel))
    return kernel


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("name", MEANS)
def test_means_equal_the_oracle(name, rounding):
    network = MEANS[name]
    network = Network(
        network.name, network.inputs, network.outputs, network.tensors, network.layers, rounding=rounding
    ).validate()
    for core in ("cortex-m4", "c99"):
        assert_equals_oracle(network, (0, 1), here(core))


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_every_sum_has_the_mean_of_the_oracle(tmp_path, rounding):
    network = mean(3, 1, 768, rounding)
    sums = np.arange(-384, 384)[:768]
    pixels = np.stack([sums // 3, (sums + 1) // 3, (sums + 2) // 3])  # add up to all sums there are
    assert np.array_equal(pixels.sum(axis=0), sums)
    inputs = {"x": np.clip(pixels, -128, 127).astype(np.int8).reshape(1, 3, 1, 768)}
    got = HostModel(write(network, tmp_path / "a", here("cortex-m4"))).run(inputs)["y"]
    np.testing.assert_array_equal(got, run(network, inputs)["y"])


def test_means_of_whole_fours_have_a_searched_rounding():
    assert kernel_of(MEANS["three_by_three"]).epilogue.is_searched
    assert not kernel_of(MEANS["channels_that_fill_no_four"]).epilogue.is_searched
    assert not kernel_of(MEANS["three_by_three"], "c99").epilogue.is_searched


def test_a_turn_of_the_loop_adds_what_divides_the_pixels():
    epilogue = IntegerEpilogue("tflite", -128, 127)
    assert [MeanKernel(pixels, 4, epilogue).turn for pixels in (9, 36, 144, 49, 11)] == [3, 6, 8, 7, 1]


def test_a_searched_rounding_takes_fewer_instructions():
    own, searched = (MeanKernel(9, 8, IntegerEpilogue(method, -128, 127), "dsp") for method in ("tflite", "affine"))
    assert kernel_instructions(searched, "thumb2") < kernel_instructions(own, "thumb2") / 2
