"""Kernels without weights: pools, means, element by element, copies, changes of type (plan/mcu/kernels.py)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

from dscompile.ir.ops import NONE, Activation, BinaryKind
from dscompile.ir.tensor import DType
from dscompile.plan.integer_lines import LineProduct
from dscompile.plan.kernels import Parameter, ResampleMethod, grid_parameters
from dscompile.plan.mcu.arithmetic import PairArithmetic, SearchedProduct
from dscompile.plan.mcu.epilogues import Element, IntegerEpilogue, elements
from dscompile.plan.mcu.products import Variant
from dscompile.plan.mcu.windows import Window

_LONGEST_TURN = 8  # pixels


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
        return (elements("x", self.element), elements("y", self.element, written=True))


@dataclass(frozen=True)
class MeanKernel:
    """Mean of every channel over `pixels` pixels, int8: the sum, requantized; dsp and vectors take four."""

    kind: ClassVar[str] = "mean"
    pixels: int
    channels: int
    epilogue: IntegerEpilogue
    variant: Variant = "c99"

    @property
    def turn(self) -> int:
        """Pixels that a turn of the loop over all of them adds, with dsp."""
        return max(count for count in range(1, _LONGEST_TURN + 1) if self.pixels % count == 0)

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """x, constants, y."""
        return (elements("x", "int8"), *self.epilogue.constants(), elements("y", "int8", written=True))


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
        return (x, *constants, elements("sums", "float32" if y.dtype == "float32" else "int32", True), y)


@dataclass(frozen=True)
class BinaryKernel:
    """y = activation(a op b), element by element over `shape`; strides of 0 repeat.

    With `fours`, a turn of the loop adds four elements of dense operands, on cores that saturate as they shift.
    """

    kind: ClassVar[str] = "binary"
    function: BinaryKind
    shape: tuple[int, ...]
    a: tuple[int, ...]
    b: tuple[int, ...]
    y: tuple[int, ...]
    element: Element
    activation: Activation = NONE
    integer: PairArithmetic | SearchedProduct | None = None
    fours: bool = False

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """a, b, y."""
        return (elements("a", self.element), elements("b", self.element), elements("y", self.element, written=True))


@dataclass(frozen=True)
class ScaleKernel:
    """y[pixel][c] = x[pixel][c] * factors[c], int8, on cores with 16-bit SIMD (plan/mcu/scaling.py).

    Whole fours of channels go by `line`, others by `product`, which gives the same. The scratch parameter `records` has
    36 bytes for each four. Pixels of y begin `step` elements apart if that is not 0.
    """

    kind: ClassVar[str] = "scale"
    pixels: int
    channels: int
    product: SearchedProduct
    line: LineProduct
    step: int = 0

    @property
    def y_step(self) -> int:
        """Elements from one pixel of y to the next."""
        return self.step or self.channels

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """x, factors, records, y."""
        return (
            elements("x", "int8"),
            elements("factors", "int8"),
            elements("records", "int32", written=True),
            elements("y", "int8", written=True),
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
        return (elements("x", "float32"), *slope, elements("y", "float32", written=True))


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
        return (elements("x", self.x), elements("table", self.y), elements("y", self.y, written=True))


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
        powers = (elements("powers", "int32"),) if self.tabled else ()
        return (elements("x", self.element), *powers, elements("y", self.element, written=True))


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
        return (elements("x", self.element), elements("y", "int32", written=True))


@dataclass(frozen=True)
class CopyKernel:
    """Copies `shape` elements from strides to strides: transposes, concatenations, paddings.

    With `words`, runs of bytes are copied four at a time.
    """

    kind: ClassVar[str] = "copy"
    shape: tuple[int, ...]
    x: tuple[int, ...]
    y: tuple[int, ...]
    element: DType
    words: bool = False

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """x, y."""
        return (elements("x", self.element), elements("y", self.element, written=True))


@dataclass(frozen=True)
class MoveKernel:
    """Moves `elements` that lie in one run; y may overlap x."""

    kind: ClassVar[str] = "move"
    elements: int
    element: DType

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """x, y."""
        return (elements("x", self.element), elements("y", self.element, written=True))


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
            elements("x", self.element),
            *grid_parameters(self.method, self.element),
            elements("y", self.element, written=True),
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
        return (elements("y", self.element, written=True),)


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
        return (elements("x", "float32"), elements("y", self.y, written=True))


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
        return (elements("x", self.x), elements("y", "float32", written=True))
