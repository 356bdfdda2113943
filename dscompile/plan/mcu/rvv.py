"""Layers for RISC-V with vectors (RVV 1.0): inner loops that layers share, and the numbers that they are given.

A vector register holds as many channels of the result as it is long; no loop knows how long. Tensors and columns are as
for c99. A matrix product reads weights [depth][C_out] and takes three pixels at once, a depthwise convolution one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from typing import ClassVar

from dscompile.ir.storage import Storage, is_narrow, is_sparse
from dscompile.plan.mcu.bodies import Uses
from dscompile.plan.mcu.epilogues import IntegerEpilogue
from dscompile.plan.mcu.kernels import McuKernel
from dscompile.plan.mcu.products import ConvKernel, DepthwiseKernel, SeparableKernel


@dataclass(frozen=True)
class MatrixBody:
    """The product of `pixels` pixels with all channels. `step`: channels have a third constant; `sum`: a residual.

    `scale`: the second constant is a float32, and lanes are rounded as floats.
    """

    kind: ClassVar[str] = "rvv_matrix"
    pixels: int
    step: bool
    sum: bool
    storage: Storage = "plain"
    scale: bool = False

    @property
    def sparse(self) -> bool:
        """Whether two of four weights are left out."""
        return is_sparse(self.storage)

    @property
    def narrow(self) -> bool:
        """Whether weights have four bits."""
        return is_narrow(self.storage)


@dataclass(frozen=True)
class DepthwiseBody:
    """One depthwise pixel of all channels; `step` and `scale` as of a MatrixBody."""

    kind: ClassVar[str] = "rvv_depthwise"
    step: bool
    scale: bool


Body = MatrixBody | DepthwiseBody


@dataclass(frozen=True)
class Levels:
    """How sums become bytes: what they are multiplied by, the zero point << right, right; the clamp."""

    factor: int
    start: int
    right: int
    low: int
    high: int


@dataclass(frozen=True)
class MatrixShape:
    """What a MatrixBody is given; fields and order are those of `rvv_matrix_shape` in C.

    Channels; depth; bytes from a column to the next, of y and of the residual from a pixel to the next; then the
    residual's constants and clamp.
    """

    levels: Levels
    channels: int
    depth: int
    column_step: int
    y_step: int
    residual_step: int = 0
    first: int = 0
    second: int = 0
    bias: int = 0
    right: int = 0
    low: int = 0
    high: int = 0


@dataclass(frozen=True)
class DepthwiseShape:
    """What a DepthwiseBody is given; fields and order are those of `rvv_depthwise_shape` in C.

    Channels; columns of the window inside the image; bytes from a tap to the next and from a row to the next, of the
    image and of the weights; the zero point of the image.
    """

    levels: Levels
    channels: int
    columns: int
    tap_bytes: int
    row_bytes: int
    weight_row_bytes: int
    zero_point: int


def used_rvv_bodies(kernels: Iterable[McuKernel]) -> dict[Body, Uses]:
    """The bodies that kernels share, in the order of their first use."""
    return dict.fromkeys((body for kernel in kernels for body in _bodies(kernel)), Uses())


def _bodies(kernel: McuKernel) -> Iterable[Body]:
    depthwise = kernel.depthwise if isinstance(kernel, SeparableKernel) else kernel
    if isinstance(depthwise, DepthwiseKernel) and depthwise.variant == "rvv":
        yield rvv_depthwise_body(depthwise)
    if isinstance(kernel, ConvKernel | SeparableKernel) and kernel.variant == "rvv":
        yield rvv_matrix_body(kernel)


def rvv_matrix_body(kernel: ConvKernel | SeparableKernel) -> MatrixBody:
    """The body of a kernel."""
    assert isinstance(kernel.epilogue, IntegerEpilogue)
    stepped = kernel.epilogue.method == "stepped"
    has_residual = kernel.residual is not None
    return MatrixBody(kernel.group, stepped, has_residual, kernel.storage, kernel.epilogue.has_scale)


def rvv_depthwise_body(kernel: DepthwiseKernel) -> DepthwiseBody:
    """The body of a kernel."""
    assert isinstance(kernel.epilogue, IntegerEpilogue)
    return DepthwiseBody(kernel.epilogue.method == "stepped", kernel.epilogue.has_scale)


def _levels(epilogue: IntegerEpilogue) -> Levels:
    start = epilogue.zero_point * (1 << epilogue.right)
    return Levels(1 << epilogue.left, start, epilogue.right, epilogue.low, epilogue.high)


def rvv_matrix_shape(
    kernel: ConvKernel | SeparableKernel, pixels: int, column_step: int, y_step: int, residual_step: int
) -> list[str]:
    """The numbers of a kernel as C, for `pixels` pixels. One pixel stands for all, wherever the others would be."""
    assert isinstance(kernel.epilogue, IntegerEpilogue)
    several = 1 if pixels > 1 else 0
    total = kernel.residual.integer if kernel.residual is not None else None
    shape = MatrixShape(
        levels=_levels(kernel.epilogue),
        channels=kernel.out_channels,
        depth=kernel.depth,
        column_step=several * column_step,
        y_step=several * y_step,
        residual_step=several * residual_step if total else 0,
        first=total.first if total else 0,
        second=total.second if total else 0,
        bias=total.bias if total else 0,
        right=total.right if total else 0,
        low=total.low if total else 0,
        high=total.high if total else 0,
    )
    return _numbers(shape)


def rvv_depthwise_shape(kernel: DepthwiseKernel, columns: int) -> list[str]:
    """The numbers of a kernel as C, for windows with `columns` columns inside the image."""
    assert isinstance(kernel.epilogue, IntegerEpilogue)
    window = kernel.window
    shape = DepthwiseShape(
        levels=_levels(kernel.epilogue),
        channels=window.channels,
        columns=columns,
        tap_bytes=window.columns.dilation * window.channels,
        row_bytes=window.rows.dilation * window.columns.size * window.channels,
        weight_row_bytes=window.columns.kernel * window.channels,
        zero_point=kernel.zero_point,
    )
    return _numbers(shape)


def _numbers(shape: MatrixShape | DepthwiseShape) -> list[str]:
    levels, *rest = astuple(shape)
    return [str(value) for value in (*levels, *rest)]
