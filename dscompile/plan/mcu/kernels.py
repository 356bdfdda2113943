"""Kernels of the standalone C backend: what is computed on which shapes, for float32 and int8 alike.

Tensors are dense, channels last ([H][W][C]), without borders, or in rows (plan/mcu/rows.py). Every kernel becomes one C
function specialized to its fields; equal kernels share it.
`parameters` lists the function's pointers in order (see plan/kernels.py: Parameter).

Windowed kernels can go through the image upwards or downwards (`descending`). The planner of the arena decides: where
input and output share memory, only one direction never overwrites what is still to be read. `by_row` makes a function
that computes one row of the output (plan/mcu/row_forms.py): x is then the first image row inside the window, y the row.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

from dscompile.ir.ops import NONE, Activation, BinaryKind, Pair
from dscompile.ir.storage import Storage, is_sparse
from dscompile.ir.tensor import DTYPE_BYTES, DType
from dscompile.plan.kernels import Parameter, ResampleMethod, grid_parameters
from dscompile.plan.mcu.arithmetic import PairArithmetic, Residual, SearchedProduct

_WORD = 4  # bytes
_MOST_LEFT = 32  # of a window: bytes of its rows that fill no word

Element = Literal["float32", "int8"]
Method = Literal["affine", "stepped", "narrow", "narrow-stepped", "tflite", "half-up", "single", "float32"]
Variant = Literal["c99", "dsp", "rows", "turned", "mve", "rvv", "m0plus", "block"]


@dataclass(frozen=True)
class FloatEpilogue:
    """y = activation(sum + bias[channel])."""

    element: ClassVar[Element] = "float32"
    is_searched: ClassVar[bool] = False
    activation: Activation = NONE

    def constants(self, prefix: str = "") -> tuple[Parameter, ...]:
        """Pointers to what it needs per channel."""
        return (Parameter(f"{prefix}bias"),)


@dataclass(frozen=True)
class IntegerEpilogue:
    """How a 32-bit sum of a channel becomes int8.

    affine: clamp(((bias + (sum << left)) * multiplier) >> 32 >> right), where bias and multiplier were searched so
    that the result equals the network's own rounding for every sum that can occur (plan/requantization.py); stepped:
    the same, with `step` added to bias + (sum << left) where that is not negative. narrow: as affine in 32 bits
    (plan/requantization_narrow.py), clamp((bias + sum * high + (sum * low >> left)) >> right), with the upper, signed,
    and the lower, unsigned, half of multiplier; narrow-stepped: the same, with `step` added before the last shift where
    the level would be zero_point or more. The others are that rounding itself, of sum + bias, followed by
    + zero_point and clamp: a fixed-point factor multiplier * 2^(shift - 31) rounded twice (tflite), twice with halves
    up (half-up) or once (single), or a float factor (float32).
    """

    element: ClassVar[Element] = "int8"
    method: Method
    low: int
    high: int
    zero_point: int = 0
    left: int = 0
    right: int = 0

    @property
    def is_searched(self) -> bool:
        """Whether it is a searched multiplication of 64 bits (not narrow, and not the network's own rounding)."""
        return self.method in ("affine", "stepped")

    def constants(self, prefix: str = "") -> tuple[Parameter, ...]:
        """Pointers to what it needs per channel."""
        bias = Parameter(f"{prefix}bias", "int32")
        match self.method:
            case "affine" | "narrow":
                return (bias, Parameter(f"{prefix}multiplier", "int32"))
            case "stepped" | "narrow-stepped":
                return (bias, Parameter(f"{prefix}multiplier", "int32"), Parameter(f"{prefix}step", "int32"))
            case "float32":
                return (bias, Parameter(f"{prefix}scale"))
            case _:
                return (
                    bias,
                    Parameter(f"{prefix}multiplier", "int32"),
                    Parameter(f"{prefix}shift", "int8", alignment=1),
                )


Epilogue = FloatEpilogue | IntegerEpilogue


def _elements(name: str, element: DType, written: bool = False) -> Parameter:
    return Parameter(name, element, written, alignment=DTYPE_BYTES[element])


@dataclass(frozen=True)
class Axis:
    """One axis of a sliding window over `size` inputs; output o has taps at o * stride - before + tap * dilation."""

    size: int
    outputs: int
    kernel: int
    stride: int
    before: int
    dilation: int = 1

    def taps(self, output: int) -> Pair:
        """The taps [first, end) of an output that lie inside the image; (0, 0) if none does."""
        start = output * self.stride - self.before
        first = max(0, -(start // self.dilation))
        end = min(self.kernel, (self.size - 1 - start) // self.dilation + 1)
        return (first, end) if first < end else (0, 0)

    def position(self, output: int, tap: int) -> int:
        """Where a tap of an output lies."""
        return output * self.stride - self.before + tap * self.dilation

    def first_input(self, output: int) -> int:
        """The first input that an output reads (its border position, moved inside, if it reads none)."""
        first, end = self.taps(output)
        return self.position(output, first) if end else min(max(self.position(output, 0), 0), self.size - 1)

    def last_input(self, output: int) -> int:
        """The last input that an output reads."""
        _, end = self.taps(output)
        return self.position(output, end - 1) if end else self.first_input(output)

    @property
    def all_inside(self) -> bool:
        """Whether every output has all its taps inside the image."""
        return all(self.taps(output) == (0, self.kernel) for output in range(self.outputs))

    @cached_property
    def spans(self) -> tuple[Span, ...]:
        """The outputs in runs that have the same taps inside the image: borders one by one, the inside in one."""
        spans: list[Span] = []
        for output in range(self.outputs):
            taps = self.taps(output)
            if spans and spans[-1].taps == taps and taps == (0, self.kernel):
                spans[-1] = Span(spans[-1].begin, output + 1, taps)
            else:
                spans.append(Span(output, output + 1, taps))
        return tuple(spans)


@dataclass(frozen=True)
class Span:
    """Outputs [begin, end), which all have the taps [taps[0], taps[1]) inside the image."""

    begin: int
    end: int
    taps: Pair


@dataclass(frozen=True)
class Window:
    """A sliding window over an image of `channels` channels."""

    rows: Axis
    columns: Axis
    channels: int

    @property
    def pixels(self) -> int:
        """Outputs per channel."""
        return self.rows.outputs * self.columns.outputs

    @property
    def kernel(self) -> Pair:
        """Height and width."""
        return (self.rows.kernel, self.columns.kernel)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row of the image, of int8."""
        return self.columns.size * self.channels

    @property
    def taps(self) -> int:
        """Height times width."""
        return self.rows.kernel * self.columns.kernel

    @property
    def is_pointwise(self) -> bool:
        """Whether output pixel i reads exactly input pixel i."""
        return self.kernel == (1, 1) and all(a.stride == 1 and a.size == a.outputs for a in (self.rows, self.columns))


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
    what the epilogue makes from the parameter `table`, which is the one before y.
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
    storage: Storage = "plain"
    lookup: bool = False

    @property
    def kind(self) -> str:
        """The field's word."""
        return "pointwise" if self.window.is_pointwise else "conv"

    @property
    def depth(self) -> int:
        """Products per output."""
        return self.window.taps * self.window.channels

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
        if (
            self.variant != "dsp"
            or self.window.columns.dilation > 1
            or (self.window.is_pointwise and self.depth % 4 == 0)
        ):
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

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """x, weights, constants, [columns], [residual], [table], y."""
        element = self.epilogue.element
        columns = (_columns(element, self.variant),) if self.gathered else ()
        return (
            _elements("x", element),
            *_matrix(self.epilogue, self.variant),
            *columns,
            *_residual(self),
            *_table(self.lookup),
            _elements("y", element, written=True),
        )


@dataclass(frozen=True)
class DepthwiseKernel:
    """One filter per output channel; channel c * multiplier + m reads input channel c. weights [kh][kw][C_out].

    With `dsp`, weights are [C / 4, rounded up][kh][kw][4]; with `rows`, x is in rows and there are records in place of
    weights and constants (plan/mcu/rows.py); with `turned` there are records, too (plan/mcu/turned.py). With `mve`
    weights are as plan/mcu/mve.py says, and `group` pixels lie in the scratch parameter `columns` before they are
    written. Pixels of y begin `step` elements apart if that is not 0. `lookup` is as in a ConvKernel.
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
            _elements("x", element),
            *_matrix(self.epilogue, self.variant),
            *((_columns(element, self.variant),) if self.variant == "mve" else ()),
            *_table(self.lookup),
            _elements("y", element, written=True),
        )


@dataclass(frozen=True)
class SeparableKernel:
    """A depthwise convolution and the pointwise one after it; what lies between is `group` pixels in `columns`.

    With `in_rows`, y is in rows (plan/mcu/rows.py); x is where the depthwise part's variant is `rows`. `apart` is as in
    a ConvKernel, `storage` that of the pointwise weights. The rows of a turned image take `ring_bytes` of `columns`.
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
            return 4 * self.group * rows_steps(self.depth, self.storage) + self.ring_bytes
        return column_bytes(self.depth, self.group, self.epilogue.element, self.variant)

    @property
    def y_step(self) -> int:
        """Elements from one pixel of y to the next."""
        return self.step or self.out_channels

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """x, taps, constants, [table] of the depthwise part, weights, constants, columns, [residual], [table], y."""
        element = self.epilogue.element
        return (
            _elements("x", element),
            *_matrix(self.depthwise.epilogue, self.depthwise.variant, "taps", "taps_"),
            *_table(self.depthwise.lookup, "taps_table"),
            *_matrix(self.epilogue, self.variant),
            _columns(element, self.variant),
            *_residual(self),
            *_table(self.lookup),
            _elements("y", element, written=True),
        )


def _residual(kernel: ConvKernel | SeparableKernel) -> tuple[Parameter, ...]:
    return (_elements("residual", kernel.epilogue.element),) if kernel.residual else ()


def _table(lookup: bool, name: str = "table") -> tuple[Parameter, ...]:
    return (_elements(name, "int8"),) if lookup else ()


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


def _columns(element: Element, variant: Variant) -> Parameter:
    return Parameter("columns", "int32" if variant == "m0plus" else element, True, alignment=4)


def column_bytes(depth: int, group: int, element: Element, variant: Variant) -> int:
    """Bytes of `group` columns of `depth` elements; int16, in whole fours, for dsp."""
    return group * (2 * (-(-depth // 4) * 4) if variant == "dsp" else depth * DTYPE_BYTES[element])


def _matrix(epilogue: Epilogue, variant: Variant, weights: str = "weights", prefix: str = "") -> tuple[Parameter, ...]:
    """Weights and per-channel constants of a product of sums; for dsp and mve, those of one channel after the other."""
    first = Parameter(weights, epilogue.element, alignment=4)
    if variant in ("rows", "turned"):
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
            _elements("x", element),
            Parameter("weights", element, alignment=4),
            *self.epilogue.constants(),
            *columns,
            _elements("y", element, written=True),
        )


@dataclass(frozen=True)
class PoolKernel:
    """Average or maximum over the taps inside the image; an average with a `divisor` other than 0 divides by that.

    int8: averages round halves away from zero; then clamp to [low, high]. With vectors, several channels go at once;
    with `dsp` four of an average do, and of a maximum that is not clamped.
    With `from_rows`, x is in rows (plan/mcu/rows.py), and the window of the one output is all of it.
    """

    kind: ClassVar[str] = "pool"
    function: Literal["average", "max"]
    window: Window
    element: Element
    divisor: int = 0
    activation: Activation = NONE
    low: int = -128
    high: int = 127
    variant: Variant = "c99"
    descending: bool = False
    step: int = 0
    from_rows: bool = False
    by_row: bool = False

    @property
    def out_channels(self) -> int:
        """Channels of the result."""
        return self.window.channels

    @property
    def y_step(self) -> int:
        """Elements from one pixel of y to the next."""
        return self.step or self.out_channels

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """x, y."""
        return (_elements("x", self.element), _elements("y", self.element, written=True))


@dataclass(frozen=True)
class MeanKernel:
    """Mean of every channel over `pixels` pixels, int8: the sum, requantized; dsp and vectors take four."""

    kind: ClassVar[str] = "mean"
    pixels: int
    channels: int
    epilogue: IntegerEpilogue
    variant: Variant = "c99"

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """x, constants, y."""
        return (_elements("x", "int8"), *self.epilogue.constants(), _elements("y", "int8", written=True))


@dataclass(frozen=True)
class RowSumKernel:
    """A pool or mean over a whole image of `rows` x `columns` pixels, one row at a time.

    `sums` [channels] hold what the rows so far made; the last row finishes y.
    """

    kind: ClassVar[str] = "row_sum"
    whole: PoolKernel | MeanKernel
    rows: int
    columns: int
    channels: int

    @property
    def sum_type(self) -> Literal["float32", "int32"]:
        """Of what is kept between rows."""
        return "int32" if self.parameters[-1].dtype == "int8" else "float32"

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """x, constants, sums, y."""
        x, *constants, y = self.whole.parameters
        return (x, *constants, _elements("sums", "float32" if y.dtype == "float32" else "int32", True), y)


@dataclass(frozen=True)
class BinaryKernel:
    """y = activation(a op b), element by element over `shape`; strides of 0 repeat."""

    kind: ClassVar[str] = "binary"
    function: BinaryKind
    shape: tuple[int, ...]
    a: tuple[int, ...]
    b: tuple[int, ...]
    y: tuple[int, ...]
    element: Element
    activation: Activation = NONE
    integer: PairArithmetic | SearchedProduct | None = None

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """a, b, y."""
        return (_elements("a", self.element), _elements("b", self.element), _elements("y", self.element, written=True))


@dataclass(frozen=True)
class ScaleKernel:
    """y[pixel][c] = x[pixel][c] * factors[c], int8, on cores with 16-bit SIMD (plan/mcu/scaling.py).

    The scratch parameter `records` has 24 bytes for each whole four channels. Pixels of y begin `step` elements apart
    if that is not 0.
    """

    kind: ClassVar[str] = "scale"
    pixels: int
    channels: int
    product: SearchedProduct
    step: int = 0

    @property
    def y_step(self) -> int:
        """Elements from one pixel of y to the next."""
        return self.step or self.channels

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """x, factors, records, y."""
        return (
            _elements("x", "int8"),
            _elements("factors", "int8"),
            _elements("records", "int32", written=True),
            _elements("y", "int8", written=True),
        )


@dataclass(frozen=True)
class ActivateKernel:
    """y[i] = activation(x[i]) of `rows` x `channels` floats; prelu takes its slopes as the parameter `slope`.

    Rows of y begin `step` elements apart if that is not 0.
    """

    kind: ClassVar[str] = "activation"
    rows: int
    channels: int
    activation: Activation
    step: int = 0

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """x, [slope], y."""
        slope = (Parameter("slope"),) if self.activation.kind == "prelu" else ()
        return (_elements("x", "float32"), *slope, _elements("y", "float32", written=True))


@dataclass(frozen=True)
class LookupKernel:
    """y[i] = table[x[i] - smallest x] of `rows` x `channels`: any function of one int8 or uint8, as 256 entries.

    Rows of y begin `step` elements apart if that is not 0.
    """

    kind: ClassVar[str] = "lookup"
    rows: int
    channels: int
    x: DType
    y: DType
    step: int = 0

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """x, table, y."""
        return (_elements("x", self.x), _elements("table", self.y), _elements("y", self.y, written=True))


@dataclass(frozen=True)
class SoftmaxKernel:
    """exp(beta * (x - max)) normalized over the last axis of [rows][length].

    int8: `multiplier` and `shift` scale differences to Q5.26, smaller ones than `smallest` count as 0; the output has
    scale 1/256 and zero point -128. A `tabled` one takes all exponentials as the parameter `powers`
    (plan/integer_softmax.py).
    """

    kind: ClassVar[str] = "softmax"
    rows: int
    length: int
    element: Element
    beta: float = 1.0
    multiplier: int = 0
    shift: int = 0
    smallest: int = 0
    tabled: bool = False

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """x, [powers], y."""
        powers = (_elements("powers", "int32"),) if self.tabled else ()
        return (_elements("x", self.element), *powers, _elements("y", self.element, written=True))


@dataclass(frozen=True)
class ArgMaxKernel:
    """Where the largest element of the last axis of [rows][length] lies; of equal ones the first, or the `last`."""

    kind: ClassVar[str] = "argmax"
    rows: int
    length: int
    element: DType
    last: bool = False

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """x, y."""
        return (_elements("x", self.element), _elements("y", "int32", written=True))


@dataclass(frozen=True)
class CopyKernel:
    """Copies `shape` elements from strides to strides: transposes, concatenations, paddings."""

    kind: ClassVar[str] = "copy"
    shape: tuple[int, ...]
    x: tuple[int, ...]
    y: tuple[int, ...]
    element: DType

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """x, y."""
        return (_elements("x", self.element), _elements("y", self.element, written=True))


@dataclass(frozen=True)
class MoveKernel:
    """Moves `elements` that lie in one run; y may overlap x."""

    kind: ClassVar[str] = "move"
    elements: int
    element: DType

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """x, y."""
        return (_elements("x", self.element), _elements("y", self.element, written=True))


@dataclass(frozen=True)
class ResampleKernel:
    """An image of `channels` channels read at the rows and columns that tables name, or between two of each.

    The tables are those of plan/kernels.py: grid_parameters. Pixels of y begin `step` elements apart if that is not 0.
    """

    kind: ClassVar[str] = "resample"
    method: ResampleMethod
    in_width: int
    height: int
    width: int
    channels: int
    element: DType
    step: int = 0

    @property
    def y_step(self) -> int:
        """Elements from one pixel of y to the next."""
        return self.step or self.channels

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """x, rows, [row_weights], columns, [column_weights], y."""
        return (
            _elements("x", self.element),
            *grid_parameters(self.method, self.element),
            _elements("y", self.element, written=True),
        )


@dataclass(frozen=True)
class FillKernel:
    """Writes `value` to all `elements`."""

    kind: ClassVar[str] = "fill"
    elements: int
    value: float
    element: DType

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """y."""
        return (_elements("y", self.element, written=True),)


@dataclass(frozen=True)
class QuantizeKernel:
    """Float32 -> int8 or uint8: clamp(round(x / scale) + zero_point), halves away from zero or `to_even`."""

    kind: ClassVar[str] = "quantize"
    elements: int
    scale: float
    zero_point: int
    to_even: bool
    y: DType

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """x, y."""
        return (_elements("x", "float32"), _elements("y", self.y, written=True))


@dataclass(frozen=True)
class DequantizeKernel:
    """Int8 or uint8 -> float32: scale * (x - zero_point)."""

    kind: ClassVar[str] = "dequantize"
    elements: int
    scale: float
    zero_point: int
    x: DType

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """x, y."""
        return (_elements("x", self.x), _elements("y", "float32", written=True))


WindowedKernel = ConvKernel | DepthwiseKernel | SeparableKernel | PoolKernel


def pixels_of(kernel: WindowedKernel) -> int:
    """The pixels that one call computes: all, or those of a row."""
    return kernel.window.columns.outputs if kernel.by_row else kernel.window.pixels


def row_bounds(kernel: McuKernel) -> tuple[str, ...]:
    """The integers that a call takes behind its pointers: of one row, the taps [first, end) inside the image, or `row`.

    None for whole images, and for windows of which every row lies inside.
    """
    if isinstance(kernel, RowSumKernel):
        return ("row",)
    if not isinstance(kernel, WindowedKernel) or not kernel.by_row or kernel.window.rows.all_inside:
        return ()
    return ("first", "end")


McuKernel = (
    WindowedKernel
    | DenseKernel
    | MeanKernel
    | RowSumKernel
    | BinaryKernel
    | ScaleKernel
    | ActivateKernel
    | LookupKernel
    | SoftmaxKernel
    | ArgMaxKernel
    | CopyKernel
    | MoveKernel
    | ResampleKernel
    | FillKernel
    | QuantizeKernel
    | DequantizeKernel
)
