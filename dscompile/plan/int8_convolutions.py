"""Int8 convolutions and dense layers as kernel calls: always on blocked images, whose halo holds the zero point."""

from __future__ import annotations

from dataclasses import dataclass

from dscompile.ir.network import Array, Layer
from dscompile.ir.ops import Conv2D
from dscompile.plan.builder import ProgramBuilder
from dscompile.plan.choices import DepthwiseChoice, Int8ConvChoice
from dscompile.plan.finish import EmitRows
from dscompile.plan.int8_kernels import Int8ConvKernel, Int8DenseKernel, Int8DepthwiseKernel
from dscompile.plan.int8_packing import (
    pack_int8_conv,
    pack_int8_dense,
    pack_int8_depthwise,
    smallest_weight,
    unsigned_start,
)
from dscompile.plan.int8_requantization import Int8Weights, Scaled, int8_weights
from dscompile.plan.int8_tiles import (
    Int8ConvTiling,
    int8_conv_tiling,
    int8_dense_panels,
    int8_depthwise_tiling,
    int8_depthwise_word,
)
from dscompile.plan.packing import filter_runs, is_padded
from dscompile.plan.program import Operand
from dscompile.plan.storage import BlockedView
from dscompile.plan.tiles import Span
from dscompile.plan.workloads import Int8ConvWorkload, Int8DepthwiseWorkload


def int8_pixels(builder: ProgramBuilder, layer: Layer, op: Conv2D, x: BlockedView, y: BlockedView) -> EmitRows:
    """What appends the calls for some rows of a convolution from image x to image y.

    x of a depthwise convolution has a channel for every filter. `op` need not be the layer's own: plan/int8_columns.py.
    """
    weights = int8_weights(builder.network, layer)
    if op.is_depthwise(builder.network.shape(layer.inputs[0])[3]):
        return _depthwise(builder, layer, op, weights, x, y)
    lanes, channels = x.layout.lanes, x.layout.channels
    kernel = weights.kernel.reshape(*op.kernel, -1, op.out_channels)
    if is_padded(channels, op.out_channels, op.groups, lanes):
        builder.fallbacks.append(layer.name)
    groups = [
        _Group(builder, op, run.kernel, weights.scaled, x, y, run.channel, run.start, run.count)
        for run in filter_runs(kernel, op.groups, lanes)
    ]

    def emit(first: int, count: int) -> None:
        builder.enter(layer)
        for group in groups:
            group.emit(first, count)

    return emit


