"""Which set of kernels of a target's chain takes a layer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dscompile.ir.fixed_point import Clamp
from dscompile.ir.network import Array
from dscompile.plan.mcu.epilogues import FloatEpilogue, IntegerEpilogue
from dscompile.plan.mcu.sets import (
    KernelSet,
    combined_sets,
    depthwise_set,
    kernel_sets,
    matrix_set,
    mean_variant,
    pool_variant,
    vector_variant,
)
from dscompile.plan.mcu.windows import Axis, Window
from dscompile.target import find_target

SEARCHED = IntegerEpilogue("affine", -128, 127, -3, 9, 14)
OWN = IntegerEpilogue("tflite", -128, 127, -3)
NARROW = IntegerEpilogue("narrow", -128, 127, -3, 9, 14)
AXIS = Axis(5, 5, 3, 1, 1)
WINDOW = Window(AXIS, AXIS, 6)
DILATED = Window(AXIS, replace(AXIS, dilation=2, before=2), 6)
WEIGHTS = np.full((6, 10), -127, np.int8)
UNSYMMETRIC = np.full((6, 10), -128, np.int8)


def chain(*names: str) -> tuple[KernelSet, ...]:
    return kernel_sets(replace(find_target("c99"), kernels=names))


def variants(
    depthwise: IntegerEpilogue, window: Window, own: IntegerEpilogue, weights: Array, *names: str
) -> list[str]:
    """Of a depthwise convolution and the pointwise one after it."""
    return [each.variant for each in combined_sets(chain(*names), depthwise, window, own, weights)]


def test_words_that_are_no_set_are_left_out_and_portable_ones_come_last():
    assert [each.variant for each in chain("block4x3", "neon", "block4x4x4", "block0x2", "m0plus")] == [
        "block",
        "m0plus",
        "c99",
        "block",
    ]
    assert chain("block4x3")[0] == KernelSet("block", 4, 3)


def test_the_first_set_that_takes_a_layer_provides_it():
    assert matrix_set(chain("block2x4", "m0plus"), NARROW, WEIGHTS).variant == "block"
    assert matrix_set(chain("m0plus", "block2x4"), NARROW, WEIGHTS).variant == "m0plus"
    assert matrix_set(chain("m0plus", "block2x4"), NARROW, UNSYMMETRIC).variant == "block"
    assert depthwise_set(chain("m0plus", "block2x4"), NARROW, DILATED, 6).variant == "block"


@pytest.mark.parametrize("epilogue", [OWN, NARROW])
def test_int16_pairs_are_for_the_searched_multiplication_of_64_bits(epilogue):
    assert matrix_set(chain("dsp"), SEARCHED, WEIGHTS).variant == "dsp"
    assert matrix_set(chain("dsp"), epilogue, WEIGHTS).variant == "c99"
    assert depthwise_set(chain("dsp"), epilogue, WINDOW, 6).variant == "c99"


@pytest.mark.parametrize("name", ["dsp", "m0plus", "block4x4"])
def test_float_layers_are_for_c99(name):
    assert matrix_set(chain(name), FloatEpilogue(), WEIGHTS.astype(np.float32)).variant == "c99"
    assert depthwise_set(chain(name), FloatEpilogue(), WINDOW, 6).variant == "c99"


def test_words_hold_sums_of_2040_products_at_most():
    assert matrix_set(chain("m0plus"), NARROW, np.ones((2040, 2), np.int8)).variant == "m0plus"
    assert matrix_set(chain("m0plus"), NARROW, np.ones((2041, 2), np.int8)).variant == "c99"


def test_int16_pairs_take_both_parts_of_a_separable_layer_or_none():
    assert variants(SEARCHED, WINDOW, SEARCHED, WEIGHTS, "dsp") == ["dsp", "dsp"]
    assert variants(SEARCHED, WINDOW, OWN, WEIGHTS, "dsp", "block2x2") == ["block", "block"]
    assert variants(OWN, WINDOW, SEARCHED, WEIGHTS, "dsp") == ["c99", "c99"]


def test_vectors_take_both_parts_of_a_separable_layer_or_none():
    assert variants(SEARCHED, WINDOW, SEARCHED, WEIGHTS, "mve", "dsp") == ["mve", "mve"]
    assert variants(SEARCHED, WINDOW, OWN, WEIGHTS, "mve", "dsp") == ["c99", "c99"]
    far = Window(replace(AXIS, kernel=12, stride=4), replace(AXIS, kernel=9, stride=4), 6)
    assert variants(SEARCHED, far, SEARCHED, WEIGHTS, "mve", "dsp") == ["dsp", "dsp"]


def test_pools_have_vectors_where_a_set_of_the_target_has_them():
    assert vector_variant(chain("mve", "dsp")) == "mve"
    assert vector_variant(chain("rvv", "dsp")) == "rvv"
    assert vector_variant(chain("dsp")) == "c99"


def test_pools_of_whole_words_have_pairs_where_there_are_no_vectors():
    pairs, helium = chain("dsp"), chain("mve", "dsp")
    words, any_byte = replace(WINDOW, channels=8), Clamp(-128, 127)
    assert pool_variant(pairs, "max", words, any_byte) == "dsp"
    assert pool_variant(pairs, "max", WINDOW, any_byte) == "c99"
    assert pool_variant(pairs, "max", words, Clamp(0, 127)) == "c99"
    assert pool_variant(helium, "max", words, any_byte) == "mve"
    assert [mean_variant(sets, 8) for sets in (pairs, helium, chain("c99"))] == ["dsp", "mve", "c99"]
    assert mean_variant(pairs, 6) == "c99"


def test_an_average_of_pairs_has_no_more_taps_than_half_of_a_word_sums_up():
    largest = Axis(16, 1, 16, 1, 0)
    assert pool_variant(chain("dsp"), "average", Window(largest, largest, 8), Clamp(-128, 0)) == "dsp"
    beyond = Window(Axis(17, 1, 17, 1, 0), largest, 8)
    assert pool_variant(chain("dsp"), "average", beyond, Clamp(-128, 0)) == "c99"


def test_columns_of_words_are_read_by_nobody_else_but_can_be_made_of_bytes():
    assert variants(NARROW, WINDOW, NARROW, WEIGHTS, "m0plus") == ["m0plus", "m0plus"]
    assert variants(NARROW, DILATED, NARROW, WEIGHTS, "m0plus") == ["c99", "m0plus"]
    assert variants(NARROW, WINDOW, NARROW, UNSYMMETRIC, "m0plus") == ["c99", "c99"]


def test_weights_of_four_bits_have_kernels_of_their_own_and_two_of_four_are_portable():
    assert matrix_set(chain("dsp"), SEARCHED, WEIGHTS, "int4").variant == "dsp"
    assert matrix_set(chain("m0plus"), NARROW, WEIGHTS, "int4").variant == "m0plus"
    for words in (("dsp",), ("m0plus",), ()):
        assert matrix_set(chain(*words), SEARCHED, WEIGHTS, "2:4") == KernelSet("block", 2, 2)
    assert matrix_set(chain("block4x4"), SEARCHED, WEIGHTS, "int4-2:4") == KernelSet("block", 4, 4)
