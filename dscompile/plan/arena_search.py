"""The road from an arena instance to a placement: bounds, reductions, greedy orders, hill climbing, exact search.

Everything here counts in whole units of the arena's alignment and knows buffers by number. The public face, with names
and bytes, is plan/arena.py; the reasoning behind each step is in docs/memory.md.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from dscompile.plan.arena_instance import Instance

if TYPE_CHECKING:  # most networks need no search
    from dscompile.plan.arena_exact import ExactSearch
    from dscompile.plan.arena_sweep import Sweep

Fit = Literal["first", "best"]

CLIMB_SHARE = 8  # this part of the node limit goes to hill climbing, before the exact searches
SWEEP_CROWD = 6  # up to so many buffers at once, the sweep through time comes first


@dataclass(frozen=True)
class Solution:
    """A placement in units: no other can be lower than `bound`."""

    offsets: tuple[int, ...]
    height: int
    bound: int
    method: str


class Budget:
    """Counts placed buffers down."""

    def __init__(self, nodes: int) -> None:
        self.nodes = nodes

    def spend(self, nodes: int) -> None:
        """Takes `nodes` away; what is left may become negative."""
        self.nodes -= nodes

    @property
    def is_spent(self) -> bool:
        """Whether nothing is left."""
        return self.nodes <= 0


def solve(instance: Instance, nodes: int) -> Solution:
    """The lowest placement that `nodes` placed buffers can find (the first greedy pass is always made)."""
    budget = Budget(nodes)
    bound = lower_bound(instance, budget)
    aside = set_aside(instance, bound)
    core = [i for i in range(instance.count) if i not in set(aside)]
    offsets: dict[int, int] = {}
    height, method = bound, "first fit"
    parts = [(part, instance.restricted(part)) for part in components(instance, core)]
    bounds = [max(map(part.clique_bound, part.cliques)) for _, part in parts]
    for index in sorted(range(len(parts)), key=lambda i: -bounds[i]):
        numbers, part = parts[index]
        solution = _solve_part(part, max(height, bounds[index]), budget)
        offsets.update(zip(numbers, solution.offsets, strict=True))
        bound = max(bound, solution.bound)
        if solution.height > height or index == 0:
            height, method = max(height, solution.height), solution.method
    for i in reversed(aside):
        offsets[i] = lowest_place(instance, i, offsets, "first")
    result = tuple(offsets[i] for i in range(instance.count))
    return Solution(result, instance.height(result), bound, method)


def lower_bound(instance: Instance, budget: Budget) -> int:
    """The most memory that buffers alive at once need, exactly: with overlaps, every candidate step is searched."""
    bound = max((instance.clique_bound(clique) for clique in instance.cliques), default=0)
    if not instance.savings:
        return bound
    totals = {clique: int(instance.sizes[list(clique)].sum()) for clique in instance.cliques}
    for clique in sorted(totals, key=lambda c: (-totals[c], c)):
        if totals[clique] > bound:
            part = instance.restricted(clique)
            part_bound = instance.clique_bound(clique)
            order = sorted(range(part.count), key=lambda i: -int(part.last[i]))
            offsets = place_in_order(part, order, "first")
            bound = max(bound, _search(part, offsets, part_bound, bound, budget, "greedy").bound)
    return bound


def set_aside(instance: Instance, height: int) -> list[int]:
    """Buffers that fit into an arena of `height` wherever the others lie; each one given those not set aside before.

    A neighbor j forbids buffer i at most gaps[i, j] + gaps[j, i] - 1 of its height - size(i) + 1 offsets. What is set
    aside is placed last, in reverse order, and never makes the arena larger.
    """
    kept = set(range(instance.count))
    aside: list[int] = []
    blocked = np.maximum(instance.gaps + instance.gaps.T - 1, 0)
    changed = True
    while changed:
        changed = False
        for i in sorted(kept):
            forbidden = sum(int(blocked[i, j]) for j in instance.neighbors[i] if j in kept)
            if forbidden < height - int(instance.sizes[i]) + 1:
                kept.remove(i)
                aside.append(i)
                changed = True
    return aside


def components(instance: Instance, kept: Sequence[int]) -> list[list[int]]:
    """Splits buffers where time leaves a seam that none of them crosses."""
    parts: list[list[int]] = []
    end = 0
    for i in sorted(kept, key=lambda i: (int(instance.first[i]), i)):
        if not parts or int(instance.first[i]) > end:
            parts.append([])
            end = int(instance.last[i])
        parts[-1].append(i)
        end = max(end, int(instance.last[i]))
    return parts


def lowest_place(instance: Instance, i: int, placed: dict[int, int], fit: Fit) -> int:
    """An offset for buffer i beside those already placed.

    The place of an alias if it is free and does not raise the arena needlessly; else the lowest gap ("first") or the
    one that leaves least over ("best").
    """
    gaps, forbidden = instance.gaps, []
    for j in instance.neighbors[i]:
        if j in placed:
            forbidden.append((placed[j] - int(gaps[i, j]), placed[j] + int(gaps[j, i]), j))
    forbidden.sort()
    alone = _gap(forbidden, fit)
    for partner in instance.partners[i]:
        place = placed.get(partner)
        if place is None or (place > alone and instance.sizes[i] > instance.sizes[partner]):
            continue
        if all(not low < place < high or j == partner for low, high, j in forbidden):
            return place
    return alone


def _gap(forbidden: Sequence[tuple[int, int, int]], fit: Fit) -> int:
    """The lowest, or the tightest, offset outside the open intervals (low, high, buffer), which are sorted by low."""
    candidate, chosen, least = 0, -1, -1
    for low, high, _ in forbidden:
        if low >= candidate and (chosen < 0 or low - candidate < least):
            chosen, least = candidate, low - candidate
            if fit == "first":
                return chosen
        candidate = max(candidate, high)
    return candidate if chosen < 0 else chosen


def place_in_order(instance: Instance, order: Sequence[int], fit: Fit) -> tuple[int, ...]:
    """Places the buffers one after the other (see `lowest_place`)."""
    placed: dict[int, int] = {}
    for i in order:
        placed[i] = lowest_place(instance, i, placed, fit)
    return tuple(placed[i] for i in range(instance.count))


def greedy_orders(instance: Instance) -> Iterator[tuple[str, list[int]]]:
    """Orders that have proved good: largest first, by area in time, by the crowd they live in, and along time."""
    size, first, last = instance.sizes.tolist(), instance.first.tolist(), instance.last.tolist()
    life = [b - a + 1 for a, b in zip(first, last, strict=True)]
    crowd = [0] * instance.count
    for clique in instance.cliques:
        total = sum(size[i] for i in clique)
        for i in clique:
            crowd[i] = max(crowd[i], total)
    everyone = range(instance.count)
    yield "size", sorted(everyone, key=lambda i: (-size[i], -life[i], i))
    yield "area", sorted(everyone, key=lambda i: (-size[i] * life[i], -size[i], i))
    yield "crowd", sorted(everyone, key=lambda i: (-crowd[i], -size[i], i))
    yield "lifetime", sorted(everyone, key=lambda i: (-life[i], -size[i], i))
    yield "end", sorted(everyone, key=lambda i: (-last[i], -size[i], i))
    yield "start", sorted(everyone, key=lambda i: (first[i], -size[i], i))


def _solve_part(part: Instance, enough: int, budget: Budget) -> Solution:
    """Solves one component. A height of `enough` or less needs no improvement; the bound is of the component alone."""
    bound = max(map(part.clique_bound, part.cliques))
    best: tuple[int, ...] = ()
    height, method, order = -1, "", list(range(part.count))
    fits: tuple[Fit, ...] = ("best", "first")
    for name, candidate in greedy_orders(part):
        for fit in fits:
            offsets = place_in_order(part, candidate, fit)
            budget.spend(part.count)
            found = part.height(offsets)
            if height < 0 or found < height:
                best, height, method, order = offsets, found, f"{fit} fit by {name}", candidate
            if height <= enough:
                return Solution(best, height, bound, method)
            if budget.is_spent:
                return Solution(best, height, bound, method)
    climbed = climb(part, order, best, enough, budget)
    if part.height(climbed) < height:
        best, height, method = climbed, part.height(climbed), "hill climbing"
    if height <= enough:
        return Solution(best, height, bound, method)
    return _search(part, best, bound, enough, budget, method)


def climb(
    instance: Instance, order: Sequence[int], offsets: tuple[int, ...], enough: int, budget: Budget
) -> tuple[int, ...]:
    """Moves a buffer that touches the top to an earlier turn, again and again, and keeps what is not worse."""
    dice = random.Random(0)
    current, best, height = list(order), offsets, instance.height(offsets)
    standing = offsets
    rounds = budget.nodes // CLIMB_SHARE // max(1, instance.count)
    for turn in range(rounds):
        top = instance.height(standing)
        touching = [k for k, i in enumerate(current) if standing[i] + int(instance.sizes[i]) == top]
        trial = current.copy()
        moved = trial.pop(dice.choice(touching) if turn % 4 else dice.randrange(instance.count))
        trial.insert(dice.randrange(instance.count), moved)
        placed = place_in_order(instance, trial, "best" if turn % 2 else "first")
        budget.spend(instance.count)
        reached = instance.height(placed)
        if reached <= top:
            current, standing = trial, placed
        if reached < height:
            best, height = placed, reached
        if height <= enough:
            break
    return best


def _search(
    instance: Instance, offsets: tuple[int, ...], bound: int, enough: int, budget: Budget, method: str
) -> Solution:
    """Closes in on the optimum by exact searches: first at what is enough, then between what is ruled out and the best.

    A search that ends without a placement raises the bound; one that runs out of its share of nodes proves nothing,
    and the next limit is an easier one.
    """
    best, height = offsets, instance.height(offsets)
    low = limit = max(bound, enough)
    while low < height and limit < height and not budget.is_spent:
        found, is_exhausted = _decide(instance, limit, budget)
        if found is not None:
            best, height, method = found, instance.height(found), "exact search"
            limit = (low + height) // 2
        elif is_exhausted:
            low = bound = limit + 1
            limit = (low + height) // 2
        else:
            limit = max((limit + height) // 2, limit + 1)
    return Solution(best, height, bound, method)


def _decide(instance: Instance, limit: int, budget: Budget) -> tuple[tuple[int, ...] | None, bool]:
    """A placement of at most `limit`, or None and whether there is none; spends at most half of what is left."""
    from dscompile.plan.arena_exact import ExactSearch
    from dscompile.plan.arena_sweep import Sweep

    searches: list[type[ExactSearch] | type[Sweep]] = [ExactSearch]
    if max(map(len, instance.cliques)) <= SWEEP_CROWD:
        searches.insert(0, Sweep)
    share = max(budget.nodes // 2 // len(searches), 1)
    for kind in searches:
        search = kind(instance, limit, share)
        found = search.run()
        budget.spend(search.nodes)
        if found is not None or search.is_exhausted:
            return found, search.is_exhausted
    return None, False
