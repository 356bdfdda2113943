"""Convolutions as kernel calls: pointwise, dense, grouped, depthwise; on a 1x1 image, a matrix-vector product."""

from __future__ import annotations

import numpy as np

from dscompile.ir.network import Array, Layer
from dscompile.ir.ops import Activation, Conv2D, Pads
from dscompile.plan.fusion import Residual
from dscompile.plan.kernels import (
    ConvKernel,
    DenseKernel,
    DepthwiseKernel,
    Epilogue,
    FillKernel,
    FlatKernel,
    ImageStrides,
)
from dscompile.plan.layout import Strides
from dscompile.plan.lowering import Lowering
from dscompile.plan.packing import grouped_as_dense, pack_conv, pack_dense, pack_depthwise, pack_vector
from dscompile.plan.program import Operand
from dscompile.plan.storage import BlockedView, FlatView
from dscompile.plan.tiles import conv_tiling, dense_panels, depthwise_tiling


def lower_conv(lowering: Lowering, layer: Layer, op: Conv2D, residual: Residual | None) -> None:
    """Appends the calls of a convolution (with a fused addition, if any) and places its result."""
    network = lowering.network
    shape, channels = network.shape(layer.output), network.shape(layer.inputs[0])[3]
    name = lowering.result_name(layer, residual)
    if op.is_depthwise(channels):
        x = _depthwise_input(lowering, layer, op, channels)
        y = lowering.new_blocked(name, shape)
        _depthwise(lowering, layer, op, x, y, residual)
    elif network.shape(layer.inputs[0])[1:3] == (1, 1) and op.is_pointwise and residual is None:
        y = lowering.new_blocked(name, shape)
        _pixel(lowering, layer, op, y)
    else:
        y = _dense_conv(lowering, layer, op, residual, name)
    lowering.place(name, y)


def lower_matrix_vector(
    lowering: Lowering, layer: Layer, kernel: Array, x: Operand, y: FlatView, activation: Activation
) -> None:
    """Y = activation(kernel^T x + bias), cut into panels; kernel [K, N]."""
    channels = kernel.shape[0]
    for panels in dense_panels(lowering.target, channels, y.shape[-1]):
        work = DenseKernel(channels, panels.units, panels.panel, panels.lanes, activation)
        weights = pack_dense(kernel, panels.panel, panels.start, panels.units)
        bias = pack_vector(_bias(lowering, layer), panels.start, panels.units)
        tag = f".{panels.start}" if panels.start else ""
        operands = [x, lowering.constant(f"kernel{tag}", weights), lowering.constant(f"bias{tag}", bias)]
        last = (0,) * (len(y.shape) - 1)
        lowering.call(work, [*operands, y.at(*last, panels.start)], panels.knobs)


def _bias(lowering: Lowering, layer: Layer) -> Array | None:
    network = lowering.network
    return network.weight(layer, "bias") if network.has_weight(layer, "bias") else None


def _pixel(lowering: Lowering, layer: Layer, op: Conv2D, y: BlockedView) -> None:
    """A pointwise convolution on one pixel: a matrix-vector product, padded to whole blocks of channels."""
    x = lowering.dense(layer.inputs[0])
    kernel = lowering.network.weight(layer, "kernel")[0, 0]
    units = y.layout.blocks * lowering.lanes
    flat = FlatView((units,), (1,), "arena", y.store.name, y.base + y.layout.offset(), y.store)
    padded = np.pad(kernel, [(0, 0), (0, units - kernel.shape[1])])
    if y.layout.blocks > 1 and y.layout.strides.block != lowering.lanes:
        flat = lowering.new_flat(layer.output, (units,), tag=".flat")
    lower_matrix_vector(lowering, layer, padded, x.at(), flat, op.activation)
    if flat.name != y.store.name:
        copy = FlatKernel("copy", (y.layout.blocks, lowering.lanes), (lowering.lanes, 1), (y.layout.strides.block, 1))
        lowering.call(copy, [flat.at(), y.at()])


