"""The table of float operators: op type -> function that computes it in float64."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dscompile.ir.ops import (
    Activate,
    ArgMax,
    BatchNorm,
    Binary,
    Concat,
    Constant,
    Conv2D,
    ConvTranspose,
    Dense,
    DepthToSpace,
    Op,
    Pad,
    Pool,
    Reshape,
    Resize,
    Shuffle,
    Slice,
    Softmax,
    SpaceToDepth,
    Transpose,
)
from dscompile.oracle.activation import activate, apply
from dscompile.oracle.argmax import index_of_largest
from dscompile.oracle.blocks import channels_as_pixels, pixels_as_channels
from dscompile.oracle.convolution import conv2d, conv_transpose, dense
from dscompile.oracle.operands import Operands, Reals
from dscompile.oracle.pooling import pool
from dscompile.oracle.resizing import resize
from dscompile.oracle.windows import margins, pad_image

_BINARY: Mapping[str, Callable[[Reals, Reals], Reals]] = {
    "add": np.add,
    "mul": np.multiply,
    "sub": np.subtract,
    "div": np.divide,
    "max": np.maximum,
    "min": np.minimum,
}


def binary(op: Binary, operands: Operands) -> Reals:
    """a, b -> activation(a op b), with NumPy broadcasting."""
    first, second = operands.inputs
    return apply(op.activation, _BINARY[op.kind](first, second))


def concat(op: Concat, operands: Operands) -> Reals:
    """The inputs one after the other along `axis`."""
    return np.concatenate(operands.inputs, axis=op.axis)


def slice_box(op: Slice, operands: Operands) -> Reals:
    """The elements x[begins[0] + i * steps[0], begins[1] + j * steps[1], ...] for i, j, ... below `sizes`."""
    return operands.x[op.box]


def shuffle(op: Shuffle, operands: Operands) -> Reals:
    """y[..., c * groups + g] = x[..., g * n + c] with n = C / groups."""
    per_group = operands.x.shape[-1] // op.groups
    order = [g * per_group + c for c in range(per_group) for g in range(op.groups)]
    return operands.x[..., order]


def argmax(op: ArgMax, operands: Operands) -> Reals:
    """Where the largest element of the last axis lies."""
    return index_of_largest(op, operands.x).astype(np.float64)


def softmax(op: Softmax, operands: Operands) -> Reals:
    """exp(beta * x) / sum(exp(beta * x)) over the last axis; the maximum is taken off first, which changes nothing."""
    scaled = op.beta * operands.x
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    result: Reals = powers / powers.sum(axis=-1, keepdims=True)
    return result


def depth_to_space(op: DepthToSpace, operands: Operands) -> Reals:
    """Channels become blocks of pixels, and the crops are cut off."""
    return channels_as_pixels(op, operands.x)


def space_to_depth(op: SpaceToDepth, operands: Operands) -> Reals:
    """Blocks of pixels become channels."""
    return pixels_as_channels(op, operands.x)


def pad(op: Pad, operands: Operands) -> Reals:
    """X [1, H, W, C] with `value` around height and width, or what `mode` takes from inside."""
    if op.mode == "constant":
        return pad_image(operands.x, op.pads, op.value)
    return np.pad(operands.x, margins(op.pads), mode=op.mode)


def reshape(op: Reshape, operands: Operands) -> Reals:
    """The same elements in channels-last order."""
    return operands.x.reshape(op.shape)


def transpose(op: Transpose, operands: Operands) -> Reals:
    """y.shape[i] = x.shape[permutation[i]]."""
    return operands.x.transpose(op.permutation)


def batch_norm(op: BatchNorm, operands: Operands) -> Reals:
    """Gamma * (x - mean) / sqrt(variance + epsilon) + beta, per channel of the last axis."""
    w = operands.weights
    result: Reals = w["gamma"] * (operands.x - w["mean"]) / np.sqrt(w["variance"] + op.epsilon) + w["beta"]
    return result


def constant(op: Constant, operands: Operands) -> Reals:
    """The weight `value`."""
    return operands.weights["value"].reshape(op.shape)


FLOAT_OPS: Mapping[type[Op], Callable[[Any, Operands], Reals]] = {
    Activate: activate,
    BatchNorm: batch_norm,
    Binary: binary,
    Concat: concat,
    Constant: constant,
    Conv2D: conv2d,
    ConvTranspose: conv_transpose,
    Dense: dense,
    DepthToSpace: depth_to_space,
    Pad: pad,
    Pool: pool,
    Reshape: reshape,
    Resize: resize,
    Shuffle: shuffle,
    Slice: slice_box,
    Softmax: softmax,
    ArgMax: argmax,
    SpaceToDepth: space_to_depth,
    Transpose: transpose,
}
