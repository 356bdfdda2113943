"""First layers of int8 networks: the columns of a kernel become channels, so that words are full.

Products are summed in words of 4 or 8 channels. An image of 1 channel leaves 3 of 4 products unused, at every tap. So
its columns are gathered while it is packed: channel k * C + c of column x is channel c of the image's column
x * stride + k - padding. In memory that is one run, and views of neighbouring columns overlap. What is left of the
convolution has kernels of one column.
"""

from __future__ import annotations

from dataclasses import replace

from dscompile.ir.network import Layer
from dscompile.ir.ops import Conv2D, Pads
from dscompile.plan.builder import ProgramBuilder
from dscompile.plan.int8_tiles_x86 import int8_word
from dscompile.plan.kernels import FillKernel
from dscompile.plan.storage import BlockedView, FlatView
from dscompile.target import Target


def gather_columns(builder: ProgramBuilder, layer: Layer, op: Conv2D) -> tuple[BlockedView, Conv2D] | None:
    """The blocked input with columns for channels, and the convolution of it; None where that saves no products.

    The kernel [kh, kw, C, N] of the layer is [kh, 1, kw * C, N] of that convolution, in the same order.
    """
    name = layer.inputs[0]
    view, (_, taps), pads = builder.home(name), op.kernel, op.pads
    if not isinstance(view, FlatView) or len(view.shape) != 4 or op.groups > 1 or op.dilation[1] > 1:
        return None
    _, height, _, channels = view.shape
    word = _word(builder.target)
    if -(-taps * channels // word) >= taps * -(-channels // word):
        return None
    width = builder.network.shape(layer.output)[2]
    seen = (width - 1) * op.stride[1] + taps
    rows = _rows(builder, layer, view, pads.left, seen)
    _, down, right, _ = rows.strides
    columns = replace(rows, shape=(1, height, width, taps * channels), strides=(0, down, right * op.stride[1], 1))
    only_rows = Pads(top=pads.top, bottom=pads.bottom)
    image = builder.new_blocked(name, columns.shape, only_rows, tag=f".columns of {layer.name}")
    narrow = replace(op, kernel=(op.kernel[0], 1), stride=(op.stride[0], 1), pads=only_rows)
    return builder.pack(columns, image), narrow


def _word(target: Target) -> int:
    """Channels whose products are summed at once: 8 on plain NEON; elsewhere 4 are the least, or 2 on x86."""
    if target.has("avx2"):
        return int8_word(target)
    return 8 if target.has("asimd") and not target.has("asimddp") else 4


def _rows(builder: ProgramBuilder, layer: Layer, view: FlatView, left: int, seen: int) -> FlatView:
    """Rows of `seen` columns in memory, `left` of them before the image's: as they are, or copied between zeros."""
    _, height, width, channels = view.shape
    if left == 0 and seen <= width and view.strides[2:] == (channels, 1):
        return view
    name = layer.inputs[0]
    copy = builder.new_flat(name, (1, height, seen, channels), tag=f".rows of {layer.name}")
    taken = min(width, seen - left)
    zero, row = builder.element(name).zero, seen * channels
    for start, count in ((0, left), (left + taken, seen - left - taken)):
        if count:
            fill = FillKernel(1, height, count * channels, height * row, row, zero, view.dtype)
            builder.call(fill, [copy.at(0, 0, start)])
    inner = (1, height, taken, channels)
    builder.copy(replace(view, shape=inner), replace(copy, shape=inner, offset=copy.offset + left * channels))
    return copy
