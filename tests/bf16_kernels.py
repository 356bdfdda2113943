"""Bfloat16 kernels against NumPy in float64, on this machine or under qemu-aarch64."""

from __future__ import annotations

import numpy as np

from dscompile.ir.network import Array
from dscompile.ir.ops import NONE, Activation
from dscompile.plan.bf16_kernels import Bf16ConvKernel
from dscompile.plan.bf16_packing import pack_bf16
from dscompile.plan.kernels import Epilogue
from dscompile.plan.knobs import PixelKnobs
from dscompile.plan.layout import Blocked, Strides
from dscompile.run.emulators.qemu_user import InstructionCounts
from tests.int8_kernels import Machine, run_int8
from tests.kernels import finished, from_blocks, to_blocks

BF16 = Machine("arm64-bf16", "max")


def to_bf16(values: Array) -> Array:
    """The nearest bfloat16s as float64, at ties those with an even last place: without integers, by the definition."""
    fraction, exponent = np.frexp(np.asarray(values, np.float64))
    return np.asarray(np.ldexp(np.rint(fraction * 2.0**8), exponent - 8))


def conv_kernel(
    height: int,
    width: int,
    channels: int,
    panels: int,
    panel: int,
    lanes: int,
    word: int,
    stride: tuple[int, int] = (1, 1),
    activation: Activation = NONE,
    residual: bool = False,
    residual_activation: Activation = NONE,
) -> Bf16ConvKernel:
    """A kernel on images that have room between rows and blocks."""
    rows, columns = (height - 1) * stride[0] + 1, (width - 1) * stride[1] + 1
    y = Blocked(height + 1, width + 2, panels * panel, lanes).strides
    return Bf16ConvKernel(
        height=height,
        width=width,
        in_channels=channels,
        out_channels=panels * panel,
        panel=panel,
        lanes=lanes,
        word=word,
        stride=stride,
        x=Blocked(rows + 2, columns + 1, channels, lanes).strides,
        y=y,
        epilogue=Epilogue(
            activation, Strides(y.block + 3 * lanes, y.row + lanes, lanes) if residual else None, residual_activation
        ),
    )


def run_bf16(
    kernel: Bf16ConvKernel, knobs: PixelKnobs, machine: Machine, seed: int = 0
) -> tuple[Array, Array, InstructionCounts]:
    """What the kernel computes [H, W, N], what it should, in float64, and what it executed if it was emulated.

    Channels of x beyond the last are NaN.
    """
    rng = np.random.default_rng(seed)
    (stride_h, stride_w), channels, filters, lanes = (
        kernel.stride,
        kernel.in_channels,
        kernel.out_channels,
        kernel.lanes,
    )
    rows, columns = (kernel.height - 1) * stride_h + 1, (kernel.width - 1) * stride_w + 1
    x = rng.normal(size=(rows, columns, channels)).astype(np.float32)
    weights, bias = (rng.normal(size=shape).astype(np.float32) for shape in ((channels, filters), (filters,)))
    inputs: dict[str, Array] = {
        "x": to_blocks(x, lanes),
        "weights": pack_bf16(weights, kernel.panel, filters, kernel.word),
        "bias": bias,
    }
    residual = None
    if kernel.epilogue.residual is not None:
        residual = rng.normal(size=(kernel.height, kernel.width, filters)).astype(np.float32)
        inputs["residual"] = to_blocks(residual, lanes)
    shape = (filters // lanes, kernel.height, kernel.width, lanes)
    y, counts = run_int8(kernel, knobs, machine, inputs, shape)
    acc = to_bf16(x)[::stride_h, ::stride_w] @ to_bf16(weights)
    return from_blocks(y, filters), finished(acc, bias, kernel.epilogue, residual), counts
