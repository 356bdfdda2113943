"""Assembly of tables behind convolutions, of products with squeezed channels, of sums of four channels at once."""

from __future__ import annotations

import pytest

from dscompile.ir.network import Network, NetworkBuilder
from dscompile.ir.ops import Mean, Pads, Pool, Softmax
from dscompile.ir.tensor import Quantization, Tensor
from tests.emulated.test_mcu_pairs import assert_core_equals_oracle
from tests.mcu import random_inputs
from tests.unit.test_mcu_dense import single_pixels
from tests.unit.test_mcu_kernels import Case, int8
from tests.unit.test_mcu_lookups import CASES as LOOKUPS
from tests.unit.test_mcu_lookups import inverted
from tests.unit.test_mcu_scaling import CASES as SCALED

NEXT = Quantization((0.031,), 9)
WORDS = {
    "rows_that_end_with_a_byte": Case(9, 8, 3, 8, stride=(2, 2)),
    "rows_of_whole_words": Case(7, 6, 4, 6),
    "rows_of_one_word": Case(9, 7, 1, 4, (5, 4)),
    "pixels_of_seventeen_channels": Case(4, 5, 17, 9, (1, 1)),
}


def sums() -> Network:
    """A mean of more pixels than half of a word sums up, averages of whole and of small windows, a softmax of many."""
    builder = NetworkBuilder("sums", "tflite")
    x = builder.input(Tensor("x", (1, 18, 17, 12), "int8", Quantization((0.05,), -3)))
    mean = builder.add("mean", Mean(), [x], quantization=NEXT)
    small = builder.add("small", Pool("average", (3, 3), (2, 2), Pads(1, 1, 1, 1)), [x])
    whole = builder.add("whole", Pool("average", (0, 0)), [small])
    y = builder.input(Tensor("z", (1, 300), "int8", Quantization((0.04,), 2)))
    softmax = builder.add("softmax", Softmax(), [y], quantization=Quantization((1 / 256,), -128))
    return builder.build([mean, small, whole, softmax])


def assert_assembly_equals_oracle(network: Network, tmp_path) -> None:
    assert_core_equals_oracle(network, "cortex-m4", [random_inputs(network, seed) for seed in (0, 1)], tmp_path)


@pytest.mark.parametrize("name", ["conv_to_odd_channels", "depthwise_5x5", "single_pixels"])
def test_convolutions_read_their_results_from_tables(name, tmp_path):
    assert_assembly_equals_oracle(int8(LOOKUPS[name].network(), "tflite"), tmp_path)


def test_a_block_reads_three_tables(tmp_path):
    assert_assembly_equals_oracle(int8(inverted(16), "tflite"), tmp_path)


@pytest.mark.parametrize(
    "name", ["whole_fours", "factors_first", "channels_that_fill_no_four", "a_hundred_channels", "a_clamp"]
)
def test_images_are_multiplied_by_factors(name, tmp_path):
    assert_assembly_equals_oracle(SCALED[name], tmp_path)


@pytest.mark.parametrize("name", WORDS)
def test_columns_are_made_word_by_word(name, tmp_path):
    assert_assembly_equals_oracle(int8(WORDS[name].network(), "tflite"), tmp_path)


def test_convolutions_of_one_pixel_are_dense(tmp_path):
    assert_assembly_equals_oracle(int8(single_pixels(), "tflite"), tmp_path)


def test_four_channels_are_summed_up_at_once(tmp_path):
    assert_assembly_equals_oracle(sums(), tmp_path)
