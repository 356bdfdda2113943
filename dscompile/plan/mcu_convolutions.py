"""Convolutions and dense layers as standalone C kernels, and their weights in the order in which those read them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dscompile.ir.fixed_point import tensor_quantization
from dscompile.ir.network import Array, Layer, Network
from dscompile.ir.ops import Conv2D, Dense, Pads, Pair
from dscompile.ir.tensor import Shape
from dscompile.plan.mcu_kernels import (
    Axis,
    ConvKernel,
    DenseKernel,
    DepthwiseKernel,
    Epilogue,
    FloatEpilogue,
    IntegerEpilogue,
    SeparableKernel,
    Variant,
    Window,
)
from dscompile.plan.mcu_lowering import McuLowering
from dscompile.plan.mcu_quantized import quantized_weights
from dscompile.plan.packing import grouped_as_dense
from dscompile.plan.program import Operand

PORTABLE_GROUP = 2  # pixels multiplied at once: 2 x 2 sums, 2 x 2 operands and the pointers fit into 13 registers
_NOT_SYMMETRIC = -128  # symmetric weights have no such value; two products with it could leave 16 bits
_LARGEST_OFFSET = 4094  # of a byte store, with one more for the second channel
WORD_GROUP = 4  # pixels of templates/mcu/matrix_m0plus.j2: two words of two
_WORD_CHANNELS = 8  # whose weights lie side by side, as the words of a group are 8 bytes
_LARGEST_WORD_DEPTH = 2040  # that its assembly can count to
DSP_GROUP = 4  # 4 pixels x 2 channels: 8 sums, 2 words of weights, 2 of pixels, 2 pointers


@dataclass(frozen=True)
class _Blocking:
    """How a matrix product goes: which kernels, pixels and channels at once."""

    dsp: bool = False
    variant: Variant = "c99"
    group: int = PORTABLE_GROUP
    block: int = PORTABLE_GROUP


def fusable_pointwise(network: Network, layer: Layer) -> Layer | None:
    """The pointwise convolution that alone reads a depthwise layer, whose result then never exists as a whole."""
    op = layer.op
    if not isinstance(op, Conv2D) or not op.is_depthwise(network.shape(layer.inputs[0])[3]):
        return None
    readers = network.consumers[layer.output]
    if len(readers) != 1 or layer.output in network.outputs:
        return None
    follower = readers[0]
    if isinstance(follower.op, Conv2D) and follower.op.is_pointwise and len(follower.inputs) == 1:
        return follower
    return None


def image_window(x: Shape, y: Shape, kernel: Pair, stride: Pair, pads: Pads, dilation: Pair = (1, 1)) -> Window:
    """The window that makes an image of shape `y` from one of shape `x`."""
    rows = Axis(x[1], y[1], kernel[0], stride[0], pads.top, dilation[0])
    columns = Axis(x[2], y[2], kernel[1], stride[1], pads.left, dilation[1])
    return Window(rows, columns, x[3])


def lower_conv(lowering: McuLowering, layer: Layer, op: Conv2D) -> None:
    """A convolution of any kind, alone in its step."""
    x = lowering.dense(layer.inputs[0])
    shape = lowering.network.shape(layer.output)
    window = image_window(x.shape, shape, op.kernel, op.stride, op.pads, op.dilation)
    if op.is_depthwise(x.shape[3]):
        kernel, operands = _depthwise(lowering, layer, op, window, "")
        lowering.call(kernel, [x.operand, *operands, lowering.new(layer.output).operand])
        return
    weights, epilogue, constants = _weights(lowering, layer, centered=False)
    dense = grouped_as_dense(weights, op.groups) if op.groups > 1 else weights
    blocking = _blocking(lowering, epilogue, dense.reshape(-1, op.out_channels))
    quantized = lowering.network.is_quantized_layer(layer)
    conv = ConvKernel(
        window=window,
        out_channels=op.out_channels,
        epilogue=epilogue,
        padding=tensor_quantization(lowering.network, layer.inputs[0]).zero_point if quantized else 0,
        group=blocking.group,
        dsp=blocking.dsp,
        variant=blocking.variant,
        block=blocking.block,
    )
    operands = _matrix(lowering, dense.reshape(-1, op.out_channels), constants, blocking)
    if conv.gathered:
        operands = [*operands, lowering.scratch(conv.column_bytes)]
    lowering.call(conv, [x.operand, *operands, lowering.new(layer.output).operand])


def lower_separable(lowering: McuLowering, layer: Layer, follower: Layer) -> None:
    """A depthwise layer and the pointwise one after it, in one step."""
    op, after = layer.op, follower.op
    assert isinstance(op, Conv2D)
    assert isinstance(after, Conv2D)
    x = lowering.dense(layer.inputs[0])
    window = image_window(x.shape, lowering.network.shape(layer.output), op.kernel, op.stride, op.pads, op.dilation)
    depthwise, taps = _depthwise(lowering, layer, op, window, "taps_")
    lowering.enter(follower)
    weights, epilogue, constants = _weights(lowering, follower, centered=False)
    matrix_weights = weights.reshape(-1, after.out_channels)
    blocking = _blocking(lowering, epilogue, matrix_weights)
    if blocking.dsp and not depthwise.dsp:
        blocking = _Blocking()
    separable = SeparableKernel(
        depthwise=replace(depthwise, dsp=blocking.dsp),
        out_channels=after.out_channels,
        epilogue=epilogue,
        group=blocking.group,
        dsp=blocking.dsp,
        variant=blocking.variant,
        block=blocking.block,
    )
    matrix = _matrix(lowering, matrix_weights, constants, blocking)
    columns = lowering.scratch(separable.column_bytes)
    lowering.call(separable, [x.operand, *taps, *matrix, columns, lowering.new(follower.output).operand])


def lower_dense(lowering: McuLowering, layer: Layer, op: Dense) -> None:
    """A dense layer."""
    x = lowering.dense(layer.inputs[0])
    weights, epilogue, constants = _weights(lowering, layer, centered=False)
    kernel = DenseKernel(x.shape[1], op.units, epilogue)
    operands = _matrix(lowering, weights, constants, _Blocking())
    lowering.call(kernel, [x.operand, *operands, lowering.new(layer.output).operand])


def _depthwise(
    lowering: McuLowering, layer: Layer, op: Conv2D, window: Window, prefix: str
) -> tuple[DepthwiseKernel, list[Operand]]:
    """The depthwise kernel, and its weights and constants."""
    weights, epilogue, constants = _weights(lowering, layer, centered=True)
    quantized = lowering.network.is_quantized_layer(layer)
    kernel = DepthwiseKernel(
        window=window,
        multiplier=op.out_channels // window.channels,
        epilogue=epilogue,
        zero_point=tensor_quantization(lowering.network, layer.inputs[0]).zero_point if quantized else 0,
        dsp=op.out_channels == window.channels and _uses_dsp(lowering, epilogue, op.out_channels),
        variant=_depthwise_variant(lowering, epilogue, window, op.out_channels),
    )
    operands = [lowering.constant("weights", weights[:, :, 0, :])]
    names = [parameter.name.removeprefix(prefix) for parameter in epilogue.constants(prefix)]
    operands += [lowering.constant(name, array) for name, array in zip(names, constants, strict=True)]
    return kernel, operands


def _weights(lowering: McuLowering, layer: Layer, *, centered: bool) -> tuple[Array, Epilogue, tuple[Array, ...]]:
    """Kernel [..., C_out], epilogue and its constants. `centered`: the kernel multiplies x less its zero point."""
    network = lowering.network
    if network.is_quantized_layer(layer):
        prepared = quantized_weights(network, layer, centered=centered, affine=lowering.affine, narrow=lowering.words)
        return prepared.kernel, prepared.epilogue, prepared.constants
    assert isinstance(layer.op, Conv2D | Dense)
    kernel = np.asarray(network.weight(layer, "kernel"), np.float32)
    bias = np.zeros(kernel.shape[-1], np.float32)
    if network.has_weight(layer, "bias"):
        bias = np.asarray(network.weight(layer, "bias"), np.float32)
    return kernel, FloatEpilogue(layer.op.activation), (bias,)


def _uses_dsp(lowering: McuLowering, epilogue: Epilogue, out_channels: int) -> bool:
    """Whether the kernels on pairs of int16 take this layer.

    They know only the searched requantization, and reach four pixels from one pointer.
    """
    searched = isinstance(epilogue, IntegerEpilogue) and epilogue.method == "affine"
    return lowering.dsp and searched and 3 * out_channels < _LARGEST_OFFSET


def _blocking(lowering: McuLowering, epilogue: Epilogue, weights: Array) -> _Blocking:
    """The first set of the target's chain that takes a matrix product with weights [depth, C_out]."""
    if _uses_dsp(lowering, epilogue, weights.shape[1]):
        return _Blocking(dsp=True, group=DSP_GROUP)
    if epilogue.element == "float32":
        return _Blocking()
    if lowering.words and weights.shape[0] <= _LARGEST_WORD_DEPTH and weights.min() > _NOT_SYMMETRIC:
        return _Blocking(variant="m0plus", group=WORD_GROUP)
    if lowering.block is not None:
        return _Blocking(variant="block", group=lowering.block[0], block=lowering.block[1])
    return _Blocking()


