"""The table of int8 operators: op type -> function that computes it in integers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dscompile.ir.network import Array
from dscompile.ir.ops import (
    Activate,
    ArgMax,
    Binary,
    Concat,
    Constant,
    Conv2D,
    ConvTranspose,
    Dense,
    DepthToSpace,
    Dequantize,
    Lookup,
    Mean,
    Op,
    Pad,
    Pool,
    Quantize,
    Reshape,
    Resize,
    Shuffle,
    Slice,
    Softmax,
    SpaceToDepth,
    Transpose,
)
from dscompile.oracle.argmax import index_of_largest
from dscompile.oracle.blocks import channels_as_pixels, pixels_as_channels
from dscompile.oracle.int8_arithmetic import Integers, quantized_bound
from dscompile.oracle.int8_elementwise import activate, binary, dequantize, lookup, quantize
from dscompile.oracle.int8_linear import conv2d, conv_transpose, dense
from dscompile.oracle.int8_operands import Int8Operands
from dscompile.oracle.int8_pooling import mean, pool
from dscompile.oracle.int8_resizing import resize
from dscompile.oracle.int8_softmax import softmax
from dscompile.oracle.windows import margins


def concat(op: Concat, operands: Int8Operands) -> Integers:
    """The inputs one after the other along `axis`; they have one scale and zero point."""
    return np.concatenate([operands.integers(index) for index in range(len(operands.inputs))], axis=op.axis)


def slice_box(op: Slice, operands: Int8Operands) -> Integers:
    """The elements x[begins[0] + i * steps[0], begins[1] + j * steps[1], ...] for i, j, ... below `sizes`."""
    return operands.integers()[op.box]


def shuffle(op: Shuffle, operands: Int8Operands) -> Integers:
    """y[..., c * groups + g] = x[..., g * n + c] with n = C / groups."""
    x = operands.integers()
    per_group = x.shape[-1] // op.groups
    order = [g * per_group + c for c in range(per_group) for g in range(op.groups)]
    return x[..., order]


def depth_to_space(op: DepthToSpace, operands: Int8Operands) -> Integers:
    """Channels become blocks of pixels, and the crops are cut off."""
    return channels_as_pixels(op, operands.integers())


def argmax(op: ArgMax, operands: Int8Operands) -> Integers:
    """Where the largest integer of the last axis lies; no scale matters."""
    return index_of_largest(op, operands.integers())


def space_to_depth(op: SpaceToDepth, operands: Int8Operands) -> Integers:
    """Blocks of pixels become channels."""
    return pixels_as_channels(op, operands.integers())


def pad(op: Pad, operands: Int8Operands) -> Integers:
    """X [1, H, W, C] with zero point + round(value / scale) around height and width, or what is inside."""
    if op.mode != "constant":
        return np.pad(operands.integers(), margins(op.pads), mode=op.mode)
    value = min(max(quantized_bound(op.value, operands.made), -128), 127)
    return np.pad(operands.integers(), margins(op.pads), constant_values=value)


def reshape(op: Reshape, operands: Int8Operands) -> Integers:
    """The same elements in channels-last order."""
    return operands.integers().reshape(op.shape)


def transpose(op: Transpose, operands: Int8Operands) -> Integers:
    """y.shape[i] = x.shape[permutation[i]]."""
    return operands.integers().transpose(op.permutation)


def constant(op: Constant, operands: Int8Operands) -> Integers:
    """The weight `value`."""
    return operands.weights["value"].astype(np.int64).reshape(op.shape)


INT8_OPS: Mapping[type[Op], Callable[[Any, Int8Operands], Array]] = {
    Activate: activate,
    Binary: binary,
    Concat: concat,
    Constant: constant,
    Conv2D: conv2d,
    ConvTranspose: conv_transpose,
    Dense: dense,
    DepthToSpace: depth_to_space,
    Dequantize: dequantize,
    Lookup: lookup,
    Mean: mean,
    Pad: pad,
    Pool: pool,
    Quantize: quantize,
    Reshape: reshape,
    Resize: resize,
    Shuffle: shuffle,
    Slice: slice_box,
    Softmax: softmax,
    ArgMax: argmax,
    SpaceToDepth: space_to_depth,
    Transpose: transpose,
}
