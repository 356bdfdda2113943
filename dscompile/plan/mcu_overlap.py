"""How far input and output of a kernel may overlap in memory: exact distances, per direction (plan/arena.py: Overlap).

A windowed kernel goes through the pixels of its output in order. Once it has written the pixels below p it needs, of
its input, only what the windows of the pixels from p on read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from dscompile.ir.tensor import DTYPE_BYTES
from dscompile.plan.mcu_kernels import (
    ActivateKernel,
    BinaryKernel,
    ConvKernel,
    DepthwiseKernel,
    LookupKernel,
    McuKernel,
    PoolKernel,
    QuantizeKernel,
    SeparableKernel,
    SoftmaxKernel,
    Window,
    WindowedKernel,
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
    return shift_bytes <= -_upward(kernel)


def downwards(kernel: WindowedKernel) -> WindowedKernel:
    """The same kernel going downwards."""
    match kernel:
        case ConvKernel() | DepthwiseKernel() | SeparableKernel() | PoolKernel():
            return replace(kernel, descending=True)


def _in_place(kernel: McuKernel, parameter: str) -> bool:
    """Whether y may lie at or below an input of a kernel without window."""
    match kernel:
        case ActivateKernel() | LookupKernel():
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
    lasts = _last_bytes(kernel.window)
    size = _pixel_bytes(kernel)
    distance = 0
    for begin, end in _groups(kernel, descending=True):
        needed = begin if _is_buffered(kernel) else end
        if needed:
            distance = max(distance, lasts[needed - 1] * _element_bytes(kernel) - begin * size)
    return distance


def _upward(kernel: WindowedKernel) -> int:
    """Bytes that y must begin below x for the kernel as it goes upwards; 0: at the very same byte or below."""
    firsts = _first_bytes(kernel.window)
    size = _pixel_bytes(kernel)
    distance = 0
    for begin, end in _groups(kernel, descending=False):
        needed = end if _is_buffered(kernel) else begin
        if needed < kernel.window.pixels:
            distance = max(distance, end * size - firsts[needed] * _element_bytes(kernel))
    return distance


def _covers(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether strides walk through memory as those of a dense tensor do."""
    step = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size > 1 and stride != step:
            return False
        step *= size
    return True


def _groups(kernel: WindowedKernel, *, descending: bool) -> Iterator[tuple[int, int]]:
    """Pixels [begin, end) that are written together; the group that is not full comes last on the way."""
    pixels, group = kernel.window.pixels, _group(kernel)
    for start in range(0, pixels, group):
        stop = min(pixels, start + group)
        yield (pixels - stop, pixels - start) if descending else (start, stop)


def _group(kernel: WindowedKernel) -> int:
    return kernel.group if isinstance(kernel, ConvKernel | SeparableKernel) else 1


def _is_buffered(kernel: WindowedKernel) -> bool:
    """Whether a group's windows have been read completely before any of its pixels is written."""
    return isinstance(kernel, SeparableKernel) or (isinstance(kernel, ConvKernel) and kernel.gathered)


def _first_bytes(window: Window) -> list[int]:
    """For each output pixel: the lowest element that it or any later one reads."""
    firsts = [
        (window.rows.first_input(row) * window.columns.size + window.columns.first_input(column)) * window.channels
        for row in range(window.rows.outputs)
        for column in range(window.columns.outputs)
    ]
    for index in range(len(firsts) - 2, -1, -1):
        firsts[index] = min(firsts[index], firsts[index + 1])
    return firsts


def _last_bytes(window: Window) -> list[int]:
    """For each output pixel: the end of what it or any earlier one reads, in elements."""
    lasts = [
        (window.rows.last_input(row) * window.columns.size + window.columns.last_input(column) + 1) * window.channels
        for row in range(window.rows.outputs)
        for column in range(window.columns.outputs)
    ]
    for index in range(1, len(lasts)):
        lasts[index] = max(lasts[index], lasts[index - 1])
    return lasts


def _pixel_bytes(kernel: WindowedKernel) -> int:
    return kernel.y_step * _element_bytes(kernel)


def _element_bytes(kernel: WindowedKernel) -> int:
    return DTYPE_BYTES[kernel.element if isinstance(kernel, PoolKernel) else kernel.epilogue.element]
