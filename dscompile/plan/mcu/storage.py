"""Storage of the standalone C backend: dense or in rows, in the arena or where the user's buffers are."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dscompile.ir.tensor import DTYPE_BYTES, DType, Shape, Tensor
from dscompile.plan.mcu.rows import SLACK_BYTES
from dscompile.plan.program import Operand


@dataclass
class Store:
    """A run of bytes in the arena, and the steps in which it is alive."""

    name: str
    size_bytes: int
    first: int
    last: int

    def touch(self, step: int) -> None:
        """The store is read or written in `step`."""
        self.first = min(self.first, step)
        self.last = max(self.last, step)


@dataclass(frozen=True)
class Place:
    """Where a tensor begins: dense, or with pixels (all but the last axis) that begin `step` elements apart.

    With `in_rows` it is an image in rows (plan/mcu/rows.py), for kernels that know these.
    """

    operand: Operand
    shape: Shape
    dtype: DType
    step: int = 0
    in_rows: bool = False

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def strides(self) -> tuple[int, ...]:
        """Elements from one index of an axis to the next."""
        if not self.step:
            return dense_strides(self.shape)
        return (*(stride * self.step for stride in dense_strides(self.shape[:-1])), 1)

    @property
    def size_bytes(self) -> int:
        """Bytes from its first element to its last; with those that are read behind an image in rows."""
        if self.in_rows:
            return self.elements + SLACK_BYTES
        spanned = sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True)) + 1
        return spanned * DTYPE_BYTES[self.dtype]

    def at(self, element: int) -> Operand:
        """Pointer to an element."""
        where = self.operand
        return Operand(where.space, where.name, where.offset_bytes + element * DTYPE_BYTES[self.dtype])

    def reshaped(self, shape: Shape) -> Place:
        """The same elements under another shape."""
        return Place(self.operand, shape, self.dtype)


def dense_strides(shape: Shape) -> tuple[int, ...]:
    """Row-major strides."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def broadcast_strides(shape: Shape, result: Shape) -> tuple[int, ...]:
    """Strides of a dense tensor when it is stretched to `result` (0 where it repeats)."""
    padded = (1,) * (len(result) - len(shape)) + shape
    return tuple(0 if size == 1 else stride for size, stride in zip(padded, dense_strides(padded), strict=True))


def border_strides(tensor: Tensor) -> tuple[int, ...]:
    """Strides of a border tensor's axes in channels-last order, in the user's buffer."""
    strides = dense_strides(tensor.border_shape)
    if tensor.border == "nchw" and len(tensor.shape) >= 3:
        batch, channel, *spatial = strides
        return (batch, *spatial, channel)
    return strides


def merge_axes(shape: Shape, *strides: tuple[int, ...]) -> tuple[Shape, ...]:
    """Shape and strides with as few axes as walk through memory alike: axes of 1 go, neighbors are joined."""
    axes: list[list[int]] = []
    for axis, size in enumerate(shape):
        step = [each[axis] for each in strides]
        if size == 1:
            continue
        if axes and all(outer == inner * size for outer, inner in zip(axes[-1][1:], step, strict=True)):
            axes[-1] = [axes[-1][0] * size, *step]
        else:
            axes.append([size, *step])
    return tuple(zip(*axes, strict=True)) if axes else ((1,), *((1,) for _ in strides))
