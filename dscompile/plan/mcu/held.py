"""Products of short columns that stay in registers for all channels: pointwise layers of up to 16 channels.

A column of up to four words leaves room for that of a second pixel: a word of weights is then loaded for both. What a
channel takes lies in a record, in the order in which it is needed, and is loaded several words at once; its weights are
int16, two in a word, shifted to the left in advance, so that sums begin with the bias. Columns are made from the
pixels as they lie: those of a group may have channels of other groups between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from dscompile.ir.network import Array
from dscompile.plan.mcu.epilogues import Finish, IntegerEpilogue, finish_of
from dscompile.plan.mcu.products import ConvKernel, half_up

HELD_DEPTH = 16  # at most: eight registers
_REGISTERS = ("r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11")  # for columns; what they leave, for other numbers
_MOST_STEP = 255  # bytes that a store can go on by
_INT16 = np.iinfo(np.int16)

Load = tuple[tuple[str, str], ...]  # (register, word of the record), in the order of both


@dataclass(frozen=True)
class HeldBody:
    """All pixels of a layer, or of a row of it, with columns of `depth` values.

    With a `lookup`, results are read from a table. With y in rows (plan/mcu/rows.py), channels of it are `row_step`
    bytes apart, and pixels of a group lie side by side.
    """

    kind: ClassVar[str] = "held"
    finish: Finish
    depth: int
    lookup: bool = False
    row_step: int = 0

    @property
    def words(self) -> int:
        """Words of a column."""
        return half_up(self.depth)

    @property
    def pixels(self) -> int:
        """Pixels whose columns are held at once."""
        return held_pixels(self.depth)

    @property
    def record_words(self) -> int:
        """Integers of a channel: bias, weights, [step], multiplier, start."""
        return record_words(self.depth, stepped=self.finish.step)

    @property
    def columns(self) -> tuple[tuple[str, ...], ...]:
        """The registers of each pixel's column."""
        return tuple(_REGISTERS[i * self.words : (i + 1) * self.words] for i in range(self.pixels))

    @property
    def steps_pixels(self) -> bool:
        """Whether storing wants the bytes from a pixel of y to the next."""
        return self.pixels > 1 and not self.row_step

    @property
    def sums(self) -> tuple[str, ...]:
        """The register of each pixel's sum; the last one gets the bias."""
        return ("r2", "r3")[: self.pixels]

    @cached_property
    def kept(self) -> dict[str, str]:
        """What stays in registers for all channels (`step`, `table`, `end`) if it then takes fewer instructions."""
        wanted = [*(["step"] if self.steps_pixels else []), *(["table"] if self.lookup else []), "end"]
        free = list(_REGISTERS[self.pixels * self.words :])
        best, cost = 0, self._loads(0)
        for count in range(1, min(len(wanted), len(free)) + 1):
            if (each := self._loads(count)) < cost:
                best, cost = count, each
        return dict(zip(wanted[:best], free[::-1], strict=False))

    def _loads(self, kept: int) -> float:
        """Loads of a channel where `kept` of what is wanted stays in registers."""
        others = self.steps_pixels + self.lookup - kept
        end = 0.5 if others >= 0 and (kept or not self.steps_pixels) else 0.0  # of a turn of two; or a word of a load
        return len(_record_loads(self, self._weight_registers(kept))) + max(others, 0) + end

    def _weight_registers(self, kept: int) -> list[str]:
        free = list(_REGISTERS[self.pixels * self.words :])
        return [*(["r3"] if self.pixels == 1 else []), *free[: len(free) - kept], "r12", "lr"]

    @cached_property
    def loads(self) -> tuple[Load, ...]:
        """The loads of a record, as many words at once as there are registers."""
        return tuple(_record_loads(self, self._weight_registers(len(self.kept))))

    @property
    def spare(self) -> str:
        """A register that is free while a step is added to sums."""
        (load,) = (each for each in self.loads if any(word == "step" for _, word in each))
        taken = [register for register, word in load if not word.isdigit() and word != "bias"]
        return next(each for each in self._weight_registers(len(self.kept)) if each not in taken)


