"""Weights in the order in which modules of GPUs read them. Pure NumPy, done once at compile time."""

from __future__ import annotations

import numpy as np

from dscompile.errors import UnsupportedError
from dscompile.ir.network import Array
from dscompile.plan.gpu.kernels import QUAD, Stage
from dscompile.plan.packing import pack_conv

HALF_MAX = 65504.0
_HELP = "build without 'precision: float16'"


def pack_module_conv(kernel: Array, stage: Stage) -> Array:
    """[kh, kw, C, N] -> [quads / panel][kh][kw][C][panel][4], C of whole quads, zeros beyond C and N."""
    missing = stage.in_quads * QUAD - kernel.shape[2]
    padded = np.pad(kernel, [(0, 0), (0, 0), (0, missing), (0, 0)])
    return pack_conv(padded, stage.panel * QUAD, 0, stage.quads * QUAD)


def pack_halves(kernel: Array, depth: int, panel: int) -> Array:
    """[..., C, N] of a pointwise convolution -> half [ceil(N / panel)][depth][panel], zeros beyond C and N.

    Weights are rounded to the nearest half, even at ties. Raises UnsupportedError for those beyond its range.
    """
    channels, units = kernel.shape[-2:]
    matrix = kernel.reshape(channels, units)
    largest = float(np.max(np.abs(matrix), initial=0.0))
    if largest > HALF_MAX:
        raise UnsupportedError(f"a weight of {largest:g} is beyond the largest half, {HALF_MAX:g}", help=_HELP)
    panels = -(-units // panel)
    padded = np.zeros((depth, panels * panel), np.float16)
    padded[:channels, :units] = matrix
    return np.ascontiguousarray(padded.reshape(depth, panels, panel).transpose(1, 0, 2))


def pack_depthwise_words(kernel: Array) -> Array:
    """[kh, kw, 1, C] int8 -> int32 [quads][kh][kw][4]: one word a channel, its weight in the byte it multiplies."""
    kh, kw, _, channels = kernel.shape
    quads = -(-channels // QUAD)
    padded = np.zeros((kh, kw, quads, QUAD), np.int8)
    padded.reshape(kh, kw, -1)[:, :, :channels] = kernel[:, :, 0, :]
    bytes_ = padded.view(np.uint8).astype(np.uint32)
    words = (bytes_ << (8 * np.arange(QUAD, dtype=np.uint32))).astype(np.uint32)
    return np.ascontiguousarray(words.view(np.int32).transpose(2, 0, 1, 3))
