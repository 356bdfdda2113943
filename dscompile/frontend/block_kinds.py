"""The keys of layer kinds that stand for several operators: depthwise mixtures, separable, and the papers' blocks."""

from __future__ import annotations

from dscompile.frontend.fields import Fields
from dscompile.frontend.layer_fields import read_activation, read_bias, read_out, read_window
from dscompile.frontend.schema import (
    BlazeBlockBody,
    Defaults,
    DepthwiseBody,
    InvertedResidualBody,
    SeparableBody,
    ShuffleV1Body,
    ShuffleV2Body,
    SqueezeExciteBody,
)
from dscompile.frontend.yamltree import MappingNode, ScalarNode
from dscompile.ir.ops import NONE, RELU, RELU6, SIGMOID, Activation, Pair

MAX_MIXED = 16


def read_depthwise(fields: Fields, defaults: Defaults) -> DepthwiseBody:
    """`depthwise`: one kernel, or several `kernels`, each for its share of the channels."""
    activation = read_activation(fields, defaults.activation or NONE)
    return _depthwise(fields, defaults, activation, read_bias(fields, defaults), multiplier=_multiplier(fields))


def read_separable(fields: Fields, defaults: Defaults) -> SeparableBody:
    """`separable`: `between` is the activation of the depthwise half, where it is another.

    Without one the two halves are linear in a row, and the depthwise half has no bias unless the layer asks for it.
    """
    out = read_out(fields)
    activation = read_activation(fields, defaults.activation or NONE)
    between = read_activation(fields, activation, key="between")
    bias = read_bias(fields, defaults)
    is_linear = fields.has("between") and not between
    inner_bias = False if is_linear and not fields.has("bias") else bias
    depthwise = _depthwise(fields, defaults, between, inner_bias, multiplier=_multiplier(fields))
    return SeparableBody(out, depthwise, activation, bias)


def read_inverted_residual(fields: Fields, defaults: Defaults) -> InvertedResidualBody:
    """`inverted_residual`: `expand` times the channels, or `hidden` ones."""
    out = read_out(fields)
    expand = fields.positive("expand", 6.0, maximum=1024)
    hidden = fields.integer("hidden", 0)
    if fields.has("expand") and fields.has("hidden"):
        fields.problems.add("give 'expand' or 'hidden', not both", fields.position)
    squeeze = _inner_squeeze(fields)
    activation = read_activation(fields, defaults.activation or RELU6)
    depthwise = _depthwise(fields, defaults, activation, read_bias(fields, defaults), kernel=(3, 3))
    groups = (fields.integer("expand_groups", 1), fields.integer("project_groups", 1))
    return InvertedResidualBody(out, expand, hidden, depthwise, squeeze, *groups)


def _depthwise(
    fields: Fields,
    defaults: Defaults,
    activation: Activation,
    bias: bool | None,
    *,
    kernel: Pair | None = None,
    multiplier: int = 1,
) -> DepthwiseBody:
    """The depthwise layer of a block: `kernel` is the default of that key."""
    kernels = _kernels(fields)
    window = read_window(fields, defaults, (1, 1) if kernels else kernel)
    return DepthwiseBody(window, multiplier, activation, bias, kernels)


def _multiplier(fields: Fields) -> int:
    return fields.integer("multiplier", 1)


def _kernels(fields: Fields) -> tuple[int, ...]:
    node = fields.take("kernels")
    if node is None:
        return ()
    before = fields.problems.count
    kernels = fields.integers("kernels", node, range(2, MAX_MIXED + 1), wanted=f"2 to {MAX_MIXED} sizes in a list")
    if fields.has("kernel"):
        fields.problems.add("give 'kernel' or 'kernels', not both", fields.position)
    elif len(set(kernels)) < len(kernels) and fields.problems.count == before:
        fields.problems.add("'kernels' must differ from each other", node.position)
    return kernels


def _inner_squeeze(fields: Fields) -> SqueezeExciteBody | None:
    """`squeeze_excite: 0.25`, or a mapping with the keys of the layer of that name and `of`."""
    node = fields.take("squeeze_excite")
    if node is None:
        return None
    if isinstance(node, MappingNode):
        inner = Fields("'squeeze_excite'", node, fields.problems)
        of_input = inner.choice("of", ("hidden", "input"), "hidden") == "input"
        body = read_squeeze_excite(inner, Defaults(), of_input=of_input)
        inner.finish()
        return body
    value = node.value if isinstance(node, ScalarNode) else None
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= 1:
        fields.wrong("squeeze_excite", node, "a ratio above 0 and up to 1, or a mapping")
        return None
    return SqueezeExciteBody(float(value))


def read_squeeze_excite(fields: Fields, _: Defaults, *, of_input: bool = False) -> SqueezeExciteBody:
    """`squeeze_excite`: a `ratio`, rounded to a `multiple`, or a number of `channels` in between."""
    ratio = fields.positive("ratio", 0.25, maximum=1)
    channels = fields.integer("channels", 0)
    multiple = fields.integer("multiple", 1)
    if channels and fields.has("ratio"):
        fields.problems.add("give 'ratio' or 'channels', not both", fields.position)
    elif channels and (fields.has("multiple") or of_input):
        fields.problems.add("'channels' is the number itself: it takes neither 'multiple' nor 'of'", fields.position)
    return SqueezeExciteBody(
        ratio, channels, read_activation(fields, RELU), read_activation(fields, SIGMOID, key="gate"), multiple, of_input
    )


def read_shuffle_v1(fields: Fields, defaults: Defaults) -> ShuffleV1Body:
    """`shuffle_v1`: a unit of ShuffleNet."""
    groups = fields.integer("groups", None, example="3")
    return ShuffleV1Body(
        read_out(fields),
        groups,
        fields.integer("reduce_groups", groups),
        _unit_stride(fields),
        read_activation(fields, defaults.activation or RELU),
        read_bias(fields, defaults),
    )


def read_shuffle_v2(fields: Fields, defaults: Defaults) -> ShuffleV2Body:
    """`shuffle_v2`: a unit of ShuffleNetV2."""
    return ShuffleV2Body(
        read_out(fields),
        _unit_stride(fields),
        read_activation(fields, defaults.activation or RELU),
        read_bias(fields, defaults),
    )


def read_blaze_block(fields: Fields, defaults: Defaults) -> BlazeBlockBody:
    """`blaze_block`: a block of BlazeFace; the double one where `project` gives the channels in the middle."""
    return BlazeBlockBody(
        read_out(fields),
        fields.pair("kernel", (5, 5)),
        fields.integer("project", 0),
        _unit_stride(fields),
        read_activation(fields, defaults.activation or RELU),
        read_bias(fields, defaults),
    )


def _unit_stride(fields: Fields) -> int:
    return fields.integer("stride", 1, maximum=2)
