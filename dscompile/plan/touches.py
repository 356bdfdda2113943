"""What a call reads and writes, in bytes: for whoever lets calls run at once, or in another order.

Everything lies on one of two lines: the arena, or the state. The user's buffers count as their places in the arena,
since that is where they may lie. What is read counts from its pointer to the end of its buffer; what is written is
known to the byte, so that calls that fill in different parts of one buffer do not stand in each other's way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dscompile.ir.tensor import DTYPE_BYTES
from dscompile.plan.bf16_kernels import Bf16ConvKernel
from dscompile.plan.int8_elementwise import Int8MeanKernel, Int8PoolKernel
from dscompile.plan.int8_kernels import Int8ConvKernel, Int8DenseKernel, Int8DepthwiseKernel
from dscompile.plan.kernels import (
    ArgMaxKernel,
    ConvKernel,
    DenseKernel,
    DepthwiseKernel,
    ElementwiseKernel,
    FillKernel,
    FlatKernel,
    GatherKernel,
    PackKernel,
    Parameter,
    PoolKernel,
    ResampleKernel,
    UnpackKernel,
    WinogradKernel,
)
from dscompile.plan.layout import TileStrides
from dscompile.plan.program import Call, Function, Operand, Program
from dscompile.plan.states import kept_tensors

Kernel = object


@dataclass(frozen=True)
class Runs:
    """Runs of bytes of equal length: where each begins, in order."""

    begins: NDArray[np.int64]
    size_bytes: int

    @property
    def end(self) -> int:
        """Where the last one ends."""
        return int(self.begins[-1]) + self.size_bytes


@dataclass(frozen=True)
class Touch:
    """Bytes `begin` .. `end` of a line that a call reads or writes: the `runs` behind `begin`, or all."""

    line: str
    begin: int
    end: int
    written: bool
    runs: Runs | None = None

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for equal touches."""
        return self.line, self.begin, self.end, self.written, id(self.runs)


def touches(program: Program, call: Call, function: Function) -> tuple[Touch, ...]:
    """What a call touches; constants are left out, since nobody writes them."""
    found = []
    for operand, parameter in zip(call.operands, function.parameters, strict=True):
        place = _place(program, operand)
        if place is None:
            continue
        line, begin, end = place
        shape = written_shape(function.kernel) if parameter.written else None
        exact = None if shape is None or line != "arena" else _exact(shape, parameter)
        if exact is None:
            found.append(Touch(line, begin, end, parameter.written))
        else:
            found.append(Touch(line, begin, begin + exact.end, True, exact))
    return tuple(found)


def conflict(one: Sequence[Touch], other: Sequence[Touch]) -> bool:
    """Whether two calls must run one after the other: one writes what the other reads or writes."""
    return any(
        (a.written or b.written) and a.line == b.line and a.begin < b.end and b.begin < a.end and _share_bytes(a, b)
        for a in one
        for b in other
    )


def _share_bytes(one: Touch, other: Touch) -> bool:
    """Whether two touches whose spans overlap have a byte in common."""
    if one.runs is None or other.runs is None:
        return True
    begins, others = one.begin + one.runs.begins, other.begin + other.runs.begins
    nearest = np.searchsorted(others, begins + one.runs.size_bytes, "left") - 1  # the last that begins before an end
    return bool(np.any((nearest >= 0) & (others[nearest] + other.runs.size_bytes > begins)))


def written_shape(kernel: Kernel) -> tuple[int, ...] | None:
    """Elements that a kernel writes along the axes of its result's view; None where that is not known."""
    match kernel:
        case ConvKernel() | Bf16ConvKernel() | Int8ConvKernel():
            return (kernel.out_channels // kernel.lanes, kernel.height, kernel.width, kernel.lanes)
        case WinogradKernel():
            return (kernel.out_channels // kernel.lanes, *kernel.tiles, *kernel.outputs, kernel.lanes)
        case DepthwiseKernel(y=TileStrides(pixels=pixels)):
            return (kernel.blocks, kernel.height, kernel.width // pixels, pixels, kernel.lanes)
        case DepthwiseKernel() | Int8DepthwiseKernel() | PoolKernel() | Int8PoolKernel() | ElementwiseKernel():
            return (kernel.blocks, kernel.height, kernel.width, kernel.lanes)
        case ResampleKernel() | GatherKernel():
            return (kernel.blocks, kernel.height, kernel.width, kernel.lanes)
        case PackKernel():
            return (-(-kernel.channels // kernel.lanes), kernel.height, kernel.width, kernel.lanes)
        case Int8MeanKernel():
            return (kernel.blocks, 1, 1, kernel.lanes)
        case UnpackKernel():
            return (kernel.channels, kernel.height, kernel.width)
        case FillKernel():
            return (kernel.outer, kernel.rows, kernel.length)
        case FlatKernel():
            return kernel.shape
        case DenseKernel() | Int8DenseKernel():
            return (kernel.out_channels,)
        case ArgMaxKernel():
            return (kernel.height * kernel.width,)
    return None


def _place(program: Program, operand: Operand) -> tuple[str, int, int] | None:
    """The line that an operand lies on, where it begins there, and where its buffer ends."""
    if operand.space == "constant":
        return None
    name = operand.name
    if operand.space != "arena":
        if name in kept_tensors(program.network):
            return "state", 0, 1  # all of it: states are few
        homes = program.inputs if operand.space == "input" else program.outputs
        name = homes[name]
    buffer = program.buffer(name)
    return "arena", buffer.offset_bytes + operand.offset_bytes, buffer.offset_bytes + buffer.size_bytes


def _exact(shape: tuple[int, ...], parameter: Parameter) -> Runs | None:
    """The runs of bytes of a view; None if it has other axes."""
    strides = parameter.strides or (1,)
    return _runs(shape, strides, DTYPE_BYTES[parameter.dtype]) if len(shape) == len(strides) else None


@lru_cache(maxsize=4096)
def _runs(shape: tuple[int, ...], strides: tuple[int, ...], size_bytes: int) -> Runs:
    axes = sorted((stride, extent) for stride, extent in zip(strides, shape, strict=True) if extent > 1)
    run = 1
    while axes and axes[0][0] == run:
        run *= axes.pop(0)[1]
    begins = np.zeros(1, np.int64)
    for stride, extent in axes:
        begins = (begins[None, :] + stride * np.arange(extent)[:, None]).reshape(-1)
    assert len(begins) == math.prod(extent for _, extent in axes)
    return Runs(np.sort(begins) * size_bytes, run * size_bytes)
