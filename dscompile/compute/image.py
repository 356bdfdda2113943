"""Between flat images (NHWC, NCHW), scattered channels, and blocked images."""

from __future__ import annotations

from typing import Any

from tvm import te, tirx

from dscompile.compute.integer import typed_const
from dscompile.plan.kernels import GatherKernel, PackKernel, UnpackKernel


def pack(kernel: PackKernel) -> Any:
    """y[b, h, w, l] = x[b lanes + l, h, w], or 0 beyond the last channel; x is [C][H][W] with any strides."""
    channels, lanes = kernel.channels, kernel.lanes
    x = te.placeholder((channels, kernel.height, kernel.width), kernel.dtype, name="x")

    def value(b: Any, h: Any, w: Any, lane: Any) -> Any:
        channel = b * lanes + lane
        if channels % lanes == 0:
            return x[channel, h, w]
        return tirx.if_then_else(
            channel < channels, x[tirx.min(channel, channels - 1), h, w], typed_const(0, kernel.dtype)
        )

    y = te.compute((-(-channels // lanes), kernel.height, kernel.width, lanes), value, name="y")
    return te.create_prim_func([x, y])


def gather(kernel: GatherKernel) -> Any:
    """y[b, h, w, l] = x[offsets[b lanes + l], h, w]."""
    lanes = kernel.lanes
    x = te.placeholder((kernel.span, kernel.height, kernel.width), name="x")
    offsets = te.placeholder((kernel.blocks * lanes,), "int32", name="offsets")
    shape = (kernel.blocks, kernel.height, kernel.width, lanes)
    y = te.compute(shape, lambda b, h, w, lane: x[offsets[b * lanes + lane], h, w], name="y")
    return te.create_prim_func([x, offsets, y])


def unpack(kernel: UnpackKernel) -> Any:
    """y[c, h, w] = x[c / lanes, h, w, c % lanes]; y is [C][H][W] with any strides."""
    lanes = kernel.lanes
    x = te.placeholder((-(-kernel.channels // lanes), kernel.height, kernel.width, lanes), kernel.dtype, name="x")
    y = te.compute(
        (kernel.channels, kernel.height, kernel.width), lambda c, h, w: x[c // lanes, h, w, c % lanes], name="y"
    )
    return te.create_prim_func([x, y])
