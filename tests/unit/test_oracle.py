"""The oracle's small operators with literal results, its inputs, its errors and the border layouts."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from dscompile.errors import BadInputError
from dscompile.ir.network import NetworkBuilder
from dscompile.ir.ops import (
    RELU,
    Activate,
    Activation,
    Binary,
    Concat,
    Constant,
    Dense,
    Pad,
    Pads,
    Reshape,
    Transpose,
)
from dscompile.ir.tensor import Tensor
from dscompile.oracle import from_border, run, run_all, to_border


def two_inputs(op):
    builder = NetworkBuilder("pair")
    first, second = builder.input(Tensor("a", (1, 1, 2, 2))), builder.input(Tensor("b", (1, 1, 1, 2)))
    builder.add("layer", op, [first, second], "y")
    return builder.build(["y"])


A = np.float32([[[[1, 2], [3, 4]]]])
B = np.float32([[[[10, -100]]]])


def test_add_broadcasts_over_pixels():
    result = run(two_inputs(Binary("add")), {"a": A, "b": B})
    assert result["y"].tolist() == [[[[11, -98], [13, -96]]]]


def test_mul_with_activation():
    result = run(two_inputs(Binary("mul", RELU)), {"a": A, "b": B})
    assert result["y"].tolist() == [[[[10, 0], [30, 0]]]]


def test_concat_joins_in_the_order_of_the_inputs():
    result = run(two_inputs(Concat(axis=2)), {"a": A, "b": B})
    assert result["y"].tolist() == [[[[1, 2], [3, 4], [10, -100]]]]


def test_pad_reshape_transpose_and_constant_move_elements_only():
    builder = NetworkBuilder("moves")
    x = builder.input(Tensor("x", (1, 1, 2, 2)))
    padded = builder.add("pad", Pad(Pads(top=1, right=1), value=9.0), [x])
    turned = builder.add("turn", Transpose((0, 3, 1, 2)), [padded])
    flat = builder.add("flat", Reshape((1, 12)), [turned])
    known = builder.add("known", Constant((1, 2)), value=np.float32([[7, 8]]))
    builder.add("joined", Concat(1), [flat, known])
    values = run_all(builder.build(["joined"]), {"x": A})
    assert list(values) == ["x", "pad", "turn", "flat", "known", "joined"]
    assert values["pad"].tolist() == [[[[9, 9], [9, 9], [9, 9]], [[1, 2], [3, 4], [9, 9]]]]
    assert values["turn"].tolist() == [[[[9, 9, 9], [1, 3, 9]], [[9, 9, 9], [2, 4, 9]]]]
    assert values["joined"].tolist() == [[9, 9, 9, 1, 3, 9, 9, 9, 9, 2, 4, 9, 7, 8]]


def test_run_gives_the_outputs_in_their_order():
    builder = NetworkBuilder("two")
    x = builder.input(Tensor("x", (1, 2)))
    first = builder.add("first", Activate(RELU), [x])
    builder.add("second", Binary("add"), [first, x])
    result = run(builder.build(["second", "first"]), {"x": np.float32([[-1, 1]])})
    assert [(name, array.tolist()) for name, array in result.items()] == [
        ("second", [[-1, 2]]),
        ("first", [[0, 1]]),
    ]


def test_every_problem_of_the_inputs_is_reported_at_once():
    with pytest.raises(BadInputError) as caught:
        run(two_inputs(Binary("add")), {"a": np.zeros((1, 2, 2), np.float64), "c": B})
    assert str(caught.value).split("\n") == [
        "error: input 'a' has shape [1, 2, 2], it must be [1, 1, 2, 2]",
        "error: input 'a' is float64, it must be float32",
        "error: input 'b' is missing; it must be float32 [1, 1, 1, 2]",
        "error: the network has no input 'c'",
    ]


def test_a_misspelled_input_gets_a_suggestion():
    builder = NetworkBuilder("one")
    builder.add("relu", Activate(RELU), [builder.input(Tensor("image", (1, 2)))])
    with pytest.raises(BadInputError, match=re.escape("help: did you mean 'image'?")):
        run(builder.build(["relu"]), {"imgae": np.zeros((1, 2), np.float32)})


def test_prelu_inside_another_layer_is_refused():
    builder = NetworkBuilder("one")
    x = builder.input(Tensor("x", (1, 2)))
    builder.add("dense", Dense(2, Activation("prelu")), [x], kernel=np.eye(2, dtype=np.float32))
    with pytest.raises(BadInputError, match="prelu has no weight 'slope'; it must be a layer of its own"):
        run(builder.build(["dense"]), {"x": np.zeros((1, 2), np.float32)})


IMAGE = Tensor("image", (1, 2, 3, 4), border="nchw")


def test_nchw_borders_move_channels_second_and_back():
    array = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
    outside = to_border(IMAGE, array)
    assert outside.shape == IMAGE.border_shape == (1, 4, 2, 3)
    assert outside.flags["C_CONTIGUOUS"]
    assert outside[0, 3, 1, 2] == array[0, 1, 2, 3]
    assert np.array_equal(from_border(IMAGE, outside), array)
    assert from_border(IMAGE, outside).flags["C_CONTIGUOUS"]


@pytest.mark.parametrize("tensor", [replace(IMAGE, border="nhwc"), Tensor("vector", (1, 24), border="nchw")])
def test_nhwc_borders_and_vectors_stay_as_they_are(tensor):
    array = np.arange(24, dtype=np.float32).reshape(tensor.shape)
    assert np.array_equal(to_border(tensor, array), array)
    assert np.array_equal(from_border(tensor, array), array)


def test_sequences_are_channels_second_too():
    array = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    assert to_border(Tensor("sequence", (1, 2, 3), border="nchw"), array).tolist() == [[[0, 3], [1, 4], [2, 5]]]


def test_arrays_of_another_shape_are_refused_at_the_border():
    with pytest.raises(BadInputError, match=re.escape("'image' must have shape [1, 2, 3, 4], not [1, 4, 2, 3]")):
        to_border(IMAGE, np.zeros((1, 4, 2, 3), np.float32))
    with pytest.raises(BadInputError, match=re.escape("'image' must have shape [1, 4, 2, 3], not [1, 2, 3, 4]")):
        from_border(IMAGE, np.zeros((1, 2, 3, 4), np.float32))
