"""Activations as TensorIR expressions on float32, of a form that vectorizes: no calls into libm."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from tvm import tirx

from dscompile.compute.held import held
from dscompile.ir.ops import Activation

Expr = Any

LOG2_E = 1.4426950408889634
# ln 2 in two parts (Cody and Waite): n * LN2_HIGH is exact for |n| < 2**9, so the reduced argument keeps its low bits.
LN2_HIGH = 0.693359375
LN2_LOW = -2.12194440e-4
# Minimax polynomial of exp on [-ln2 / 2, ln2 / 2], degree 6 by Lawson iteration for the relative error (1.9e-9),
# rounded to float32.
EXP_COEFFICIENTS = (1.0, 1.0, 0.4999999106, 0.166664198, 0.0416682288, 0.00837485678, 0.00138367899)
# ln 2 as one float32 and what it lacks: in a multiply-add, which rounds once, n * LN2 need not be exact.
LN2, LN2_REST = 0.6931471824645996, -1.9046542e-9
# e**r = (d + r) / (d - r) with d = r / tanh(r / 2), which is even in r: 2 + 0.16666617 r**2 - 0.0027659768 r**4, by
# Lawson iteration for the relative error of the ratio on [-ln2 / 2, ln2 / 2] (5.2e-10). Both sides are SCALE times as
# large, so that they lie in [0.69, 1): rounding costs least there, and no product with them is too large.
SCALE = 0.421875
RATIO = (2.0 * SCALE, 0.1666661762 * SCALE, -0.002765976833 * SCALE)
ERF_P = 0.3275911
ERF_COEFFICIENTS = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
GELU_FACTOR = math.sqrt(2.0 / math.pi)
ROUNDER = 1.5 * 2.0**23  # a float32 this large has no bits below 1; its own are beyond those of an exponent
ONE_BITS = 0x3F800000  # of 1.0
EXP_LOWEST, EXP_HIGHEST = -87.33, 88.37  # results stay normal numbers


_rounds_by_adding: ContextVar[bool] = ContextVar("rounds_by_adding", default=False)


@contextmanager
def rounding_by_adding(wanted: bool) -> Iterator[None]:
    """Whether exponentials defined within round by adding a large number, and not by instructions made for that.

    On x86 these and converting to an integer make a longer chain; on 64-bit Arm the large number is a register more.
    What else is done on the bits of numbers there, and divides one polynomial by another, goes with it.
    """
    token = _rounds_by_adding.set(wanted)
    try:
        yield
    finally:
        _rounds_by_adding.reset(token)


def const(value: float) -> Expr:
    """A float32 constant."""
    return tirx.const(value, "float32")


def activate(x: Expr, activation: Activation, slope: Expr | None = None) -> Expr:
    """`activation` of `x`; `slope` is the channel's slope of a prelu."""
    match activation.kind:
        case "none":
            return x
        case "clip":
            return clip(x, activation.low, activation.high)
        case "hard_swish":
            gate = x * const(1.0 / 6.0) + const(0.5)
            return x * (_within_one(gate) if _rounds_by_adding.get() else clip(gate, 0.0, 1.0))
        case "hard_sigmoid":
            return clip(x * const(activation.alpha) + const(0.5), 0.0, 1.0)
        case "swish":
            return _gated(x, x)
        case "sigmoid":
            return sigmoid(x)
        case "tanh":
            return tanh(x)
        case "leaky_relu":
            return tirx.Select(x > const(0.0), x, x * const(activation.alpha))
        case "prelu":
            return tirx.Select(x > const(0.0), x, x * slope)
        case "elu":
            below = const(activation.alpha) * (exp(tirx.min(x, const(0.0))) - const(1.0))
            return tirx.Select(x > const(0.0), x, below)
        case "gelu":
            return const(0.5) * x * (const(1.0) + erf(x * const(math.sqrt(0.5))))
        case "gelu_tanh":  # (1 + tanh(z)) / 2 is the sigmoid of 2 z
            cubic = const(2.0 * GELU_FACTOR) + const(2.0 * GELU_FACTOR * 0.044715) * x * x
            return _gated(x, x * cubic)
        case "erf":
            return erf(x)


def clip(x: Expr, low: float, high: float) -> Expr:
    """min(max(x, low), high); an infinite bound costs nothing."""
    if low > -math.inf:
        x = tirx.max(x, const(low))
    if high < math.inf:
        x = tirx.min(x, const(high))
    return x


