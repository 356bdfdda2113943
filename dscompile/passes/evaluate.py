"""The value of a layer whose inputs are known while compiling."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from dscompile.ir.network import Layer
from dscompile.ir.ops import Activate, Activation, Binary, Concat, Pad, Reshape, Shuffle, Slice, Softmax, Transpose

Values = NDArray[np.float64]

_BINARY: Mapping[str, Callable[[Values, Values], Values]] = {
    "add": np.add,
    "mul": np.multiply,
    "sub": np.subtract,
    "div": np.divide,
    "max": np.maximum,
    "min": np.minimum,
}


def evaluate(layer: Layer, inputs: Sequence[Values]) -> Values | None:
    """The layer's result in float64, or None for operators that have weights (they are left to run).

    Such layers come from shape arithmetic and spelled-out constants; nobody computes a convolution of a constant.
    """
    match layer.op:
        case Binary(kind=kind, activation=activation):
            return _activated(activation, _BINARY[kind](*inputs))
        case Activate(activation=activation):
            return _activated(activation, inputs[0])
        case Concat(axis=axis):
            return np.concatenate(inputs, axis)
        case Slice() as op:
            return inputs[0][op.box]
        case Shuffle(groups=groups):
            shape = inputs[0].shape
            return inputs[0].reshape(*shape[:-1], groups, -1).swapaxes(-1, -2).reshape(shape)
        case Reshape(shape=shape):
            return inputs[0].reshape(shape)
        case Transpose(permutation=permutation):
            return inputs[0].transpose(permutation)
        case Pad(pads=pads, value=value, mode="constant"):
            margins = ((0, 0), (pads.top, pads.bottom), (pads.left, pads.right), (0, 0))
            return np.pad(inputs[0], margins, constant_values=value)
        case Softmax(beta=beta):
            powers = np.exp(beta * inputs[0] - np.max(beta * inputs[0], axis=-1, keepdims=True))
            return np.asarray(powers / np.sum(powers, axis=-1, keepdims=True))
        case _:
            return None


def _activated(activation: Activation, x: Values) -> Values | None:
    match activation.kind:
        case "none":
            return x
        case "clip":
            return np.clip(x, activation.low, activation.high)
        case "hard_sigmoid":
            return np.clip(activation.alpha * x + 0.5, 0.0, 1.0)
        case "hard_swish":
            return x * np.clip(x / 6.0 + 0.5, 0.0, 1.0)
        case "sigmoid":
            return _logistic(x)
        case "swish":
            return x * _logistic(x)
        case "tanh":
            return np.tanh(x)
        case "leaky_relu":
            return np.where(x > 0.0, x, activation.alpha * x)
        case "prelu" | "elu" | "gelu" | "gelu_tanh" | "erf":
            return None  # nobody writes them of constants


def _logistic(x: Values) -> Values:
    """1 / (1 + exp(-x)), as 0.5 + 0.5 tanh(x / 2), which cannot overflow."""
    return 0.5 + 0.5 * np.tanh(0.5 * x)
