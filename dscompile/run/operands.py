"""Operands of single kernels: flat NumPy arrays and the element in them where a view begins."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dscompile.errors import Diagnostic, UsageError
from dscompile.ir.network import Array
from dscompile.plan.kernels import Parameter

if TYPE_CHECKING:
    from tvm.tirx import Buffer, PrimFunc

Floats = NDArray[np.float32]

ALIGNMENT = 64  # bytes: the widest vector of any target, and a cache line


@dataclass(frozen=True)
class At:
    """An operand: the view begins `offset` elements into `array` (flat, float32, in one piece)."""

    array: Array
    offset: int = 0

    @property
    def address(self) -> int:
        """Of the view's first element."""
        return int(self.array.ctypes.data) + self.array.itemsize * self.offset


Operand = Array | At


@dataclass(frozen=True)
class Signature:
    """The operands that a kernel takes: its parameters, and how far each view reaches, in elements."""

    parameters: tuple[Parameter, ...]
    reach: tuple[int, ...]

    @classmethod
    def of(cls, prim: PrimFunc, parameters: Sequence[Parameter]) -> Signature:
        """Of a definition and the views behind its buffers."""
        reach = tuple(
            _reach(_shape_in(buffer, p), p.strides) for buffer, p in zip(prim.params, parameters, strict=True)
        )
        return cls(tuple(parameters), reach)

    def check(self, operands: Sequence[Operand]) -> list[At]:
        """The operands as views.

        Raises UsageError naming every operand that is missing, of the wrong type, too short for its view, not aligned
        as the parameter wants it, or read-only although the kernel writes to it.
        """
        views = [operand if isinstance(operand, At) else At(operand) for operand in operands]
        if len(views) != len(self.parameters):
            names = ", ".join(parameter.name for parameter in self.parameters)
            raise UsageError(f"the kernel takes {len(self.parameters)} operands ({names}), not {len(views)}")
        problems = [
            Diagnostic(f"operand '{parameter.name}' {problem}")
            for parameter, view, reach in zip(self.parameters, views, self.reach, strict=True)
            if (problem := _problem(parameter, view, reach))
        ]
        if problems:
            raise UsageError(problems)
        return views

    def definitions(self, symbol: str) -> list[str]:
        """Options for the C compiler: what templates/run/*.c want to know about a kernel."""
        count = len(self.parameters)
        return [
            f"-DKERNEL={symbol}",
            f"-DPARAMETERS={', '.join(['void *'] * count)}",
            f"-DARGUMENTS={', '.join(f'p[{index}]' for index in range(count))}",
        ]


def aligned_buffer(elements: int, fill: float = np.nan) -> Floats:
    """`elements` float32 at a multiple of 64 bytes, each `fill`."""
    room = np.empty(elements + ALIGNMENT // 4, np.float32)
    start = -room.ctypes.data % ALIGNMENT // 4
    buffer = room[start : start + elements]
    buffer[:] = fill
    return buffer


def aligned_copy(array: Array) -> Floats:
    """The elements of `array` in order, flat, as float32 at a multiple of 64 bytes."""
    buffer = aligned_buffer(array.size)
    buffer[:] = array.ravel()
    return buffer


def _shape_in(buffer: Buffer, parameter: Parameter) -> tuple[int, ...]:
    """The shape of a buffer in elements of the parameter, of which an element of the buffer may hold several."""
    *outer, last = (int(n) for n in buffer.shape)
    return (*outer, last * np.dtype(str(buffer.dtype)).itemsize // np.dtype(parameter.dtype).itemsize)


def _reach(shape: tuple[int, ...], strides: tuple[int, ...]) -> int:
    """Elements from a view's first to the end of its last."""
    if not strides:
        return math.prod(shape)
    return 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))


def _problem(parameter: Parameter, view: At, reach: int) -> str:
    """What is wrong with an operand, or nothing."""
    array, offset = view.array, view.offset
    if array.dtype != parameter.dtype or array.ndim != 1 or not array.flags.c_contiguous:
        return f"must be a flat {parameter.dtype} array in one piece, not {array.dtype} {list(array.shape)}"
    if not 0 <= offset <= array.size - reach:
        return f"needs {reach} elements from element {offset} on; the array has {array.size}"
    if (array.ctypes.data + array.itemsize * offset) % parameter.alignment:
        return f"must begin at a multiple of {parameter.alignment} bytes; make the array with aligned_copy()"
    if parameter.written and not array.flags.writeable:
        return "is written to, and the array is read-only"
    return ""
