"""What is searched for an int8 layer is searched once, and for one that differs in anything anew."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace

import numpy as np
import pytest

from dscompile.ir.network import Network
from dscompile.ir.ops import Conv2D
from dscompile.plan import integer_layers
from dscompile.plan.integer_layers import answered, layer_sums
from tests.quantized_networks import quantized_tower


def question(network: Network) -> Hashable:
    """Of its first convolution."""
    layer = next(layer for layer in network.layers if isinstance(layer.op, Conv2D))
    return layer_sums(network, layer, centered=True).question


def changed(network: Network, role: str) -> Network:
    """With another last value in one of the arrays of the first convolution."""
    layer = next(layer for layer in network.layers if isinstance(layer.op, Conv2D))
    name = next(name for name, array in network.weights.items() if array is network.weight(layer, role))
    array = network.weights[name].copy()
    array.reshape(-1)[-1] += array.dtype.type(1)
    return replace(network, weights={**network.weights, name: array})


def test_a_question_that_was_asked_before_is_not_searched_again() -> None:
    answers: dict[Hashable, int | None] = {}
    assert answered(answers, "a", lambda: None) is None
    assert answered(answers, "a", lambda: pytest.fail("searched again")) is None
    assert answered(answers, "b", lambda: 2) == 2


def test_of_too_many_answers_the_oldest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(integer_layers, "_MOST_ANSWERS", 2)
    answers: dict[Hashable, int] = {}
    assert [answered(answers, key, lambda key=key: ord(key)) for key in "abc"] == [97, 98, 99]
    assert list(answers) == ["b", "c"]


def test_layers_of_equal_numbers_ask_the_same_whatever_their_names() -> None:
    assert question(quantized_tower(1)) == question(quantized_tower(1))
    assert question(quantized_tower(1)) != question(quantized_tower(2))


@pytest.mark.parametrize("role", ["kernel", "bias", "kernel_scale"])
def test_layers_of_other_numbers_ask_something_else(role: str) -> None:
    network = quantized_tower(1)
    assert question(changed(network, role)) != question(network)


@pytest.mark.parametrize("rounding", ["float32", "half-up"])
def test_layers_of_other_roundings_ask_something_else(rounding: str) -> None:
    network = quantized_tower(1)
    assert question(replace(network, rounding=rounding)) != question(network)


def test_layers_of_other_scales_ask_something_else() -> None:
    network = quantized_tower(1)
    layer = next(layer for layer in network.layers if isinstance(layer.op, Conv2D))
    for name in (layer.inputs[0], layer.output):
        tensor = network.tensor(name)
        assert tensor.quantization is not None
        scales = (float(np.float32(tensor.quantization.scale) * np.float32(1.25)),)
        other = replace(tensor, quantization=replace(tensor.quantization, scales=scales))
        tensors = {**network.tensors, name: other}
        assert question(replace(network, tensors=tensors)) != question(network)
