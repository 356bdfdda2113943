"""Depthwise layers by channel: four channels of an image become planes of int16 in scratch, then each its results.

A plane is [H][pitch] of x less its zero point, two neighbors of a row in a word. One SMLAD then multiplies two taps of
a window, and taps outside of the image, whose product is 0, are left out at compile time: of 5x5 windows on 6 x 6
pixels, 14 multiplications make a row of six outputs, where the windows have 30 taps. What an output takes of a row of
the image is a list (`Pattern`), which rows of its window it has is another (`RowWalk`). The assembly is written from
both (templates/mcu/planes_dsp.j2); layers of the same shape share it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from dscompile.ir.network import Array
from dscompile.plan.mcu.epilogues import IntegerEpilogue
from dscompile.plan.mcu.products import DepthwiseKernel, half_up, planes_bytes, planes_pitch
from dscompile.plan.mcu.rows import LARGEST_SHIFT
from dscompile.plan.mcu.windows import Axis, Window

KERNELS = (3, 5)
GROUP = 4  # channels that are turned at once: a word of the image
MOST_PITCH = 1020  # that LDRD can add to an address
_FREE_BYTES = 2304  # of scratch, however small the image is
ROOMS = (1 / 4, 1 / 2, 1)  # parts of the image that scratch may take, of which planning tries the larger ones too
_UNROLLED_ROWS = 8  # of a result, that are called for one by one

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

    @property
    def instructions(self) -> int:
        """Of a row of the window: its weights, two words of the image at once, products."""
        return 1 + half_up(len(self.words)) + self.terms

    def begins(self, word: int, term: Term) -> bool:
        """Whether a term of a word is the first one of its output."""
        return all(term.output != other.output for terms in self.words[:word] for other in terms)


@dataclass(frozen=True)
class Piece:
    """Outputs of a row from `begin` on; the first word of the row that they need lies `offset_bytes` from its start."""

    begin: int
    offset_bytes: int
    pattern: Pattern


@dataclass(frozen=True)
class RowRun:
    """Neighboring rows of the result whose windows have as many rows inside of the image.

    Before each of them the pointer into the plane and the one to weights go on by some bytes, from behind what the row
    before has read.
    """

    rows: int
    taps: int
    plane_step: int
    weight_step: int

    @property
    def is_long(self) -> bool:
        """Whether a loop counts its rows."""
        return self.rows > _UNROLLED_ROWS


@dataclass(frozen=True)
class RowWalk:
    """All rows of a result, then the bytes to the next plane and to the next channel's record."""

    runs: tuple[RowRun, ...]
    plane_step: int
    weight_step: int

    @property
    def most_taps(self) -> int:
        """Rows of a window inside of the image, at most."""
        return max(run.taps for run in self.runs)


@dataclass(frozen=True)
class PlanesShape:
    """What makes planes is given; fields and order are those of `planes_shape` in C.

    Rows, columns and channels of the image, bytes of a plane, less the zero point in both halves of a word. Rows that
    fill whole words are one.
    """

    kind: ClassVar[str] = "planes"
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
    square = size == side and size in KERNELS and window.channels >= GROUP
    return square and plain and inside and planes_room(window) <= ROOMS[-1] and planes_pitch(window) <= MOST_PITCH


def planes_room(window: Window) -> float:
    """Scratch of a layer by planes as a part of its image; 0 if it is hardly any."""
    size = planes_bytes(window)
    return size / (window.rows.size * window.row_bytes) if size > _FREE_BYTES else 0


def weight_shift(left: int) -> int:
    """How far weights are shifted to the left in advance, as sums are to be by `left`; the rest is done to sums."""
    return min(left, LARGEST_SHIFT)


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


def row_walk(rows: Axis, pitch: int) -> RowWalk:
    """How the rows of a result go through a plane with `pitch` bytes a row, and through the weights of a channel."""
    weight_bytes = 4 * weight_words(rows.kernel)
    found = list[RowRun]()
    place = weights = 0
    for output in range(rows.outputs):
        first, end = rows.taps(output)
        begin = rows.position(output, first) * pitch
        run = RowRun(1, end - first, begin - place, first * weight_bytes - weights)
        if found and replace(found[-1], rows=1) == run:
            found[-1] = replace(run, rows=found[-1].rows + 1)
        else:
            found.append(run)
        place, weights = begin + (end - first) * pitch, end * weight_bytes
    return RowWalk(tuple(found), rows.size * pitch - place, rows.kernel * weight_bytes - weights)


def immediates(value: int) -> list[int]:
    """Numbers with this sum, each of which ADD or SUB has room for."""
    size, sign = abs(value), -1 if value < 0 else 1
    return [sign * part for part in (size & 0xFFF, size & 0xFF000, size & 0xFF00000) if part]


def neighbor_words(kernel: Array, left: int) -> Array:
    """Weights [k, k, C] int8 -> words [k, k - 1, C] int64: a weight and its right neighbor in the halves of each.

    Both are shifted to the left by `left`.
    """
    weights = (kernel.astype(np.int64) << left) & 0xFFFF
    words: Array = weights[:, :-1] | weights[:, 1:] << 16
    return words


def planes_records(kernel: Array, left: int, *constants: Array) -> Array:
    """Weights [k, k, C] int8 and bias, multiplier and perhaps step [C] -> records [C][n + k * (k - 1)] int32.

    Of each channel, n constants, the bias last; then the words of every row.
    """
    bias, *factors = constants
    words = neighbor_words(kernel, weight_shift(left)).reshape(-1, kernel.shape[-1])
    record = np.concatenate([*(each[None].astype(np.int64) & 0xFFFFFFFF for each in (*factors, bias)), words])
    return np.ascontiguousarray(record.T.astype(np.uint32)).view(np.int32)


def planes_record_words(kernel: DepthwiseKernel) -> int:
    """Integers of a channel's record."""
    size = kernel.window.rows.kernel
    return size * weight_words(size) + len(kernel.epilogue.constants())


def factor_shift(epilogue: IntegerEpilogue) -> int:
    """How far sums of weights that are shifted in advance are still to be shifted."""
    return epilogue.left - weight_shift(epilogue.left)


def planes_shape(kernel: DepthwiseKernel) -> PlanesShape:
    """The numbers of a kernel by planes."""
    window = kernel.window
    rows, columns = window.rows.size, window.columns.size
    whole = columns % 2 == 0
    return PlanesShape(
        height=1 if whole else rows,
        width=rows * columns if whole else columns,
        channels=window.channels,
        plane_bytes=rows * planes_pitch(window),
        offsets=(-kernel.zero_point & 0xFFFF) * 0x10001,
    )
