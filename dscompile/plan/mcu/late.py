"""Late pixels: what is left of each row of an image in rows beside its groups of four, where that is one pixel.

Groups that go on from row to row need the image row above the one that they write: a row of the result is spread over
all of its bytes as its first group is written, so that image and result are two rows apart. A late pixel is made with
the last group of its row, in the same loop over channels. Its depthwise results wait as bytes, each in the place of a
result of that pixel, until four rows have one: then they become columns, and a group. No row of the result is written
before all of its windows have been read, and one row apart is enough.

The byte of a channel goes where that very channel of the image has just been read, if the two are as near as they may.
So channels are gone through in the direction of the rows, and records lie in that order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from dscompile.ir.network import Array
from dscompile.plan.mcu.products import SeparableKernel
from dscompile.plan.mcu.rows import GROUP, y_row_bytes


def takes_late(kernel: SeparableKernel) -> bool:
    """Whether the last pixel of every row can be late.

    It is the only one that fills no group; results have the place of as many channels as the image has, all of them
    together, and nobody else needs what is there, as a residual.
    """
    window, dense = kernel.window, not kernel.step or kernel.step == kernel.out_channels
    return (
        kernel.depthwise.variant == "rows"
        and not kernel.by_row
        and kernel.residual is None
        and window.columns.stride == 1
        and window.columns.outputs > GROUP
        and window.columns.outputs % GROUP == 1
        and 1 < window.channels <= kernel.out_channels
        and (kernel.in_rows or dense)
    )


def with_late_pixels(kernel: SeparableKernel) -> SeparableKernel:
    """The kernel with late pixels."""
    return replace(kernel, depthwise=replace(kernel.depthwise, late=True))


def groups_of_rows(kernel: SeparableKernel) -> int:
    """Groups of late pixels, the one that is not full among them."""
    return -(-kernel.window.rows.outputs // GROUP)


def records_backwards(records: Array) -> Array:
    """Records [C][7] for a kernel that goes downwards."""
    return np.ascontiguousarray(records[::-1])


def upward_moments(kernel: SeparableKernel) -> Iterator[tuple[int, int]]:
    """The end of what is written of y, and the first byte of x that is needed after that; rows from first to last."""
    rows = kernel.window.rows
    for row in range(rows.outputs):
        above = rows.first_input(row) * kernel.window.row_bytes
        below = rows.first_input(row + 1) * kernel.window.row_bytes if row + 1 < rows.outputs else None
        for begin in _group_begins(kernel):
            is_last = begin + GROUP + 1 == kernel.window.columns.outputs
            if is_last:
                for channel in range(kernel.window.channels):
                    firsts = [] if below is None else [below]
                    if channel + 1 < kernel.window.channels:
                        firsts.append(above + _x_channel(kernel, channel + 1))
                    if firsts:
                        yield _late_byte(kernel, row, channel) + 1, min(firsts)
            needed = below if is_last else above
            if needed is not None:
                yield _written_end(kernel, row, begin + GROUP - 1), needed
        if below is not None:
            yield _written_end(kernel, row, kernel.window.columns.outputs - 1), below


def downward_moments(kernel: SeparableKernel) -> Iterator[tuple[int, int]]:
    """The first byte of y that is written, and the end of what is needed of x after that; rows from last to first."""
    rows = kernel.window.rows
    first = next(iter(_group_begins(kernel)))
    for row in reversed(range(rows.outputs)):
        last_row = rows.last_input(row) * kernel.window.row_bytes
        below = last_row + kernel.window.row_bytes
        above = (rows.last_input(row - 1) + 1) * kernel.window.row_bytes if row else 0
        for begin in reversed(_group_begins(kernel)):
            ends = above if begin == first else below
            if begin + GROUP + 1 == kernel.window.columns.outputs:
                for channel in range(kernel.window.channels):
                    rest = last_row + _x_channel(kernel, channel) if channel else 0
                    yield _late_byte(kernel, row, channel), max(ends, rest)
            yield _written_begin(kernel, row, begin), ends
        yield _written_begin(kernel, row, kernel.window.columns.outputs - 1), above


def _group_begins(kernel: SeparableKernel) -> range:
    """The first pixels of the groups of a row; the late one is behind the last of them."""
    return range(0, kernel.window.columns.outputs - 1, GROUP)


def _x_channel(kernel: SeparableKernel, channel: int) -> int:
    """Where a channel begins in a row of x."""
    return channel * kernel.window.columns.size


def _late_byte(kernel: SeparableKernel, row: int, channel: int) -> int:
    """The byte of y in which a late depthwise result waits."""
    return _y_byte(kernel, row, kernel.window.columns.outputs - 1, channel)


def _written_begin(kernel: SeparableKernel, row: int, column: int) -> int:
    """The first byte of y that a pixel has."""
    return _y_byte(kernel, row, column, 0)


def _written_end(kernel: SeparableKernel, row: int, column: int) -> int:
    """The end of the bytes of y that a pixel has."""
    return _y_byte(kernel, row, column, kernel.out_channels - 1) + 1


def _y_byte(kernel: SeparableKernel, row: int, column: int, channel: int) -> int:
    width, channels = kernel.window.columns.outputs, kernel.out_channels
    within = channel * width + column if kernel.in_rows else column * channels + channel
    return row * y_row_bytes(kernel) + within
