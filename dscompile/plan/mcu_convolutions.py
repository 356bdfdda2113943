"""Convolutions and dense layers as standalone C kernels, and their weights in the order in which those read them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dscompile.ir.fixed_point import tensor_quantization
from dscompile.ir.network import Array, Layer
from dscompile.ir.ops import Conv2D, Dense, Pads, Pair
from dscompile.ir.tensor import Shape
from dscompile.plan.mcu_arithmetic import Residual
from dscompile.plan.mcu_fusion import Fused
from dscompile.plan.mcu_kernels import (
    Axis,
    ConvKernel,
    DenseKernel,
    DepthwiseKernel,
    Epilogue,
    FloatEpilogue,
    IntegerEpilogue,
    SeparableKernel,
    Window,
)
from dscompile.plan.mcu_lowering import McuLowering
from dscompile.plan.mcu_quantized import quantized_weights
from dscompile.plan.packing import grouped_as_dense
from dscompile.plan.program import Operand

PORTABLE_GROUP = 2  # pixels multiplied at once: 2 x 2 sums, 2 x 2 operands and the pointers fit into 13 registers
_LARGEST_OFFSET = 4094  # of a byte store, with one more for the second channel
DSP_GROUP = 4  # 4 pixels x 2 channels: 8 sums, 2 words of weights, 2 of pixels, 2 pointers


def image_window(x: Shape, y: Shape, kernel: Pair, stride: Pair, pads: Pads, dilation: Pair = (1, 1)) -> Window:
    """The window that makes an image of shape `y` from one of shape `x`."""
    rows = Axis(x[1], y[1], kernel[0], stride[0], pads.top, dilation[0])
    columns = Axis(x[2], y[2], kernel[1], stride[1], pads.left, dilation[1])
    return Window(rows, columns, x[3])


def lower_conv(lowering: McuLowering, fused: Fused, residual: Residual | None) -> None:
    """A convolution of any kind, with the sum that is fused into it."""
    layer, op = fused.layer, fused.layer.op
    assert isinstance(op, Conv2D)
    x = lowering.dense(layer.inputs[0])
    shape = lowering.network.shape(layer.output)
    window = image_window(x.shape, shape, op.kernel, op.stride, op.pads, op.dilation)
    if op.is_depthwise(x.shape[3]):
        y = lowering.new(layer.output)
        kernel, operands = _depthwise(lowering, layer, op, window, "")
        lowering.call(replace(kernel, step=y.step), [x.operand, *operands, y.operand])
        return
    weights, epilogue, constants = _weights(lowering, layer, centered=False)
    dense = grouped_as_dense(weights, op.groups) if op.groups > 1 else weights
    dsp = _uses_dsp(lowering, epilogue, lowering.pixel_step(fused.layers[-1].output))
    quantized = lowering.network.is_quantized_layer(layer)
    conv = ConvKernel(
        window=window,
        out_channels=op.out_channels,
        epilogue=epilogue,
        padding=tensor_quantization(lowering.network, layer.inputs[0]).zero_point if quantized else 0,
        group=DSP_GROUP if dsp else PORTABLE_GROUP,
        dsp=dsp,
    )
    operands = _matrix(lowering, dense.reshape(-1, op.out_channels), epilogue, constants, dsp=dsp)
    if conv.gathered:
        operands = [*operands, lowering.scratch(conv.column_bytes)]
    _finish(lowering, conv, [x.operand, *operands], fused, residual)


def lower_separable(lowering: McuLowering, fused: Fused, residual: Residual | None) -> None:
    """A depthwise layer and the pointwise one after it, in one step, with the sum that is fused into it."""
    layer, follower = fused.layer, fused.pointwise
    assert follower is not None
    op, after = layer.op, follower.op
    assert isinstance(op, Conv2D)
    assert isinstance(after, Conv2D)
    x = lowering.dense(layer.inputs[0])
    window = image_window(x.shape, lowering.network.shape(layer.output), op.kernel, op.stride, op.pads, op.dilation)
    depthwise, taps = _depthwise(lowering, layer, op, window, "taps_")
    lowering.enter(follower)
    weights, epilogue, constants = _weights(lowering, follower, centered=False)
    dsp = depthwise.dsp and _uses_dsp(lowering, epilogue, lowering.pixel_step(fused.layers[-1].output))
    separable = SeparableKernel(
        depthwise=replace(depthwise, dsp=dsp),
        out_channels=after.out_channels,
        epilogue=epilogue,
        group=DSP_GROUP if dsp else PORTABLE_GROUP,
        dsp=dsp,
    )
    matrix = _matrix(lowering, weights.reshape(-1, after.out_channels), epilogue, constants, dsp=dsp)
    columns = lowering.scratch(separable.column_bytes)
    _finish(lowering, separable, [x.operand, *taps, *matrix, columns], fused, residual)


def _finish(
    lowering: McuLowering,
    kernel: ConvKernel | SeparableKernel,
    operands: list[Operand],
    fused: Fused,
    residual: Residual | None,
) -> None:
    """The call of a kernel, with the sum in it if there is one; `residual` is in the order of the sum's operands."""
    layer = fused.layers[-1]
    y = lowering.new(layer.output)
    if residual is not None:
        producer = fused.layers[-2]
        first, second = layer.inputs
        if residual.integer is not None and second == producer.output:
            residual = replace(residual, integer=residual.integer.swapped)
        kernel = replace(kernel, residual=residual)
        operands = [*operands, lowering.dense(second if first == producer.output else first).operand]
    lowering.call(replace(kernel, step=y.step), [*operands, y.operand])


