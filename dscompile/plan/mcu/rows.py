"""Images in rows: [H][C][W] of bytes, int8 + 128. What a depthwise convolution wants on a core with 16-bit SIMD.

Neighbors in a row of a channel are neighbors in memory, so a word holds what two outputs of a 3x3 window need of it.
A zero point of -128 is a byte of 0: taps outside of the image are left out, and nothing has to be subtracted. There are
no cells for borders; the first and the last outputs of a row have inner loops of their own.

Outputs go in groups of four, counted through all rows; their depthwise results are columns of int16 pairs, in which
channel j is beside channel j + C / 2. A row falls into segments at the limits of groups, a segment into pieces of one
or two outputs. The assembly for pieces is a few blocks of code (templates/mcu/depthwise_rows.j2), and a loop over
channels that goes through up to four of them: layers of any size share it.

Where one output of each row is more than its groups of four, it may be `late` (plan/mcu/late.py): it is made with the
last group, a byte in each channel, and four rows later multiplied with those of three others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from dscompile.ir.network import Array
from dscompile.plan.mcu.products import ConvKernel, SeparableKernel
from dscompile.plan.mcu.windows import Axis, Window

GROUP = 4
SLACK_BYTES = 4  # behind an image in rows: words of the last outputs reach beyond it
RECORD_WORDS = 7
LARGEST_SHIFT = 8  # of int8 weights that must stay in 16 bits
USUAL_RIGHT = 12  # tried first: layers with the same shift after the multiplication share code
_SMALLEST = 3  # rows and columns
LARGEST_SIZE = 32_767  # of rows, columns and channels: int16_t has them in C
_KERNEL = 3
_TAPS = {(0, 3), (1, 3), (0, 2)}  # of an output: all, or all but the first or the last


Block = Literal[
    "one",
    "one_right",
    "two",
    "two_right",
    "first_two",
    "two_left",
    "one_left",
    "ones_1",
    "ones_2",
    "ones_3",
    "two_late",
    "two_late_right",
    "up",
    "down",
]
"""A block of the assembly. `right` blocks lack the last tap of their last output, `left` ones the first of their first.

`one`, `two`: the last outputs of a segment. `first_two`, `two_left`: two outputs, of stride 1, then the last ones.
`ones_2`: two outputs of stride 2, then the last one. `one_left`: then whatever is left of the segment. `two_late`: the
last two outputs of a segment, and a late one. `up` and `down` move the weights of a channel by a row, where the first
or the last row of the window is missing.
"""


@dataclass(frozen=True)
class Piece:
    """One or two neighboring outputs; `left`: the first has no first tap, `right`: the last has no last one."""

    outputs: int
    left: bool
    right: bool


@dataclass(frozen=True)
class Segment:
    """Outputs [begin, end) of a row whose results lie in one group, or `repeats` such segments one after the other.

    The first has the place `slot` in its group; a fifth one is late.
    """

    begin: int
    end: int
    slot: int
    pieces: tuple[Piece, ...]
    repeats: int = 1

    @property
    def base(self) -> int:
        """The first output of the group, counted from the beginning of the row; negative in a row before."""
        return self.begin - self.slot

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks of assembly that its pieces take, in the order in which they run."""
        stride = 1 if len(self.pieces) < self.end - self.begin or self.end - self.begin == 1 else 2
        return segment_blocks(stride, self.end - self.begin, left=self.pieces[0].left, right=self.pieces[-1].right)

    @property
    def is_last_of_group(self) -> bool:
        """Whether the group ends with the segment."""
        return self.slot + self.end - self.begin == GROUP


