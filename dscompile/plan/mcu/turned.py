"""Large depthwise windows of a channels-last image: its rows are turned into scratch, channel by channel.

A ring of as many rows as a window has holds [C][W + 4] bytes of each, with cells of padding at both ends, whose value
is the zero point; a last row is padding alone, for rows of windows outside of the image. Two words of such a row hold
what four neighboring outputs of a 5x5 window need of it, or two with stride 2: 23 instructions for 20 products, where
pixels with four channels in a word take 50. Any image will do, whatever its zero point and whoever made it; turning it
takes about two instructions for a byte that 25 products read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dscompile.ir.network import Array
from dscompile.plan.mcu.products import DepthwiseKernel
from dscompile.plan.mcu.rows import GROUP
from dscompile.plan.mcu.windows import Axis, Window

TURNED_KERNEL = 5
CELLS = 4  # of padding in a row of a channel
_SMALLEST = 8  # rows and columns
_WORD = 4


def takes_turned(window: Window) -> bool:
    """Whether a depthwise window can be of a turned image: 5x5, whole words and groups, not too much of it padding."""
    rows, columns = window.rows, window.columns
    square = window.kernel == (TURNED_KERNEL, TURNED_KERNEL)
    plain = rows.stride == columns.stride <= 2 and rows.dilation == columns.dilation == 1
    around = 1 <= columns.before <= 2 and _last_byte(columns) < columns.size + CELLS
    words = columns.size % _WORD == columns.outputs % GROUP == window.channels % _WORD == 0
    inside = all(rows.taps(row) != (0, 0) for row in range(rows.outputs))
    large = min(rows.size, columns.size) >= _SMALLEST
    return square and plain and around and words and inside and large


def _last_byte(columns: Axis) -> int:
    """Where the last tap of the last output lies, in the cells of a channel."""
    return (columns.outputs - 1) * columns.stride + TURNED_KERNEL - 1


def turned_outputs(window: Window) -> tuple[int, ...]:
    """Where the windows begin that a body computes at once, in bytes from the first."""
    return (0, 1, 2, 3) if window.columns.stride == 1 else (0, 2)


def turned_row_bytes(window: Window) -> int:
    """Bytes of a turned row."""
    return window.channels * (window.columns.size + CELLS)


def ring_bytes(window: Window) -> int:
    """Bytes of the ring and the row of padding behind it."""
    return (TURNED_KERNEL + 1) * turned_row_bytes(window)


def turned_records(kernel: Array, *constants: Array) -> Array:
    """Weights [5, 5, C] int8 and n constants [C] -> records [C][15 + n] int32.

    Of each channel, three words for every row: weights 0 and 2, 1 and 3, 2 and 4 in the halves of one; then the
    constants.
    """
    weights = kernel.astype(np.int64) & 0xFFFF
    words = [weights[:, tap] | weights[:, tap + 2] << 16 for tap in range(3)]
    rows = np.stack(words, axis=1).reshape(-1, kernel.shape[-1])
    record = np.concatenate([rows, *(each[None].astype(np.int64) & 0xFFFFFFFF for each in constants)])
    return np.ascontiguousarray(record.T.astype(np.uint32)).view(np.int32)


def record_words(kernel: DepthwiseKernel) -> int:
    """Integers of a channel's record."""
    return 3 * TURNED_KERNEL + len(kernel.epilogue.constants())


@dataclass(frozen=True)
class TurnedShape:
    """What a body for turned images is given; fields and order are those of `turned_shape` in C.

    Bytes from a channel to the next; factor of sums (2^left) and zero point << right.
    """

    kind: ClassVar[str] = "turned"
    channel_step: int
    factor: int
    start: int
