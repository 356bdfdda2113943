"""Networks: lookup, validation with all problems at once, tensors, the builder."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from dscompile.errors import BadInputError
from dscompile.ir.network import Layer, Network, NetworkBuilder, weight_shapes
from dscompile.ir.ops import (
    RELU,
    Activate,
    Activation,
    BatchNorm,
    Binary,
    Constant,
    Conv2D,
    Dense,
    Reshape,
    Softmax,
)
from dscompile.ir.shapes import ShapeError
from dscompile.ir.tensor import Quantization, Tensor


def diamond():
    """x -> a -> (b, c) -> y, where b has a kernel."""
    builder = NetworkBuilder("diamond")
    x = builder.input(Tensor("x", (1, 2, 2, 3)))
    a = builder.add("a", Activate(RELU), [x])
    b = builder.add("b", Conv2D(3, (1, 1)), [a], output="b_out", kernel=np.zeros((1, 1, 3, 3), np.float32), bias=None)
    c = builder.add("c", Activate(RELU), [a])
    builder.add("y", Binary("add"), [b, c])
    return builder.build(["y"])


def test_producers_and_consumers():
    network = diamond()
    assert {name: layer.name for name, layer in network.producers.items()} == {
        "a": "a",
        "b_out": "b",
        "c": "c",
        "y": "y",
    }
    assert {name: [layer.name for layer in layers] for name, layers in network.consumers.items()} == {
        "x": ["a"],
        "a": ["b", "c"],
        "b_out": ["y"],
        "c": ["y"],
        "y": [],
    }


def test_a_layer_that_reads_a_tensor_twice_is_one_consumer():
    builder = NetworkBuilder("square")
    builder.add("y", Binary("mul"), [builder.input(Tensor("x", (1, 3)))] * 2)
    assert [layer.name for layer in builder.build(["y"]).consumers["x"]] == ["y"]


def test_weights_are_found_by_layer_and_role():
    network = diamond()
    b = network.producers["b_out"]
    assert network.weight(b, "kernel").shape == (1, 1, 3, 3)
    assert (network.has_weight(b, "kernel"), network.has_weight(b, "bias")) == (True, False)
    with pytest.raises(KeyError):
        network.weight(b, "bias")


def test_with_layers_drops_tensors_and_weights_that_nobody_uses():
    network = diamond()
    a, _, c, _ = network.layers
    smaller = replace(network, outputs=("c",)).with_layers([a, c]).validate()
    assert sorted(smaller.tensors) == ["a", "c", "x"]
    assert dict(smaller.weights) == {}
    assert sorted(network.tensors) == ["a", "b_out", "c", "x", "y"]


def test_tables_of_a_network_cannot_be_changed():
    network = diamond()
    with pytest.raises(TypeError):
        network.tensors["z"] = Tensor("z", (1,))
    with pytest.raises(TypeError):
        network.weights["b.kernel"] = np.zeros(1)


def test_every_problem_is_reported_at_once():
    tensors = {name: Tensor(name, (1, 3)) for name in ("x", "a", "b", "c", "d", "e", "f")}
    layers = (
        Layer("first", Activate(RELU), ("later",), "a"),
        Layer("first", Activate(RELU), ("x",), "b"),
        Layer("loop", Activate(RELU), ("c",), "c"),
        Layer("flat", Reshape((1, 4)), ("x",), "d"),
        Layer("narrow", Dense(2), ("x",), "e"),
        Layer("dense", Dense(3), ("x",), "f"),
    )
    weights = {"dense.bias": np.zeros((1, 3), np.float32)}
    with pytest.raises(BadInputError) as caught:
        Network("bad", ("x",), ("f", "g"), tensors, layers, weights).validate()
    assert str(caught.value).split("\n") == [
        "error: layer first: reads 'later', which no layer before it makes",
        "error: layer first: there are two layers of this name",
        "error: layer loop: reads its own output",
        "error: layer flat: [1, 3] has 3 elements, [1, 4] 4",
        "error: layer narrow: makes [1, 2], not [1, 3]",
        "error: layer dense: weight 'dense.kernel' is missing; it must be [3, 3]",
        "error: layer dense: weight 'dense.bias' has shape [1, 3], it must be [3]",
        "error: output 'g' is made by no layer",
    ]


def test_a_valid_network_validates_to_itself():
    network = diamond()
    assert network.validate() is network


@pytest.mark.parametrize(
    ("op", "inputs", "shapes"),
    [
        (Conv2D(8, (3, 5)), [(1, 7, 7, 3)], {"kernel": (3, 5, 3, 8), "bias": (8,)}),
        (Conv2D(6, (3, 3), groups=3), [(1, 7, 7, 3)], {"kernel": (3, 3, 1, 6), "bias": (6,)}),
        (Conv2D(8, (1, 1), groups=2), [(1, 7, 7, 6)], {"kernel": (1, 1, 3, 8), "bias": (8,)}),
        (Dense(10), [(1, 64)], {"kernel": (64, 10), "bias": (10,)}),
        (BatchNorm(), [(1, 7, 7, 3)], {"gamma": (3,), "beta": (3,), "mean": (3,), "variance": (3,)}),
        (Constant((1, 2)), [], {"value": (1, 2)}),
        (Activate(Activation("prelu")), [(1, 7, 7, 3)], {"slope": (3,)}),
        (Activate(RELU), [(1, 7, 7, 3)], {}),
        (Softmax(), [(1, 7)], {}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_weight_shapes(op, inputs, shapes):
    assert weight_shapes(op, inputs) == shapes


def test_builder_infers_shapes_and_passes_on_what_does_not_fit():
    builder = NetworkBuilder("net")
    x = builder.input(Tensor("x", (1, 8, 8, 3)))
    builder.add("conv", Conv2D(4, (3, 3)), [x], kernel=np.zeros((3, 3, 3, 4), np.float32))
    assert builder.tensors["conv"].shape == (1, 6, 6, 4)
    with pytest.raises(ShapeError, match="a window of 7 does not fit into 6"):
        builder.add("large", Conv2D(4, (7, 7)), ["conv"])
    assert builder.build(["conv"], labels=["a", "b", "c", "d"]).labels == ("a", "b", "c", "d")


def test_tensor_sizes():
    assert (Tensor("x", (1, 7, 5, 3)).elements, Tensor("x", (1, 7, 5, 3)).size_bytes) == (105, 420)
    assert Tensor("x", (1, 7, 5, 3), "int8").size_bytes == 105


@pytest.mark.parametrize(
    ("shape", "border", "outside"),
    [
        ((1, 7, 5, 3), "nhwc", (1, 7, 5, 3)),
        ((1, 7, 5, 3), "nchw", (1, 3, 7, 5)),
        ((1, 7, 3), "nchw", (1, 3, 7)),
        ((1, 3), "nchw", (1, 3)),
    ],
)
def test_border_shape(shape, border, outside):
    assert Tensor("x", shape, border=border).border_shape == outside


@pytest.mark.parametrize("scales", [(), (0.0,), (-1.0,), (0.5, float("nan")), (float("inf"),)])
def test_quantization_scales_must_be_positive_and_finite(scales):
    with pytest.raises(ValueError, match=re.escape("quantization scales must be positive and finite")):
        Quantization(scales)
