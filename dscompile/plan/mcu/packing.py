"""Weights of fewer than eight bits, or of fewer than all numbers, in the order in which standalone C unpacks them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dscompile.artifact import PackedWeights
from dscompile.ir.network import Array
from dscompile.ir.storage import FOUR, KEPT, Storage, in_fours, is_narrow, is_sparse
from dscompile.plan.mcu.mve import VECTOR, step_values
from dscompile.plan.mcu.products import (
    ConvKernel,
    DenseKernel,
    SeparableKernel,
    half_up,
    rows_steps,
)
from dscompile.plan.program import Program

Bytes = NDArray[np.int8]
Packed = ConvKernel | SeparableKernel | DenseKernel

_WORD = 8  # weights in 32 bits


def packed_blocks(weights: Array, block: int, storage: Storage) -> Bytes:
    """[depth, C_out] int8 -> bytes for every `block` channels, then for the rest; all in one row.

    int4: [depth][channels / 2, rounded up], the even channel in the lower half of a byte. 2:4: for each four of depth
    the places of what is left, two bits each, of two channels a byte, then the two weights of each channel, which
    int4-2:4 has in one byte.
    """
    starts = range(0, weights.shape[1], block)
    pack = _sparse if is_sparse(storage) else _halves
    return np.concatenate([pack(weights[:, start : start + block], storage).reshape(-1) for start in starts])


def packed_pairs(weights: Array) -> Bytes:
    """[depth, C_out] int8 from -8 to 7 -> [C_out / 2][depth], both rounded up, of two channels a byte.

    The even channel is in the upper half; the lower one holds the odd channel + 8, from 0 to 15.
    """
    depth, channels = weights.shape
    padded = np.zeros((-(-depth // FOUR) * FOUR, -(-channels // 2) * 2), np.int16)
    padded[:depth, :channels] = weights
    return np.ascontiguousarray(_as_bytes(padded[:, 1::2] + 8, padded[:, 0::2]).T)


def packed_halves(weights: Array) -> Bytes:
    """As `packed_pairs`, for columns in which product j is beside product j + depth / 2: both are two bytes apart.

    The half of the depth is rounded up to an even number.
    """
    depth, channels = weights.shape
    half, steps = half_up(depth), rows_steps(depth, "int4")
    ordered = np.zeros((steps, 2, channels), np.int8)
    ordered[:half, 0] = weights[:half]
    ordered[: depth - half, 1] = weights[half:]
    # Bytes 0 and 2 of a word are a step, bytes 1 and 3 the next.
    return packed_pairs(ordered.reshape(-1, 2, 2, channels).transpose(0, 2, 1, 3).reshape(-1, channels))


def packed_rows(weights: Array) -> Bytes:
    """[depth, C_out] int8 from -8 to 7 -> [C_out][depth / 2], in whole words of eight; the first in the lowest bits."""
    depth, channels = weights.shape
    rows = np.zeros((channels, -(-depth // _WORD) * _WORD), np.int16)
    rows[:, :depth] = weights.T
    return _paired(rows)


def vector_steps(weights: Array, storage: Storage) -> Bytes:
    """[depth, C_out] int8 -> [C_out / 2][steps][bytes of a step], both rounded up; zeros fill up.

    A step is 16 values of depth of the even channel, then of the odd one; of four bits both share a byte, the even
    channel its lower half. Where two of four are left out it is 32 values: the places of what is left in eight bytes,
    two bits each, of two channels a byte, then 16 weights of each channel.
    """
    depth, channels = weights.shape
    values = step_values(storage)
    padded = np.zeros((-(-depth // values) * values, -(-channels // 2) * 2), np.int16)
    padded[:depth, :channels] = weights
    places, pairs = [], padded.shape[1] // 2
    if is_sparse(storage):
        numbers, kept = _kept(padded)
        places = [_paired(numbers).T.reshape(pairs, -1, VECTOR // KEPT)]
        padded = kept.reshape(-1, padded.shape[1])
    steps = padded.reshape(-1, VECTOR, pairs, 2).transpose(2, 0, 3, 1)
    packed = _as_bytes(steps[:, :, 0], steps[:, :, 1]) if is_narrow(storage) else steps.astype(np.int8)
    return np.concatenate([*places, packed.reshape(pairs, len(padded) // VECTOR, -1)], axis=2)


def channel_rows(weights: Array, storage: Storage) -> Bytes:
    """[depth, C_out] int8 -> [rows][C_out], a byte for each channel.

    int4: a row is two values of depth, the first in the lower halves. 2:4: for every eight values a row of the places
    of what is left, two bits each, from the lowest on; then four rows of weights, or two of four bits. Where there are
    only four values at the end, half of their row of places is used, and half as many rows follow.
    """
    if not is_sparse(storage):
        return _paired(weights.T.astype(np.int16)).T.copy()
    numbers, kept = _kept(weights)
    fours = _as_bytes(kept[:, 0], kept[:, 1])[:, None] if is_narrow(storage) else kept.astype(np.int8)
    places = _paired(numbers.T).T
    return np.concatenate(
        [part for index, row in enumerate(places) for part in (row[None], *fours[2 * index : 2 * index + 2])]
    )


def packed_kernels(program: Program) -> Iterator[tuple[str, Packed, int]]:
    """Layers whose weights do not have a byte each, in the order of the program: name, kernel, bytes of the weights."""
    kernels = {function.symbol: function.kernel for function in program.functions}
    for step in program.steps:
        for call in step.calls:
            kernel = kernels[call.symbol]
            if isinstance(kernel, Packed) and kernel.storage != "plain":
                place = [parameter.name for parameter in kernel.parameters].index("weights")
                key = call.operands[place].name
                yield key.removesuffix(".weights"), kernel, program.constants[key].nbytes


def packed_weights(program: Program) -> tuple[PackedWeights, ...]:
    """The layers whose weights do not have a byte each, in the order of the program."""
    return tuple(
        PackedWeights(name, kernel.storage, size, kernel.depth * kernel.out_channels)
        for name, kernel, size in packed_kernels(program)
    )


def _as_bytes(lower: NDArray[np.int16], upper: NDArray[np.int16]) -> Bytes:
    """Two halves as one byte."""
    return ((lower & 15) | (upper & 15) << 4).astype(np.uint8).view(np.int8)


def _paired(values: NDArray[np.int16]) -> Bytes:
    """[..., n] four-bit numbers -> [..., n / 2, rounded up] bytes."""
    even = np.zeros((*values.shape[:-1], -(-values.shape[-1] // 2) * 2), np.int16)
    even[..., : values.shape[-1]] = values
    return _as_bytes(even[..., 0::2], even[..., 1::2])


def _halves(weights: Array, storage: Storage) -> Bytes:
    assert is_narrow(storage)
    return _paired(weights.astype(np.int16))


def _sparse(weights: Array, storage: Storage) -> Bytes:
    """[depth, channels] -> [depth / 4, rounded up][bytes of a group]."""
    numbers, kept = _kept(weights)
    values = kept.transpose(0, 2, 1)  # [groups, channels, 2]
    packed = _as_bytes(values[..., 0], values[..., 1]) if is_narrow(storage) else values.astype(np.int8)
    return np.concatenate([_paired(numbers), packed.reshape(len(kept), -1)], axis=1)


def _kept(weights: NDArray[np.generic]) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """[depth, channels] -> places of two of four, four bits [groups, channels], and the two [groups, 2, channels]."""
    fours = in_fours(weights).astype(np.int16)  # [groups, 4, channels]
    # Weights other than 0 first, in their order; where there are fewer than two, the first place stands for a 0.
    order = np.argsort(fours == 0, axis=1, kind="stable")[:, :KEPT]
    kept = np.take_along_axis(fours, order, axis=1)
    places = np.where(kept != 0, order, 0)
    return (places[:, 0] | places[:, 1] << 2).astype(np.int16), kept
