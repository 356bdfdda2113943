"""What Thumb instructions cost on a Cortex-M4, between a least and a most, with memory that never waits.

Cycles: Arm, Cortex-M4 Processor Technical Reference Manual r0p1, tables 3-1 (core) and 7-1 (floating point), and 3.3.2
(which loads and stores overlap). Encodings: Armv7-M Architecture Reference Manual, chapter A5.

The manual leaves some of it open, and what it leaves open is the distance between the two figures: the refill of the
pipeline after a branch that is taken (1 to 3), a division (2 to 12), and whether a load or store overlaps its neighbor
(at best all do, at worst none).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

CORE = "cortex-m4"

Kind = Literal["load", "store", "other"]


@dataclass(frozen=True)
class Cycles:
    """Cycles of some instructions: no fewer than `least`, no more than `most`."""

    least: int
    most: int

    def __add__(self, other: Cycles) -> Cycles:
        return Cycles(self.least + other.least, self.most + other.most)

    def __mul__(self, times: int) -> Cycles:
        return Cycles(self.least * times, self.most * times)


NOTHING = Cycles(0, 0)
REFILL = Cycles(1, 3)
"""What a branch that is taken costs more than one that is not: P in table 3-1."""

_ONE = Cycles(1, 1)
_DIVISION = Cycles(2, 12)
_FLOAT_MULTIPLY_ADD = Cycles(3, 3)
_FLOAT_DIVISION = Cycles(14, 14)  # and the square root
_FLOAT_CYCLES = {  # by opc1 of the instruction without its bit for a register's number
    0b0000: _FLOAT_MULTIPLY_ADD,  # VMLA, VMLS
    0b0001: _FLOAT_MULTIPLY_ADD,  # VNMLA, VNMLS
    0b1000: _FLOAT_DIVISION,
    0b1001: _FLOAT_MULTIPLY_ADD,  # VFNMA, VFNMS
    0b1010: _FLOAT_MULTIPLY_ADD,  # VFMA, VFMS
}


def block_cycles(code: bytes) -> Cycles:
    """What a straight run of instructions costs if its last one, where that is a branch, is not taken."""
    total, before = NOTHING, "other"
    for first, second in _instructions(code):
        kind, cycles = cost(first, second)
        if kind == "load" and before != "other":
            cycles = Cycles(cycles.least - 1, cycles.most)  # its address goes out while the other one's data moves
        total, before = total + cycles, kind
    return total


def cost(first: int, second: int = 0) -> tuple[Kind, Cycles]:
    """What an instruction of one or two halfwords costs alone, if it is a branch not taken. A buffer takes stores."""
    transfer = _transfer(first) if not is_wide(first) else _wide_transfer(first, second)
    if transfer is None:
        return "other", _arithmetic(first, second) if is_wide(first) else _ONE
    is_load, words, is_single = transfer
    if not is_single:
        return "other", Cycles(1 + words, 1 + words)
    return ("load", Cycles(2, 2)) if is_load else ("store", Cycles(1, 2))


def is_wide(first: int) -> bool:
    """Whether an instruction has two halfwords (A5.1)."""
    return first >> 11 >= 0b11101


def _instructions(code: bytes) -> Iterator[tuple[int, int]]:
    at = 0
    while at + 1 < len(code):
        first = int.from_bytes(code[at : at + 2], "little")
        size = 4 if is_wide(first) else 2
        yield first, int.from_bytes(code[at + 2 : at + 4], "little") if size == 4 else 0
        at += size


def _transfer(word: int) -> tuple[bool, int, bool] | None:
    """Of an instruction of 16 bits: whether it loads, how many words, whether it is one of a single register."""
    if word >> 11 == 0b01001:  # relative to the program counter
        return True, 1, True
    if word >> 12 == 0b0101:  # with an offset in a register
        return word >> 9 & 7 >= 3, 1, True
    if word >> 13 == 0b011 or word >> 12 in (0b1000, 0b1001):
        return bool(word >> 11 & 1), 1, True
    if word & 0xF600 == 0xB400:  # PUSH, POP
        return bool(word >> 11 & 1), (word & 0x1FF).bit_count(), False
    if word >> 12 == 0b1100:  # STM, LDM
        return bool(word >> 11 & 1), (word & 0xFF).bit_count(), False
    return None


def _wide_transfer(first: int, second: int) -> tuple[bool, int, bool] | None:
    """As `_transfer`, of an instruction of 32 bits."""
    is_load = bool(first >> 4 & 1)
    if first & 0xFE00 == 0xF800:
        return is_load, 1, True
    if first & 0xFE40 == 0xE800:  # LDM, STM
        return is_load, second.bit_count(), False
    if first & 0xFE40 == 0xE840:  # LDRD, STRD; without an index or write-back exclusive ones and table branches
        return (is_load, 2, False) if first & 0x0120 else (is_load, 1, True)
    if first & 0xFE00 == 0xEC00 and first & 0xFFE0 != 0xEC40:  # VLDM, VSTM, VLDR, VSTR; not VMOV of two registers
        words = (2 if second >> 8 & 1 else 1) if first & 0x0120 == 0x0100 else second & 0xFF
        return is_load, words, words == 1
    return None


def _arithmetic(first: int, second: int) -> Cycles:
    """Of an instruction of 32 bits that does not touch memory."""
    if first & 0xFFD0 == 0xFB90 and second & 0xF0 == 0xF0:  # SDIV, UDIV
        return _DIVISION
    if first & 0xFFE0 == 0xEC40:  # VMOV of two registers
        return Cycles(2, 2)
    if first & 0xFF00 == 0xEE00 and second & 0x0E10 == 0x0A00:
        opcode = first >> 4 & 0b1011
        if opcode == 0b1011 and first & 0xF == 1 and second >> 6 & 3 == 3:  # VSQRT
            return _FLOAT_DIVISION
        return _FLOAT_CYCLES.get(opcode, _ONE)
    return _ONE
