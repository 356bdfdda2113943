"""Activation functions."""

from __future__ import annotations

import math

import numpy as np

from dscompile.errors import BadInputError
from dscompile.ir.ops import Activate, Activation
from dscompile.oracle.operands import Operands, Reals


def activate(op: Activate, operands: Operands) -> Reals:
    """X -> activation(x), element by element; prelu has one slope per channel of the last axis."""
    return apply(op.activation, operands.x, operands.weights.get("slope"))


def apply(activation: Activation, x: Reals, slope: Reals | None = None) -> Reals:
    """The formulas of `dscompile.ir.ops.Activation`. Raises BadInputError for prelu without its slope."""
    match activation.kind:
        case "none":
            return x
        case "clip":
            return np.minimum(np.maximum(x, activation.low), activation.high)
        case "hard_swish":
            return x * np.clip(x / 6 + 0.5, 0, 1)
        case "hard_sigmoid":
            return np.clip(activation.alpha * x + 0.5, 0, 1)
        case "swish":
            return x * sigmoid(x)
        case "sigmoid":
            return sigmoid(x)
        case "tanh":
            return np.tanh(x)
        case "leaky_relu":
            return np.where(x > 0, x, activation.alpha * x)
        case "prelu":
            if slope is None:
                raise BadInputError("prelu has no weight 'slope'; it must be a layer of its own")
            return np.where(x > 0, x, slope * x)
        case "elu":
            return np.where(x > 0, x, activation.alpha * np.expm1(np.minimum(x, 0)))
        case "gelu":
            return x * (1 + erf(x / math.sqrt(2))) / 2
        case "gelu_tanh":
            gate: Reals = np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
            return x * (1 + gate) / 2
        case "erf":
            return erf(x)


def erf(x: Reals) -> Reals:
    """The error function, element by element."""
    result: Reals = np.vectorize(math.erf, otypes=[np.float64])(x)
    return result


def sigmoid(x: Reals) -> Reals:
    """1 / (1 + exp(-x)), written so that exp never overflows."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small))
