"""Weights of the kernels for int16 in pairs (dsp): the order in which they lie, and two of them in a half of a word.

A half of a word is a + 256 * b, of the weights a and b of two channels. Products with such halves add up to
sum(a) + 256 * sum(b); the bytes that hold a, sign-extended, make sum(a), so that what is left is 256 * sum(b). A word
of four weights then needs one sign extension in place of two. `fit_halves` says where that is exact.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dscompile.ir.network import Array
from dscompile.plan.mcu.products import half_up
from dscompile.plan.mcu.windows import Window

_INT16, _INT32 = np.iinfo(np.int16), np.iinfo(np.int32)


def fit_halves(weights: Array, low: int, high: int) -> bool:
    """Whether neighboring channels of weights [depth, C_out] int8 can share halves, for inputs within [low, high]."""
    a, b = _pairs(weights)
    halves = a + 256 * b
    if halves.size and (halves.min() < _INT16.min or halves.max() > _INT16.max):
        return False
    return all(_fits_word(each, low, high) for each in (halves, 256 * b))


def with_repeated_channel(values: Array) -> Array:
    """[..., C] -> [..., C + 1]: the channel before the last one once more, so that it is a pair with the last one."""
    return np.concatenate([values[..., :-1], values[..., -2:]], axis=-1)


def _fits_word(factors: NDArray[np.int64], low: int, high: int) -> bool:
    """Whether sums of products with factors [depth, n] fit 32 bits."""
    products = (factors * low, factors * high)
    smallest, largest = np.minimum(*products).sum(axis=0), np.maximum(*products).sum(axis=0)
    return bool((smallest >= _INT32.min).all() and (largest <= _INT32.max).all())


def _pairs(weights: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Weights [depth, C_out] of even and of odd channels, as int64; an odd last channel has a companion of zeros."""
    padded = np.zeros((len(weights), 2 * half_up(weights.shape[1])), np.int64)
    padded[:, : weights.shape[1]] = weights
    return padded[:, 0::2], padded[:, 1::2]


def shared_halves(words: Array) -> Array:
    """Bytes [..., 4] of two channels' weights by turns, a and b, -> the same with a + 256 * b in each half."""
    shared: NDArray[np.int8] = words.astype(np.int8)
    shared[..., 1::2] -= (shared[..., 0::2] < 0).astype(np.int8)
    return shared


def pair_weights(weights: Array) -> Array:
    """[depth, C_out] int8 -> [C_out / 2][depth / 2][4]: for two channels q and two products, w[a, q], w[a, q + 1],
    w[b, q], w[b, q + 1].

    Products go in fours: a, b = 0, 2 then 1, 3, as the columns of int16 pairs have them. Zeros fill up.
    """
    depth, channels = weights.shape
    padded = np.zeros((-(-depth // 4) * 4, 2 * half_up(channels)), np.int8)
    padded[:depth, :channels] = weights
    fours = padded.reshape(-1, 4, padded.shape[1] // 2, 2)[:, [0, 2, 1, 3]]
    pairs = fours.reshape(-1, 2, padded.shape[1] // 2, 2)
    return np.ascontiguousarray(pairs.transpose(2, 0, 1, 3)).reshape(-1, padded.shape[0] // 2, 4)


def half_weights(weights: Array) -> Array:
    """As `pair_weights`, with a = j and b = j + depth / 2, as the columns from images in rows have them."""
    depth, channels = weights.shape
    half = half_up(depth)
    padded = np.zeros((2 * half, 2 * half_up(channels)), np.int8)
    padded[:depth, :channels] = weights
    pairs = padded.reshape(2, half, half_up(channels), 2)
    return np.ascontiguousarray(pairs.transpose(2, 1, 0, 3)).reshape(-1, half, 4)


def words_first(weights: Array, window: Window) -> Array:
    """Weights [depth, C_out] with what whole words of the window's rows meet before what is left of each row."""
    row = window.columns.kernel * window.channels
    rows = weights.reshape(window.rows.kernel, row, -1)
    whole = row // 4 * 4
    parts = [part.reshape(-1, weights.shape[1]) for part in (rows[:, :whole], rows[:, whole:])]
    return np.concatenate(parts)


def pair_constants(*constants: Array) -> Array:
    """n arrays [C_out] int32 -> [C_out rounded up to even][n]; an odd last channel has a companion of zeros."""
    channels = len(constants[0])
    paired = np.zeros((2 * half_up(channels), len(constants)), np.int32)
    paired[:channels] = channel_constants(*constants)
    return paired


def channel_constants(*constants: Array) -> Array:
    """n arrays [C_out] of 32 bits -> [C_out][n] int32; of floats the bits."""
    return np.stack(as_words(constants), axis=1)


def as_words(constants: Sequence[Array]) -> list[Array]:
    """Arrays of 32 bits as int32; of floats the bits."""
    return [array.view(np.int32) for array in constants]


def four_weights(weights: Array) -> Array:
    """[kh, kw, C] -> [C / 4, rounded up][kh][kw][4] int16, of four channels 0, 2, 1, 3; zeros fill up."""
    rows, columns, channels = weights.shape
    padded = np.zeros((rows, columns, -(-channels // 4), 4), "<i2")
    padded.reshape(rows, columns, -1)[..., :channels] = weights
    return np.ascontiguousarray(padded.transpose(2, 0, 1, 3)[..., [0, 2, 1, 3]])


def four_rows(weights: Array) -> Array:
    """[depth, C_out] int8, none of them -128 -> [C_out / 4][depth / 4][2][2][4], zeros fill up.

    For each four channels and four values the words of `pair_weights`: those of the first two channels, then of the
    others. Two weights share a half.
    """
    channels = -(-weights.shape[1] // 4) * 4
    words = pair_weights(np.pad(weights, ((0, 0), (0, channels - weights.shape[1]))))
    fours = words.reshape(channels // 4, 2, -1, 2, 4).transpose(0, 2, 1, 3, 4)
    return shared_halves(np.ascontiguousarray(fours))
