"""Depthwise windows of a channels-last image: its rows are turned into a ring in scratch, channel by channel, as int16.

The ring is [C][k][pitch]: of each channel as many rows as a k x k window has, row r of the image in place r % k, x less
its zero point, two neighbors of a row in a word, with cells of 0 on both sides and rows of 0 where windows reach out of
the image. A word then holds two products of a window (plan/mcu/planes.py: Pattern), one instruction for both: four
outputs of a 3x3 window take 11 instructions a row, where pixels with four channels in a word take 10 a tap. Any image
will do, whatever its zero point and whoever made it; turning it takes about two instructions for a byte.

Weights of a channel are those of all rows and once more of all but the last, so that those of a window whose first row
has any place in the ring follow each other. Outputs go in groups of four, counted through all rows, as columns for the
pointwise product (plan/mcu/rows.py: GROUP).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from dscompile.ir.network import Array
from dscompile.plan.mcu.planes import KERNELS, MOST_PITCH, Pattern, neighbor_words, piece_of, weight_words
from dscompile.plan.mcu.products import DepthwiseKernel, half_up
from dscompile.plan.mcu.rows import GROUP
from dscompile.plan.mcu.windows import Axis, Window

_WORD = 4
_SMALLEST = 3  # outputs of a row: a group that is not full lies in the last one


@dataclass(frozen=True)
class Run:
    """Neighboring outputs [begin, begin + outputs) of a row whose columns begin at place `slot` of their group.

    The first word that they read of a row of the ring lies `offset_bytes` from its start. `repeats` such runs, of whole
    groups, follow each other.
    """

    begin: int
    outputs: int
    slot: int
    offset_bytes: int
    pattern: Pattern
    repeats: int = 1

    @property
    def is_last_of_group(self) -> bool:
        """Whether its group is full then."""
        return self.slot + self.outputs == GROUP


def takes_turned(window: Window) -> bool:
    """Whether a depthwise window can be of a turned image."""
    rows, columns = window.rows, window.columns
    size, side = window.kernel
    plain = rows.stride == columns.stride <= 2 and rows.dilation == columns.dilation == 1
    inside = all(axis.taps(output) != (0, 0) for axis in (rows, columns) for output in range(axis.outputs))
    large = columns.outputs >= _SMALLEST and window.channels >= _WORD
    whole = columns.size % 2 == 0 and columns.before >= 0 and turned_pitch(window) <= MOST_PITCH
    return size == side and size in KERNELS and plain and inside and large and whole


def words_before(window: Window) -> int:
    """Words of padding in front of a row of a channel."""
    return half_up(window.columns.before)


def words_behind(window: Window) -> int:
    """Words of padding behind a row of a channel."""
    columns = window.columns
    beyond = columns.position(columns.outputs - 1, columns.kernel - 1) + 1 - columns.size
    return half_up(max(beyond, 0))


def turned_pitch(window: Window) -> int:
    """Bytes of a row of a channel in the ring."""
    return _WORD * (words_before(window) + window.columns.size // 2 + words_behind(window))


def ring_bytes(window: Window) -> int:
    """Bytes of the ring, and of the word that is read behind it."""
    return window.channels * window.rows.kernel * turned_pitch(window) + _WORD


def turned_runs(columns: Axis, slot: int) -> list[Run]:
    """The runs of a row of the result whose first output has the place `slot` in its group."""
    before = 2 * half_up(columns.before)
    last = columns.position(columns.outputs - 1, columns.kernel - 1)
    padded = Axis(before + last + 1, columns.outputs, columns.kernel, columns.stride, columns.before - before)
    found: list[Run] = []
    begin = 0
    while begin < columns.outputs:
        outputs = min(GROUP - slot, columns.outputs - begin)
        piece = piece_of(padded, begin, begin + outputs)
        before_it = found[-1] if found else None
        if before_it is not None and (before_it.slot, before_it.pattern) == (slot, piece.pattern):
            found[-1] = replace(before_it, repeats=before_it.repeats + 1)
        else:
            found.append(Run(begin, outputs, slot, piece.offset_bytes, piece.pattern))
        begin, slot = begin + outputs, 0
    return found


def group_slots(kernel: DepthwiseKernel) -> list[int]:
    """The places in their groups that the first outputs of rows have, row after row until they repeat."""
    slots = [0]
    while not kernel.by_row and (slot := (slots[-1] + kernel.window.columns.outputs) % GROUP) != 0:
        slots.append(slot)
    return slots


def runs_of_slots(kernel: DepthwiseKernel) -> list[list[Run]]:
    """The runs of a row for each of the places that `group_slots` has."""
    return [turned_runs(kernel.window.columns, slot) for slot in group_slots(kernel)]


def runs_of_rows(kernel: DepthwiseKernel) -> list[list[Run]]:
    """The runs of each row of the result."""
    ways = runs_of_slots(kernel)
    return [ways[row % len(ways)] for row in range(kernel.window.rows.outputs)]


def tap_words(window: Window) -> int:
    """Integers that the weights of a channel take."""
    return (2 * window.rows.kernel - 1) * weight_words(window.rows.kernel)


def turned_records(kernel: Array, left: int, *constants: Array) -> Array:
    """Weights [k, k, C] int8 and n constants [C] -> int32: weights [C][2k - 1][k - 1], then constants [C][n].

    Words are those of `neighbor_words`, whose rows are there twice, but for the last.
    """
    rows = neighbor_words(kernel, left)
    words = np.concatenate([rows, rows[:-1]]).reshape(-1, kernel.shape[-1])
    last = np.stack([each.astype(np.int64) & 0xFFFFFFFF for each in constants])
    return np.concatenate([words.T.reshape(-1), last.T.reshape(-1)]).astype(np.uint32).view(np.int32)


@dataclass(frozen=True)
class TurnedShape:
    """What bodies for turned images are given; fields and order are those of `turned_shape` in C.

    Zero point << right; bytes of the weights of the first half of the channels, and of all.
    """

    kind: ClassVar[str] = "turned"
    start: int
    half_bytes: int
    record_bytes: int
