"""The kinds of layers a net.yaml knows, and the keys of each."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Literal, get_args

from dscompile.errors import did_you_mean
from dscompile.frontend.fields import Fields
from dscompile.frontend.schema import (
    Body,
    ConcatBody,
    ConvBody,
    Defaults,
    DenseBody,
    DepthwiseBody,
    FlattenBody,
    InvertedResidualBody,
    OperatorBody,
    Padding,
    PoolBody,
    ReshapeBody,
    ResizeBody,
    SeparableBody,
    SliceBody,
    SplitBody,
    SqueezeExciteBody,
    TransposedConvBody,
    Window,
)
from dscompile.frontend.yamltree import MappingNode, Node, ScalarNode, SequenceNode
from dscompile.ir.ops import (
    HARD_SIGMOID,
    NAMED_ACTIVATIONS,
    NONE,
    RELU,
    RELU6,
    SIGMOID,
    Activate,
    Activation,
    BatchNorm,
    Binary,
    BinaryKind,
    Constant,
    DepthToSpace,
    Dequantize,
    Mean,
    Pad,
    PadMode,
    Pads,
    Pair,
    Quantize,
    Resize,
    ResizeCoordinates,
    ResizeRounding,
    Shuffle,
    Softmax,
    SpaceToDepth,
    Transpose,
)

ACTIVATION_KINDS = (*NAMED_ACTIVATIONS, "leaky_relu", "elu", "prelu", "clip")
_FUSED_KINDS = tuple(kind for kind in ACTIVATION_KINDS if kind != "prelu")
_LEAKY_ALPHA = 0.01
MAX_PARTS = 256

Reader = Callable[[Fields, Defaults], Body]


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
    return _pads(fields, key, node)


def _pads(fields: Fields, key: str, node: Node) -> Pads:
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
        activation = _parameters(inner, kind)
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


def _parameters(fields: Fields, kind: str) -> Activation:
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


def _window(fields: Fields, defaults: Defaults, kernel: Pair | None = None, *, dilates: bool = True) -> Window:
    size = fields.pair("kernel", kernel)
    stride = fields.pair("stride", (1, 1))
    padding = read_padding(fields, defaults.padding)
    dilation = fields.pair("dilation", (1, 1)) if dilates else (1, 1)
    return Window(size, stride, padding, dilation)


def _out(fields: Fields) -> int:
    return fields.integer("out", None, example="64")


def _conv(fields: Fields, defaults: Defaults) -> Body:
    return ConvBody(
        _out(fields),
        _window(fields, defaults),
        fields.integer("groups", 1),
        read_activation(fields, defaults.activation or NONE),
        fields.flag("bias", defaults.bias),
    )


def _transpose_conv(fields: Fields, defaults: Defaults) -> Body:
    return TransposedConvBody(
        _out(fields),
        _window(fields, defaults),
        fields.integer("groups", 1),
        fields.pair("output_padding", (0, 0), minimum=0),
        read_activation(fields, defaults.activation or NONE),
        fields.flag("bias", defaults.bias),
    )


def _pointwise(fields: Fields, defaults: Defaults) -> Body:
    return ConvBody(
        _out(fields),
        Window((1, 1), padding="valid"),
        activation=read_activation(fields, defaults.activation or NONE),
        bias=fields.flag("bias", defaults.bias),
    )


def _depthwise(fields: Fields, defaults: Defaults) -> DepthwiseBody:
    return DepthwiseBody(
        _window(fields, defaults),
        fields.integer("multiplier", 1),
        read_activation(fields, defaults.activation or NONE),
        fields.flag("bias", defaults.bias),
    )


def _separable(fields: Fields, defaults: Defaults) -> Body:
    return SeparableBody(_out(fields), _depthwise(fields, defaults))


def _inverted_residual(fields: Fields, defaults: Defaults) -> Body:
    out = _out(fields)
    expand = fields.positive("expand", 6.0, maximum=1024)
    squeeze = _inner_squeeze(fields)
    depthwise = DepthwiseBody(
        _window(fields, defaults, (3, 3)),
        activation=read_activation(fields, defaults.activation or RELU6),
        bias=fields.flag("bias", defaults.bias),
    )
    return InvertedResidualBody(out, expand, depthwise, squeeze)


def _inner_squeeze(fields: Fields) -> SqueezeExciteBody | None:
    """`squeeze_excite: 0.25`, or a mapping with the keys of the layer of that name."""
    node = fields.take("squeeze_excite")
    if node is None:
        return None
    if isinstance(node, MappingNode):
        inner = Fields("'squeeze_excite'", node, fields.problems)
        body = _squeeze_excite(inner, Defaults())
        inner.finish()
        return body
    value = node.value if isinstance(node, ScalarNode) else None
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= 1:
        fields.wrong("squeeze_excite", node, "a ratio above 0 and up to 1, or a mapping")
        return None
    return SqueezeExciteBody(float(value))


def _squeeze_excite(fields: Fields, _: Defaults) -> SqueezeExciteBody:
    ratio = fields.positive("ratio", 0.25, maximum=1)
    channels = fields.integer("channels", 0)
    if channels and fields.has("ratio"):
        fields.problems.add("give 'ratio' or 'channels', not both", fields.position)
    return SqueezeExciteBody(
        ratio, channels, read_activation(fields, RELU), read_activation(fields, SIGMOID, key="gate")
    )


def _dense(fields: Fields, defaults: Defaults) -> Body:
    return DenseBody(
        _out(fields), read_activation(fields, defaults.activation or NONE), fields.flag("bias", defaults.bias)
    )


def _pool(fields: Fields, defaults: Defaults) -> Body:
    node = fields.require("kind", "average")
    kind: Literal["average", "max"] = "average"
    if node is not None and fields.choice_of("kind", node, ("average", "max")) == "max":
        kind = "max"
    over = fields.take("over")
    whole = over is not None and fields.choice_of("over", over, ("all",)) == "all"
    if whole and fields.has("kernel"):
        fields.problems.add("`over: all` is the whole image: it takes no 'kernel'", fields.position)
    if not whole and not fields.has("kernel"):
        fields.problems.add("pool needs 'over' or 'kernel'", fields.position, help="`over: all`, or `kernel: 2`")
    kernel = fields.pair("kernel", (0, 0))
    stride = fields.pair("stride", (1, 1) if whole else kernel)
    padding = read_padding(fields, "valid" if whole else defaults.padding)
    count_pads = fields.flag("count_pads", default=False) or False
    return PoolBody(kind, Window(kernel, stride, padding), count_pads, read_activation(fields, NONE))


def _resize(fields: Fields, _: Defaults) -> Body:
    """Either `size` or `factor`; the rest as ONNX calls it."""
    if fields.has("size") == fields.has("factor"):
        message = "give 'size' or 'factor', not both" if fields.has("size") else "resize needs 'size' or 'factor'"
        fields.problems.add(message, fields.position, help="`size: [64, 128]`, or `factor: 2`")
    size = fields.pair("size", (1, 1))
    factor = fields.real_pair("factor", (1.0, 1.0)) if fields.has("factor") else None
    method: Literal["nearest", "bilinear"] = (
        "nearest" if fields.choice("kind", ("bilinear", "nearest"), "bilinear") == "nearest" else "bilinear"
    )
    coordinates: tuple[ResizeCoordinates, ...] = get_args(ResizeCoordinates)
    word = fields.choice("coordinates", coordinates, "half_pixel")
    op = Resize(size, method, next(each for each in coordinates if each == word))
    if method == "nearest":
        roundings: tuple[ResizeRounding, ...] = get_args(ResizeRounding)
        chosen = fields.choice("rounding", roundings, op.rounding)
        op = replace(op, rounding=next(each for each in roundings if each == chosen))
    if fields.has("ratio") and fields.has("factor"):
        fields.problems.add("'factor' is the ratio already: give 'ratio' beside 'size' only", fields.position)
    ratio = fields.real_pair("ratio", (0.0, 0.0))
    if fields.has("ratio"):
        op = replace(op, scale=ratio)
    if fields.choice("arithmetic", ("onnx", "tflite"), "onnx") == "tflite":
        op = replace(op, arithmetic="tflite")
    return ResizeBody(op, factor)


def _upsample(fields: Fields, _: Defaults) -> Body:
    """Every pixel `factor` times, as the layer of that name in other frameworks."""
    factor = fields.pair("factor", (2, 2))
    bilinear = fields.choice("kind", ("nearest", "bilinear"), "nearest") == "bilinear"
    op = Resize((1, 1), "bilinear") if bilinear else Resize((1, 1), "nearest", "asymmetric", "floor")
    return ResizeBody(op, (float(factor[0]), float(factor[1])))


def _binary(kind: BinaryKind) -> Reader:
    return lambda fields, _: OperatorBody(Binary(kind, read_activation(fields, NONE)))


def _concat(fields: Fields, _: Defaults) -> Body:
    return ConcatBody(fields.integer("axis", -1, minimum=-8, maximum=7))


def _split(fields: Fields, _: Defaults) -> Body:
    axis = fields.integer("axis", -1, minimum=-8, maximum=7)
    if fields.has("parts") == fields.has("sizes"):
        message = "give 'parts' or 'sizes', not both" if fields.has("parts") else "split needs 'parts' or 'sizes'"
        fields.problems.add(message, fields.position, help="`parts: 2`, or `sizes: [24, 40]`")
    parts = fields.integer("parts", 0, minimum=2, maximum=MAX_PARTS)
    node = fields.take("sizes")
    sizes = () if node is None else fields.integers("sizes", node, wanted="a list of sizes")
    if node is not None and sizes and not 2 <= len(sizes) <= MAX_PARTS:
        fields.problems.add(f"'sizes' are 2 to {MAX_PARTS} numbers, not {len(sizes)}", node.position)
    return SplitBody(parts, sizes, axis)


def _slice(fields: Fields, _: Defaults) -> Body:
    rows, columns, channels = (_range(fields, key) for key in ("rows", "columns", "channels"))
    begin, end, step = (_corner(fields, key, least) for key, least in (("begin", 0), ("end", 0), ("step", 1)))
    ranges = any(fields.has(key) for key in ("rows", "columns", "channels"))
    if fields.has("begin") != fields.has("end") or fields.has("begin") == ranges:
        help = "`channels: [0, 24]`, also `rows:` and `columns:`; or `begin: [0, 0, 8]` and `end: [1, 4, 16]`"
        fields.problems.add("slice needs ranges, or 'begin' and 'end'", fields.position, help=help)
    return SliceBody(rows, columns, channels, begin, end, step)


def _range(fields: Fields, key: str) -> Pair | None:
    """[first, end] of an axis, the end not included."""
    node = fields.take(key)
    if node is None:
        return None
    first, end = fields.integers(key, node, (2,), 0, "[first, end]")
    if isinstance(node, SequenceNode) and first >= end:
        fields.problems.add(f"'{key}' from {first} to {end} leaves nothing", node.position)
    return first, end


def _corner(fields: Fields, key: str, minimum: int) -> tuple[int, ...]:
    node = fields.take(key)
    return () if node is None else fields.integers(key, node, minimum=minimum, wanted="a number per axis")


def _shuffle(fields: Fields, _: Defaults) -> Body:
    return OperatorBody(Shuffle(fields.integer("groups", None, example="2")))


def _depth_to_space(fields: Fields, _: Defaults) -> Body:
    block = fields.pair("block", None)
    order = fields.choice("order", ("dcr", "crd"), "dcr")
    node = fields.take("crops")
    crops = Pads() if node is None else _pads(fields, "crops", node)
    return OperatorBody(DepthToSpace(block, "crd" if order == "crd" else "dcr", crops))


def _space_to_depth(fields: Fields, _: Defaults) -> Body:
    return OperatorBody(SpaceToDepth(fields.pair("block", None)))


def _pad(fields: Fields, _: Defaults) -> Body:
    node = fields.require("padding", "[1, 1, 1, 1]")
    pads = Pads() if node is None else _pads(fields, "padding", node)
    value = fields.number("value", 0.0, infinite=True)
    word = fields.choice("mode", get_args(PadMode), "constant")
    mode: PadMode = next(each for each in get_args(PadMode) if each == word)
    if mode != "constant" and fields.has("value"):
        fields.problems.add(f"'value' is for constant padding, not for mode {mode}", fields.position)
    return OperatorBody(Pad(pads, value, mode))


def _reshape(fields: Fields, _: Defaults) -> Body:
    node = fields.require("shape", "[1, -1]")
    shape = (-1,) if node is None else fields.integers("shape", node, minimum=-1, wanted="a list of sizes")
    if node is not None and (shape.count(-1) > 1 or 0 in shape):
        fields.problems.add("sizes are positive, and one of them may be -1", node.position)
    return ReshapeBody(shape)


def _constant(fields: Fields, _: Defaults) -> Body:
    node = fields.require("shape", "[1, 1, 1, 8]")
    return OperatorBody(Constant((1,) if node is None else fields.integers("shape", node, wanted="a list of sizes")))


def _transpose(fields: Fields, _: Defaults) -> Body:
    node = fields.require("permutation", "[0, 3, 1, 2]")
    if node is None:
        return OperatorBody(Transpose(()))
    axes = fields.integers("permutation", node, minimum=0, wanted="a list of axes")
    if isinstance(node, SequenceNode) and sorted(axes) != list(range(len(axes))):
        fields.problems.add(f"{list(axes)} is not a permutation of {list(range(len(axes)))}", node.position)
    return OperatorBody(Transpose(axes))


def _batch_norm(fields: Fields, _: Defaults) -> Body:
    return OperatorBody(BatchNorm(fields.positive("epsilon", BatchNorm().epsilon)))


def _activation(fields: Fields, _: Defaults) -> Body:
    node = fields.require("kind", "relu")
    kind = "none" if node is None else fields.choice_of("kind", node, ACTIVATION_KINDS)
    return OperatorBody(Activate(_parameters(fields, kind)))


def _named_activation(kind: str) -> Reader:
    return lambda fields, _: OperatorBody(Activate(_parameters(fields, kind)))


KINDS: Mapping[str, Reader] = MappingProxyType(
    {
        "conv": _conv,
        "depthwise": _depthwise,
        "transpose_conv": _transpose_conv,
        "pointwise": _pointwise,
        "separable": _separable,
        "inverted_residual": _inverted_residual,
        "squeeze_excite": _squeeze_excite,
        "dense": _dense,
        "pool": _pool,
        "resize": _resize,
        "upsample": _upsample,
        **{kind: _binary(kind) for kind in get_args(BinaryKind)},
        "concat": _concat,
        "split": _split,
        "slice": _slice,
        "shuffle": _shuffle,
        "depth_to_space": _depth_to_space,
        "space_to_depth": _space_to_depth,
        "pad": _pad,
        "reshape": _reshape,
        "flatten": lambda _fields, _defaults: FlattenBody(),
        "transpose": _transpose,
        "constant": _constant,
        "batch_norm": _batch_norm,
        "mean": lambda _fields, _defaults: OperatorBody(Mean()),
        "quantize": lambda _fields, _defaults: OperatorBody(Quantize()),
        "dequantize": lambda _fields, _defaults: OperatorBody(Dequantize()),
        "softmax": lambda fields, _: OperatorBody(Softmax(fields.number("beta", 1.0))),
        "activation": _activation,
        **{kind: _named_activation(kind) for kind in ACTIVATION_KINDS if kind != "none"},
    }
)
REPEATING_KINDS = frozenset({"conv", "depthwise", "pointwise", "separable", "inverted_residual"})
KINDS_WITH_SEVERAL_RESULTS = frozenset({"split"})
KINDS_WITH_SEVERAL_INPUTS = frozenset({*get_args(BinaryKind), "concat"})