def segment_blocks(stride: int, outputs: int, *, left: bool, right: bool) -> tuple[Block, ...]:
    """The blocks of assembly for up to four outputs; `left`, `right`: the first and the last tap is missing there.

    Five outputs, of stride 1, are four and a late one.
    """
    if outputs > GROUP:
        return ("two_left" if left else "first_two", "two_late_right" if right else "two_late")
    one: Block = "one_right" if right else "one"
    two: Block = "two_right" if right else "two"
    if left and (stride == 2 or outputs == 1):
        return ("one_left", *_ones(outputs - 1, one))
    if stride == 2:
        return _ones(outputs, one)
    ends: tuple[tuple[Block, ...], ...] = ((), (one,), (two,))
    if left:
        return ("two_left", *ends[outputs - 2])
    return ("first_two", *ends[outputs - 2]) if outputs > 2 else ends[outputs]


def _ones(outputs: int, last: Block) -> tuple[Block, ...]:
    """Single outputs, of which the last one is `last`; those before it are one run of code."""
    runs: tuple[Block, ...] = ("ones_1", "ones_2", "ones_3")
    return (*((runs[outputs - 2],) if outputs > 1 else ()), *((last,) if outputs else ()))


@dataclass(frozen=True)
class RowsWord:
    """How the assembly goes through its blocks for some outputs, and how far: an entry of its table.

    `first`, then `following` if that is `one_left`, then `last`; '' is the end of a channel. `advance` are bytes along
    the row, `rest` the bytes from the columns that were written to those of the next channel.
    """

    first: str
    following: str
    last: str
    advance: int
    rest: int


LATE_BLOCKS: tuple[Block, ...] = ("two_late", "two_late_right")
_ADVANCE: dict[Block, int] = {
    "one_left": 1,
    "two_left": 1,
    "first_two": 2,
    "ones_1": 2,
    "ones_2": 4,
    "ones_3": 6,
    "two_late": 2,
    "two_late_right": 2,
}


def rows_table(parts: frozenset[str]) -> list[RowsWord]:
    """The table of a body: for each stride among its `parts`, then for late outputs if it has them."""
    words = [word for stride in (1, 2) if f"stride {stride}" in parts for word in rows_words(stride, parts)]
    return words + (late_words(parts) if not parts.isdisjoint(LATE_BLOCKS) else [])


def rows_words(stride: int, parts: frozenset[str]) -> list[RowsWord]:
    """The table for a stride: one to four outputs with all taps, without the first, without the last, without both.

    What needs blocks that are not among `parts` never occurs.
    """
    return [_word(stride, outputs, ends, parts) for ends in range(4) for outputs in range(1, GROUP + 1)]


def late_words(parts: frozenset[str]) -> list[RowsWord]:
    """The table for four outputs and a late one, which comes behind: with the same ends as `rows_words`."""
    return [_word(1, GROUP + 1, ends, parts) for ends in range(4)]


def _word(stride: int, outputs: int, ends: int, parts: frozenset[str]) -> RowsWord:
    blocks = segment_blocks(stride, outputs, left=ends % 2 > 0, right=ends > 1)
    found = [block if block in parts else "" for block in blocks]
    following = [""] if found[0] != "one_left" else []
    first, after, last = (found[0], *following, *found[1:], "", "")[:3]
    advance = sum(_ADVANCE.get(block, 0) for block in blocks)
    return RowsWord(first, after, last, advance, 4 * max(GROUP - outputs, 0))


def takes_window(window: Window) -> bool:
    """Whether there are loops for a depthwise window."""
    rows, columns = window.rows, window.columns
    small = min(rows.size, columns.size, rows.outputs, columns.outputs) < _SMALLEST
    if max(rows.size, columns.size, window.channels) > LARGEST_SIZE:
        return False
    square = window.kernel == (_KERNEL, _KERNEL) and rows.dilation == columns.dilation == 1
    if small or not square or rows.stride != columns.stride or rows.stride > 2:
        return False
    return all(axis.taps(output) in _TAPS for axis in (rows, columns) for output in range(axis.outputs))


