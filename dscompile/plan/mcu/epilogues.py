"""How sums become results, with the constants that takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from dscompile.ir.ops import NONE, Activation
from dscompile.ir.tensor import DTYPE_BYTES, DType
from dscompile.plan.kernels import Parameter

Element = Literal["float32", "int8"]
Method = Literal[
    "affine",
    "stepped",
    "narrow",
    "narrow-stepped",
    "affine-or-float32",
    "narrow-or-float32",
    "tflite",
    "half-up",
    "single",
    "float32",
]


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
    the level would be zero_point or more. affine-or-float32, narrow-or-float32: so where `multiplier` is not negative;
    channels with others are rounded as float32, by `scale`. The other methods are that rounding itself, of sum + bias,
    followed by + zero_point and clamp: a fixed-point factor multiplier * 2^(shift - 31) rounded twice (tflite), twice
    with halves up (half-up) or once (single), or a float factor (float32).
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

    @property
    def has_scale(self) -> bool:
        """Whether the second constant of a channel is a factor in float32."""
        return self.method == "float32"

    def constants(self, prefix: str = "") -> tuple[Parameter, ...]:
        """Pointers to what it needs per channel."""
        bias = Parameter(f"{prefix}bias", "int32")
        match self.method:
            case "affine" | "narrow":
                return (bias, Parameter(f"{prefix}multiplier", "int32"))
            case "stepped" | "narrow-stepped":
                return (bias, Parameter(f"{prefix}multiplier", "int32"), Parameter(f"{prefix}step", "int32"))
            case "affine-or-float32" | "narrow-or-float32":
                return (bias, Parameter(f"{prefix}multiplier", "int32"), Parameter(f"{prefix}scale"))
            case "float32":
                return (bias, Parameter(f"{prefix}scale"))
            case _:
                return (
                    bias,
                    Parameter(f"{prefix}multiplier", "int32"),
                    Parameter(f"{prefix}shift", "int8", alignment=1),
                )


Epilogue = FloatEpilogue | IntegerEpilogue


@dataclass(frozen=True)
class Finish:
    """How sums become bytes: `step` says whether each channel has a third constant (see IntegerEpilogue: stepped).

    With a `scale`, the second constant is the bits of a float32, and the float unit rounds (see float32).
    """

    right: int
    low: int
    high: int
    step: bool
    scale: bool = False

    @property
    def constants(self) -> int:
        """Integers per channel."""
        return 3 if self.step else 2


def finish_of(epilogue: IntegerEpilogue) -> Finish:
    """What an inner loop for 16-bit SIMD is compiled for, of a searched epilogue or of one in float32."""
    return Finish(epilogue.right, epilogue.low, epilogue.high, epilogue.method == "stepped", epilogue.has_scale)


def elements(name: str, element: DType, written: bool = False) -> Parameter:
    """A pointer to elements, aligned for one of them."""
    return Parameter(name, element, written, alignment=DTYPE_BYTES[element])
