"""Shapes: what an operator makes of its inputs' shapes, and the padding rules of the frameworks."""

from __future__ import annotations

import math
from collections.abc import Sequence

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
    Dequantize,
    Lookup,
    Mean,
    Op,
    Pad,
    Pads,
    Pair,
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
from dscompile.ir.tensor import Shape


class ShapeError(ValueError):
    """Inputs do not fit the operator. The caller adds the layer's name and position."""


def same_padding(size: int, kernel: int, stride: int, dilation: int = 1) -> Pair:
    """TFLite's SAME: ceil(size / stride) outputs, the odd row of padding at the end -> (before, after)."""
    outputs = -(-size // stride)
    total = max(0, (outputs - 1) * stride + dilated_extent(kernel, dilation) - size)
    return total // 2, total - total // 2


def same_pads(height: int, width: int, kernel: Pair, stride: Pair, dilation: Pair = (1, 1)) -> Pads:
    """SAME padding of an image (see `same_padding`)."""
    top, bottom = same_padding(height, kernel[0], stride[0], dilation[0])
    left, right = same_padding(width, kernel[1], stride[1], dilation[1])
    return Pads(top, bottom, left, right)


def dilated_extent(kernel: int, dilation: int) -> int:
    """Rows that a kernel with gaps covers."""
    return (kernel - 1) * dilation + 1


def window_count(size: int, kernel: int, stride: int, before: int, after: int, dilation: int = 1) -> int:
    """Windows that fit into a padded axis: floor((size + pads - extent) / stride) + 1. ShapeError if none does."""
    room = size + before + after - dilated_extent(kernel, dilation)
    if room < 0:
        raise ShapeError(f"a window of {dilated_extent(kernel, dilation)} does not fit into {size + before + after}")
    return room // stride + 1


def output_shape(op: Op, inputs: Sequence[Shape]) -> Shape:
    """Shape of the result of `op`. Raises ShapeError with a sentence that names the sizes."""
    match op:
        case Conv2D():
            return _convolution(op, _image(inputs))
        case ConvTranspose():
            return _transposed_convolution(op, _image(inputs))
        case Dense():
            (shape,) = _arity(inputs, 1)
            if len(shape) != 2:
                raise ShapeError(f"dense needs [1, C], not {list(shape)}; put a flatten before it")
            return (shape[0], op.units)
        case Pool():
            return _pool(op, _image(inputs))
        case Mean():
            batch, _, _, channels = _image(inputs)
            return (batch, 1, 1, channels)
        case Binary():
            first, second = _arity(inputs, 2)
            return broadcast(first, second)
        case Concat():
            return _concat(op, inputs)
        case Slice():
            return _slice(op, *_arity(inputs, 1))
        case Shuffle():
            (shape,) = _arity(inputs, 1)
            channels = shape[-1] if shape else 1
            if op.groups < 1 or channels % op.groups:
                raise ShapeError(f"{op.groups} groups do not divide {channels} channels")
            return shape
        case DepthToSpace():
            return _depth_to_space(op, _image(inputs))
        case SpaceToDepth():
            batch, height, width, channels = _image(inputs)
            rows, columns = op.block
            if min(op.block) < 1 or height % rows or width % columns:
                raise ShapeError(f"blocks of {list(op.block)} pixels do not fill an image of [{height}, {width}]")
            return (batch, height // rows, width // columns, channels * rows * columns)
        case Pad():
            batch, height, width, channels = _image(inputs)
            pads = op.pads
            most = {"reflect": 1, "symmetric": 0}.get(op.mode)
            if most is not None and (
                max(pads.top, pads.bottom) > height - most or max(pads.left, pads.right) > width - most
            ):
                raise ShapeError(f"an image of [{height}, {width}] has too few pixels to {op.mode} into {_sides(pads)}")
            return (batch, height + pads.top + pads.bottom, width + pads.left + pads.right, channels)
        case Resize():
            batch, _, _, channels = _image(inputs)
            if min(op.size) < 1:
                raise ShapeError(f"resizes to {list(op.size)}, which is no image")
            return (batch, *op.size, channels)
        case Reshape():
            (shape,) = _arity(inputs, 1)
            if math.prod(shape) != math.prod(op.shape):
                raise ShapeError(
                    f"{list(shape)} has {math.prod(shape)} elements, {list(op.shape)} {math.prod(op.shape)}"
                )
            return op.shape
        case Transpose():
            (shape,) = _arity(inputs, 1)
            if sorted(op.permutation) != list(range(len(shape))):
                raise ShapeError(f"{list(op.permutation)} does not permute the {len(shape)} axes of {list(shape)}")
            return tuple(shape[axis] for axis in op.permutation)
        case Constant():
            _arity(inputs, 0)
            return op.shape
        case ArgMax():
            (shape,) = _arity(inputs, 1)
            if not shape:
                raise ShapeError("argmax needs an axis to go along, not a scalar")
            return (*shape[:-1], 1) if op.keep_axis else shape[:-1]
        case Activate() | Lookup() | Softmax() | BatchNorm() | Quantize() | Dequantize():
            (shape,) = _arity(inputs, 1)
            return shape


def broadcast(first: Shape, second: Shape) -> Shape:
    """NumPy's broadcasting rule."""
    rank = max(len(first), len(second))
    a, b = (1,) * (rank - len(first)) + first, (1,) * (rank - len(second)) + second
    if any(x != y and 1 not in (x, y) for x, y in zip(a, b, strict=True)):
        raise ShapeError(f"{list(first)} and {list(second)} do not broadcast")
    return tuple(max(x, y) for x, y in zip(a, b, strict=True))


def _sides(pads: Pads) -> list[int]:
    return [pads.top, pads.bottom, pads.left, pads.right]


def _arity(inputs: Sequence[Shape], count: int) -> Sequence[Shape]:
    if len(inputs) != count:
        raise ShapeError(f"needs {count} input{'s' if count != 1 else ''}, got {len(inputs)}")
    return inputs


def _image(inputs: Sequence[Shape]) -> Shape:
    (shape,) = _arity(inputs, 1)
    if len(shape) != 4:
        raise ShapeError(f"needs an image [1, H, W, C], not {list(shape)}")
    return shape


def _convolution(op: Conv2D, shape: Shape) -> Shape:
    batch, height, width, channels = shape
    if op.groups < 1 or channels % op.groups or op.out_channels % op.groups:
        raise ShapeError(f"{op.groups} groups do not divide {channels} input and {op.out_channels} output channels")
    pads = op.pads
    rows = window_count(height, op.kernel[0], op.stride[0], pads.top, pads.bottom, op.dilation[0])
    columns = window_count(width, op.kernel[1], op.stride[1], pads.left, pads.right, op.dilation[1])
    return (batch, rows, columns, op.out_channels)


def _transposed_convolution(op: ConvTranspose, shape: Shape) -> Shape:
    batch, height, width, channels = shape
    if op.groups < 1 or channels % op.groups or op.out_channels % op.groups:
        raise ShapeError(f"{op.groups} groups do not divide {channels} input and {op.out_channels} output channels")
    steps = (max(op.stride[axis], op.dilation[axis]) for axis in (0, 1))
    if any(not 0 <= added < step for added, step in zip(op.output_padding, steps, strict=True)):
        raise ShapeError(f"output padding {list(op.output_padding)} must be smaller than the stride {list(op.stride)}")
    pads = ((op.pads.top, op.pads.bottom), (op.pads.left, op.pads.right))
    sizes = [
        (size - 1) * op.stride[axis]
        + dilated_extent(op.kernel[axis], op.dilation[axis])
        + op.output_padding[axis]
        - sum(pads[axis])
        for axis, size in enumerate((height, width))
    ]
    if min(sizes) < 1:
        raise ShapeError(f"its padding leaves nothing: the result would be {sizes}")
    return (batch, *sizes, op.out_channels)


def _depth_to_space(op: DepthToSpace, shape: Shape) -> Shape:
    batch, height, width, channels = shape
    rows, columns = op.block
    if min(op.block) < 1 or channels % (rows * columns):
        raise ShapeError(f"blocks of {list(op.block)} pixels do not divide {channels} channels")
    crops = op.crops
    sizes = (height * rows - crops.top - crops.bottom, width * columns - crops.left - crops.right)
    if min(sizes) < 1:
        raise ShapeError(f"its crops leave nothing: the result would be {list(sizes)}")
    return (batch, *sizes, channels // (rows * columns))


def _pool(op: Pool, shape: Shape) -> Shape:
    batch, height, width, channels = shape
    kernel, pads = op.window(height, width), op.pads
    if max(pads.top, pads.bottom) >= kernel[0] or max(pads.left, pads.right) >= kernel[1]:
        raise ShapeError(f"pool padding must be smaller than its window {list(kernel)}")
    rows = window_count(height, kernel[0], op.stride[0], pads.top, pads.bottom)
    columns = window_count(width, kernel[1], op.stride[1], pads.left, pads.right)
    return (batch, rows, columns, channels)


def _concat(op: Concat, inputs: Sequence[Shape]) -> Shape:
    if len(inputs) < 2:
        raise ShapeError(f"needs at least 2 inputs, got {len(inputs)}")
    first = inputs[0]
    if not 0 <= op.axis < len(first):
        raise ShapeError(f"axis {op.axis} is outside {list(first)}")
    for other in inputs[1:]:
        if len(other) != len(first) or any(
            a != b for axis, (a, b) in enumerate(zip(first, other, strict=True)) if axis != op.axis
        ):
            raise ShapeError(f"{list(first)} and {list(other)} differ outside axis {op.axis}")
    total = sum(shape[op.axis] for shape in inputs)
    return (*first[: op.axis], total, *first[op.axis + 1 :])


def _slice(op: Slice, shape: Shape) -> Shape:
    if not len(op.begins) == len(op.sizes) == len(shape):
        raise ShapeError(f"begins {list(op.begins)} and sizes {list(op.sizes)} do not fit the axes of {list(shape)}")
    if len(op.strides) != len(shape) or min(op.strides, default=1) < 1:
        raise ShapeError(f"steps {list(op.strides)} must be a number from 1 on for each axis of {list(shape)}")
    for axis, (begin, size, step, whole) in enumerate(zip(op.begins, op.sizes, op.strides, shape, strict=True)):
        end = begin + (size - 1) * step + 1
        if begin < 0 or size < 1 or end > whole:
            raise ShapeError(f"elements {begin} to {end} of axis {axis} are not all inside {list(shape)}")
    return op.sizes
