"""ONNX's Conv and ConvTranspose, and how windows over sequences become windows over images of one row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from dscompile.errors import BadInputError, UnsupportedError
from dscompile.frontend import import_lowering as lower
from dscompile.frontend.import_graph import Array, Floats, Operand, Value
from dscompile.frontend.onnx.call import Call
from dscompile.frontend.onnx.windows import pads_of_transposed, window_of
from dscompile.ir.ops import Conv2D, ConvTranspose

# What a window over a sequence says, and how it is continued for an image of one row.
_ROW_ATTRIBUTES = {
    "kernel_shape": 1,
    "strides": 1,
    "dilations": 1,
    "output_padding": 0,
    "output_shape": 1,
}


def of_sequences(handler: Callable[[Call], Value]) -> Callable[[Call], Value]:
    """The handler of a window over images, which takes sequences [1, C, L] too: they are images of one row."""

    def handle(call: Call) -> Value:
        given = call.operand(0)
        if not isinstance(given, Value) or len(given.shape) != 3:
            return handler(call)
        image = call.graph.reshaped(given, (*given.shape[:2], 1, given.shape[2]))
        result = handler(_over_one_row(call, image))
        return call.graph.reshaped(result, (*result.shape[:2], result.shape[3]))

    return handle


def _over_one_row(call: Call, image: Value) -> Call:
    """The node with a first axis of rows in its attributes and weights."""
    node = call.node
    attributes = dict(node.attributes)
    for name, first in _ROW_ATTRIBUTES.items():
        values = node.integers(name)
        if values is not None:
            attributes[name] = (first, *values)
    pads = node.integers("pads")
    if pads is not None:
        if len(pads) != 2:
            raise BadInputError(f"pads {list(pads)} do not give a start and an end of a sequence")
        attributes["pads"] = (0, pads[0], 0, pads[1])
    operands: list[Operand | None] = [image, *call.operands[1:]]
    if len(operands) > 1 and isinstance(operands[1], np.ndarray) and operands[1].ndim == 3:
        operands[1] = operands[1][:, :, None]
    return replace(call, node=replace(node, attributes=attributes), operands=operands)


def conv(call: Call) -> Value:
    """Conv of images: kernel [C_out, C_in / groups, kh, kw]."""
    image = lower.image_of(call.operand(0))
    weights, bias = _weights(call)
    out_channels, _, *taps = weights.shape
    window = window_of(call.node, (image.shape[2], image.shape[3]), (taps[0], taps[1]))
    groups = call.node.integer("group", 1)
    op = Conv2D(out_channels, window.kernel, window.stride, window.pads, window.dilation, groups)
    return lower.convolution(call.graph, image, op, weights.transpose(2, 3, 1, 0), bias)


def conv_transpose(call: Call) -> Value:
    """ConvTranspose of images: kernel [C_in, C_out / groups, kh, kw]."""
    image = lower.image_of(call.operand(0))
    weights, bias = _weights(call)
    channels, filters, *taps = weights.shape
    groups = call.node.integer("group", 1)
    if groups < 1 or channels % groups:
        raise BadInputError(f"{groups} groups do not divide {channels} input channels")
    size = (image.shape[2], image.shape[3])
    # The padding that its attributes stand for is read in its own way; everything else is as in a convolution.
    plain = replace(call.node, attributes={**call.node.attributes, "auto_pad": "VALID"})
    window = window_of(plain, size, (taps[0], taps[1]))
    padding = pads_of_transposed(call.node, size, window)
    op = ConvTranspose(
        filters * groups, window.kernel, window.stride, padding.pads, window.dilation, groups, padding.behind
    )
    kernel: Array = weights.reshape(groups, channels // groups, filters, *taps).transpose(3, 4, 1, 0, 2)
    return lower.convolution(call.graph, image, op, kernel.reshape(*taps, channels // groups, groups * filters), bias)


def _weights(call: Call) -> tuple[Floats, Floats | None]:
    """Kernel of rank 4, and the bias if there is one."""
    weights = call.weight(1, "the kernel")
    if weights.ndim != 4:
        raise UnsupportedError(f"kernel of shape {list(weights.shape)}; only 1-D and 2-D convolutions are supported")
    return weights, None if call.optional(2) is None else call.weight(2, "the bias")