def _within_one(x: Expr) -> Expr:
    """clip(x, 0, 1) on the bits, which are in order as integers: multiply-adds and float minima share execution units.

    NaN is 0 or 1, by its sign.
    """
    bits = tirx.max(tirx.reinterpret("int32", x), tirx.const(0, "int32"))
    return tirx.reinterpret("float32", tirx.min(bits, tirx.const(ONE_BITS, "int32")))


def exp(x: Expr) -> Expr:
    """e**x within 2 ulp for results in float32's normal range, clamped outside.

    x = n ln2 + r with integer n and |r| <= ln2 / 2; e**r by a polynomial, 2**n added to the exponent bits.
    """
    bounded = tirx.min(tirx.max(x, const(EXP_LOWEST)), const(EXP_HIGHEST))
    if _rounds_by_adding.get():
        bits, n = _rounded(bounded * const(LOG2_E), const(ROUNDER))
    else:
        n = tirx.nearbyint(bounded * const(LOG2_E))
        bits = tirx.Cast("int32", n)
    return _power(bounded - n * const(LN2_HIGH) - n * const(LN2_LOW), bits)


def _ratio_of_negative(x: Expr) -> tuple[Expr, Expr]:
    """e**-x as a numerator and a denominator in [0.69, 1), for what divides anyway; that of NaN is 1.2e-38.

    Fewer multiply-adds than `exp`, and a shorter chain: what LN2 lacks does not matter to the even function.
    """

    def number(value: float) -> Expr:
        return held(value, x)

    bounded = tirx.max(tirx.min(x, number(-EXP_LOWEST)), number(-EXP_HIGHEST))
    bits, n = _rounded(bounded * number(-LOG2_E), number(ROUNDER))
    near = n * number(-LN2) - bounded
    square = near * near
    even = square * (square * number(RATIO[2]) + number(RATIO[1])) + number(RATIO[0])
    odd = n * number(-LN2_REST * SCALE) + near * number(SCALE)
    return _scaled(even + odd, bits), even - odd


def _rounded(x: Expr, rounder: Expr) -> tuple[Expr, Expr]:
    """The nearest integer: in the last bits of an int32, whose others an exponent has no room for, and as float32."""
    bits = tirx.reinterpret("int32", x + rounder)
    return bits, tirx.reinterpret("float32", bits) - rounder


def _power(r: Expr, n: Expr) -> Expr:
    """e**r 2**n for |r| <= ln2 / 2."""
    power = const(EXP_COEFFICIENTS[-1])
    for coefficient in EXP_COEFFICIENTS[-2::-1]:
        power = power * r + const(coefficient)
    return _scaled(power, n)


def _scaled(x: Expr, n: Expr) -> Expr:
    """x 2**n, where both are normal numbers; of the bits of n, the lowest 9 count."""
    exponent = tirx.shift_left(n, tirx.const(23, "int32"))
    return tirx.reinterpret("float32", tirx.reinterpret("int32", x) + exponent)


def sigmoid(x: Expr) -> Expr:
    """1 / (1 + e**-x)."""
    if _rounds_by_adding.get():
        numerator, denominator = _ratio_of_negative(x)
        return denominator / (denominator + numerator)
    return const(1.0) / (const(1.0) + exp(const(0.0) - x))


def _gated(x: Expr, z: Expr) -> Expr:
    """x / (1 + e**-z)."""
    if _rounds_by_adding.get():
        numerator, denominator = _ratio_of_negative(z)
        return x * denominator / (denominator + numerator)
    return x * sigmoid(z)


def erf(x: Expr) -> Expr:
    """The error function within 2e-7: Abramowitz and Stegun, 7.1.26."""
    size = tirx.max(x, const(0.0) - x)
    t = const(1.0) / (const(1.0) + const(ERF_P) * size)
    series = const(ERF_COEFFICIENTS[-1])
    for coefficient in ERF_COEFFICIENTS[-2::-1]:
        series = series * t + const(coefficient)
    value = const(1.0) - series * t * exp(const(0.0) - size * size)
    return tirx.Select(x < const(0.0), const(0.0) - value, value)


def tanh(x: Expr) -> Expr:
    """(1 - e**-2|x|) / (1 + e**-2|x|) with the sign of x; x itself where x**3 / 3 is below its last bit or two."""
    magnitude = tirx.max(x, const(0.0) - x)
    decay = exp(const(-2.0) * magnitude)
    value = (const(1.0) - decay) / (const(1.0) + decay)
    small = magnitude * (const(1.0) - magnitude * magnitude * const(1.0 / 3.0))
    unsigned = tirx.Select(magnitude < const(0.04), small, value)
    return tirx.Select(x < const(0.0), const(0.0) - unsigned, unsigned)
