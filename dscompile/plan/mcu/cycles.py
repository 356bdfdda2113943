"""Cycles of a Cortex-M4 for a mix of instructions, and what memory with wait states adds.

Issue cycles are those of Arm's Cortex-M4 Technical Reference Manual r0p1, table 3-1 and 3.3.2. What that leaves open
is taken in the middle: the refill of the pipeline after a jump (1 to 3 cycles), a division (2 to 12). Stores go through
the write buffer, in one cycle.

A memory with wait states is read in lines. Code that a cache holds costs nothing more. Other code costs one read for
every line of instructions, during which a prefetch lets the instructions of the line before go on, and one for every
jump. Constants cost one read for every line where a cache keeps that, otherwise one for every word.
docs/decisions/instruction-estimates.md has the formula.
"""

from __future__ import annotations

from dataclasses import dataclass

from dscompile.board import TIMED_CORE, Board, Memory
from dscompile.plan.mcu.mix import Mix
from dscompile.target import Target

_REFILL = 2
_DIVISION = 7
_INSTRUCTION_BYTES = 3.6  # on average, of Thumb-2 in these kernels
_WORD_BYTES = 4


@dataclass(frozen=True)
class Part:
    """A piece of a layer's work; its innermost loop has `loop_bytes` of code."""

    mix: Mix
    loop_bytes: int = 256

    def __mul__(self, times: float) -> Part:
        return Part(self.mix * times, self.loop_bytes)


def has_cycles(target: Target) -> bool:
    """Whether there is a table for the target's core."""
    return target.mcpu == TIMED_CORE and target.board is not None


def issue_cycles(mix: Mix) -> float:
    """Cycles of instructions where no memory waits."""
    single = mix.plain + 2 * mix.loads - mix.pipelined + mix.stores
    return single + mix.several + mix.words + _REFILL * mix.jumps + _DIVISION * mix.divisions


def part_cycles(part: Part, board: Board) -> float:
    """Cycles of a part with the wait states of the board's memories for code and for constants."""
    issued = issue_cycles(part.mix)
    code, constants = board.memory(board.sections.code), board.memory(board.sections.constants)
    return issued + _fetching(part, issued, code) + _reading(part.mix, constants)


def _fetching(part: Part, issued: float, memory: Memory) -> float:
    """Cycles that the core waits for instructions."""
    if not memory.wait_states or part.loop_bytes <= memory.cache_bytes:
        return 0.0
    lines = part.mix.instructions * _INSTRUCTION_BYTES / memory.line_bytes
    hidden = issued / lines - 1 if memory.prefetch and lines else 0.0
    return lines * max(0.0, memory.wait_states - hidden) + part.mix.jumps * memory.wait_states


def _reading(mix: Mix, memory: Memory) -> float:
    """Cycles that loads of constants wait."""
    unit = memory.line_bytes if memory.cache_bytes else _WORD_BYTES
    return mix.constants * _WORD_BYTES / unit * memory.wait_states
