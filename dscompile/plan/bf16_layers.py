"""Layers whose factors are bfloat16, as kernel calls: pointwise convolutions, and what is like one over one pixel.

Images stay float32 in memory (docs/bfloat16.md says why); other convolutions are float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from dscompile.ir.network import Array, Layer
from dscompile.ir.ops import Activation, Conv2D
from dscompile.plan.bf16_kernels import Bf16ConvKernel
from dscompile.plan.bf16_packing import pack_bf16
from dscompile.plan.bf16_tiles import bf16_tiling, bf16_word
from dscompile.plan.builder import ProgramBuilder
from dscompile.plan.finish import EmitRows, Finish, bias_of
from dscompile.plan.kernels import ELEMENT_BYTES, Epilogue
from dscompile.plan.knobs import PixelKnobs
from dscompile.plan.layout import Strides
from dscompile.plan.packing import pack_vector
from dscompile.plan.program import Operand
from dscompile.plan.storage import BlockedView, FlatView
from dscompile.plan.tiles import Span


@dataclass(frozen=True)
class Image:
    """An operand of a kernel: its strides, and a pointer to a row, a column and a block."""

    strides: Strides
    at: Callable[[int, int, int], Operand]


@dataclass(frozen=True)
class _Matrix:
    """Weights [C, N] of `layer`, and the images that they lead from and to."""

    builder: ProgramBuilder
    layer: Layer
    kernel: Array
    epilogue: Epilogue
    x: Image
    residual: Image | None
    y: Image
    packed: dict[tuple[int, int], tuple[Operand, Operand]] = field(default_factory=dict, compare=False)

    def emit(self, row: int, height: int, width: int, stride: tuple[int, int]) -> None:
        """Appends the calls for `height` rows of `width` outputs from row `row` on."""
        builder, (channels, filters) = self.builder, self.kernel.shape
        lanes = builder.lanes
        tiling = bf16_tiling(width, -(-filters // lanes), channels, builder.target)
        for panels in tiling.blocks:
            for span in tiling.columns:
                kernel = Bf16ConvKernel(
                    height=height,
                    width=span.size,
                    in_channels=channels,
                    out_channels=panels.size * lanes,
                    panel=panels.tile * lanes,
                    lanes=lanes,
                    word=bf16_word(builder.target),
                    stride=stride,
                    x=self.x.strides,
                    y=self.y.strides,
                    epilogue=self.epilogue,
                )
                operands = [self.x.at(row * stride[0], span.start * stride[1], 0), *self._constants(panels)]
                if self.residual is not None:
                    operands.append(self.residual.at(row, span.start, panels.start))
                operands.append(self.y.at(row, span.start, panels.start))
                # In front of every tile: LLVM would move weights of a short loop there, and spill them.
                builder.call(kernel, operands, PixelKnobs(span.tile, builder.target.has("asimd")))

    def _constants(self, panels: Span) -> tuple[Operand, Operand]:
        """Packed weights and bias of a run of panels."""
        lanes = self.builder.lanes
        start, size, panel = panels.start * lanes, panels.size * lanes, panels.tile * lanes
        known = self.packed.get((start, panel))
        if known is None:
            tag = f".{start}" if start else ""
            part = self.kernel[:, start : start + size]
            word = bf16_word(self.builder.target)
            known = self.packed[start, panel] = (
                self.builder.constant(f"kernel{tag}", pack_bf16(part, panel, size, word)),
                self.builder.constant(f"bias{tag}", pack_vector(bias_of(self.builder, self.layer), start, size)),
            )
        return known


def bf16_pixels(
    builder: ProgramBuilder, layer: Layer, op: Conv2D, x: BlockedView, y: BlockedView, finish: Finish
) -> EmitRows:
    """What appends the calls for some rows of a convolution that sees one pixel, from image x to image y."""
    kernel = builder.network.weight(layer, "kernel")[0, 0]
    residual = None if finish.residual is None else _image(finish.residual)
    matrix = _Matrix(builder, layer, kernel, finish.epilogue, _image(x), residual, _image(y))
    width = y.layout.width
    views = [view for view in (x, y, finish.residual) if view is not None]
    strides = [view.layout.strides for view in views]
    in_one_run = op.stride == (1, 1) and all(each.row == width * each.pixel for each in strides)

    def emit(first: int, count: int) -> None:
        builder.enter(layer)
        if in_one_run:
            matrix.emit(first, 1, count * width, op.stride)
        else:
            matrix.emit(first, count, width, op.stride)

    return emit


def bf16_units(
    builder: ProgramBuilder, layer: Layer, kernel: Array, x: Operand, y: FlatView, activation: Activation
) -> int:
    """Appends the calls for whole blocks of the units of a matrix-vector product; how many units that are.

    None if inputs are no whole number of blocks: what lies behind a vector is not the network's to read.
    """
    lanes, channels, units = builder.lanes, int(kernel.shape[0]), int(kernel.shape[1])
    if channels % lanes or units < lanes:
        return 0
    whole = units // lanes * lanes
    strides = Strides(lanes, lanes, lanes)
    front = (0,) * (len(y.shape) - 1)
    source = Image(strides, lambda _row, _column, block: _further(x, block * lanes))
    result = Image(strides, lambda _row, _column, block: y.at(*front, block * lanes))
    _Matrix(builder, layer, kernel[:, :whole], Epilogue(activation), source, None, result).emit(0, 1, 1, (1, 1))
    return whole


def _image(view: BlockedView) -> Image:
    return Image(view.layout.strides, view.at)


def _further(operand: Operand, elements: int) -> Operand:
    return Operand(operand.space, operand.name, operand.offset_bytes + ELEMENT_BYTES * elements)
