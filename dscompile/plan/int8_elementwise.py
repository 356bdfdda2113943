"""Int8 kernels of CPUs that do not multiply weights: pools, sums, products, tables, softmax, and the ways to float32.

Element-wise kernels go over `shape` with any strides (0 repeats), in elements: blocked images are [blocks][rows]
[columns][lanes] of them, flat tensors what they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from dscompile.ir.ops import Pair
from dscompile.ir.tensor import DType
from dscompile.plan.int8_kernels import Requantization, blocked_bytes
from dscompile.plan.kernels import Parameter, strided_parameter
from dscompile.plan.layout import Strides
from dscompile.plan.mcu.arithmetic import PairArithmetic

AxisStrides = tuple[int, ...]


@dataclass(frozen=True)
class Int8PoolKernel:
    """Average or maximum over windows of a blocked image, clamped; taps outside [0, in_*) do not take part.

    Averages divide by the number of taps inside the image and round halves away from zero.
    """

    kind: ClassVar[str] = "int8_pool"
    function: Literal["average", "max"]
    in_height: int
    in_width: int
    height: int
    width: int
    blocks: int
    lanes: int
    kernel: Pair
    stride: Pair
    pad_top: int
    pad_left: int
    low: int
    high: int
    x: Strides
    y: Strides

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """x, y."""
        return (blocked_bytes("x", self.x, self.lanes), blocked_bytes("y", self.y, self.lanes, written=True))


@dataclass(frozen=True)
class Int8MeanKernel:
    """The sum of every channel over a blocked image, requantized by a factor that contains the division."""

    kind: ClassVar[str] = "int8_mean"
    height: int
    width: int
    blocks: int
    lanes: int
    x: Strides
    y: Strides
    requantization: Requantization

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """x, constants of the requantization, y."""
        return (
            blocked_bytes("x", self.x, self.lanes),
            *self.requantization.parameters,
            blocked_bytes("y", self.y, self.lanes, written=True),
        )


@dataclass(frozen=True)
class Int8SumKernel:
    """y = a + b, or another function of two int8: `arithmetic` says which (plan/mcu/arithmetic.py)."""

    kind: ClassVar[str] = "int8_sum"
    shape: tuple[int, ...]
    a: AxisStrides
    b: AxisStrides
    y: AxisStrides
    arithmetic: PairArithmetic

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """a, b, y."""
        return (
            strided_parameter("a", self.a, dtype="int8"),
            strided_parameter("b", self.b, dtype="int8"),
            strided_parameter("y", self.y, True, "int8"),
        )


@dataclass(frozen=True)
class Int8ProductKernel:
    """y = requantized((a - a_zero) * (b - b_zero)), with one requantization for all channels."""

    kind: ClassVar[str] = "int8_product"
    shape: tuple[int, ...]
    a: AxisStrides
    b: AxisStrides
    y: AxisStrides
    a_zero: int
    b_zero: int
    requantization: Requantization

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """a, b, constants of the requantization (one element each), y."""
        return (
            strided_parameter("a", self.a, dtype="int8"),
            strided_parameter("b", self.b, dtype="int8"),
            *self.requantization.parameters,
            strided_parameter("y", self.y, True, "int8"),
        )


@dataclass(frozen=True)
class LookupKernel:
    """y = table[x - smallest x]: any function of one int8 or uint8, as 256 entries."""

    kind: ClassVar[str] = "lookup"
    shape: tuple[int, ...]
    x: AxisStrides
    y: AxisStrides
    given: DType
    made: DType

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """x, table, y."""
        return (
            strided_parameter("x", self.x, dtype=self.given),
            strided_parameter("table", (1,), dtype=self.made),
            strided_parameter("y", self.y, True, self.made),
        )


@dataclass(frozen=True)
class QuantizeKernel:
    """Float32 -> int8 or uint8: clamp(round(x / scale) + zero_point), halves away from zero or `to_even`; NaN is 0."""

    kind: ClassVar[str] = "quantize"
    shape: tuple[int, ...]
    x: AxisStrides
    y: AxisStrides
    made: DType
    scale: float
    zero_point: int
    to_even: bool

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """x, y."""
        return (strided_parameter("x", self.x), strided_parameter("y", self.y, True, self.made))


@dataclass(frozen=True)
class Int8SoftmaxKernel:
    """Softmax over the last axis of [rows][length], to scale 1/256 and zero point -128.

    `powers` [256] are the exponentials as Q0.31 of 0, -1, -2, ... below the row's largest element.
    """

    kind: ClassVar[str] = "int8_softmax"
    rows: int
    length: int

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """x, powers, y."""
        return (
            strided_parameter("x", (self.length, 1), dtype="int8"),
            strided_parameter("powers", (1,), dtype="int32"),
            strided_parameter("y", (self.length, 1), True, "int8"),
        )


Int8ElementwiseKernel = (
    Int8PoolKernel
    | Int8MeanKernel
    | Int8SumKernel
    | Int8ProductKernel
    | LookupKernel
    | QuantizeKernel
    | Int8SoftmaxKernel
)
