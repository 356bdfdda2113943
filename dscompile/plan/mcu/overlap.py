"""How far input and output of a kernel may overlap in memory: exact distances, per direction (plan/arena.py: Overlap).

A windowed kernel goes through the pixels of its output in order. Once it has written the pixels below p it needs, of
its input, only what the windows of the pixels from p on read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeGuard

from dscompile.ir.tensor import DTYPE_BYTES
from dscompile.plan.mcu.kernels import McuKernel, WindowedKernel
from dscompile.plan.mcu.late import downward_moments, upward_moments
from dscompile.plan.mcu.products import ConvKernel, DepthwiseKernel, SeparableKernel
from dscompile.plan.mcu.rows import y_row_bytes
from dscompile.plan.mcu.small_kernels import (
    ActivateKernel,
    BinaryKernel,
    LookupKernel,
    PoolKernel,
    QuantizeKernel,
    ScaleKernel,
    SoftmaxKernel,
)


@dataclass(frozen=True)
class Distances:
    """How far y may reach into an input, as in plan/arena.py: Overlap; without either only the same place will do."""

    below_bytes: int | None = None
    above_bytes: int | None = None


def permitted_distances(kernel: McuKernel, parameters: Sequence[str]) -> Distances | None:
    """Where y may begin when it shares memory with the input that `parameters` point to; None: nowhere in it.

    An element of a residual is read just before the element of y in its place is written: no other place of y will do,
    unless y keeps away from it by a whole group, as it must where the same input is the window's image too.
    """
    if tuple(parameters) == ("residual",):
        return Distances()
    if _goes_by_channel(kernel):
        return Distances() if tuple(parameters) == ("x",) and not (kernel.step or kernel.shuffled) else None
    if isinstance(kernel, WindowedKernel):
        if not set(parameters) <= {"x", "residual"}:
            return None
        group = _pixel_bytes(kernel) * _group(kernel) if "residual" in parameters else 0
        return Distances(max(_upward(kernel), group), max(_downward(kernel), group))
    if len(parameters) > 1:
        return None
    below = _in_place(kernel, parameters[0])
    return Distances(0) if below else None


def goes_upwards(kernel: WindowedKernel, shift_bytes: int) -> bool:
    """Whether the kernel may go upwards when y begins `shift_bytes` above x and the two share memory."""
    return _goes_by_channel(kernel) or shift_bytes <= -_upward(kernel)


def _goes_by_channel(kernel: McuKernel) -> TypeGuard[DepthwiseKernel]:
    """Whether channels are finished one after the other; in the same place y has those that were read completely."""
    return isinstance(kernel, DepthwiseKernel) and kernel.variant == "planes"


def downwards(kernel: WindowedKernel) -> WindowedKernel:
    """The same kernel going downwards."""
    match kernel:
        case ConvKernel() | DepthwiseKernel() | SeparableKernel() | PoolKernel():
            return replace(kernel, descending=True)


def _in_place(kernel: McuKernel, parameter: str) -> bool:
    """Whether y may lie at or below an input of a kernel without window."""
    match kernel:
        case ActivateKernel() | LookupKernel() | ScaleKernel():
            return parameter == "x" and not kernel.step
        case SoftmaxKernel() | QuantizeKernel():
            return parameter == "x"
        case BinaryKernel():
            strides = {"a": kernel.a, "b": kernel.b}
            return parameter in strides and all(_covers(kernel.shape, each) for each in (strides[parameter], kernel.y))
        case _:
            return False


def _downward(kernel: WindowedKernel) -> int:
    """Bytes that y must begin above x for the kernel as it goes downwards."""
    if _has_late_pixels(kernel):
        return max(0, *(needed - begin for begin, needed in downward_moments(kernel)))
    lasts = _last_bytes(kernel)
    distance = 0
    for begin, end in _groups(kernel, descending=True):
        needed = begin if _is_buffered(kernel) else end
        if needed:
            distance = max(distance, lasts[needed - 1] - _written_begin(kernel, begin))
    return distance


def _upward(kernel: WindowedKernel) -> int:
    """Bytes that y must begin below x for the kernel as it goes upwards; 0: at the very same byte or below."""
    if _has_late_pixels(kernel):
        return max(0, *(end - needed for end, needed in upward_moments(kernel)))
    firsts = _first_bytes(kernel)
    distance = 0
    for begin, end in _groups(kernel, descending=False):
        needed = end if _is_buffered(kernel) else begin
        if needed < kernel.window.pixels:
            distance = max(distance, _written_end(kernel, end - 1) - firsts[needed])
    return distance


def _written_begin(kernel: WindowedKernel, pixel: int) -> int:
    """The first byte of y that a pixel or a later one has; in rows, all of its row."""
    if _writes_rows(kernel):
        return pixel // kernel.window.columns.outputs * y_row_bytes(kernel)
    return pixel * _pixel_bytes(kernel)


def _written_end(kernel: WindowedKernel, pixel: int) -> int:
    """The end of the bytes of y that a pixel and all before it have."""
    if _writes_rows(kernel):
        return (pixel // kernel.window.columns.outputs + 1) * y_row_bytes(kernel)
    return (pixel + 1) * _pixel_bytes(kernel)


def _writes_rows(kernel: WindowedKernel) -> TypeGuard[ConvKernel | SeparableKernel]:
    return isinstance(kernel, ConvKernel | SeparableKernel) and kernel.in_rows


def _has_late_pixels(kernel: WindowedKernel) -> TypeGuard[SeparableKernel]:
    return isinstance(kernel, SeparableKernel) and kernel.depthwise.late


def _reads_rows(kernel: WindowedKernel) -> bool:
    return isinstance(kernel, SeparableKernel) and kernel.depthwise.variant in ("rows", "turned")


def _covers(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether strides walk through memory as those of a dense tensor do."""
    step = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size > 1 and stride != step:
            return False
        step *= size
    return True


