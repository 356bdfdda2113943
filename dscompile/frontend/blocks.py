"""Blocks: layers of a net.yaml that stand for several operators, each called `<block>.<part>`.

| kind | parts |
|---|---|
| separable | depthwise, pointwise |
| inverted_residual | expand, depthwise, squeeze.*, project, add |
| squeeze_excite | pool, reduce, expand, scale |
| shuffle_v1 | reduce, shuffle, depthwise, restore, add; with stride 2 also pool, concat and activation |
| shuffle_v2 | keep, change, reduce, depthwise, restore, concat, shuffle; with stride 2 left.depthwise, left.pointwise |
| blaze_block | depthwise, pointwise or project, depthwise2, restore; pool; old, add, new, activation, concat |
"""

from __future__ import annotations

from dataclasses import replace

from dscompile.frontend.channels import divisible, rounded
from dscompile.frontend.places import POINT, Place, add_conv, add_depthwise, add_slice
from dscompile.frontend.schema import (
    BlazeBlockBody,
    ConvBody,
    DepthwiseBody,
    InvertedResidualBody,
    SeparableBody,
    ShuffleV1Body,
    ShuffleV2Body,
    SqueezeExciteBody,
    Window,
)
from dscompile.ir.ops import NONE, Activate, Activation, Binary, Concat, Pool, Shuffle
from dscompile.ir.shapes import ShapeError


def add_separable(place: Place, body: SeparableBody, source: str) -> str:
    """A depthwise and a pointwise convolution."""
    middle = add_depthwise(place.part("depthwise"), body.depthwise, source)
    pointwise = ConvBody(body.out, POINT, activation=body.activation, bias=body.bias)
    return add_conv(place.last_part("pointwise"), pointwise, middle)


def add_inverted_residual(place: Place, body: InvertedResidualBody, source: str) -> str:
    """Pointwise to the hidden channels, unless there are as many; depthwise; linear pointwise; the input if it fits."""
    channels = place.image(source)[2]
    hidden = body.hidden or rounded(channels * body.expand)
    inner = body.depthwise
    tensor = source
    if hidden != channels:
        expand = ConvBody(hidden, POINT, body.expand_groups, inner.activation, inner.bias)
        tensor = add_conv(place.part("expand"), expand, tensor)
    tensor = add_depthwise(place.part("depthwise"), inner, tensor)
    if body.squeeze is not None:
        tensor = add_squeeze_excite(place.part("squeeze"), _known_squeeze(body.squeeze, channels), tensor)
    project = ConvBody(body.out, POINT, body.project_groups, bias=inner.bias)
    residual = inner.window.stride == (1, 1) and channels == body.out
    tensor = add_conv(place.part("project") if residual else place.last_part("project"), project, tensor)
    return place.last_part("add").add(Binary("add"), source, tensor) if residual else tensor


def _known_squeeze(body: SqueezeExciteBody, channels: int) -> SqueezeExciteBody:
    """`body` with the number itself, if that depends on the `channels` that the block around it reads."""
    return replace(body, channels=divisible(channels * body.ratio, body.multiple)) if body.of_input else body


def add_squeeze_excite(place: Place, body: SqueezeExciteBody, source: str) -> str:
    """Means of the channels, two pointwise convolutions, and their result times the input."""
    channels = place.image(source)[2]
    squeezed = body.channels or divisible(channels * body.ratio, body.multiple)
    mean = place.part("pool").add(Pool("average"), source)
    reduced = add_conv(place.part("reduce"), ConvBody(squeezed, POINT, activation=body.activation), mean)
    gate = add_conv(place.part("expand"), ConvBody(channels, POINT, activation=body.gate), reduced)
    return place.last_part("scale").add(Binary("mul"), source, gate)


