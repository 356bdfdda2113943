"""ONNX operators that compute element by element: activations, sums, products, extremes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from dscompile.errors import BadInputError, UnsupportedError
from dscompile.frontend import import_lowering as lower
from dscompile.frontend.import_graph import Operand, Value
from dscompile.frontend.import_lowering import as_weight
from dscompile.frontend.onnx.call import Call
from dscompile.ir.ops import GELU, GELU_TANH, HARD_SIGMOID, Activation, Binary, BinaryKind

Handler = Callable[[Call], Operand]


def activation(function: Activation) -> Handler:
    """The handler of an operator that is an activation without attributes."""

    def handler(call: Call) -> Value:
        return lower.activate(call.graph, call.value(), function)

    return handler


def clip(call: Call) -> Value:
    """Clip, whose bounds are attributes before opset 11."""
    if call.opset < 11:
        low, high = call.node.real("min", -math.inf), call.node.real("max", math.inf)
    else:
        minimum, maximum = call.scalar(1, "min"), call.scalar(2, "max")
        low = -math.inf if minimum is None else minimum
        high = math.inf if maximum is None else maximum
    if math.isnan(low) or math.isnan(high):
        raise BadInputError(f"its bounds {low:g} and {high:g} must be numbers")
    if low > high:
        raise UnsupportedError(f"from {low:g} to {high:g} it leaves nothing")
    largest = float(np.finfo(np.float32).max)
    unbounded = (-math.inf if low <= -largest else low, math.inf if high >= largest else high)
    return lower.activate(call.graph, call.value(), Activation("clip", *unbounded))


def hard_sigmoid(call: Call) -> Value:
    """HardSigmoid with beta 0.5."""
    alpha, beta = call.node.finite("alpha", 0.2), call.node.finite("beta", 0.5)
    if beta != 0.5:
        raise UnsupportedError(f"beta {beta:g}; only 0.5 is supported")
    # Exporters write 1/6 in single precision; it is meant to be the hard sigmoid of the papers.
    exact = HARD_SIGMOID if np.float32(alpha) == np.float32(1 / 6) else Activation("hard_sigmoid", alpha=alpha)
    return lower.activate(call.graph, call.value(), exact)


def leaky_relu(call: Call) -> Value:
    """LeakyRelu."""
    return lower.activate(call.graph, call.value(), Activation("leaky_relu", alpha=call.node.finite("alpha", 0.01)))


def elu(call: Call) -> Value:
    """Elu."""
    return lower.activate(call.graph, call.value(), Activation("elu", alpha=call.node.finite("alpha", 1.0)))


def gelu(call: Call) -> Value:
    """Gelu, exact or with a hyperbolic tangent."""
    approximate = call.node.text("approximate", "none")
    if approximate not in ("none", "tanh"):
        raise BadInputError(f"approximate '{approximate}' is neither none nor tanh")
    return lower.activate(call.graph, call.value(), GELU if approximate == "none" else GELU_TANH)


def prelu(call: Call) -> Value:
    """PRelu with constant slopes."""
    return lower.prelu(call.graph, call.value(), call.weight(1, "the slope"))


def binary(kind: BinaryKind) -> Handler:
    """The handler of an element-wise operator on two tensors."""

    def handler(call: Call) -> Value:
        return lower.binary(call.graph, Binary(kind), call.operand(0), call.operand(1))

    return handler


def sub(call: Call) -> Value:
    """Sub; of a constant, which then can become a bias, the sum with its negative."""
    first, second = call.operand(0), call.operand(1)
    if isinstance(second, Value):
        return lower.binary(call.graph, Binary("sub"), first, second)
    return lower.binary(call.graph, Binary("add"), first, -as_weight(second, "the right operand"))


def div(call: Call) -> Value:
    """Div; by a constant, which then can become part of a kernel, the product with its reciprocal."""
    divisor = call.operand(1)
    if isinstance(divisor, Value):
        return lower.binary(call.graph, Binary("div"), call.operand(0), divisor)
    real = as_weight(divisor, "the divisor")
    if not real.all():
        raise BadInputError("divides by zero")
    return lower.binary(call.graph, Binary("mul"), call.value(), np.float32(1) / real)


def sum_of(call: Call) -> Operand:
    """Sum of any number of tensors."""
    return _joined(call, "add")


def mean(call: Call) -> Operand:
    """Of several tensors, element by element."""
    total, count = _joined(call, "add"), len(call.operands)
    return lower.binary(call.graph, Binary("mul"), total, np.array(1 / count, np.float32)) if count > 1 else total


def extreme(kind: BinaryKind) -> Handler:
    """Max or Min; against one number it is a clip."""

    def handler(call: Call) -> Operand:
        if len(call.operands) == 2:
            for x, bound in ((call.operand(0), call.operand(1)), (call.operand(1), call.operand(0))):
                if isinstance(x, Value) and isinstance(bound, np.ndarray) and bound.size == 1:
                    limit = float(as_weight(bound, "the limit").reshape(-1)[0])
                    clip = Activation("clip", low=limit) if kind == "max" else Activation("clip", high=limit)
                    rank = max(len(x.shape), bound.ndim)
                    shaped = call.graph.reshaped(x, (1,) * (rank - len(x.shape)) + x.shape)
                    return lower.activate(call.graph, shaped, clip)
        return _joined(call, kind)

    return handler


def _joined(call: Call, kind: BinaryKind) -> Operand:
    """All operands, from left to right."""
    result = call.operand(0)
    for index in range(1, len(call.operands)):
        result = lower.binary(call.graph, Binary(kind), result, call.operand(index))
    return result
