"""Requantization in x86 registers: a vector of sums at a time, exact in every scaling of plan/int8_kernels.py.

The float32 forms are three or four instructions. The fixed-point ones are the expressions that all targets share, on
vectors: VPMULDQ has products of 64 bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import tirx

from dscompile.compute.integer import cast_lanes, clamp
from dscompile.compute.requantization import scaled as scaled_anywhere
from dscompile.plan.int8_kernels import Requantization
from dscompile.schedule import x86_vectors as x86
from dscompile.schedule.vector_code import lanes_of
from dscompile.target import Target

Expr = Any


def scaled(total: Expr, constants: Sequence[Expr], requantization: Requantization, target: Target) -> Expr:
    """A vector of sums as numbers of the output, int32, for `narrowed`; `constants` are those of its channels.

    Only `float32` ones do not contain the zero point yet.
    """
    lanes = lanes_of(total)
    match requantization.scaling:
        case "affine":
            scale, offset = constants
            return x86.cvtps2dq(x86.fmadd(x86.widened(total, "float32"), scale, offset), target)
        case "float32":
            bias, scale = constants
            real = x86.widened(total + bias, "float32") * scale
            # Out of 32 bits, CVTPS2DQ gives the smallest number; only a large one is changed by that.
            highest = float(requantization.high - requantization.zero_point)
            return x86.cvtps2dq(tirx.min(real, x86.splat(highest, "float32", lanes)), target)
        case "integer" | "stepped":
            return scaled_anywhere(total, constants, requantization)
        case _:
            found = scaled_anywhere(total, constants, requantization)
            return cast_lanes("int32", clamp(found, requantization.low, requantization.high))


def narrowed(numbers: Sequence[Expr], requantization: Requantization, target: Target) -> Expr:
    """Scaled vectors as the int8 that they become, one behind the other."""
    zero_point = requantization.zero_point if requantization.scaling == "float32" else 0
    values = x86.saturated_bytes(numbers, zero_point, target)
    lanes = lanes_of(values)
    if requantization.low > -128:
        values = tirx.max(values, x86.splat(requantization.low, "int8", lanes))
    if requantization.high < 127:
        values = tirx.min(values, x86.splat(requantization.high, "int8", lanes))
    return values
