"""Images multiplied by a number for each channel (squeeze-and-excite) on cores with 16-bit SIMD, four channels at once.

A factor is known when the kernel runs, and is the same for all pixels. So each four channels get a record first: of
channels 0 and 2 the shifted factors in the halves of a word, then what is added to their products, which has the zero
point of the image in it; the same of channels 1 and 3. A word of the image then takes 23 instructions, 31 where halves
away from zero are two lines, stores and loop included.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dscompile.plan.mcu.arithmetic import SearchedProduct
from dscompile.plan.mcu.small_kernels import ScaleKernel

_AXES = 2  # pixels and channels
RECORD_BYTES = 24  # of four channels


@dataclass(frozen=True)
class ScaleBody:
    """A function for whole fours of channels: what is an immediate in it, and whether products have a step."""

    kind: ClassVar[str] = "scale"
    right: int
    low: int
    high: int
    step: bool


@dataclass(frozen=True)
class ScaleShape:
    """What a ScaleBody is given; fields and order are those of `scale_shape` in C.

    Pixels; bytes of all records; bytes between a pixel of y and the next; multiplier, zero point << right and step.
    """

    pixels: int
    record_bytes: int
    gap: int
    multiplier: int
    start: int
    step: int


def scale_kernel(
    product: SearchedProduct,
    shape: tuple[int, ...],
    x: tuple[int, ...],
    factors: tuple[int, ...],
    y: tuple[int, ...],
) -> ScaleKernel | None:
    """The kernel of a product over `shape` with these strides, if it is one of pixels by a vector of channels."""
    if len(shape) != _AXES:
        return None
    pixels, channels = shape
    if (x, factors, y[1]) != ((channels, 1), (0, 1), 1):
        return None
    return ScaleKernel(pixels, channels, product, y[0] if y[0] != channels else 0)


def scale_body(kernel: ScaleKernel) -> ScaleBody:
    """The body of a kernel."""
    product = kernel.product
    return ScaleBody(product.right, product.low, product.high, product.step != 0)


def scale_shape(kernel: ScaleKernel) -> ScaleShape:
    """The numbers of a kernel; one whose channels are no whole fours goes pixel by pixel."""
    product, fours = kernel.product, kernel.channels // 4
    return ScaleShape(
        pixels=1 if kernel.channels % 4 else kernel.pixels,
        record_bytes=RECORD_BYTES * fours,
        gap=kernel.y_step - 4 * fours,
        multiplier=product.multiplier,
        start=product.start,
        step=product.step,
    )
