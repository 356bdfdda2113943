"""Int8 weights in words: as many neighbouring input channels as a kernel sums at once lie together. Pure NumPy."""

from __future__ import annotations

import numpy as np

from dscompile.ir.network import Array


def pack_int8_conv(kernel: Array, panel: int, count: int, word: int) -> Array:
    """[kh, kw, C, N] -> [count / panel][kh][kw][ceil(C / word)][panel][word], zeros beyond C and N."""
    kh, kw, channels, filters = kernel.shape
    words = -(-channels // word)
    padded = np.zeros((kh, kw, words * word, count), np.int8)
    padded[:, :, :channels, :filters] = kernel
    split = padded.reshape(kh, kw, words, word, count // panel, panel)
    return np.ascontiguousarray(split.transpose(4, 0, 1, 2, 5, 3))


def unsigned_start(kernel: Array, count: int) -> Array:
    """[kh, kw, C, N] -> [count] int32: what to add to sums of pixels that have 128 added; zeros beyond N."""
    return np.pad(-128 * kernel.astype(np.int32).sum(axis=(0, 1, 2)), (0, count - kernel.shape[3])).astype(np.int32)


def pack_int8_dense(kernel: Array, panel: int, count: int, word: int) -> Array:
    """[K, N] -> [count / panel][ceil(K / word)][panel][word], zeros beyond K and N."""
    return pack_int8_conv(kernel[None, None], panel, count, word)[:, 0, 0]


def pack_int8_depthwise(kernel: Array, lanes: int, word: int = 1) -> Array:
    """[kh, kw, 1, C] -> [ceil(C / lanes)][kh][kw][lanes], zeros beyond C; rows as words where `word` is more than 1.

    Then -> [ceil(C / lanes)][kh][2][ceil((kw + 1) / word)][lanes][word], the second copy moved by one tap.
    """
    kh, kw, _, channels = kernel.shape
    blocks = -(-channels // lanes)
    padded = np.zeros((kh, kw, blocks * lanes), np.int8)
    padded[:, :, :channels] = kernel[:, :, 0, :]
    if word == 1:
        return np.ascontiguousarray(padded.reshape(kh, kw, blocks, lanes).transpose(2, 0, 1, 3))
    words = kw // word + 1
    copies = np.zeros((kh, 2, words * word, blocks * lanes), np.int8)
    copies[:, 0, :kw] = copies[:, 1, 1 : kw + 1] = padded
    return np.ascontiguousarray(copies.reshape(kh, 2, words, word, blocks, lanes).transpose(4, 0, 1, 2, 5, 3))


def pack_int8_vector(vector: Array, count: int) -> Array:
    """[C] -> [count], zeros beyond C."""
    return np.pad(np.asarray(vector, np.int8), (0, count - len(vector)))


def smallest_weight(kernel: Array) -> int:
    """-128 where some weight is, else -127: kernels are made for one or the other."""
    return -128 if (kernel == -128).any() else -127
