"""A program for several threads: phases, of whose calls every thread does a part, with a barrier after each.

A call is cut by the rounds of its kernel's outermost loops (plan/program.py: Function.extents). No sum is ever cut, so
the results are those of one thread, bit for bit, whatever the number of threads. Calls that touch nothing of each
other's share a phase, in which all their rounds are one line of work that is cut into equal parts by cost. What is too
small for a barrier is left to one thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from dscompile.plan.call_costs import call_cycles
from dscompile.plan.int8_kernels import Int8ConvKernel
from dscompile.plan.kernels import ConvKernel
from dscompile.plan.knobs import TileKnobs
from dscompile.plan.program import Call, Function, Program
from dscompile.plan.touches import Touch, conflict, touches

# A barrier costs about 0.3 us where both threads are on cores of their own (measured: docs/decisions/threads.md); of
# work that takes less than a few barriers, nothing is won by cutting it.
ALONE_CYCLES = 3000


@dataclass(frozen=True)
class Share:
    """A call of the step number `step`, and how it is cut: `major` times `minor` rounds of `cycles` each.

    Rounds are in order of the major loop. That is the second of the kernel's two loops if `swapped`; a kernel with one
    loop has one minor round, and one that cannot be cut has one round.
    """

    step: int
    call: Call
    major: int
    minor: int
    swapped: bool
    cycles: int

    @property
    def rounds(self) -> int:
        """Rounds in all."""
        return self.major * self.minor


@dataclass(frozen=True)
class Phase:
    """Calls that may run at once, in every order; or, if it is `alone`, one after the other on one thread."""

    shares: tuple[Share, ...]
    alone: bool

    @property
    def cycles(self) -> int:
        """The cost of all calls."""
        return sum(share.rounds * share.cycles for share in self.shares)


def plan_phases(program: Program) -> tuple[Phase, ...]:
    """The phases of a program whose functions have their extents."""
    phases = [Phase(tuple(shares), False) for shares in _levels(program)]
    return tuple(_joined(replace(phase, alone=phase.cycles < ALONE_CYCLES) for phase in phases))


def _levels(program: Program) -> list[list[Share]]:
    """Every call in the first phase after all that it must come after."""
    functions = {function.symbol: function for function in program.functions}
    levels: list[list[Share]] = []
    touched: list[list[tuple[Touch, ...]]] = []
    for index, step in enumerate(program.steps):
        for call in step.calls:
            function = functions[call.symbol]
            own = touches(program, call, function)
            level = len(levels)
            while level and not any(conflict(own, other) for other in touched[level - 1]):
                level -= 1
            if level == len(levels):
                levels.append([])
                touched.append([])
            levels[level].append(_share(program, index, call, function))
            touched[level].append(own)
    return levels


def _joined(phases: Iterable[Phase]) -> Iterator[Phase]:
    """Phases that follow each other on one thread need no barrier in between."""
    last: Phase | None = None
    for phase in phases:
        if last is not None and last.alone and phase.alone:
            last = replace(last, shares=last.shares + phase.shares)
            continue
        if last is not None:
            yield last
        last = phase
    if last is not None:
        yield last


def _share(program: Program, step: int, call: Call, function: Function) -> Share:
    swapped = len(function.extents) > 1 and not _by_channels(program, call, function)
    major, minor = (*function.extents, 1, 1)[:2]
    if swapped:
        major, minor = minor, major
    cycles = call_cycles(program, call, function)
    return Share(step, call, major, minor, swapped, max(1, round(cycles / (major * minor))))


def _by_channels(program: Program, call: Call, function: Function) -> bool:
    """Whether threads take different channels rather than rows: where weights are more than what they multiply.

    Then each reads only some of the weights, but all of the image; else all weights, and some rows of the image.
    """
    kernel = function.kernel
    if not isinstance(kernel, ConvKernel | Int8ConvKernel):
        return True
    panels_first = not isinstance(function.knobs, TileKnobs) or function.knobs.panel_outer
    if not panels_first or function.extents[0] != kernel.out_channels // kernel.panel:
        return True
    weights = sum(program.constants[o.name].nbytes for o in call.operands if o.space == "constant")
    pixels = kernel.height * kernel.stride[0] * kernel.width * kernel.stride[1]
    image = pixels * kernel.in_channels * (4 if isinstance(kernel, ConvKernel) else 1)
    return weights >= image
