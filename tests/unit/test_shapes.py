"""Padding rules and shape inference, against tables written by hand."""

from __future__ import annotations

import re

import pytest

from dscompile.ir.ops import (
    RELU,
    Activate,
    BatchNorm,
    Binary,
    Concat,
    Constant,
    Conv2D,
    Dense,
    Pad,
    Pads,
    Pool,
    Reshape,
    Softmax,
    Transpose,
)
from dscompile.ir.shapes import (
    ShapeError,
    broadcast,
    dilated_extent,
    output_shape,
    same_padding,
    same_pads,
    window_count,
)

# TFLite's rule, by hand: outputs = ceil(size / stride), total = max(0, (outputs - 1) * stride + extent - size),
# before = total // 2, and the rest after.
SAME = [
    # size, kernel, stride, dilation, (before, after), outputs
    (5, 1, 1, 1, (0, 0), 5),
    (5, 3, 1, 1, (1, 1), 5),
    (6, 3, 1, 1, (1, 1), 6),
    (5, 2, 1, 1, (0, 1), 5),
    (6, 4, 1, 1, (1, 2), 6),
    (5, 5, 1, 1, (2, 2), 5),
    (7, 7, 1, 1, (3, 3), 7),
    (1, 3, 1, 1, (1, 1), 1),
    (1, 7, 1, 1, (3, 3), 1),
    (5, 3, 2, 1, (1, 1), 3),
    (6, 3, 2, 1, (0, 1), 3),
    (7, 3, 2, 1, (1, 1), 4),
    (224, 3, 2, 1, (0, 1), 112),
    (225, 3, 2, 1, (1, 1), 113),
    (5, 5, 2, 1, (2, 2), 3),
    (6, 5, 2, 1, (1, 2), 3),
    (6, 7, 2, 1, (2, 3), 3),
    (5, 2, 2, 1, (0, 1), 3),
    (6, 2, 2, 1, (0, 0), 3),
    (5, 1, 2, 1, (0, 0), 3),
    (6, 1, 2, 1, (0, 0), 3),
    (2, 3, 2, 1, (0, 1), 1),
    (1, 3, 2, 1, (1, 1), 1),
    (7, 3, 3, 1, (1, 1), 3),
    (8, 3, 3, 1, (0, 1), 3),
    (9, 3, 3, 1, (0, 0), 3),
    (8, 5, 3, 1, (1, 2), 3),
    (5, 3, 1, 2, (2, 2), 5),
    (6, 3, 1, 2, (2, 2), 6),
    (6, 2, 1, 3, (1, 2), 6),
    (6, 5, 1, 2, (4, 4), 6),
    (5, 3, 2, 2, (2, 2), 3),
    (6, 3, 2, 2, (1, 2), 3),
    (49, 10, 2, 1, (4, 5), 25),
    (10, 4, 2, 1, (1, 1), 5),
]


@pytest.mark.parametrize(("size", "kernel", "stride", "dilation", "padding", "outputs"), SAME)
def test_same_padding_follows_tflite(size, kernel, stride, dilation, padding, outputs):
    assert same_padding(size, kernel, stride, dilation) == padding
    assert window_count(size, kernel, stride, *padding, dilation) == outputs


def test_stride_2_on_even_height_pads_bottom_only():
    assert same_pads(6, 5, (3, 3), (2, 2)) == Pads(top=0, bottom=1, left=1, right=1)


def test_same_pads_take_rows_from_the_height_and_columns_from_the_width():
    assert same_pads(49, 10, (10, 4), (2, 2)) == Pads(top=4, bottom=5, left=1, right=1)
    assert same_pads(6, 6, (3, 5), (1, 2), (2, 1)) == Pads(top=2, bottom=2, left=1, right=2)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "before", "after", "dilation", "count"),
    [
        (5, 3, 1, 0, 0, 1, 3),
        (5, 3, 2, 0, 0, 1, 2),
        (6, 3, 2, 0, 0, 1, 2),  # the last row is read by no window
        (7, 3, 2, 0, 0, 1, 3),
        (7, 7, 1, 0, 0, 1, 1),
        (7, 3, 1, 0, 0, 3, 1),
        (8, 3, 2, 0, 0, 2, 2),
        (1, 3, 1, 2, 0, 1, 1),
        (4, 3, 2, 2, 1, 1, 3),
    ],
)
def test_window_count(size, kernel, stride, before, after, dilation, count):
    assert window_count(size, kernel, stride, before, after, dilation) == count


def test_window_that_does_not_fit_names_both_sizes():
    with pytest.raises(ShapeError, match=re.escape("a window of 5 does not fit into 4")):
        window_count(3, 3, 1, 1, 0, dilation=2)


def test_dilated_extent():
    assert [dilated_extent(3, d) for d in (1, 2, 3)] == [3, 5, 7]
    assert dilated_extent(1, 9) == 1


@pytest.mark.parametrize(
    ("first", "second", "result"),
    [
        ((1, 4, 5, 3), (1, 4, 5, 3), (1, 4, 5, 3)),
        ((1, 4, 5, 3), (3,), (1, 4, 5, 3)),
        ((3,), (1, 4, 5, 3), (1, 4, 5, 3)),
        ((1, 4, 5, 3), (1, 1, 1, 3), (1, 4, 5, 3)),
        ((1, 4, 1, 3), (1, 1, 5, 1), (1, 4, 5, 3)),
        ((1, 4, 5, 3), (), (1, 4, 5, 3)),
        ((1, 1), (1, 17), (1, 17)),
    ],
)
def test_broadcast(first, second, result):
    assert broadcast(first, second) == result


