"""Weights in the order in which modules of GPUs read them. Pure NumPy, done once at compile time."""

from __future__ import annotations

import numpy as np

from dscompile.ir.network import Array
from dscompile.plan.gpu_kernels import QUAD, Stage
from dscompile.plan.packing import pack_conv


def pack_module_conv(kernel: Array, stage: Stage) -> Array:
    """[kh, kw, C, N] -> [quads / panel][kh][kw][C][panel][4], C of whole quads, zeros beyond C and N."""
    missing = stage.in_quads * QUAD - kernel.shape[2]
    padded = np.pad(kernel, [(0, 0), (0, 0), (0, missing), (0, 0)])
    return pack_conv(padded, stage.panel * QUAD, 0, stage.quads * QUAD)


def pack_depthwise_words(kernel: Array) -> Array:
    """[kh, kw, 1, C] int8 -> int32 [quads][kh][kw][4]: one word a channel, its weight in the byte it multiplies."""
    kh, kw, _, channels = kernel.shape
    quads = -(-channels // QUAD)
    padded = np.zeros((kh, kw, quads, QUAD), np.int8)
    padded.reshape(kh, kw, -1)[:, :, :channels] = kernel[:, :, 0, :]
    bytes_ = padded.view(np.uint8).astype(np.uint32)
    words = (bytes_ << (8 * np.arange(QUAD, dtype=np.uint32))).astype(np.uint32)
    return np.ascontiguousarray(words.view(np.int32).transpose(2, 0, 1, 3))