@dataclass(frozen=True)
class _Group:
    """A run of filters: from input channel `channel` on, output channels `start` .. + `count`."""

    builder: ProgramBuilder
    op: Conv2D
    kernel: Array
    scaled: Scaled
    x: BlockedView
    y: BlockedView
    channel: int
    start: int
    count: int

    def emit(self, first: int, count: int) -> None:
        """Appends the calls for `count` rows of outputs from `first` on."""
        lanes = self.y.layout.lanes
        height, width = count, self.y.layout.width
        if self._is_flattenable():
            height, width = 1, height * width
        op, channels = self.op, self.kernel.shape[2]
        workload = Int8ConvWorkload(height, width, -(-self.count // lanes), channels, op.kernel, op.stride, op.dilation)
        tiling = int8_conv_tiling(workload, self.builder.choose(workload, Int8ConvChoice), self.builder.target)
        for panels in tiling.blocks:
            constants = self._constants(panels, tiling)
            for span in tiling.columns:
                work = Int8ConvKernel(
                    height=height,
                    width=span.size,
                    in_channels=channels,
                    out_channels=panels.size * lanes,
                    panel=panels.tile * lanes,
                    lanes=lanes,
                    word=tiling.word,
                    kernel=op.kernel,
                    stride=op.stride,
                    dilation=op.dilation,
                    x=self.x.layout.strides,
                    y=self.y.layout.strides,
                    requantization=self.scaled.requantization,
                    smallest_weight=smallest_weight(self.kernel),
                    used=_whole_eights(min(panels.size * lanes, self.count - panels.start * lanes)),
                    unsigned=tiling.unsigned,
                )
                operands = [self._input(first, span.start), *constants, self._output(first, span.start, panels)]
                self.builder.call(work, operands, tiling.knobs(span))

    def _input(self, row: int, column: int) -> Operand:
        """Pointer to the first tap of an output."""
        (down, right), pads = self.op.stride, self.op.pads
        return self.x.at(row * down - pads.top, column * right - pads.left, self.channel // self.x.layout.lanes)

    def _output(self, row: int, column: int, panels: Span) -> Operand:
        return self.y.at(row, column, self.start // self.y.layout.lanes + panels.start)

    def _constants(self, panels: Span, tiling: Int8ConvTiling) -> list[Operand]:
        """Packed weights, what sums begin with, and the constants of the requantization for a run of panels."""
        lanes = self.y.layout.lanes
        start, size, panel = self.start + panels.start * lanes, panels.size * lanes, panels.tile * lanes
        tag = f".{start}" if start else ""
        part = self.kernel[..., start : min(start + size, self.start + self.count)]
        packed = pack_int8_conv(part, panel, size, tiling.word)
        start_of_sums = [self.builder.constant(f"start{tag}", unsigned_start(part, size))] if tiling.unsigned else []
        return [
            self.builder.constant(f"kernel{tag}", packed),
            *start_of_sums,
            *scaling_constants(self.builder, self.scaled, start, size),
        ]

    def _is_flattenable(self) -> bool:
        """Whether all pixels of both images lie in one row without gaps, so that tiles need not respect rows."""
        if self.op.kernel != (1, 1) or self.op.stride != (1, 1) or self.op.pads:
            return False
        width = self.y.layout.width
        return all(view.layout.strides.row == width * view.layout.strides.pixel for view in (self.x, self.y))


def scaling_constants(builder: ProgramBuilder, scaled: Scaled, start: int, size: int) -> list[Operand]:
    """The constants of a requantization for channels from `start` on, as operands."""
    tag = f".{start}" if start else ""
    arrays = scaled.padded(start, size)
    return [
        builder.constant(f"{parameter.name}{tag}", array)
        for parameter, array in zip(scaled.requantization.parameters, arrays, strict=True)
    ]


def _depthwise(
    builder: ProgramBuilder, layer: Layer, op: Conv2D, weights: Int8Weights, x: BlockedView, y: BlockedView
) -> EmitRows:
    layout = y.layout
    word = int8_depthwise_word(builder.target, op.kernel, op.stride, op.dilation)
    kernel = builder.constant("kernel", pack_int8_depthwise(weights.kernel, layout.lanes, word))
    scaling = scaling_constants(builder, weights.scaled, 0, layout.blocks * layout.lanes)

    def emit(first: int, count: int) -> None:
        builder.enter(layer)
        workload = Int8DepthwiseWorkload(count, layout.width, layout.blocks, op.kernel, op.stride, op.dilation)
        for tile in int8_depthwise_tiling(workload, builder.choose(workload, DepthwiseChoice), builder.target):
            row, column = first + tile.rows.start, tile.columns.start
            work = Int8DepthwiseKernel(
                height=tile.rows.size,
                width=tile.columns.size,
                blocks=layout.blocks,
                lanes=layout.lanes,
                kernel=op.kernel,
                stride=op.stride,
                dilation=op.dilation,
                x=x.layout.strides,
                y=layout.strides,
                requantization=weights.scaled.requantization,
                smallest_weight=smallest_weight(weights.kernel),
                word=word,
                used=_whole_eights(layout.channels),
            )
            begin = x.at(row * op.stride[0] - op.pads.top, column * op.stride[1] - op.pads.left)
            builder.call(work, [begin, kernel, *scaling, y.at(row, column)], tile.knobs)

    return emit


def _whole_eights(channels: int) -> int:
    return -(-channels // 8) * 8


def lower_int8_dense(builder: ProgramBuilder, layer: Layer) -> None:
    """A dense layer, cut into panels of units."""
    x, y = builder.dense(layer.inputs[0]), builder.new_flat(layer.output, builder.network.shape(layer.output))
    weights = int8_weights(builder.network, layer)
    for panels in int8_dense_panels(builder.target, weights.kernel.shape[1]):
        start, units = panels.start, panels.units
        part = weights.kernel[:, start : start + units]
        tag = f".{start}" if start else ""
        packed = builder.constant(f"kernel{tag}", pack_int8_dense(part, panels.panel, units, panels.word))
        kernel = Int8DenseKernel(
            part.shape[0],
            units,
            panels.panel,
            panels.word,
            weights.scaled.requantization,
            smallest_weight(weights.kernel),
        )
        builder.call(
            kernel, [x.at(), packed, *scaling_constants(builder, weights.scaled, start, units), y.at(0, start)]
        )
    builder.place(layer.output, y)
