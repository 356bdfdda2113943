"""Keys that many kinds of layers share: padding, activations, windows, channels."""

from __future__ import annotations

import math
from typing import Literal

from dscompile.errors import did_you_mean
from dscompile.frontend.fields import Fields
from dscompile.frontend.schema import Defaults, Padding, Window
from dscompile.frontend.yamltree import MappingNode, Node, ScalarNode
from dscompile.ir.ops import HARD_SIGMOID, NAMED_ACTIVATIONS, NONE, Activation, Pads, Pair

ACTIVATION_KINDS = (*NAMED_ACTIVATIONS, "leaky_relu", "elu", "prelu", "clip")
_FUSED_KINDS = tuple(kind for kind in ACTIVATION_KINDS if kind != "prelu")
_LEAKY_ALPHA = 0.01


def read_padding(fields: Fields, default: Padding, key: str = "padding") -> Padding:
    """`same`, `valid`, one number for all sides, [rows, columns], or [top, bottom, left, right]."""
    node = fields.take(key)
    if node is None:
        return default
    words: tuple[Literal["same", "valid"], ...] = ("same", "valid")
    for word in words:
        if isinstance(node, ScalarNode) and node.value == word:
            return word
    if isinstance(node, ScalarNode) and isinstance(node.value, str):
        fields.wrong(key, node, "same, valid or numbers", did_you_mean(node.value, words))
        return default
    return read_pads(fields, key, node)


def read_pads(fields: Fields, key: str, node: Node) -> Pads:
    """One number for all sides, [rows, columns], or [top, bottom, left, right]."""
    if isinstance(node, ScalarNode):
        return Pads(*(fields.integer_of(key, node, 0),) * 4)
    wanted = "a number, [rows, columns] or [top, bottom, left, right]"
    match fields.integers(key, node, (4, 2), 0, wanted):
        case (rows, columns):
            return Pads(rows, rows, columns, columns)
        case (top, bottom, left, right):
            return Pads(top, bottom, left, right)
        case other:
            raise AssertionError(f"integers() let {len(other)} numbers pass")


def read_activation(fields: Fields, default: Activation, key: str = "activation") -> Activation:
    """A fused activation: a name, or {kind: leaky_relu, alpha: 0.1} where it has parameters."""
    node = fields.take(key)
    if node is None:
        return default
    if isinstance(node, MappingNode):
        inner = Fields(f"'{key}'", node, fields.problems)
        kind_node = inner.require("kind", "leaky_relu")
        kind = _fused_kind(inner, "kind", kind_node) if kind_node is not None else "none"
        activation = activation_parameters(inner, kind)
        inner.finish()
        return activation
    if isinstance(node, ScalarNode) and node.value == "clip":
        fields.wrong(key, node, "more than its kind", "write `{kind: clip, low: -1, high: 1}`")
        return default
    kind = _fused_kind(fields, key, node)
    usual = {"leaky_relu": _LEAKY_ALPHA, "elu": 1.0}
    match kind:
        case "leaky_relu" | "elu":
            return Activation(kind, alpha=usual[kind])
        case _:
            return NAMED_ACTIVATIONS.get(kind, NONE)


def _fused_kind(fields: Fields, key: str, node: Node) -> str:
    if isinstance(node, ScalarNode) and node.value == "prelu":
        fields.problems.add(
            "prelu has weights of its own and cannot be part of another layer",
            node.position,
            help="write `- prelu` as the next layer",
        )
        return "none"
    return fields.choice_of(key, node, _FUSED_KINDS)


def activation_parameters(fields: Fields, kind: str) -> Activation:
    """The activation `kind` with the parameters it takes."""
    match kind:
        case "leaky_relu":
            return Activation("leaky_relu", alpha=fields.number("alpha", _LEAKY_ALPHA))
        case "elu":
            return Activation("elu", alpha=fields.number("alpha", 1.0))
        case "hard_sigmoid":
            return Activation("hard_sigmoid", alpha=fields.number("alpha", HARD_SIGMOID.alpha))
        case "prelu":
            return Activation("prelu")
        case "clip":
            low = fields.number("low", -math.inf, infinite=True)
            high = fields.number("high", math.inf, infinite=True)
            if low > high:
                fields.problems.add(f"clip from {low:g} to {high:g} leaves nothing", fields.position)
            return Activation("clip", low, high)
        case _:
            return NAMED_ACTIVATIONS[kind]


def read_window(fields: Fields, defaults: Defaults, kernel: Pair | None = None) -> Window:
    """`kernel`, `stride`, `padding` and `dilation`; the kernel is required if there is no default."""
    size = fields.pair("kernel", kernel)
    stride = fields.pair("stride", (1, 1))
    padding = read_padding(fields, defaults.padding)
    return Window(size, stride, padding, fields.pair("dilation", (1, 1)))


def read_out(fields: Fields) -> int:
    """The channels that a layer makes."""
    return fields.integer("out", None, example="64")


def read_bias(fields: Fields, defaults: Defaults) -> bool | None:
    """Whether a layer has a bias; None leaves it to the weights."""
    return fields.flag("bias", defaults.bias)