def add_shuffle_v1(place: Place, body: ShuffleV1Body, source: str) -> str:
    """A bottleneck of grouped pointwise convolutions: added to the input, or with stride 2 beside its averages."""
    height, width, channels = place.image(source)
    made = body.out if body.stride == 1 else body.out - channels
    if (body.stride == 1 and channels != body.out) or made < 1:
        need = f"out: {channels}" if body.stride == 1 else f"more than the {channels} channels of its input"
        raise ShapeError(f"a shuffle_v1 of stride {body.stride} needs {need}, not {body.out}")
    reduce = ConvBody(body.out // 4, POINT, body.reduce_groups, body.activation, body.bias)
    tensor = add_conv(place.part("reduce"), reduce, source)
    tensor = place.part("shuffle").add(Shuffle(body.groups), tensor)
    tensor = add_depthwise(place.part("depthwise"), _three(body.stride, body.bias), tensor)
    restore = ConvBody(made, POINT, body.groups, bias=body.bias)
    tensor = add_conv(place.part("restore"), restore, tensor)
    if body.stride == 1:
        return place.last_part("add").add(Binary("add", body.activation), source, tensor)
    window = Window((3, 3), (2, 2))
    pool = Pool("average", window.kernel, window.stride, window.pads(height, width))
    means = place.part("pool").add(pool, source)
    joined = place.part("concat").add(Concat(3), means, tensor)
    return _activated(place.last_part("activation"), body.activation, joined)


def add_shuffle_v2(place: Place, body: ShuffleV2Body, source: str) -> str:
    """Half of the channels stay, the other half is changed; with stride 2 both are made of all channels."""
    channels = place.image(source)[2]
    half = body.out // 2
    if body.out % 2 or (body.stride == 1 and channels != body.out):
        need = f"out: {channels}" if body.stride == 1 else "an even 'out'"
        raise ShapeError(f"a shuffle_v2 of stride {body.stride} needs {need}, not {body.out}")
    pointwise = ConvBody(half, POINT, activation=body.activation, bias=body.bias)
    depthwise = _three(body.stride, body.bias)
    if body.stride == 1:
        left = add_slice(place.part("keep"), source, 0, half)
        right = add_slice(place.part("change"), source, half, half)
    else:
        left = add_depthwise(place.part("left.depthwise"), depthwise, source)
        left, right = add_conv(place.part("left.pointwise"), pointwise, left), source
    right = add_conv(place.part("reduce"), pointwise, right)
    right = add_depthwise(place.part("depthwise"), depthwise, right)
    right = add_conv(place.part("restore"), pointwise, right)
    joined = place.part("concat").add(Concat(3), left, right)
    return place.last_part("shuffle").add(Shuffle(2), joined)


def add_blaze_block(place: Place, body: BlazeBlockBody, source: str) -> str:
    """One or two separable convolutions, added to the input, in which channels that it does not have are zero."""
    height, width, channels = place.image(source)
    if body.out < channels:
        raise ShapeError(f"a blaze_block never has fewer channels than its input, which has {channels}, not {body.out}")
    depthwise = DepthwiseBody(Window(body.kernel, (body.stride,) * 2), bias=body.bias)
    tensor = add_depthwise(place.part("depthwise"), depthwise, source)
    if body.project:
        project = ConvBody(body.project, POINT, activation=body.activation, bias=body.bias)
        tensor = add_conv(place.part("project"), project, tensor)
        second = replace(depthwise, window=Window(body.kernel))
        tensor = add_depthwise(place.part("depthwise2"), second, tensor)
    last = ConvBody(body.out, POINT, bias=body.bias)
    tensor = add_conv(place.part("restore" if body.project else "pointwise"), last, tensor)
    if body.stride == 2:
        window = Window((2, 2), (2, 2))
        source = place.part("pool").add(Pool("max", (2, 2), (2, 2), window.pads(height, width)), source)
    if body.out == channels:
        return place.last_part("add").add(Binary("add", body.activation), source, tensor)
    old = add_slice(place.part("old"), tensor, 0, channels)
    old = place.part("add").add(Binary("add", body.activation), source, old)
    new = add_slice(place.part("new"), tensor, channels, body.out - channels)
    new = _activated(place.part("activation"), body.activation, new)
    return place.last_part("concat").add(Concat(3), old, new)


def _activated(place: Place, activation: Activation, source: str) -> str:
    return place.add(Activate(activation), source)


def _three(stride: int, bias: bool | None) -> DepthwiseBody:
    """The linear 3x3 depthwise convolution of ShuffleNets."""
    return DepthwiseBody(Window((3, 3), (stride, stride)), activation=NONE, bias=bias)