def _depthwise_variant(lowering: McuLowering, epilogue: Epilogue, window: Window, out_channels: int) -> Variant:
    """The assembly of m0plus wants a tap of every window inside the image, and a row's taps as far apart as pixels."""
    if epilogue.element == "float32":
        return "c99"
    inside = all(
        axis.taps(output) != (0, 0) for axis in (window.rows, window.columns) for output in range(axis.outputs)
    )
    if lowering.words and inside and out_channels == window.channels and window.columns.dilation == 1:
        return "m0plus"
    return "c99" if lowering.block is None else "block"


def _matrix(lowering: McuLowering, weights: Array, constants: tuple[Array, ...], blocking: _Blocking) -> list[Operand]:
    """Weights [depth, C_out] in the order of the kernel, and the constants, as operands of a matrix product."""
    if blocking.dsp:
        return [
            lowering.constant("weights", pair_weights(weights)),
            lowering.constant("constants", pair_constants(*constants)),
        ]
    names = {1: ("bias",), 2: ("bias", "multiplier"), 3: ("bias", "multiplier", "shift")}[len(constants)]
    match blocking.variant:
        case "m0plus":
            padding = -weights.shape[1] % _WORD_CHANNELS
            ordered = block_weights(np.pad(weights, ((0, 0), (0, padding))), _WORD_CHANNELS)
        case "block":
            ordered = block_weights(weights, blocking.block)
        case _:
            ordered = np.ascontiguousarray(weights.T)
    operands = [lowering.constant("weights", ordered)]
    return operands + [lowering.constant(name, array) for name, array in zip(names, constants, strict=True)]


