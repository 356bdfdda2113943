"""Who does the rounds of a call that are left over when they do not divide among the threads.

Each call of a phase is cut into parts as equal as whole rounds can be, so that neighbors in memory stay with one thread
from call to call, and an error in the estimate of a call's cost weighs on all threads alike. What is left over goes to
the thread that has least to do so far.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

LEANS = 64
"""A call leans to the first thread if its lean is LEANS - 1, to the last one if it is 0."""

# How many threads parts are evened out for; other numbers get parts that differ by a few rounds more.
_THREADS = (2, 3, 4)
_CANDIDATES = range(LEANS - LEANS // 16, 0, -LEANS // 8)


def first_round(thread: int, threads: int, count: int, lean: int) -> int:
    """The first of `count` rounds that a thread does (templates/native/rounds.c); that of the next one is its end."""
    return (LEANS * count * thread + threads * lean) // (LEANS * threads)


def section_lean(number: int, sections: int) -> int:
    """The lean of one of several sections, so that each goes to the thread with as large a share of the others."""
    return LEANS - LEANS * (2 * number + 1) // (2 * sections)


def even_leans(costs: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """For calls of (rounds, cycles of a round): their leans.

    The dearest rounds are given away first, each to whoever has least.
    """
    loads = {threads: [0] * threads for threads in _THREADS}
    leans = [0] * len(costs)
    for index in sorted(range(len(costs)), key=lambda index: -costs[index][1]):
        count, cycles = costs[index]
        options = {lean: _with(loads, count, cycles, lean) for lean in _CANDIDATES}
        leans[index] = min(options, key=lambda lean: _unevenness(options[lean].values()))
        loads = options[leans[index]]
    return tuple(leans)


def _with(loads: dict[int, list[int]], count: int, cycles: int, lean: int) -> dict[int, list[int]]:
    """What every thread has to do with one more call, for every number of threads."""
    return {
        threads: [
            load + cycles * (end - first)
            for load, (first, end) in zip(
                before,
                pairwise(first_round(thread, threads, count, lean) for thread in range(threads + 1)),
                strict=True,
            )
        ]
        for threads, before in loads.items()
    }


def _unevenness(loads: Iterable[list[int]]) -> int:
    return sum(len(each) * sum(load * load for load in each) for each in loads)
