"""TFLite operators on images: convolutions, pools, other grids, borders."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from dscompile.errors import BadInputError, UnsupportedError
from dscompile.frontend import import_lowering as lower
from dscompile.frontend.import_graph import Array, Value
from dscompile.frontend.tflite.call import Call, Handler
from dscompile.ir.ops import (
    Conv2D,
    ConvTranspose,
    DepthToSpace,
    PadMode,
    Pads,
    Pair,
    Pool,
    Resize,
    ResizeCoordinates,
    ResizeRounding,
    SpaceToDepth,
)
from dscompile.ir.shapes import same_padding


def _kernel(weights: Array) -> Array:
    if weights.ndim != 4:
        raise BadInputError(f"kernel has shape {list(weights.shape)}, it must have 4 axes")
    return weights


def _conv(call: Call) -> Value:
    image, linear = lower.image_of(call.operand(0)), call.linear("the kernel", 0)
    weights = _kernel(linear.kernel)
    out_channels, height, width, depth = weights.shape
    _, rows, columns, channels = image.shape
    if depth < 1 or channels % depth:
        raise BadInputError(f"a kernel over {depth} channels does not fit an input of {channels}")
    stride, dilation = call.options.stride, call.options.dilation
    pads = call.pads((rows, columns), (height, width), stride, dilation)
    op = Conv2D(out_channels, (height, width), stride, pads, dilation, channels // depth, call.activation)
    return lower.convolution(call.graph, image, op, weights.transpose(1, 2, 3, 0), linear.bias, linear.scale)


def _depthwise(call: Call) -> Value:
    image, linear = lower.image_of(call.operand(0)), call.linear("the kernel", 3)
    weights = _kernel(linear.kernel)
    one, height, width, out_channels = weights.shape
    _, rows, columns, channels = image.shape
    if one != 1 or out_channels % channels:
        raise BadInputError(f"a kernel of {list(weights.shape)} does not fit an input of {channels} channels")
    stride, dilation = call.options.stride, call.options.dilation
    pads = call.pads((rows, columns), (height, width), stride, dilation)
    op = Conv2D(out_channels, (height, width), stride, pads, dilation, channels, call.activation)
    return lower.convolution(call.graph, image, op, weights.transpose(1, 2, 0, 3), linear.bias, linear.scale)


def _transpose_conv(call: Call) -> Value:
    """A transposed convolution, whose result has the size that the first input says."""
    sizes = call.integer_list(0, "the shape of its result")
    linear_call = replace(call, operands=[call.operand(2), call.operand(1), call.optional(3)])
    given = [*call.tensors, None]
    linear_call = replace(linear_call, tensors=[given[2], given[1], given[3] if len(call.operands) > 3 else None])
    image, linear = lower.image_of(call.operand(2)), linear_call.linear("the kernel", 0)
    weights = _kernel(linear.kernel)
    out_channels, height, width, depth = weights.shape
    if len(sizes) != 4 or sizes[3] != out_channels or depth != image.shape[3]:
        raise BadInputError(f"a kernel of {list(weights.shape)} does not make {list(sizes)} of {list(image.shape)}")
    margins = [
        _transposed_margins(call, image.shape[1 + axis], sizes[1 + axis], kernel, call.options.stride[axis])
        for axis, kernel in enumerate((height, width))
    ]
    pads = Pads(margins[0][0], margins[0][1], margins[1][0], margins[1][1])
    behind = (margins[0][2], margins[1][2])
    op = ConvTranspose(
        out_channels, (height, width), call.options.stride, pads, output_padding=behind, activation=call.activation
    )
    return lower.convolution(call.graph, image, op, weights.transpose(1, 2, 3, 0), linear.bias, linear.scale)


def _transposed_margins(call: Call, size: int, result: int, kernel: int, stride: int) -> tuple[int, int, int]:
    """What is cut off before and behind, and what is added behind, for `result` rows of `size`."""
    if stride < 1:
        raise BadInputError(f"stride {stride} must be positive")
    match call.options.padding:
        case "SAME":
            wanted, before = -(-result // stride), same_padding(result, kernel, stride)[0]
        case "VALID":
            wanted, before = -(-(result - kernel + 1) // stride), 0
        case other:
            raise BadInputError(f"{other} is neither SAME nor VALID")
    if wanted != size:
        raise BadInputError(f"{result} rows or columns come of {wanted}, not of {size}")
    over = (size - 1) * stride + kernel - before - result
    return before, max(over, 0), max(-over, 0)


def _pool(kind: str) -> Handler:
    def handler(call: Call) -> Value:
        image = lower.image_of(call.operand(0))
        window, stride = call.options.window, call.options.stride
        pads = call.pads((image.shape[1], image.shape[2]), window, stride, (1, 1))
        return lower.pool(
            call.graph,
            image,
            Pool("max" if kind == "max" else "average", window, stride, pads, activation=call.activation),
        )

    return handler


def _resize(method: Literal["nearest", "bilinear"]) -> Handler:
    def handler(call: Call) -> Value:
        image, size = lower.image_of(call.operand(0)), call.integer_list(1, "the size")
        if len(size) != 2 or min(size) < 1:
            raise BadInputError(f"{list(size)} is no size of an image")
        corners, centers = call.options.align_corners, call.options.half_pixel_centers
        if corners and centers:
            raise UnsupportedError("align_corners and half_pixel_centers together are not supported")
        coordinates: ResizeCoordinates = "align_corners" if corners else "asymmetric"
        if centers:
            coordinates = "half_pixel" if method == "bilinear" else "tf_half_pixel_for_nn"
        rounding: ResizeRounding = "round_prefer_ceil" if corners else "floor"
        if method == "bilinear":
            rounding = "round_prefer_floor"  # which says nothing there: its default
        op = Resize((size[0], size[1]), method, coordinates, rounding, arithmetic="tflite")
        return lower.regridded(call.graph, image, op)

    return handler


def _depth_to_space(call: Call) -> Value:
    return lower.regridded(call.graph, lower.image_of(call.operand(0)), DepthToSpace(_block(call)))


def _space_to_depth(call: Call) -> Value:
    return lower.regridded(call.graph, lower.image_of(call.operand(0)), SpaceToDepth(_block(call)))


def _block(call: Call) -> Pair:
    size = call.options.block_size
    if size < 1:
        raise BadInputError(f"block size {size} must be positive")
    return (size, size)


def _pad(call: Call) -> Value:
    return _padded(call, _padding_value(call) if call.optional(2) is not None else 0.0, "constant")


def _mirror_pad(call: Call) -> Value:
    modes: dict[str, PadMode] = {"REFLECT": "reflect", "SYMMETRIC": "symmetric"}
    if call.options.mode not in modes:
        raise BadInputError(f"mode {call.options.mode} is neither REFLECT nor SYMMETRIC")
    return _padded(call, 0.0, modes[call.options.mode])


def _padded(call: Call, fill: float, mode: PadMode) -> Value:
    value, paddings = call.value(), call.integers(1, "the paddings")
    if paddings.shape != (len(value.shape), 2):
        raise BadInputError(f"paddings {list(paddings.shape)} for a tensor of rank {len(value.shape)}")
    before, after = ([int(size) for size in column] for column in np.asarray(paddings, np.int64).T)
    return lower.pad(call.graph, value, before, after, fill, mode)


def _padding_value(call: Call) -> float:
    """The constant that PADV2 pads with, as a real number."""
    given = call.integer_weight(2, "the padding value", "int8") if call.is_int8 else call.weight(2, "the padding value")
    if given.size != 1:
        raise BadInputError(f"the padding value has {given.size} elements")
    value = float(given.astype(np.float64).reshape(-1)[0])
    if not call.is_int8:
        return value
    quantization = call.graph.tensor_of(call.value()).quantization
    assert quantization is not None
    return (value - quantization.zero_point) * quantization.scale


IMAGES: dict[str, Handler] = {
    "AVERAGE_POOL_2D": _pool("average"),
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "DEPTH_TO_SPACE": _depth_to_space,
    "MAX_POOL_2D": _pool("max"),
    "MIRROR_PAD": _mirror_pad,
    "PAD": _pad,
    "PADV2": _pad,
    "RESIZE_BILINEAR": _resize("bilinear"),
    "RESIZE_NEAREST_NEIGHBOR": _resize("nearest"),
    "SPACE_TO_DEPTH": _space_to_depth,
    "TRANSPOSE_CONV": _transpose_conv,
}
