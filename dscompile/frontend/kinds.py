"""The kinds of layers a net.yaml knows, and the keys of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Literal, get_args

from dscompile.frontend.block_kinds import (
    read_blaze_block,
    read_depthwise,
    read_inverted_residual,
    read_separable,
    read_shuffle_v1,
    read_shuffle_v2,
    read_squeeze_excite,
)
from dscompile.frontend.fields import Fields
from dscompile.frontend.layer_fields import (
    ACTIVATION_KINDS,
    activation_parameters,
    read_activation,
    read_bias,
    read_out,
    read_padding,
    read_pads,
    read_window,
)
from dscompile.frontend.schema import (
    Body,
    ConcatBody,
    ConvBody,
    Defaults,
    DenseBody,
    FlattenBody,
    OperatorBody,
    PoolBody,
    Reference,
    ReshapeBody,
    ResizeBody,
    SliceBody,
    SplitBody,
    TransposedConvBody,
    Window,
)
from dscompile.frontend.yamltree import SequenceNode
from dscompile.ir.ops import (
    NONE,
    ROUNDED_AS,
    Activate,
    ArgMax,
    BatchNorm,
    Binary,
    BinaryKind,
    Constant,
    DepthToSpace,
    Dequantize,
    Lookup,
    Mean,
    Pad,
    PadMode,
    Pads,
    Pair,
    Quantize,
    Resize,
    ResizeCoordinates,
    ResizeRounding,
    RoundedAs,
    Shuffle,
    Softmax,
    SpaceToDepth,
    Transpose,
)

MAX_PARTS = 256

Reader = Callable[[Fields, Defaults], Body]


def _conv(fields: Fields, defaults: Defaults) -> Body:
    return ConvBody(
        read_out(fields),
        read_window(fields, defaults),
        fields.integer("groups", 1),
        read_activation(fields, defaults.activation or NONE),
        read_bias(fields, defaults),
    )


def _transpose_conv(fields: Fields, defaults: Defaults) -> Body:
    return TransposedConvBody(
        read_out(fields),
        read_window(fields, defaults),
        fields.integer("groups", 1),
        fields.pair("output_padding", (0, 0), minimum=0),
        read_activation(fields, defaults.activation or NONE),
        read_bias(fields, defaults),
    )


def _pointwise(fields: Fields, defaults: Defaults) -> Body:
    return ConvBody(
        read_out(fields),
        Window((1, 1), padding="valid"),
        activation=read_activation(fields, defaults.activation or NONE),
        bias=read_bias(fields, defaults),
    )


def _dense(fields: Fields, defaults: Defaults) -> Body:
    return DenseBody(
        read_out(fields), read_activation(fields, defaults.activation or NONE), read_bias(fields, defaults)
    )


def _pool(fields: Fields, defaults: Defaults) -> Body:
    node = fields.require("kind", "average")
    kind: Literal["average", "max"] = "average"
    if node is not None and fields.choice_of("kind", node, ("average", "max")) == "max":
        kind = "max"
    over = fields.take("over")
    whole = over is not None and fields.choice_of("over", over, ("all",)) == "all"
    into = fields.pair("into", (1, 1)) if fields.has("into") else None
    if whole and fields.has("kernel"):
        fields.problems.add("`over: all` is the whole image: it takes no 'kernel'", fields.position)
    elif into is not None and (whole or any(fields.has(key) for key in ("kernel", "stride", "padding"))):
        message = "'into' cuts the image into windows: it takes no 'over', 'kernel', 'stride' or 'padding'"
        fields.problems.add(message, fields.position)
    elif not whole and into is None and not fields.has("kernel"):
        help = "`over: all`, `kernel: 2`, or `into: 4`"
        fields.problems.add("pool needs 'over', 'kernel' or 'into'", fields.position, help=help)
    kernel = fields.pair("kernel", (0, 0))
    stride = fields.pair("stride", (1, 1) if whole else kernel)
    padding = read_padding(fields, "valid" if whole else defaults.padding)
    count_pads = fields.flag("count_pads", default=False) or False
    return PoolBody(kind, Window(kernel, stride, padding), count_pads, read_activation(fields, NONE), into)


def _resize(fields: Fields, _: Defaults) -> Body:
    """One of `size`, `factor` and `like`; the rest as ONNX calls it."""
    given = [f"'{key}'" for key in ("size", "factor", "like") if fields.has(key)]
    if len(given) != 1:
        message = f"give one of {' and '.join(given)}" if given else "resize needs 'size', 'factor' or 'like'"
        help = "`size: [64, 128]`, `factor: 2`, or `like: image` for the size of another image"
        fields.problems.add(message, fields.position, help=help)
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
    node = fields.take("like")
    like = None if node is None else Reference(fields.text_of("like", node), node.position)
    return ResizeBody(op, factor, like)


def _upsample(fields: Fields, _: Defaults) -> Body:
    """Every pixel `factor` times, as the layer of that name in other frameworks."""
    factor = fields.pair("factor", (2, 2))
    bilinear = fields.choice("kind", ("nearest", "bilinear"), "nearest") == "bilinear"
    op = Resize((1, 1), "bilinear") if bilinear else Resize((1, 1), "nearest", "asymmetric", "floor")
    return ResizeBody(op, (float(factor[0]), float(factor[1])))


def _binary(kind: BinaryKind) -> Reader:
    return lambda fields, _: OperatorBody(Binary(kind, read_activation(fields, NONE), _rounded_as(fields)))


def _rounded_as(fields: Fields) -> RoundedAs:
    word = fields.choice("rounded_as", ROUNDED_AS, "int8")
    return next(known for known in ROUNDED_AS if known == word)


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
    crops = Pads() if node is None else read_pads(fields, "crops", node)
    return OperatorBody(DepthToSpace(block, "crd" if order == "crd" else "dcr", crops))


def _space_to_depth(fields: Fields, _: Defaults) -> Body:
    return OperatorBody(SpaceToDepth(fields.pair("block", None)))


def _pad(fields: Fields, _: Defaults) -> Body:
    node = fields.require("padding", "[1, 1, 1, 1]")
    pads = Pads() if node is None else read_pads(fields, "padding", node)
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


def _argmax(fields: Fields, _: Defaults) -> Body:
    ties = fields.choice("ties", ("first", "last"), "first")
    return OperatorBody(ArgMax(bool(fields.flag("keep_axis", False)), ties == "last"))


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
    return OperatorBody(Activate(activation_parameters(fields, kind)))


def _named_activation(kind: str) -> Reader:
    return lambda fields, _: OperatorBody(Activate(activation_parameters(fields, kind)))


KINDS: Mapping[str, Reader] = MappingProxyType(
    {
        "conv": _conv,
        "depthwise": read_depthwise,
        "transpose_conv": _transpose_conv,
        "pointwise": _pointwise,
        "separable": read_separable,
        "inverted_residual": read_inverted_residual,
        "shuffle_v1": read_shuffle_v1,
        "shuffle_v2": read_shuffle_v2,
        "blaze_block": read_blaze_block,
        "squeeze_excite": read_squeeze_excite,
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
        "lookup": lambda _fields, _defaults: OperatorBody(Lookup()),
        "softmax": lambda fields, _: OperatorBody(Softmax(fields.number("beta", 1.0))),
        "argmax": _argmax,
        "activation": _activation,
        **{kind: _named_activation(kind) for kind in ACTIVATION_KINDS if kind != "none"},
    }
)
REPEATING_KINDS = frozenset(
    {"conv", "depthwise", "pointwise", "separable", "inverted_residual", "shuffle_v1", "shuffle_v2", "blaze_block"}
)
STORED_KINDS = frozenset({"conv", "pointwise", "dense"})
KINDS_WITH_SEVERAL_RESULTS = frozenset({"split"})
KINDS_WITH_SEVERAL_INPUTS = frozenset({*get_args(BinaryKind), "concat"})
