"""One option from each group, with the least loss within limits: the multiple-choice knapsack problem."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# Partial choices that are kept. While no stage has more that are worth keeping, the result is optimal.
MOST_STATES = 2048


@dataclass(frozen=True)
class Option:
    """What is lost by an option, and what it costs in each of the units that are limited."""

    loss: float
    costs: tuple[float, ...]


@dataclass(frozen=True)
class _State:
    """Options chosen for the first groups, and their sums."""

    loss: float
    costs: tuple[float, ...]
    chosen: tuple[int, ...]


def choose(groups: Sequence[Sequence[Option]], limits: Sequence[float]) -> tuple[int, ...] | None:
    """The index of one option in each group: the least sum of losses whose sums of costs keep to `limits`.

    Dynamic programming over the groups. Of the partial choices, those stay that can still keep to the limits and that
    no other beats in loss and all costs; so the result is optimal (a test compares it with all combinations). If more
    than MOST_STATES stay, the least loss in each of as many equal intervals of the first cost does; the result then
    keeps to the limits all the same. None if nothing does.
    """
    rest = [_least(groups[number:], len(limits)) for number in range(1, len(groups) + 1)]
    states = [_State(0.0, (0.0,) * len(limits), ())]
    for group, least in zip(groups, rest, strict=True):
        room = [limit - needed for limit, needed in zip(limits, least, strict=True)]
        grown = (
            _State(
                state.loss + option.loss,
                tuple(a + b for a, b in zip(state.costs, option.costs, strict=True)),
                (*state.chosen, index),
            )
            for state in states
            for index, option in enumerate(group)
        )
        states = _thinned(_unbeaten(s for s in grown if all(c <= r for c, r in zip(s.costs, room, strict=True))))
    return min(states, key=lambda state: (state.loss, state.costs)).chosen if states else None


def least_costs(groups: Sequence[Sequence[Option]], unit: int) -> tuple[int, ...]:
    """The cheapest option of each group in one of the units."""
    return tuple(min(range(len(group)), key=lambda index: group[index].costs[unit]) for group in groups)


def _least(groups: Sequence[Sequence[Option]], units: int) -> list[float]:
    return [sum(min(option.costs[unit] for option in group) for group in groups) for unit in range(units)]


def _unbeaten(states: Iterable[_State]) -> list[_State]:
    """The states that no other has both at most the loss and at most the costs of; of equals the first.

    In rising order of loss, a state is beaten by an earlier one with no more of the first and the last cost (there are
    at most two). Of those with no more of the first, the one with the most of it has the least of the last.
    """
    kept: list[_State] = []
    stairs: list[tuple[float, float]] = []  # first and last costs of kept states, the first rising, the last falling
    for state in sorted(states, key=lambda s: (s.loss, s.costs)):
        first, last = state.costs[0], state.costs[-1]
        place = bisect_right(stairs, (first, math.inf))
        if place and stairs[place - 1][1] <= last:
            continue
        kept.append(state)
        end = place
        while end < len(stairs) and stairs[end][1] >= last:
            end += 1
        stairs[place:end] = [(first, last)]
    return kept


def _thinned(states: list[_State]) -> list[_State]:
    if len(states) <= MOST_STATES:
        return states
    low = min(state.costs[0] for state in states)
    width = (max(state.costs[0] for state in states) - low) / MOST_STATES or 1.0
    best: dict[int, _State] = {}
    for state in states:  # in rising order of loss
        best.setdefault(int((state.costs[0] - low) / width), state)
    return list(best.values())
