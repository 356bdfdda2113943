"""Images times a factor for each channel: the C twin against the oracle, searched products, choice, estimates."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dscompile.ir.network import Layer, Network
from dscompile.ir.ops import NONE, RELU6, Activation, Binary
from dscompile.ir.tensor import Quantization, Rounding, Tensor
from dscompile.oracle import run
from dscompile.plan.integer_lines import LineProduct
from dscompile.plan.mcu.arithmetic import SearchedProduct
from dscompile.plan.mcu.costs import kernel_instructions
from dscompile.plan.mcu.kernels import McuKernel
from dscompile.plan.mcu.scaling import is_scaled, scale_shape
from dscompile.plan.mcu.small_kernels import BinaryKernel, ScaleKernel
from dscompile.plan.mcu.sums import integer_lines, integer_product
from tests.mcu import HostModel, assert_equals_oracle, here, planned, write

# Scales and zero points of the image, the factors and the result: both signs, none below zero, a factor of any sign.
SIGNED = ((0.05213, -3), (1 / 256, -128), (0.04117, 5))
POSITIVE = ((0.02371, -128), (1 / 256, -128), (0.01553, -128))
ODD = ((0.0517, 7), (0.0211, -11), (0.0503, 0))
NUMBERS = np.arange(-128, 128, dtype=np.int8)
PRODUCT = SearchedProduct(-3, -128, 4883, 1773381774, 146, 7, 12, 5, -128, 127)
LINE = LineProduct(1 << 30, -8128, 6 << 22, 22, 18)

Quantizations = tuple[tuple[float, int], tuple[float, int], tuple[float, int]]


def scaled(
    shape: tuple[int, int, int],
    quantizations: Quantizations = SIGNED,
    rounding: Rounding = "tflite",
    *,
    swapped: bool = False,
    activation: Activation = NONE,
) -> Network:
    """A network that multiplies an image by a number for each channel."""
    shapes = {"x": (1, *shape), "f": (1, 1, 1, shape[2]), "y": (1, *shape)}
    tensors = {
        name: Tensor(name, shapes[name], "int8", Quantization((scale,), zero_point))
        for name, (scale, zero_point) in zip("xfy", quantizations, strict=True)
    }
    given = ("f", "x") if swapped else ("x", "f")
    layer = Layer("y", Binary("mul", activation), given, "y")
    return Network("scale", ("x", "f"), ("y",), tensors, (layer,), rounding=rounding).validate()


CASES = {
    "whole_fours": scaled((3, 5, 8)),
    "factors_first": scaled((3, 5, 12), POSITIVE, swapped=True),
    "channels_that_fill_no_four": scaled((2, 3, 17), ODD),
    "fewer_channels_than_four": scaled((2, 2, 3)),
    "one_channel": scaled((2, 3, 1)),
    "a_hundred_channels": scaled((2, 2, 100), POSITIVE, "float32"),
    "a_clamp": scaled((2, 3, 8), ODD, "float32", activation=RELU6),
    "both_signs_in_float32": scaled((2, 3, 9), SIGNED, "float32"),
}


def kernels(network: Network, core: str = "cortex-m4") -> list[McuKernel]:
    return [f.kernel for f in planned(network, here(core)).functions if isinstance(f.kernel, McuKernel)]


@pytest.mark.parametrize("name", CASES)
def test_images_times_factors_equal_the_oracle(name):
    for core in ("cortex-m4", "c99"):
        assert_equals_oracle(CASES[name], (0, 1), here(core))


@pytest.mark.parametrize(
    ("quantizations", "rounding"), [(SIGNED, "tflite"), (ODD, "float32"), (POSITIVE, "half-up"), (ODD, "single")]
)
def test_every_pair_of_numbers_is_multiplied_as_the_oracle_does(tmp_path: Path, quantizations, rounding):
    network = scaled((16, 16, 256), quantizations, rounding)
    (layer,) = network.layers
    assert isinstance(layer.op, Binary)
    found = integer_product(network, layer, layer.op)
    assert found is not None
    assert 255 << found.left < 1 << 15  # a factor less its zero point is half of a word
    image = np.broadcast_to(NUMBERS.reshape(1, 16, 16, 1), (1, 16, 16, 256))
    inputs = {"x": np.ascontiguousarray(image), "f": NUMBERS.reshape(1, 1, 1, 256)}
    target = here("cortex-m4" if rounding == "tflite" else "c99")
    got = HostModel(write(network, tmp_path / "a", target)).run(inputs)["y"]
    np.testing.assert_array_equal(got, run(network, inputs)["y"])


def test_halves_away_from_zero_are_two_lines_where_products_have_both_signs():
    shifts = []
    for quantizations in (SIGNED, POSITIVE):
        (kernel,) = kernels(scaled((1, 2, 4), quantizations))
        assert isinstance(kernel, ScaleKernel)
        shifts.append(kernel.line.sign_shift)
    assert shifts == [18, 0]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("rounding", ["tflite", "half-up", "single"])
def test_lines_are_found_for_all_scales_of_squeezed_channels(seed: int, rounding: Rounding):
    rng = np.random.default_rng(seed)
    scale = float(10 ** rng.uniform(-2.5, -1))
    zero_points = rng.integers(-128, 60, 2)
    quantizations = (
        (scale, int(zero_points[0])),
        (1 / 256, -128),
        (scale * float(rng.uniform(0.3, 1.1)), int(zero_points[1])),
    )
    network = scaled((2, 2, 4), quantizations, rounding)
    (layer,) = network.layers
    assert isinstance(layer.op, Binary)
    assert integer_lines(network, layer, layer.op, swapped=False) is not None


def test_only_pixels_by_a_vector_have_the_kernel():
    assert isinstance(kernels(scaled((2, 2, 8)))[0], ScaleKernel)
    assert isinstance(kernels(scaled((2, 2, 8)), "c99")[0], BinaryKernel)
    assert isinstance(kernels(scaled((2, 2, 1)))[0], BinaryKernel)
    assert is_scaled((4, 8), (8, 1), (0, 1), (8, 1))
    assert not is_scaled((4, 8), (8, 1), (8, 1), (8, 1))
    assert not is_scaled((4, 8), (1, 4), (0, 1), (8, 1))
    assert not is_scaled((32,), (1,), (0,), (1,))


def test_a_product_without_a_searched_form_keeps_its_own_arithmetic():
    network = scaled((2, 2, 8), ((0.5, 0), (0.5, 0), (0.5, 0)), "float32")  # every other product is a tie, to even
    (layer,) = network.layers
    assert isinstance(layer.op, Binary)
    assert integer_product(network, layer, layer.op) is None
    assert isinstance(kernels(network)[0], BinaryKernel)
    assert_equals_oracle(network, (0, 1), here("cortex-m4"))


def test_pixels_of_a_part_of_a_concatenation_have_a_gap():
    kernel = ScaleKernel(6, 8, PRODUCT, LINE, step=20)
    assert (scale_shape(kernel).pixels, scale_shape(kernel).gap, scale_shape(kernel).record_bytes) == (6, 12, 72)
    single = replace(kernel, channels=9)
    assert (scale_shape(single).pixels, scale_shape(single).gap) == (1, 12)


def test_two_lines_take_nine_instructions_more_for_four_products():
    two, one = ScaleKernel(10, 8, PRODUCT, LINE), ScaleKernel(10, 8, PRODUCT, replace(LINE, sign_shift=0))
    assert kernel_instructions(two, "thumb2") - kernel_instructions(one, "thumb2") == 9 * 20