def row_segments(columns: Axis, slot: int, *, late: bool = False) -> tuple[Segment, ...]:
    """The segments of a row whose first output has the place `slot` in its group; the last output may be `late`."""
    found: list[Segment] = []
    begin = 0
    while begin < columns.outputs:
        end = min(begin + GROUP - slot, columns.outputs)
        end += late and end == columns.outputs - 1
        pieces = _pieces(columns, begin, end)
        last = found[-1] if found else None
        if last is not None and (last.slot, last.pieces) == (slot, pieces):
            found[-1] = Segment(last.begin, last.end, slot, pieces, last.repeats + 1)
        else:
            found.append(Segment(begin, end, slot, pieces))
        begin, slot = end, 0
    return tuple(found)


def _pieces(columns: Axis, begin: int, end: int) -> tuple[Piece, ...]:
    """Two outputs at once where they are neighbors in the image."""
    most = 2 if columns.stride == 1 else 1
    pieces = []
    for output in range(begin, end, most):
        outputs = min(most, end - output)
        first, last = columns.taps(output)[0], columns.taps(output + outputs - 1)[1]
        pieces.append(Piece(outputs, first > 0, last < _KERNEL))
    return tuple(pieces)


def row_slots(columns: Axis) -> tuple[int, ...]:
    """The places in their groups that the first outputs of rows have, row after row until they repeat."""
    slots = [0]
    while (slot := (slots[-1] + columns.outputs) % GROUP) != 0:
        slots.append(slot)
    return tuple(slots)


def group_places(width: int, row_bytes: int, *, descending: bool) -> tuple[tuple[int, int, int], ...]:
    """Bytes from the first output of a group to the other three, in an image in rows.

    First of a group that lies in one row; then, unless all do, of those with 1, 2 and 3 outputs before the row ends.
    """
    lefts = (GROUP,) if width % GROUP == 0 else (GROUP, 1, 2, 3)
    return tuple(_places(width, row_bytes, left, -1 if descending else 1) for left in lefts)


def _places(width: int, row_bytes: int, left: int, direction: int) -> tuple[int, int, int]:
    if left >= GROUP:
        return (direction, 2 * direction, 3 * direction)
    column = width - left if direction > 0 else left - 1
    places = [row_place(column + direction * index, width, row_bytes) - column for index in range(1, GROUP)]
    return (places[0], places[1], places[2])


def row_place(output: int, width: int, row_bytes: int) -> int:
    """Bytes from a row's first output to another one, of the same channel."""
    return output // width * row_bytes + output % width


def y_row_bytes(kernel: ConvKernel | SeparableKernel) -> int:
    """Bytes of a row of y."""
    return kernel.window.columns.outputs * kernel.out_channels


def row_records(kernel: Array, left: int, bias: Array, multiplier: Array) -> Array:
    """Weights [3, 3, C] int8 and constants [C] -> records [C][7] int32.

    Of each channel: the first and the last weight of every row in the halves of a word, then the middle weights of two
    rows in a word and that of the third; bias, multiplier. Weights are shifted left by `left`, as sums are to be.
    """
    weights = (kernel.astype(np.int64) << left) & 0xFFFF
    outer = weights[:, 0] | weights[:, 2] << 16
    middle = np.stack([weights[0, 1] | weights[1, 1] << 16, weights[2, 1]])
    words = np.concatenate([outer, middle, bias[None].astype(np.int64), multiplier[None].astype(np.int64)])
    return np.ascontiguousarray(words.T.astype(np.uint32)).view(np.int32)


def lowered_bias(bias: Array, weights: Array, left: int) -> Array:
    """The bias [C_out] of a product with weights [depth, C_out], for columns that hold 128 more than the values.

    It may leave 32 bits and come back from the other end: so do the sums, and the two meet.
    """
    more = weights.astype(np.int64).sum(axis=0) * 128 << left
    lowered: Array = ((bias.astype(np.int64) - more) & 0xFFFFFFFF).astype(np.uint32).view(np.int32)
    return lowered
