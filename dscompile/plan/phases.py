"""A program for several threads: phases, of whose calls every thread does a part, with a barrier after each.

A call is cut by the rounds of its kernel's outermost loops (plan/program.py: Function.extents). No sum is ever cut, so
the results are those of one thread, bit for bit, whatever the number of threads. Calls that touch nothing of each
other's share a phase, in which every thread does as many rounds of each as the others (plan/leftovers.py). What is too
small for a barrier is left to one thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count

from dscompile.ir.tensor import DTYPE_BYTES
from dscompile.plan.bf16_kernels import Bf16ConvKernel
from dscompile.plan.call_costs import call_cycles
from dscompile.plan.int8_elementwise import Int8PoolKernel
from dscompile.plan.int8_kernels import Int8ConvKernel, Int8DepthwiseKernel
from dscompile.plan.kernels import ConvKernel, DepthwiseKernel, ElementwiseKernel, PoolKernel, WinogradKernel
from dscompile.plan.knobs import TileKnobs
from dscompile.plan.leftovers import even_leans, section_lean
from dscompile.plan.program import Call, Function, Program, Sections, Step
from dscompile.plan.touches import Touch, conflict, touches

# A barrier costs about 0.3 us where both threads are on cores of their own (measured: docs/decisions/threads.md); of
# work that takes less than a few barriers, nothing is won by cutting it.
ALONE_CYCLES = 3000


@dataclass(frozen=True)
class Share:
    """A call of the step number `step`, and how it is cut: `major` times `minor` rounds of `cycles` each.

    Rounds are in order of the major loop. That is the second of the kernel's two loops if `swapped`; a kernel with one
    loop has one minor round, and one that cannot be cut has one round. Several `calls`, a section of the step, are one
    round. `lean` says who does what is left over (plan/leftovers.py).
    """

    step: int
    calls: tuple[Call, ...]
    cycles: int
    major: int = 1
    minor: int = 1
    swapped: bool = False
    lean: int = 0

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
    phases = [Phase(_leaning(shares), False) for shares in _levels(program)]
    return tuple(_joined(replace(phase, alone=phase.cycles < ALONE_CYCLES) for phase in phases))


def _leaning(shares: Sequence[Share]) -> tuple[Share, ...]:
    """The calls of a phase with their leans: sections in their order, what is left over of others where it is even."""
    sections = [share for share in shares if len(share.calls) > 1]
    leans = iter(even_leans([(share.rounds, share.cycles) for share in shares if len(share.calls) == 1]))
    numbers = count()
    return tuple(
        replace(share, lean=next(leans) if len(share.calls) == 1 else section_lean(next(numbers), len(sections)))
        for share in shares
    )


def _levels(program: Program) -> list[list[Share]]:
    """Every call in the first phase after all that it must come after; sections of a step in the same phase."""
    functions = {function.symbol: function for function in program.functions}
    cutter = _Cutter(program)
    levels: list[list[Share]] = []
    touched: list[list[tuple[Touch, ...]]] = []
    for index, step in enumerate(program.steps):
        for pieces in _pieces(step):
            own = [_touched(program, calls, functions) for calls in pieces]
            level = len(levels)
            while level and not any(conflict(one, other) for one in own for other in touched[level - 1]):
                level -= 1
            if level == len(levels):
                levels.append([])
                touched.append([])
            levels[level] += [cutter.share(index, calls) for calls in pieces]
            touched[level] += own
    return levels


def _pieces(step: Step) -> Iterator[tuple[tuple[Call, ...], ...]]:
    """What of a step belongs into a phase: one call after the other, all sections at once."""
    sections = step.sections or Sections(len(step.calls), len(step.calls), ())
    yield from (((call,),) for call in step.calls[: sections.first])
    if sections.calls:
        yield sections.calls
    yield from (((call,),) for call in step.calls[sections.end :])


def _touched(program: Program, calls: Iterable[Call], functions: Mapping[str, Function]) -> tuple[Touch, ...]:
    """What calls touch; bands of a section touch the same again and again."""
    found = {touch.key: touch for call in calls for touch in touches(program, call, functions[call.symbol])}
    return tuple(found.values())


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


class _Cutter:
    """Cuts calls one after the other: what follows a cut by rows is cut so too, as each core has its own caches."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._functions = {function.symbol: function for function in program.functions}
        self._by_rows: set[str] = set()  # buffers whose rows come from one thread each

    def share(self, step: int, calls: tuple[Call, ...]) -> Share:
        """How the calls of a piece are cut."""
        cycles = sum(call_cycles(self._program, call, self._functions[call.symbol]) for call in calls)
        if len(calls) > 1:
            self._note(calls, by_rows=True)
            return Share(step, calls, round(cycles))
        (call,) = calls
        function = self._functions[call.symbol]
        major, minor = (*function.extents, 1, 1)[:2]
        channels_first = _channels_first(function)
        by_rows = not channels_first or self._prefers_rows(call, function)
        swapped = len(function.extents) > 1 and channels_first and by_rows
        if swapped:
            major, minor = minor, major
        self._note(calls, by_rows)
        return Share(step, calls, max(1, round(cycles / (major * minor))), major, minor, swapped)

    def _prefers_rows(self, call: Call, function: Function) -> bool:
        """Whether threads take rows rather than channels.

        Convolutions over all channels do where weights are less than what they multiply: each thread reads all weights
        and some rows of the image, else all of the image and some weights. Others do as whoever made their input.
        """
        kernel = function.kernel
        if not isinstance(kernel, ConvKernel | Bf16ConvKernel | Int8ConvKernel):
            return call.operands[0].name in self._by_rows
        weights = sum(self._program.constants[o.name].nbytes for o in call.operands if o.space == "constant")
        pixels = kernel.height * kernel.stride[0] * kernel.width * kernel.stride[1]
        return weights < pixels * kernel.in_channels * DTYPE_BYTES[function.parameters[0].dtype]

    def _note(self, calls: Iterable[Call], by_rows: bool) -> None:
        for call in calls:
            parameters = self._functions[call.symbol].parameters
            written = {o.name for o, parameter in zip(call.operands, parameters, strict=True) if parameter.written}
            self._by_rows = self._by_rows | written if by_rows else self._by_rows - written


def _channels_first(function: Function) -> bool:
    """Whether the outermost loop of a kernel runs over channels."""
    kernel, first = function.kernel, (*function.extents, 0)[0]
    match kernel:
        case ConvKernel() | Bf16ConvKernel() | Int8ConvKernel():
            panels_first = not isinstance(function.knobs, TileKnobs) or function.knobs.panel_outer
            return panels_first and first == kernel.out_channels // kernel.panel
        case WinogradKernel():
            return False
        case DepthwiseKernel() | Int8DepthwiseKernel() | ElementwiseKernel() | PoolKernel() | Int8PoolKernel():
            return first == kernel.blocks
    return True