def _groups(kernel: WindowedKernel, *, descending: bool) -> Iterator[tuple[int, int]]:
    """Pixels [begin, end) that are written together; the group that is not full comes last on the way.

    From an image in rows, groups are the same whatever the way: the one that is not full is that of the last pixels.
    """
    pixels, group = kernel.window.pixels, _group(kernel)
    if _reads_rows(kernel):
        starts = range(0, pixels, group)
        yield from ((start, min(pixels, start + group)) for start in (reversed(starts) if descending else starts))
        return
    for start in range(0, pixels, group):
        stop = min(pixels, start + group)
        yield (pixels - stop, pixels - start) if descending else (start, stop)


def _group(kernel: WindowedKernel) -> int:
    return 1 if isinstance(kernel, PoolKernel) else kernel.group


def _is_buffered(kernel: WindowedKernel) -> bool:
    """Whether a group's windows have been read completely before any of its pixels is written."""
    match kernel:
        case ConvKernel():
            return kernel.gathered or kernel.variant == "held"
        case DepthwiseKernel():
            return kernel.variant == "mve"
        case _:
            return isinstance(kernel, SeparableKernel)


def _first_bytes(kernel: WindowedKernel) -> list[int]:
    """For each output pixel: the lowest byte of x that it or any later one reads."""
    rows, columns = kernel.window.rows, kernel.window.columns
    firsts = _x_bytes(
        kernel, map(rows.first_input, range(rows.outputs)), map(columns.first_input, range(columns.outputs))
    )
    for index in range(len(firsts) - 2, -1, -1):
        firsts[index] = min(firsts[index], firsts[index + 1])
    return firsts


def _last_bytes(kernel: WindowedKernel) -> list[int]:
    """For each output pixel: the end of what it or any earlier one reads of x, in bytes."""
    rows, columns = kernel.window.rows, kernel.window.columns
    below = 1 if _reads_rows(kernel) else 0  # all of a row is read then: its end is where the next one begins
    lasts = _x_bytes(
        kernel,
        (rows.last_input(row) + below for row in range(rows.outputs)),
        (columns.last_input(column) + 1 for column in range(columns.outputs)),
    )
    for index in range(1, len(lasts)):
        lasts[index] = max(lasts[index], lasts[index - 1])
    return lasts


def _x_bytes(kernel: WindowedKernel, rows: Iterable[int], columns: Iterable[int]) -> list[int]:
    """Where pixels of x begin, those of a row together; of an image in rows, where their row does."""
    pixel_bytes = kernel.window.channels * _element_bytes(kernel)
    row_bytes = kernel.window.columns.size * pixel_bytes
    offsets = [0 if _reads_rows(kernel) else column * pixel_bytes for column in columns]
    return [row * row_bytes + offset for row in rows for offset in offsets]


def _pixel_bytes(kernel: WindowedKernel) -> int:
    return kernel.y_step * _element_bytes(kernel)


def _element_bytes(kernel: WindowedKernel) -> int:
    return DTYPE_BYTES[kernel.element if isinstance(kernel, PoolKernel) else kernel.epilogue.element]
