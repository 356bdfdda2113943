"""Kernels that multiply with weights: convolutions, depthwise ones, both in one, dense layers (plan/mcu/kernels.py)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

from dscompile.ir.storage import Storage, is_sparse
from dscompile.ir.tensor import DTYPE_BYTES
from dscompile.plan.kernels import Parameter
from dscompile.plan.mcu.arithmetic import Residual
from dscompile.plan.mcu.epilogues import Element, Epilogue, elements
from dscompile.plan.mcu.windows import Window

_WORD = 4  # bytes
_MOST_LEFT = 32  # of a window: bytes of its rows that fill no word

Variant = Literal["c99", "dsp", "rows", "turned", "planes", "held", "mve", "rvv", "m0plus", "block"]


@dataclass(frozen=True)
class ConvKernel:
    """Convolution: each window is gathered into a column of `depth` elements, then multiplied with the weights.

    weights [C_out][depth] with depth = kh * kw * C_in; taps outside of the image read `padding`. `group` pixels are
    multiplied at once; their columns are the scratch parameter `columns` [group][depth], which a pointwise kernel that
    is not `gathered` does without: its columns are the pixels of x themselves. `residual` is added to what the epilogue
    makes; it is the parameter before y, dense. Pixels of y begin `step` elements apart if that is not 0; with
    `in_rows`, y is in rows (plan/mcu/rows.py).

    Variants other than c99: `dsp` has columns of int16 in pairs, for two multiplications at once, and weights as
    plan/mcu/pairs.py says, `apart` where two cannot share a half of a word; `block` multiplies `group` pixels by
    `block` channels in registers, its weights are [C_out / block][depth][block] (templates/mcu/matrix_block.j2);
    `m0plus` has words of two pixels as columns, and weights [C_out / block][depth][block], filled up
    (templates/mcu/matrix_m0plus.j2); `mve` has columns of whole vectors, and weights as plan/mcu/mve.py says; `rvv` has
    weights [depth][C_out]. Weights of another `storage` are packed (plan/mcu/packing.py). With dsp, a `lookup` reads
    what the epilogue makes from the parameter `table`, which is the one before y; `short` says that columns have few
    words (plan/mcu/short.py). Of a pointwise one, pixels of x may begin `x_step` elements apart, others between them.
    Variant `held` is one of those, with records in place of weights and constants (plan/mcu/held.py).
    """

    window: Window
    out_channels: int
    epilogue: Epilogue
    padding: int = 0
    group: int = 2
    variant: Variant = "c99"
    block: int = 2
    descending: bool = False
    residual: Residual | None = None
    step: int = 0
    in_rows: bool = False
    by_row: bool = False
    apart: bool = False
    short: bool = False
    storage: Storage = "plain"
    lookup: bool = False
    x_step: int = 0

    @property
    def kind(self) -> str:
        """The field's word."""
        return "pointwise" if self.window.is_pointwise else "conv"

    @property
    def depth(self) -> int:
        """Products per output."""
        return self.window.taps * self.window.channels

    @property
    def has_pixel_columns(self) -> bool:
        """Whether a column is a pixel of x as it lies there, in whole words."""
        return self.window.is_pointwise and self.depth % 4 == 0

    @property
    def gathered(self) -> bool:
        """Whether columns are copied out of x before they are multiplied."""
        if self.variant == "mve" and self.depth % (32 if is_sparse(self.storage) else 16):
            return True  # columns are whole vectors, or two of them
        return self.variant in ("dsp", "m0plus") or not self.window.is_pointwise

    @property
    def by_words(self) -> bool:
        """Whether dsp makes columns of whole words of the window's rows, then of what is left of each.

        Depth is in that order then (plan/mcu/pairs.py: words_first).
        """
        if self.variant != "dsp" or self.window.columns.dilation > 1 or self.has_pixel_columns:
            return False
        row = self.window.columns.kernel * self.window.channels
        return row >= _WORD and row % _WORD * self.window.rows.kernel <= _MOST_LEFT

    @property
    def column_bytes(self) -> int:
        """Bytes of `columns`; for dsp and m0plus also of one window as int8, before it becomes a column."""
        if not self.gathered:
            return 0
        if self.variant == "m0plus":
            return word_column_bytes(self.depth) + (0 if self.window.is_pointwise else self.depth)
        window = -(-self.depth // 4) * 4 if self.variant == "dsp" else 0
        return column_bytes(self.depth, self.group, self.epilogue.element, self.variant) + window

    @property
    def y_step(self) -> int:
        """Elements from one pixel of y to the next."""
        return self.step or self.out_channels

    @property
    def x_pitch(self) -> int:
        """Elements from one pixel of x to the next."""
        return self.x_step or self.window.channels

    @property
    def reads_pixels(self) -> bool:
        """Whether dsp makes columns pixel after pixel, without a window that goes through the image."""
        return self.has_pixel_columns or (self.by_words and self.window.is_pointwise)

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """x, weights, constants, [columns], [residual], [table], y."""
        element = self.epilogue.element
        columns = (_columns(element, self.variant),) if self.gathered else ()
        return (
            elements("x", element),
            *_matrix(self.epilogue, self.variant),
            *columns,
            *_residual(self),
            *_table(self.lookup),
            elements("y", element, written=True),
        )


@dataclass(frozen=True)
class DepthwiseKernel:
    """One filter per output channel; channel c * multiplier + m reads input channel c. weights [kh][kw][C_out].

    With `dsp`, weights are [C / 4, rounded up][kh][kw][4]; with `rows`, x is in rows and there are records in place of
    weights and constants (plan/mcu/rows.py); with `turned` and `planes` there are records, too (plan/mcu/turned.py,
    plan/mcu/planes.py), and with the latter planes of four channels in `columns`. With `mve` weights are as
    plan/mcu/mve.py says, and `group` pixels lie in `columns` before they are written. Pixels of y begin `step` elements
    apart if that is not 0. `lookup` is as in a ConvKernel. `late` says that the last output of each row is made with
    those before it (plan/mcu/late.py), only with `rows`. By planes, channels of y are those of x after a shuffle in
    `shuffled` groups, if that is not 0.
    """

    kind: ClassVar[str] = "depthwise"
    window: Window
    multiplier: int
    epilogue: Epilogue
    zero_point: int = 0
    variant: Variant = "c99"
    group: int = 1
    descending: bool = False
    step: int = 0
    by_row: bool = False
    lookup: bool = False
    late: bool = False
    shuffled: int = 0

    @property
    def out_channels(self) -> int:
        """Channels of the result."""
        return self.window.channels * self.multiplier

    @property
    def y_step(self) -> int:
        """Elements from one pixel of y to the next."""
        return self.step or self.out_channels

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """x, weights, constants, [columns], [table], y."""
        element = self.epilogue.element
        return (
            elements("x", element),
            *_matrix(self.epilogue, self.variant),
            *((_columns(element, self.variant),) if self.variant in ("mve", "planes") else ()),
            *_table(self.lookup),
            elements("y", element, written=True),
        )


@dataclass(frozen=True)
class SeparableKernel:
    """A depthwise convolution and the pointwise one after it; what lies between is `group` pixels in `columns`.

    With `in_rows`, y is in rows (plan/mcu/rows.py); x is where the depthwise part's variant is `rows`. `apart` is as in
    a ConvKernel, `storage` that of the pointwise weights. The rows of a turned image lie in the scratch parameter
    `ring` of `ring_bytes`, which a kernel by row wants to find as it left it.
    `lookup` is as in a ConvKernel; the depthwise part has one of its own.
    """

    kind: ClassVar[str] = "separable"
    depthwise: DepthwiseKernel
    out_channels: int
    epilogue: Epilogue
    group: int = 2
    variant: Variant = "c99"
    block: int = 2
    descending: bool = False
    residual: Residual | None = None
    step: int = 0
    in_rows: bool = False
    by_row: bool = False
    apart: bool = False
    storage: Storage = "plain"
    ring_bytes: int = 0
    lookup: bool = False

    @property
    def window(self) -> Window:
        """The window of the depthwise part."""
        return self.depthwise.window

    @property
    def depth(self) -> int:
        """Channels in between."""
        return self.depthwise.out_channels

    @property
    def column_bytes(self) -> int:
        """Bytes of `columns`; for m0plus also of one pixel as int8 where the depthwise part is not of that variant."""
        if self.variant == "m0plus":
            return word_column_bytes(self.depth) + (0 if self.depthwise.variant == "m0plus" else self.depth)
        if self.depthwise.variant in ("rows", "turned"):
            return 4 * self.group * rows_steps(self.depth, self.storage)
        return column_bytes(self.depth, self.group, self.epilogue.element, self.variant)

    @property
    def y_step(self) -> int:
        """Elements from one pixel of y to the next."""
        return self.step or self.out_channels

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """x, taps, constants, [table] of the depthwise part, weights, constants, columns, ..., y.

        Between these two [ring], [residual], [table].
        """
        element = self.epilogue.element
        ring = (Parameter("ring", "int8", True, alignment=4),) if self.ring_bytes else ()
        return (
            elements("x", element),
            *_matrix(self.depthwise.epilogue, self.depthwise.variant, "taps", "taps_"),
            *_table(self.depthwise.lookup, "taps_table"),
            *_matrix(self.epilogue, self.variant),
            _columns(element, self.variant),
            *ring,
            *_residual(self),
            *_table(self.lookup),
            elements("y", element, written=True),
        )


def _residual(kernel: ConvKernel | SeparableKernel) -> tuple[Parameter, ...]:
    return (elements("residual", kernel.epilogue.element),) if kernel.residual else ()


def _table(lookup: bool, name: str = "table") -> tuple[Parameter, ...]:
    return (elements(name, "int8"),) if lookup else ()


def rows_steps(depth: int, storage: Storage) -> int:
    """Words of a column that depthwise results of an image in rows fill; weights of four bits want an even number."""
    return 2 * half_up(half_up(depth)) if storage == "int4" else half_up(depth)


def repeats_channel(kernel: ConvKernel | SeparableKernel) -> bool:
    """Whether an odd last channel of a matrix product for dsp is a pair with the channel before, made once more.

    A sum would add its residual twice where the two share memory; weights of four bits have a loop of their own.
    """
    odd = kernel.out_channels % 2 > 0 and kernel.out_channels > 1
    return kernel.variant == "dsp" and odd and kernel.residual is None and kernel.storage != "int4"


def half_up(count: int) -> int:
    """Half of it, rounded up."""
    return -(-count // 2)


def word_column_bytes(depth: int) -> int:
    """Bytes of four columns of `depth` elements in words of two pixels each."""
    return 8 * depth


def planes_pitch(window: Window) -> int:
    """Bytes of a row of a plane (plan/mcu/planes.py): whole words of two int16."""
    return 4 * half_up(window.columns.size)


def planes_bytes(window: Window) -> int:
    """Bytes of the planes of four channels, and of what is read behind the last one."""
    return 4 * window.rows.size * planes_pitch(window) + 8


def _columns(element: Element, variant: Variant) -> Parameter:
    return Parameter("columns", "int32" if variant == "m0plus" else element, True, alignment=4)


def column_bytes(depth: int, group: int, element: Element, variant: Variant) -> int:
    """Bytes of `group` columns of `depth` elements; int16, in whole fours, for dsp."""
    return group * (2 * (-(-depth // 4) * 4) if variant == "dsp" else depth * DTYPE_BYTES[element])


def _matrix(epilogue: Epilogue, variant: Variant, weights: str = "weights", prefix: str = "") -> tuple[Parameter, ...]:
    """Weights and per-channel constants of a product of sums; for dsp and mve, those of one channel after the other."""
    first = Parameter(weights, epilogue.element, alignment=4)
    if variant in ("rows", "turned", "planes", "held"):
        return (Parameter("records", "int32"),)
    if variant in ("dsp", "mve"):
        return (first, Parameter(f"{prefix}constants", "int32"))
    return (first, *epilogue.constants(prefix))


@dataclass(frozen=True)
class DenseKernel:
    """y[n] = epilogue(sum_k x[k] * weights[n][k]).

    With `dsp`, weights are as templates/mcu/helpers/add_four_rows.c says; x is copied to the scratch parameter
    `columns` where its elements are no whole words, and widened to int16 there if it is `wide`.
    With `block`, weights are packed as those of a ConvKernel.
    """

    kind: ClassVar[str] = "dense"
    block: ClassVar[int] = 4
    in_channels: int
    out_channels: int
    epilogue: Epilogue
    variant: Variant = "c99"
    storage: Storage = "plain"
    wide: bool = False

    @property
    def depth(self) -> int:
        """Products per output."""
        return self.in_channels

    @property
    def gathered(self) -> bool:
        """Whether x is copied before it is multiplied."""
        return self.wide or (self.variant == "dsp" and self.in_channels % 4 > 0)

    @property
    def column_bytes(self) -> int:
        """Bytes of `columns`."""
        return -(-self.in_channels // 4) * (8 if self.wide else 4) if self.gathered else 0

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """x, weights, constants, [columns], y."""
        element = self.epilogue.element
        columns = (_columns(element, self.variant),) if self.gathered else ()
        return (
            elements("x", element),
            Parameter("weights", element, alignment=4),
            *self.epilogue.constants(),
            *columns,
            elements("y", element, written=True),
        )