def lower_dense(lowering: McuLowering, layer: Layer, op: Dense) -> None:
    """A dense layer."""
    x = lowering.dense(layer.inputs[0])
    weights, epilogue, constants = _weights(lowering, layer, centered=False)
    kernel = DenseKernel(x.shape[1], op.units, epilogue)
    operands = _matrix(lowering, weights, epilogue, constants, dsp=False)
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
    )
    operands = [lowering.constant("weights", weights[:, :, 0, :])]
    names = [parameter.name.removeprefix(prefix) for parameter in epilogue.constants(prefix)]
    operands += [lowering.constant(name, array) for name, array in zip(names, constants, strict=True)]
    return kernel, operands


def _weights(lowering: McuLowering, layer: Layer, *, centered: bool) -> tuple[Array, Epilogue, tuple[Array, ...]]:
    """Kernel [..., C_out], epilogue and its constants. `centered`: the kernel multiplies x less its zero point."""
    network = lowering.network
    if network.is_quantized_layer(layer):
        prepared = lowering.prepared.get(layer.name)
        if prepared is None:
            prepared = quantized_weights(network, layer, centered=centered, affine=lowering.affine)
            lowering.prepared[layer.name] = prepared
        return prepared.kernel, prepared.epilogue, prepared.constants
    assert isinstance(layer.op, Conv2D | Dense)
    kernel = np.asarray(network.weight(layer, "kernel"), np.float32)
    bias = np.zeros(kernel.shape[-1], np.float32)
    if network.has_weight(layer, "bias"):
        bias = np.asarray(network.weight(layer, "bias"), np.float32)
    return kernel, FloatEpilogue(layer.op.activation), (bias,)


def _uses_dsp(lowering: McuLowering, epilogue: Epilogue, step: int) -> bool:
    """Whether the kernels on pairs of int16 take this layer.

    They know only the searched requantization, and reach four pixels, `step` bytes apart, from one pointer.
    """
    searched = isinstance(epilogue, IntegerEpilogue) and epilogue.is_searched
    return lowering.dsp and searched and 3 * step < _LARGEST_OFFSET


def _matrix(
    lowering: McuLowering, weights: Array, epilogue: Epilogue, constants: tuple[Array, ...], *, dsp: bool
) -> list[Operand]:
    """Weights [depth, C_out] as rows of [C_out][depth], and the constants, as operands of a matrix product."""
    if dsp:
        return [
            lowering.constant("weights", pair_weights(weights)),
            lowering.constant("constants", pair_constants(*constants)),
        ]
    operands = [lowering.constant("weights", np.ascontiguousarray(weights.T))]
    names = [parameter.name for parameter in epilogue.constants()]
    return operands + [lowering.constant(name, array) for name, array in zip(names, constants, strict=True)]


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


def pair_constants(*constants: Array) -> Array:
    """n arrays [C_out] int32 -> [C_out rounded up to even][n]; an odd last channel has a companion of zeros."""
    channels = len(constants[0])
    paired = np.zeros((-(-channels // 2) * 2, len(constants)), np.int32)
    paired[:channels] = np.stack(constants, axis=1)
    return paired
