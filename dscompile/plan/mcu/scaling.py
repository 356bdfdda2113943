"""Images multiplied by a number for each channel (squeeze-and-excite) on cores with 16-bit SIMD, four channels at once.

A factor is known when the kernel runs, and is the same for all pixels. So each four channels get a record first: a mask
that parts bytes, then of channels 0, 2, 1 and 3 the slopes of lines (plan/integer_lines.py), then their starts. A word
of the image then takes 18 instructions, 27 where halves away from zero are two lines, stores and loop included.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dscompile.plan.integer_lines import LineProduct
from dscompile.plan.mcu.arithmetic import SearchedProduct
from dscompile.plan.mcu.small_kernels import ScaleKernel

_AXES = 2  # pixels and channels
RECORD_BYTES = 36  # of four channels


@dataclass(frozen=True)
class ScaleBody:
    """A function for whole fours of channels: what is an immediate in it; `sign_shift` is 0 where there is one line."""

    kind: ClassVar[str] = "scale"
    right: int
    low: int
    high: int
    sign_shift: int


@dataclass(frozen=True)
class ScaleShape:
    """What a ScaleBody is given; fields and order are those of `scale_shape` in C.

    Pixels; bytes of all records; bytes between a pixel of y and the next; what is added to levels of two lines.
    """

    pixels: int
    record_bytes: int
    gap: int
    zero: int


def is_scaled(shape: tuple[int, ...], x: tuple[int, ...], factors: tuple[int, ...], y: tuple[int, ...]) -> bool:
    """Whether a product over `shape` with these strides is one of pixels by a vector of channels."""
    if len(shape) != _AXES:
        return False
    channels = shape[1]
    return (x, factors, y[1]) == ((channels, 1), (0, 1), 1)


def scale_kernel(
    product: SearchedProduct, line: LineProduct, shape: tuple[int, ...], y: tuple[int, ...]
) -> ScaleKernel:
    """The kernel of such a product."""
    pixels, channels = shape
    return ScaleKernel(pixels, channels, product, line, y[0] if y[0] != channels else 0)


def scale_body(kernel: ScaleKernel) -> ScaleBody:
    """The body of a kernel."""
    return ScaleBody(kernel.line.right, kernel.product.low, kernel.product.high, kernel.line.sign_shift)


def scale_shape(kernel: ScaleKernel) -> ScaleShape:
    """The numbers of a kernel; one whose channels are no whole fours goes pixel by pixel."""
    line, fours = kernel.line, kernel.channels // 4
    return ScaleShape(
        pixels=1 if kernel.channels % 4 else kernel.pixels,
        record_bytes=RECORD_BYTES * fours,
        gap=kernel.y_step - 4 * fours,
        zero=line.zero,
    )


def scale_bias(line: LineProduct) -> int:
    """What starts of lines have in them: of one line, also what is added in the end."""
    return line.bias if line.sign_shift else line.bias + line.zero
