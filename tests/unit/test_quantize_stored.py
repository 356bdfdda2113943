"""Weights of four bits, and two of four: which layers get them, what is kept, and what it costs."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import dscompile
from dscompile.errors import BadInputError, UsageError
from dscompile.ir.storage import in_fours
from dscompile.quantization import Settings
from dscompile.quantization.kernels import quantize_kernel
from dscompile.quantization.lowering import lower
from dscompile.quantization.stored import chosen_storage, kept_places, weight_limit
from dscompile.quantization.weight_rounding import errors, nearest_integers, round_together
from tests.unit.netfiles import network as network_of
from tests.unit.quantizing import DS_CNN, PLAIN, quantized

SHAPE = "[1, 49, 10, 1]"
INSIDE = ["block1.pointwise", "block2.pointwise", "block3.pointwise"]


def test_all_layers_over_channels_but_the_first_and_the_last_get_smaller_weights() -> None:
    real = lower(network_of(DS_CNN, SHAPE))
    assert chosen_storage(real, Settings()) == {}
    assert chosen_storage(real, Settings(weight_type="int4")) == dict.fromkeys(INSIDE, "int4")
    assert chosen_storage(real, Settings(sparsity="2:4")) == dict.fromkeys(INSIDE, "2:4")
    both = Settings(weight_type="int4", sparsity="2:4", layer_weights={"head": "int4", "block2.pointwise": "int8"})
    assert chosen_storage(real, both) == {
        "block1.pointwise": "int4-2:4",
        "block3.pointwise": "int4-2:4",
        "head": "int4",
    }


def test_exceptions_that_name_no_such_layer_are_refused() -> None:
    real = lower(network_of(DS_CNN, SHAPE))
    with pytest.raises(
        BadInputError, match=r"no layer 'block1\.depthwise' whose weights can be stored as int4"
    ) as found:
        chosen_storage(real, Settings(layer_weights={"block1.depthwise": "int4"}))
    assert found.value.diagnostics[0].help == "did you mean 'block1.pointwise'?"
    with pytest.raises(BadInputError) as found:
        chosen_storage(real, Settings(layer_weights={"zzz": "2:4"}))
    assert found.value.diagnostics[0].help == f"there are stem, {', '.join(INSIDE)}, head"


def test_the_two_largest_of_each_four_are_kept() -> None:
    kernel = np.float32([[1], [-5], [2], [-3], [0.5], [0.1]])
    assert kept_places(kernel, "2:4")[:, 0].tolist() == [False, True, False, True, True, True]
    assert kept_places(kernel, "int4").all()


def test_integers_of_four_bits_are_symmetric_and_clipped_where_that_errs_least() -> None:
    kernel = np.float32([[7.0], [-7.0], [3.2], [0.4]])
    made = quantize_kernel("dense", kernel, np.zeros(1, np.float32), 0.5, storage="int4")
    assert made.kernel[:, 0].tolist() == [7, -7, 3, 0]
    assert weight_limit("int4-2:4") == 7
    sparse = quantize_kernel("dense", kernel, np.zeros(1, np.float32), 0.5, storage="2:4")
    assert sparse.kernel[:, 0].tolist() == [127, -127, 0, 0]


def test_weights_that_are_left_make_up_for_those_that_must_be_0() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 8)) @ rng.standard_normal((8, 8))
    moments = (x.T @ x / len(x))[None]
    weights = rng.standard_normal((1, 8, 5))
    limits = np.where(kept_places(weights[0], "2:4"), 127.0, 0.0)[None]
    scales = np.full((1, 5), 0.02)
    found = round_together(moments, weights, scales, limits)
    assert not found[limits == 0].any()
    assert np.abs(found).max() <= 127
    plain = nearest_integers(weights, scales, limits)
    assert errors(moments, weights, scales, found).sum() < 0.6 * errors(moments, weights, scales, plain).sum()


def test_what_smaller_weights_cost_and_what_improvements_bring_back_is_reported() -> None:
    settings = Settings(weight_type="int4", sparsity="2:4", layer_weights={"head": "int4"})
    made = quantized(DS_CNN, SHAPE, settings)
    first, last = made.steps[0], made.steps[-1]
    assert (first.name, first.kept) == ("weights as int4 and int4-2:4", True)
    assert first.after_db < first.before_db
    assert (last.name, last.kept) == ("weight rounding", True)
    for layer in made.network.layers:
        kernel = made.network.weights.get(f"{layer.name}.kernel")
        if layer.storage != "plain":
            assert np.abs(kernel).max() <= 7
        if layer.storage == "int4-2:4":
            assert ((in_fours(kernel.reshape(-1, kernel.shape[-1])) != 0).sum(axis=1) <= 2).all()
    four_bits = quantized(DS_CNN, SHAPE, Settings(weight_type="int4"))
    assert made.agreement.sqnr_db < four_bits.agreement.sqnr_db < quantized(DS_CNN, SHAPE, Settings()).agreement.sqnr_db
    nearest = quantized(DS_CNN, SHAPE, replace(PLAIN, weight_type="int4"))
    assert nearest.agreement.sqnr_db < four_bits.agreement.sqnr_db - 5


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"weight_type": "int2"}, "weight_type is 'int2', which is not one of int8, int4"),
        ({"sparsity": "1:4"}, "sparsity is '1:4', which is not one of 2:4, none"),
        (
            {"layer_weights": {"head": "plain"}},
            "layer_weights of 'head' is 'plain', which is not one of int8, int4, 2:4, int4-2:4",
        ),
    ],
)
def test_words_that_say_nothing_about_weights_are_refused(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        dscompile.quantize(network_of(DS_CNN, SHAPE), "calib.npz", **asked)
