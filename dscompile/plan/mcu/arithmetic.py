"""How standalone C adds and multiplies elements: int8 in several exact forms, and what is fused into convolutions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from dscompile.ir.fixed_point import FloatProduct
from dscompile.ir.ops import NONE, Activation
from dscompile.plan.integer_sums import Halves

FixedPointRounding = Literal["tflite", "half-up", "single"]


@dataclass(frozen=True)
class Rescale:
    """One operand of an int8 addition: factor multiplier * 2^(shift - 31) of (q - zero_point) << 20."""

    zero_point: int
    multiplier: int
    shift: int


@dataclass(frozen=True)
class IntegerBinary:
    """Constants of an int8 addition or product: rounding, operands, the result's factor and zero point, the clamp.

    add: out = clamp(requantize(requantize(a) + requantize(b)) + zero point), with operands as Rescale says (of a
    difference, the multiplier of b is negative); mul:
    out = clamp(requantize((a - zero_point) * (b - zero_point)) + zero point).
    """

    form: ClassVar[str] = "fixed point"
    method: FixedPointRounding
    a: Rescale
    b: Rescale
    result: Rescale
    low: int
    high: int


@dataclass(frozen=True)
class FloatBinary:
    """Constants of an int8 addition in the rounding `float32` (ir/fixed_point.py: float_sum), and the clamp.

    out = clamp(round_to_even((a + shift) * first + ((b + shift) * second + offset)) - shift), each multiply-add of
    float32 rounded once.
    """

    form: ClassVar[str] = "float"
    first: float
    second: float
    offset: float
    shift: int
    low: int
    high: int


@dataclass(frozen=True)
class ClampedProduct:
    """An int8 product in the rounding `float32` (ir/fixed_point.py: float_product), and the clamp."""

    form: ClassVar[str] = "float product"
    product: FloatProduct
    low: int
    high: int


@dataclass(frozen=True)
class IntegerSum:
    """Constants of an int8 addition: clamp(((a * first + b * second + bias) >> right) + zero_point).

    They were searched so that all pairs get what the network's own arithmetic gives (plan/integer_sums.py), some with
    `halves` that are rounded before the shift, or are that arithmetic (ir/fixed_point.py: fixed_sum).
    """

    form: ClassVar[str] = "plane"
    first: int
    second: int
    bias: int
    right: int
    low: int
    high: int
    zero_point: int = 0
    halves: Halves | None = None

    @property
    def swapped(self) -> IntegerSum:
        """The same with a and b exchanged."""
        return replace(self, first=self.second, second=self.first)


@dataclass(frozen=True)
class IntegerChoice:
    """The larger or the smaller of two int8 of one scale, clamped."""

    form: ClassVar[str] = "choice"
    kind: Literal["max", "min"]
    low: int
    high: int


PairArithmetic = IntegerBinary | FloatBinary | IntegerSum | ClampedProduct | IntegerChoice
"""What a network says of a function of two int8; an IntegerSum may be searched for others as well."""


@dataclass(frozen=True)
class SearchedProduct:
    """Constants of an int8 product, found by a search as those of a convolution with one channel are.

    clamp((start + ((scaled * multiplier) >> 32)) >> right) of scaled = bias + ((a - a_zero) * (b - b_zero) << left),
    to which `step` is added where it is not negative; it is the network's own arithmetic for all pairs
    (plan/requantization.py).
    """

    form: ClassVar[str] = "searched product"
    a_zero: int
    b_zero: int
    bias: int
    multiplier: int
    step: int
    left: int
    right: int
    zero_point: int
    low: int
    high: int

    @property
    def start(self) -> int:
        """The zero point of the result before the last shift."""
        return self.zero_point * (1 << self.right)

    @property
    def swapped(self) -> SearchedProduct:
        """The same with a and b exchanged."""
        return replace(self, a_zero=self.b_zero, b_zero=self.a_zero)


@dataclass(frozen=True)
class Residual:
    """What a convolution adds to its finished result, element by element: y = activation(result + residual).

    For int8 `integer` says how (a is the finished result, b the residual); the activation is in its clamp then.
    """

    activation: Activation = NONE
    integer: IntegerSum | None = None
