"""Depthwise layers by channel: four channels of an image become planes of int16 in scratch, then each its results.

A plane is [H][pitch] of x less its zero point, two neighbors of a row in a word. One SMLAD then multiplies two taps of
a window, and taps outside of the image, whose product is 0, are left out at compile time: of 5x5 windows on 6 x 6
pixels, 14 multiplications make a row of six outputs, where the windows have 30 taps. What an output takes of a row of
the image is a list (`Pattern`), the assembly is written from it (templates/mcu/planes_dsp.j2); layers of the same width
share it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from dscompile.ir.network import Array
from dscompile.plan.mcu.epilogues import IntegerEpilogue
from dscompile.plan.mcu.products import DepthwiseKernel, planes_bytes, planes_pitch
from dscompile.plan.mcu.windows import Axis, Window

KERNELS = (3, 5)
GROUP = 4  # channels that are turned at once: a word of the image
MOST_PITCH = 1020  # that LDRD can add to an address
_FREE_BYTES = 2304  # of scratch, however small the image is
_SHARE = 4  # of the image, that scratch may take in any case
_MOST_SHIFT = 8  # of int8 weights that must stay in 16 bits

Multiply = Literal["smlad", "smlabb", "smlabt", "smlatb", "smlatt"]


@dataclass(frozen=True)
class Term:
    """A multiplication for one output of a piece: of a word of the row with a word of weights, or of halves of them."""

    output: int
    multiply: Multiply
    weights: int


@dataclass(frozen=True)
class Pattern:
    """What neighboring outputs take of a row of the image: the terms of each of its words, from the first needed on."""

    outputs: int
    words: tuple[tuple[Term, ...], ...]

    @property
    def terms(self) -> int:
        """Multiplications of a row."""
        return sum(map(len, self.words))


@dataclass(frozen=True)
class Piece:
    """Outputs of a row from `begin` on; the first word of the row that they need lies `offset_bytes` from its start."""

    begin: int
    offset_bytes: int
    pattern: Pattern


@dataclass(frozen=True)
class PlanesShape:
    """What the bodies for planes are given; fields and order are those of `planes_shape` in C.

    Bytes from a pixel of y to the next and from a row to the next, zero point << right, bytes of the table of rows,
    what sums of a scaled body are multiplied by; rows, columns and channels of the image, bytes of a plane, less the
    zero point in both halves of a word.
    """

    kind: ClassVar[str] = "planes"
    y_step: int
    y_row_bytes: int
    start: int
    row_bytes: int
    factor: int
    height: int
    width: int
    channels: int
    plane_bytes: int
    offsets: int


def takes_planes(window: Window) -> bool:
    """Whether a depthwise layer can be computed by planes, if its requantization is a searched one."""
    rows, columns = window.rows, window.columns
    size, side = window.kernel
    plain = rows.stride == columns.stride <= 2 and rows.dilation == columns.dilation == 1
    inside = all(axis.taps(output) != (0, 0) for axis in (rows, columns) for output in range(axis.outputs))
    small = planes_bytes(window) <= max(_FREE_BYTES, rows.size * window.row_bytes // _SHARE)
    square = size == side and size in KERNELS and window.channels >= GROUP
    return square and plain and inside and small and planes_pitch(window) <= MOST_PITCH


def weight_shift(left: int) -> int:
    """How far weights are shifted to the left in advance, as sums are to be by `left`; the rest is done to sums."""
    return min(left, _MOST_SHIFT)


def weight_words(kernel: int) -> int:
    """Words of weights of a row: each with the next one."""
    return kernel - 1


def most_outputs(kernel: int) -> int:
    """Outputs of a piece at most: their sums and the weights of a row share ten registers."""
    return 10 - weight_words(kernel)


def row_pieces(columns: Axis) -> tuple[Piece, ...]:
    """The pieces of a row of the result, as equal as can be."""
    count = -(-columns.outputs // most_outputs(columns.kernel))
    ends = [columns.outputs * (index + 1) // count for index in range(count)]
    return tuple(piece_of(columns, begin, end) for begin, end in zip([0, *ends[:-1]], ends, strict=True))


def piece_of(columns: Axis, begin: int, end: int) -> Piece:
    """The piece of the outputs [begin, end) of a row."""
    first = columns.first_input(begin) // 2
    last = columns.last_input(end - 1) // 2
    words = tuple(
        tuple(term for output in range(begin, end) for term in _terms(columns, output, word, output - begin))
        for word in range(first, last + 1)
    )
    return Piece(begin, 4 * first, Pattern(end - begin, words))


def _terms(columns: Axis, output: int, word: int, number: int) -> list[Term]:
    """What an output takes of a word of the row: taps t and t + 1, one of them, or nothing."""
    inside = range(*columns.taps(output))
    tap = 2 * word - columns.position(output, 0)  # of the lower half
    low, high = tap in inside, tap + 1 in inside
    if low and high:
        return [Term(number, "smlad", tap)]
    if low:
        last = tap == columns.kernel - 1
        return [Term(number, "smlabt" if last else "smlabb", tap - 1 if last else tap)]
    if high:
        last = tap + 1 == columns.kernel - 1
        return [Term(number, "smlatt" if last else "smlatb", tap if last else tap + 1)]
    return []


def row_table(window: Window, code_bytes: int) -> list[tuple[int, int, int]]:
    """For each row of the result: bytes to its first row in a plane, to the weights of that, and of code to skip.

    A row of the window takes `code_bytes`.
    """
    rows, weight_bytes = window.rows, 4 * weight_words(window.rows.kernel)
    found = []
    for output in range(rows.outputs):
        first, end = rows.taps(output)
        place = rows.position(output, first) * planes_pitch(window)
        found.append((place, first * weight_bytes, (rows.kernel - (end - first)) * code_bytes))
    return found


def planes_records(kernel: Array, left: int, *constants: Array) -> Array:
    """Weights [k, k, C] int8 and n constants [C] -> records [C][k * (k - 1) + n] int32.

    Of each channel, the words of every row: a weight and its right neighbor in the halves of each, shifted to the left;
    then the constants.
    """
    weights = (kernel.astype(np.int64) << weight_shift(left)) & 0xFFFF
    words = (weights[:, :-1] | weights[:, 1:] << 16).reshape(-1, kernel.shape[-1])
    record = np.concatenate([words, *(each[None].astype(np.int64) & 0xFFFFFFFF for each in constants)])
    return np.ascontiguousarray(record.T.astype(np.uint32)).view(np.int32)


def planes_record_words(kernel: DepthwiseKernel) -> int:
    """Integers of a channel's record."""
    size = kernel.window.rows.kernel
    return size * weight_words(size) + len(kernel.epilogue.constants())


def planes_shape(kernel: DepthwiseKernel) -> PlanesShape:
    """The numbers of a kernel by planes."""
    epilogue, window = kernel.epilogue, kernel.window
    assert isinstance(epilogue, IntegerEpilogue)
    return PlanesShape(
        y_step=kernel.y_step,
        y_row_bytes=window.columns.outputs * kernel.y_step,
        start=epilogue.zero_point * (1 << epilogue.right),
        row_bytes=12 * window.rows.outputs,
        factor=1 << epilogue.left - weight_shift(epilogue.left),
        height=window.rows.size,
        width=window.columns.size,
        channels=window.channels,
        plane_bytes=window.rows.size * planes_pitch(window),
        offsets=(-kernel.zero_point & 0xFFFF) * 0x10001,
    )
