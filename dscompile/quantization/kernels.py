"""Kernels and biases as integers: one symmetric scale per output channel (TFLite quantization specification)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dscompile.errors import UnsupportedError
from dscompile.ir.storage import Storage, is_narrow
from dscompile.quantization.stored import kept_places, weight_limit

Floats = NDArray[np.float32]
Reals = NDArray[np.float64]

KERNEL_LIMIT = 127  # -128 is not used: kernels are symmetric
_INT32_MAX = (1 << 31) - 1
_LARGEST_INPUT = 255  # |x - zero point|
_LEAST_BIAS = 1 << 16  # a bias of fewer levels would cost accuracy
_MOST_TAPS = (_INT32_MAX - _LEAST_BIAS) // (KERNEL_LIMIT * _LARGEST_INPUT)
_CLIPS = np.linspace(0.5, 1.0, 51)


@dataclass(frozen=True)
class Int8Kernel:
    """kernel int8 [..., C_out], kernel_scale float32 [C_out], bias int32 [C_out] on input scale * kernel_scale."""

    kernel: NDArray[np.int8]
    kernel_scale: Floats
    bias: NDArray[np.int32]

    @property
    def taps(self) -> int:
        """Products in a sum."""
        return int(self.kernel.size // self.kernel.shape[-1])

    def real_kernel(self) -> Reals:
        """What the integers stand for."""
        return np.asarray(self.kernel.astype(np.float64) * self.kernel_scale.astype(np.float64))


def quantize_kernel(
    name: str,
    kernel: Floats,
    bias: Floats,
    input_scale: float,
    *,
    least_error: bool = False,
    storage: Storage = "plain",
) -> Int8Kernel:
    """Kernel [..., C_out] and bias [C_out] of the layer `name` as integers.

    The scale of a channel is its largest magnitude / 127; with `least_error` the one of 51 smaller or equal scales
    whose squared error is least. For a `storage` of four bits it is always that, with 7 for 127; one of two of four
    leaves the two largest. The scale is larger where the bias would not fit beside the sums: |bias| stays so small that
    no input can make the accumulator leave 32 bits. Raises UnsupportedError if the sums alone leave too little room.
    """
    limit = weight_limit(storage)
    flat = np.where(kept_places(kernel, storage), kernel, 0).astype(np.float64).reshape(-1, kernel.shape[-1])
    bound = bias_bound(name, flat.shape[0])
    scales = np.abs(flat).max(axis=0) / limit
    if least_error or is_narrow(storage):
        scales = scales * _best_clips(flat, scales, limit)
    offsets = np.abs(bias.astype(np.float64))
    scales = np.maximum(scales, offsets / (input_scale * bound))
    # A channel that is only its bias: the bias gets many levels. One that is nothing at all: any scale serves.
    empty = ~flat.any(axis=0)
    scales = np.where(empty & (offsets > 0), offsets / (input_scale * _LEAST_BIAS), scales)
    smallest = float(np.finfo(np.float32).tiny)
    rounded = np.where(scales < smallest, 1.0, scales).astype(np.float32)
    integers = np.clip(np.rint(flat / rounded), -limit, limit).astype(np.int8)
    levels = np.clip(np.rint(bias / (input_scale * rounded.astype(np.float64))), -bound, bound).astype(np.int32)
    return Int8Kernel(integers.reshape(kernel.shape), rounded, levels)


def bias_bound(name: str, taps: int) -> int:
    """The largest |bias| with which a sum of `taps` products cannot leave 32 bits.

    Raises UnsupportedError if that is too small for a useful bias.
    """
    bound = _INT32_MAX - taps * KERNEL_LIMIT * _LARGEST_INPUT
    if bound < _LEAST_BIAS:
        raise UnsupportedError(
            f"its sums of {taps} products can overflow the 32 bits of an int8 accumulator",
            layer=name,
            help=f"at most {_MOST_TAPS} products fit; split the layer",
        )
    return bound


def _best_clips(flat: Reals, scales: Reals, limit: int) -> Reals:
    """For each channel the share of its scale that has the least squared error; the largest of equals."""
    least = np.full(scales.shape, np.inf)
    best = np.ones_like(scales)
    for clip in _CLIPS[::-1]:
        steps = np.where(scales > 0, scales * clip, 1.0)
        errors = ((flat - steps * np.clip(np.rint(flat / steps), -limit, limit)) ** 2).sum(axis=0)
        better = errors < least
        least, best = np.where(better, errors, least), np.where(better, clip, best)
    return best
