"""Work around products on cores with 16-bit SIMD: copies and sums by words, products of short columns; C twins."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from dscompile.ir.network import Layer, Network, NetworkBuilder
from dscompile.ir.ops import NONE, RELU, Activation, Binary, Conv2D, Dense, Reshape, Slice
from dscompile.ir.tensor import Quantization, Tensor
from dscompile.oracle import run
from dscompile.passes import canonicalize
from dscompile.plan.mcu.bodies import matrix_body
from dscompile.plan.mcu.products import ConvKernel
from dscompile.plan.mcu.short import short_products_pay
from dscompile.plan.mcu.small_kernels import BinaryKernel, CopyKernel
from tests.mcu import HostModel, assert_equals_oracle, here, planned, write
from tests.unit.test_mcu_add import PAIRS, SCALES
from tests.unit.test_mcu_kernels import Case, int8


def sliced(begin: int, size: int) -> Network:
    """Some channels of an image."""
    builder = NetworkBuilder("sliced")
    x = builder.input(Tensor("x", (1, 3, 5, 12)))
    return int8(builder.build([builder.add("part", Slice((0, 0, 0, begin), (1, 3, 5, size)), [x])]), "tflite")


@pytest.mark.parametrize(("size", "words"), [(3, False), (4, True), (7, True)])
def test_runs_of_bytes_are_copied_four_at_a_time(size, words):
    network = sliced(5, size)
    (kernel,) = (function.kernel for function in planned(network, here("cortex-m4")).functions)
    assert isinstance(kernel, CopyKernel)
    assert kernel.words == words
    assert_equals_oracle(network, (0,), here("cortex-m4"))


def test_cores_that_do_not_read_words_anywhere_copy_bytes():
    (kernel,) = (function.kernel for function in planned(sliced(4, 8), here("cortex-m0plus")).functions)
    assert isinstance(kernel, CopyKernel)
    assert not kernel.words


def summed(scales: tuple[tuple[float, int], ...], activation: Activation = NONE, columns: int = 256) -> Network:
    """The sum of two inputs."""
    tensors = {
        name: Tensor(name, (1, 256, columns), "int8", Quantization((scale,), zero_point))
        for name, (scale, zero_point) in zip("aby", scales, strict=True)
    }
    layers = (Layer("y", Binary("add", activation), ("a", "b"), "y"),)
    return Network("sum", ("a", "b"), ("y",), tensors, layers, rounding="tflite").validate()


@pytest.mark.parametrize(("scales", "activation"), [(SCALES[0], NONE), (SCALES[2], RELU)], ids=["linear", "relu"])
@pytest.mark.parametrize("columns", [256, 255])
def test_every_pair_of_numbers_is_added_in_fours_as_the_oracle_does(scales, activation, columns, tmp_path):
    network = summed(scales, activation, columns)
    (kernel,) = (function.kernel for function in planned(network, here("cortex-m4")).functions)
    assert isinstance(kernel, BinaryKernel)
    assert kernel.fours
    numbers = {name: np.ascontiguousarray(values[:, :, :columns]) for name, values in PAIRS.items()}
    got = HostModel(write(network, tmp_path / "sum", here("cortex-m4"), measured=False)).run(numbers)["y"]
    np.testing.assert_array_equal(got, run(network, numbers)["y"])


def pointwise(depths: tuple[int, ...], units: int = 0) -> Network:
    """Pointwise layers, one after the other; then a dense one if it has `units`."""
    rng = np.random.default_rng(4)
    builder = NetworkBuilder("pointwise")
    x = builder.input(Tensor("x", (1, 7, 5, depths[0])))
    for index, (depth, channels) in enumerate(pairwise(depths)):
        kernel = rng.normal(0, 0.3, (1, 1, depth, channels)).astype(np.float32)
        bias = rng.normal(0, 0.5, channels).astype(np.float32)
        x = builder.add(f"conv{index}", Conv2D(channels, (1, 1), activation=RELU), [x], kernel=kernel, bias=bias)
    if units:
        size = 35 * depths[-1]
        kernel = rng.normal(0, 0.1, (size, units)).astype(np.float32)
        flat = builder.add("flat", Reshape((1, size)), [x])
        x = builder.add("dense", Dense(units), [flat], kernel=kernel, bias=np.zeros(units, np.float32))
    return builder.build([x])


def conv_kernels(network: Network) -> list[ConvKernel]:
    found = [function.kernel for function in planned(network, here("cortex-m4")).functions]
    return [kernel for kernel in found if isinstance(kernel, ConvKernel)]


def test_products_of_short_columns_equal_the_oracle():
    network = int8(pointwise((20, 17, 32, 36, 7)), "tflite")
    kernels = conv_kernels(network)
    assert [kernel.short for kernel in kernels] == [True, True, True, False]
    assert not any(kernel.apart for kernel in kernels)
    assert [matrix_body(kernel).short for kernel in kernels] == [True, True, True, False]
    assert_equals_oracle(network, (0, 1), here("cortex-m4"))


def test_columns_of_nine_values_have_weights_that_lie_apart():
    network = int8(Case(7, 5, 1, 12).network(), "tflite")
    (kernel,) = conv_kernels(network)
    assert kernel.short
    assert kernel.apart
    assert_equals_oracle(network, (0, 1), here("cortex-m4"))


def test_short_products_have_no_code_of_their_own_where_they_are_little_of_the_network():
    network = canonicalize(int8(pointwise((8, 16), 600), "tflite"))
    assert not short_products_pay(network)
    assert not any(kernel.short or kernel.variant == "held" for kernel in conv_kernels(network))
    assert short_products_pay(canonicalize(int8(pointwise((8, 16)), "tflite")))


@pytest.mark.parametrize("depth", [32, 40, 44], ids=["in a row", "two words a turn", "one word a turn"])
def test_pixels_become_columns_word_by_word(depth):
    assert_equals_oracle(int8(pointwise((depth, 6)), "single"), (0,), here("cortex-m4"))