def _record_loads(body: HeldBody, registers: list[str]) -> list[Load]:
    """Words of a record by loads into `registers`; one of these is free where a step is used."""
    words = [*map(str, range(body.words)), *(["step"] if body.finish.step else []), "multiplier", "start"]
    loads: list[Load] = []
    while words:
        room = len(registers)
        if words[0] == "step":
            room -= 1
        load = tuple(zip(registers, words[:room], strict=False))
        words = words[room:]
        loads.append(load if loads else ((body.sums[-1], "bias"), *load))
    return loads


@dataclass(frozen=True)
class HeldShape:
    """What a HeldBody is given; fields and order are those of `held_shape` in C.

    Bytes from a pixel of y to the next in its group, of the records of all channels, from the end of a group of y to
    the next one, of x on the way, from a pixel of x to the next in its group; whether channels are odd; bytes from a
    group of x to the next.
    """

    y_step: int
    record_bytes: int
    gap: int
    x_bytes: int
    x_step: int
    odd: int
    x_group: int


def held_pixels(depth: int) -> int:
    """Pixels whose columns fit in registers at once."""
    return 2 if 2 * half_up(depth) <= len(_REGISTERS) else 1


def record_words(depth: int, *, stepped: bool) -> int:
    """Integers of a record."""
    return 1 + half_up(depth) + stepped + 2


def fits_held(weights: Array, left: int) -> bool:
    """Whether weights that are shifted to the left fit in halves of words."""
    shifted = weights.astype(np.int64) << left
    return not weights.size or bool(_INT16.min <= shifted.min() and shifted.max() <= _INT16.max)


def takes_rows(depth: int, width: int) -> bool:
    """Whether y can be in rows of `width` pixels: groups lie in one row, and a store goes on to the next channel."""
    return width % held_pixels(depth) == 0 and width <= _MOST_STEP


def held_records(
    weights: Array, epilogue: IntegerEpilogue, constants: tuple[Array, ...], *, in_rows: bool = False
) -> Array:
    """Weights [depth, C_out] int8 and constants [C_out] -> records [C_out][record_words] int32.

    Words have values 0 and 2, 1 and 3 of each whole four, then neighbors. Levels `in_rows` are 128 more.
    """
    depth, channels = weights.shape
    padded = np.zeros((2 * half_up(depth), channels), np.int64)
    padded[:depth] = weights.astype(np.int64) << epilogue.left
    whole = depth // 4 * 4
    order = [each for four in range(0, whole, 4) for each in (four, four + 2, four + 1, four + 3)]
    halves = padded[[*order, *range(whole, len(padded))]] & 0xFFFF
    bias, multiplier, *step = constants
    start = np.full(channels, (epilogue.zero_point + 128 * in_rows) * (1 << epilogue.right))
    rows = [bias, *(halves[0::2] | halves[1::2] << 16), *step, multiplier, start]
    record = np.stack([np.asarray(row, np.int64) & 0xFFFFFFFF for row in rows], axis=1)
    return np.ascontiguousarray(record.astype(np.uint32)).view(np.int32)


def held_body(kernel: ConvKernel) -> HeldBody:
    """The body of a kernel whose columns are held."""
    assert isinstance(kernel.epilogue, IntegerEpilogue)
    row_step = kernel.window.columns.outputs if kernel.in_rows else 0
    return HeldBody(finish_of(kernel.epilogue), kernel.depth, kernel.lookup, row_step)


def held_shape(kernel: ConvKernel, pixels: int) -> HeldShape:
    """The numbers of a kernel for `pixels` of them, whole groups; 0: for one, which is all pixels of a group."""
    body = held_body(kernel)
    way = -1 if kernel.descending else 1
    y_step, x_step = (kernel.y_step, kernel.x_pitch) if pixels else (0, 0)
    x_group = way * body.pixels * x_step
    if body.row_step:
        gap = way * body.pixels - kernel.out_channels * body.row_step
    else:
        gap = way * body.pixels * y_step - kernel.out_channels
    return HeldShape(
        y_step=y_step,
        record_bytes=4 * body.record_words * kernel.out_channels,
        gap=gap,
        x_bytes=pixels // body.pixels * x_group,
        x_step=x_step,
        odd=kernel.out_channels % 2,
        x_group=x_group,
    )