@pytest.mark.parametrize(("first", "second"), [((1, 4, 5, 3), (4,)), ((2,), (3,)), ((1, 4, 5, 3), (1, 5, 4, 3))])
def test_shapes_that_do_not_broadcast(first, second):
    with pytest.raises(ShapeError, match=re.escape(f"{list(first)} and {list(second)} do not broadcast")):
        broadcast(first, second)


@pytest.mark.parametrize(
    ("op", "inputs", "result"),
    [
        (Conv2D(17, (3, 3), (2, 2), Pads(0, 1, 0, 1)), [(1, 224, 224, 3)], (1, 112, 112, 17)),
        (Conv2D(8, (3, 5)), [(1, 7, 9, 3)], (1, 5, 5, 8)),
        (Conv2D(6, (3, 3), groups=3, dilation=(2, 2)), [(1, 9, 8, 3)], (1, 5, 4, 6)),
        (Dense(12), [(1, 64)], (1, 12)),
        (Pool("average"), [(1, 7, 5, 100)], (1, 1, 1, 100)),
        (Pool("max", (3, 3), (2, 2), Pads(1, 1, 1, 1)), [(1, 5, 6, 3)], (1, 3, 3, 3)),
        (Binary("mul"), [(1, 7, 5, 3), (1, 1, 1, 3)], (1, 7, 5, 3)),
        (Concat(3), [(1, 7, 5, 3), (1, 7, 5, 17), (1, 7, 5, 1)], (1, 7, 5, 21)),
        (Concat(1), [(1, 7, 5, 3), (1, 2, 5, 3)], (1, 9, 5, 3)),
        (Pad(Pads(1, 2, 3, 4)), [(1, 5, 5, 3)], (1, 8, 12, 3)),
        (Reshape((1, 105)), [(1, 7, 5, 3)], (1, 105)),
        (Transpose((0, 3, 1, 2)), [(1, 7, 5, 3)], (1, 3, 7, 5)),
        (Constant((1, 3)), [], (1, 3)),
        (Activate(RELU), [(1, 7)], (1, 7)),
        (Softmax(), [(1, 7)], (1, 7)),
        (BatchNorm(), [(1, 7, 5, 3)], (1, 7, 5, 3)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_output_shape(op, inputs, result):
    assert output_shape(op, inputs) == result


@pytest.mark.parametrize(
    ("op", "inputs", "message"),
    [
        (Conv2D(8, (3, 3)), [(1, 64)], "needs an image [1, H, W, C], not [1, 64]"),
        (Conv2D(8, (3, 3)), [(1, 2, 5, 3)], "a window of 3 does not fit into 2"),
        (Conv2D(8, (1, 1), groups=2), [(1, 5, 5, 3)], "2 groups do not divide 3 input and 8 output channels"),
        (Conv2D(8, (1, 1), groups=3), [(1, 5, 5, 3)], "3 groups do not divide 3 input and 8 output channels"),
        (Conv2D(8, (1, 1), groups=0), [(1, 5, 5, 3)], "0 groups do not divide 3 input and 8 output channels"),
        (Dense(8), [(1, 2, 2, 3)], "dense needs [1, C], not [1, 2, 2, 3]; put a flatten before it"),
        (Pool("max", (2, 2), pads=Pads(top=2)), [(1, 5, 5, 3)], "pool padding must be smaller than its window [2, 2]"),
        (
            Pool("max", (2, 2), pads=Pads(right=2)),
            [(1, 5, 5, 3)],
            "pool padding must be smaller than its window [2, 2]",
        ),
        (Binary("add"), [(1, 3)], "needs 2 inputs, got 1"),
        (Softmax(), [], "needs 1 input, got 0"),
        (Constant((1,)), [(1, 3)], "needs 0 inputs, got 1"),
        (Concat(3), [(1, 5, 5, 3)], "needs at least 2 inputs, got 1"),
        (Concat(4), [(1, 5, 5, 3)] * 2, "axis 4 is outside [1, 5, 5, 3]"),
        (Concat(3), [(1, 5, 5, 3), (1, 4, 5, 3)], "[1, 5, 5, 3] and [1, 4, 5, 3] differ outside axis 3"),
        (Concat(1), [(1, 5), (1, 5, 1)], "[1, 5] and [1, 5, 1] differ outside axis 1"),
        (Reshape((1, 9)), [(1, 2, 5)], "[1, 2, 5] has 10 elements, [1, 9] 9"),
        (Transpose((0, 1, 1)), [(1, 2, 5)], "[0, 1, 1] does not permute the 3 axes of [1, 2, 5]"),
    ],
)
def test_inputs_that_do_not_fit_are_named(op, inputs, message):
    with pytest.raises(ShapeError, match=f"^{re.escape(message)}$"):
        output_shape(op, inputs)


def test_pads_must_not_be_negative():
    with pytest.raises(ValueError, match=re.escape("padding must not be negative: Pads(top=0, bottom=-1")):
        Pads(bottom=-1)


def test_pads_are_true_when_anything_is_padded():
    assert not Pads()
    assert all([Pads(top=1), Pads(bottom=1), Pads(left=1), Pads(right=1)])