def _epilogue(lowering: Lowering, op: Conv2D, residual: Residual | None) -> tuple[Epilogue, BlockedView | None]:
    if residual is None:
        return Epilogue(op.activation), None
    other = lowering.blocked(residual.other)
    sum_op = residual.layer.op
    outer = getattr(sum_op, "activation", Activation())
    return Epilogue(op.activation, other.layout.strides, outer), other


def _dense_conv(lowering: Lowering, layer: Layer, op: Conv2D, residual: Residual | None, name: str) -> BlockedView:
    network, lanes = lowering.network, lowering.lanes
    shape, channels = network.shape(layer.output), network.shape(layer.inputs[0])[3]
    kernel = network.weight(layer, "kernel")
    source, strides = _conv_input(lowering, layer, op, channels)
    epilogue, other = _epilogue(lowering, op, residual)
    y = lowering.new_blocked(name, shape)
    per_group, filters = channels // op.groups, op.out_channels // op.groups
    if op.groups > 1 and (per_group % lanes or filters % lanes):
        kernel = grouped_as_dense(kernel, op.groups)
        lowering.fallbacks.append(layer.name)
        per_group, filters = channels, op.out_channels
    for group in range(op.out_channels // filters):
        begin = _moved(source, strides, group * per_group, lanes)
        _conv_group(lowering, layer, op, kernel, (group * filters, filters), (begin, strides), y, epilogue, other)
    return y


def _moved(source: Operand, strides: Strides | ImageStrides, channel: int, lanes: int) -> Operand:
    """The pointer moved to a channel (a whole block in a blocked image)."""
    elements = channel // lanes * strides.block if isinstance(strides, Strides) else channel * strides.channel
    return Operand(source.space, source.name, source.offset_bytes + 4 * elements)


def _conv_group(
    lowering: Lowering,
    layer: Layer,
    op: Conv2D,
    kernel: Array,
    filters: tuple[int, int],
    x: tuple[Operand, Strides | ImageStrides],
    y: BlockedView,
    epilogue: Epilogue,
    other: BlockedView | None,
) -> None:
    """The calls for output channels filters[0] .. + filters[1]: panels of channels, tiles of pixels."""
    lanes, (first, count) = lowering.lanes, filters
    source, x_strides = x
    channels = kernel.shape[2]
    height, width = y.layout.height, y.layout.width
    if _is_flattenable(op, x_strides, y, other):
        height, width = 1, height * width
    tiling = conv_tiling(lowering.target, height, width, -(-count // lanes), channels)
    for panels in tiling.blocks:
        start, size, panel = first + panels.start * lanes, panels.size * lanes, panels.tile * lanes
        tag = f".{start}" if start else ""
        part = kernel[..., : first + count]
        weights = lowering.constant(f"kernel{tag}", pack_conv(part, panel, start, size))
        bias_values = _bias(lowering, layer)
        bias = lowering.constant(f"bias{tag}", pack_vector(bias_values, start, size))
        for columns in tiling.columns:
            work = ConvKernel(
                height=height,
                width=columns.size,
                in_channels=channels,
                out_channels=size,
                panel=panel,
                lanes=lanes,
                kernel=op.kernel,
                stride=op.stride,
                dilation=op.dilation,
                x=x_strides,
                y=y.layout.strides,
                epilogue=epilogue,
            )
            pixel = 4 * columns.start
            begin = Operand(source.space, source.name, source.offset_bytes + pixel * op.stride[1] * x_strides.pixel)
            block = start // lanes
            residual = [] if other is None else [_along(other, block, columns.start)]
            lowering.call(
                work, [begin, weights, bias, *residual, _along(y, block, columns.start)], tiling.knobs(columns)
            )


def _along(view: BlockedView, block: int, pixels: int) -> Operand:
    """Pointer to the first row of a block, `pixels` further (which may run on into the next rows of a dense image)."""
    start = view.at(0, 0, block)
    return Operand(start.space, start.name, start.offset_bytes + 4 * pixels * view.layout.strides.pixel)


def _is_flattenable(op: Conv2D, x: Strides | ImageStrides, y: BlockedView, other: BlockedView | None) -> bool:
    """Whether all pixels of all images lie in one row without gaps, so that tiles need not respect rows."""
    if op.kernel != (1, 1) or op.stride != (1, 1) or op.pads:
        return False
    width = y.layout.width
    views = [x, y.layout.strides] + ([] if other is None else [other.layout.strides])
    return all(strides.row == width * strides.pixel for strides in views)


def _conv_input(lowering: Lowering, layer: Layer, op: Conv2D, channels: int) -> tuple[Operand, Strides | ImageStrides]:
    """Pointer to the first padded pixel, and strides: blocked, or as the user passes it if it has few channels."""
    name = layer.inputs[0]
    view = lowering.home(name)
    if isinstance(view, FlatView) and len(view.shape) == 4 and channels < lowering.lanes and op.groups == 1:
        padded = _padded(lowering, name, view, op.pads) if op.pads else view
        return padded.at(), padded.image
    image = lowering.blocked(name)
    return image.at(-op.pads.top, -op.pads.left), image.layout.strides


def _padded(lowering: Lowering, name: str, view: FlatView, pads: Pads) -> FlatView:
    """A zero-padded copy of a flat image, in the source's own order of axes."""
    _, height, width, channels = view.shape
    shape = (1, height + pads.top + pads.bottom, width + pads.left + pads.right, channels)
    order = sorted(range(1, 4), key=lambda axis: -view.strides[axis])
    strides, step = [0] * 4, 1
    for axis in reversed(order):
        strides[axis] = step
        step *= shape[axis]
    result = lowering.new_flat(name, (step,), tag=".padded")
    lowering.call(FillKernel(1, 1, step, step, step), [result.at()])
    padded = FlatView(shape, tuple(strides), "arena", result.name, 0, result.store)
    axes = order
    copy = FlatKernel(
        "copy",
        tuple(view.shape[axis] for axis in axes),
        tuple(view.strides[axis] for axis in axes),
        tuple(strides[axis] for axis in axes),
    )
    lowering.call(copy, [view.at(), padded.at(0, pads.top, pads.left, 0)])
    return padded


def _depthwise_input(lowering: Lowering, layer: Layer, op: Conv2D, channels: int) -> BlockedView:
    """The blocked input; with a multiplier, every channel is repeated first."""
    multiplier = op.out_channels // channels
    name = layer.inputs[0]
    if multiplier == 1:
        return lowering.blocked(name)
    lowering.fallbacks.append(layer.name)
    source = lowering.flat(name)
    _, height, width, _ = source.shape
    repeated = lowering.new_flat(name, (1, height, width, channels * multiplier), tag=".repeated")
    copy = FlatKernel(
        "copy",
        (height, width, channels, multiplier),
        (*source.strides[1:], 0),
        (*repeated.strides[1:3], multiplier, 1),
    )
    lowering.call(copy, [source.at(), repeated.at()])
    return lowering.pack(repeated, lowering.new_blocked(name, repeated.shape, op.pads, tag=".repeated.blocked"))


def _depthwise(
    lowering: Lowering, layer: Layer, op: Conv2D, x: BlockedView, y: BlockedView, residual: Residual | None
) -> None:
    network, lanes, layout = lowering.network, lowering.lanes, y.layout
    weights = lowering.constant("kernel", pack_depthwise(network.weight(layer, "kernel"), lanes))
    bias = lowering.constant("bias", pack_vector(_bias(lowering, layer), 0, layout.blocks * lanes))
    epilogue, other = _epilogue(lowering, op, residual)
    for tile in depthwise_tiling(lowering.target, layout.height, layout.width, op.kernel):
        row, column = tile.rows.start, tile.columns.start
        work = DepthwiseKernel(
            height=tile.rows.size,
            width=tile.columns.size,
            blocks=layout.blocks,
            lanes=lanes,
            kernel=op.kernel,
            stride=op.stride,
            dilation=op.dilation,
            x=x.layout.strides,
            y=layout.strides,
            epilogue=epilogue,
        )
        begin = x.at(row * op.stride[0] - op.pads.top, column * op.stride[1] - op.pads.left)
        extra = [] if other is None else [other.at(row, column)]
        lowering.call(work, [begin, weights, bias, *extra, y.at(row, column)], tile.knobs)