def block_weights(weights: Array, block: int) -> Array:
    """[depth, C_out] -> for every `block` channels [depth][block], then [depth][C_out % block]; all in one row."""
    starts = range(0, weights.shape[1], block)
    return np.concatenate([weights[:, start : start + block].reshape(-1) for start in starts])


def pair_weights(weights: Array) -> Array:
    """[depth, C_out] int8 -> [C_out / 2][depth / 2][4]: for two channels q and two products, w[a, q], w[a, q + 1],
    w[b, q], w[b, q + 1].

    Products go in fours: a, b = 0, 2 then 1, 3, as the columns of int16 pairs have them. Zeros fill up.
    """
    depth, channels = weights.shape
    padded = np.zeros((-(-depth // 4) * 4, -(-channels // 2) * 2), np.int8)
    padded[:depth, :channels] = weights
    fours = padded.reshape(-1, 4, padded.shape[1] // 2, 2)[:, [0, 2, 1, 3]]
    pairs = fours.reshape(-1, 2, padded.shape[1] // 2, 2)
    return np.ascontiguousarray(pairs.transpose(2, 0, 1, 3))


def pair_constants(bias: Array, multiplier: Array) -> Array:
    """[C_out] int32 each -> [C_out rounded up to even][2]; an odd last channel has a companion of zeros."""
    even = -(-len(bias) // 2) * 2
    constants = np.zeros((even, 2), np.int32)
    constants[: len(bias)] = np.stack([bias, multiplier], axis=1)
    return constants
