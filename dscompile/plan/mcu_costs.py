"""Instructions of standalone C, estimated: enough to compare whole layers with the same layers by row.

The figures per product are from exact counts of real networks on emulated cores. They
are no promise: what an inference takes is counted by `dscompile verify`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from dscompile.plan.mcu_kernels import (
    BinaryKernel,
    ConvKernel,
    DenseKernel,
    DepthwiseKernel,
    McuKernel,
    PoolKernel,
    SeparableKernel,
    Variant,
    pixels_of,
)

_PER_DSP_DENSE = 1.2  # of a product
_PER_ELEMENT = 8  # of everything but products
_PER_ROW = 130  # of a row in a stream: finding out what can be made, calling it
_PER_MOVED_BYTE = 0.6
_PER_TURNED_BYTE = 2.0
_PER_FILLED_BYTE = 1.0  # of the ring of a turned image


@dataclass(frozen=True)
class _Rates:
    """Instructions per product: of pixels in whole groups, of pixels that fill none, of depthwise windows."""

    group: float
    rest: float
    depthwise: float


_RATES: dict[Variant, _Rates] = {
    "dsp": _Rates(0.85, 2.4, 2.2),
    "rows": _Rates(0.85, 2.4, 1.6),
    "turned": _Rates(0.85, 2.4, 1.6),
    "mve": _Rates(0.25, 0.9, 0.4),
    "rvv": _Rates(0.25, 0.9, 0.4),
    "m0plus": _Rates(3.0, 3.0, 5.0),
    "block": _Rates(2.6, 3.4, 4.5),
    "c99": _Rates(5.0, 6.0, 7.0),
}


def kernel_instructions(kernel: McuKernel) -> float:
    """Of one call of a kernel."""
    match kernel:
        case ConvKernel():
            columns = kernel.depth * pixels_of(kernel) * 2 if kernel.gathered else 0
            return columns + _product(kernel, kernel.depth)
        case DepthwiseKernel():
            return _windows(kernel, pixels_of(kernel))
        case SeparableKernel():
            return _turning(kernel) + _windows(kernel.depthwise, pixels_of(kernel)) + _product(kernel, kernel.depth)
        case PoolKernel():
            lanes = 4 if kernel.variant == "dsp" else 1
            return pixels_of(kernel) * kernel.out_channels * (kernel.window.taps * 3 + _PER_ELEMENT) / lanes
        case DenseKernel():
            rate = _PER_DSP_DENSE if kernel.variant == "dsp" else _RATES["c99"].group
            return kernel.in_channels * kernel.out_channels * rate
        case BinaryKernel():
            return _PER_ELEMENT * math.prod(kernel.shape)
        case _:
            return 0.0  # small beside the others, and the same in every plan


def _product(kernel: ConvKernel | SeparableKernel, depth: int) -> float:
    rates, pixels = _RATES[kernel.variant], pixels_of(kernel)
    rest = pixels % kernel.group
    if kernel.variant == "m0plus" and rest:
        rest, pixels = 0, pixels - rest + kernel.group  # a group that is not full costs as much
    results = pixels * kernel.out_channels
    return kernel.out_channels * depth * ((pixels - rest) * rates.group + rest * rates.rest) + results * _PER_ELEMENT


def _turning(kernel: SeparableKernel) -> float:
    """Turning the image of a depthwise part (plan/mcu_turned.py), or for one row all rows of its windows."""
    if kernel.depthwise.variant != "turned":
        return 0.0
    rows = kernel.window.rows.kernel if kernel.by_row else kernel.window.rows.size
    return rows * kernel.window.row_bytes * _PER_TURNED_BYTE + kernel.ring_bytes * _PER_FILLED_BYTE


def _windows(kernel: DepthwiseKernel, pixels: int) -> float:
    return pixels * kernel.out_channels * (kernel.window.taps * _RATES[kernel.variant].depthwise + _PER_ELEMENT)


def stream_overhead(rows: int, moved_bytes: int) -> float:
    """Of a stream besides its kernels: rows that it makes, bytes that it moves within rings."""
    return rows * _PER_ROW + moved_bytes * _PER_MOVED_BYTE
