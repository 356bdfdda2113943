"""The other exact part of the arena planner, for few buffers at once: a sweep through time over zones of placements.

A zone is everything known about the offsets of the buffers alive: bounds on every difference of two of them, and of
each one from 0. When a buffer begins, each zone splits by how the newcomer lies to those alive: above, below, or at the
same offset as an alias. When a buffer ends, it is projected away, which loses nothing: bounds on differences are closed
under projection. Zones inside other zones are dropped. If no zone is left, no placement is as low as the limit.

Such difference-bound matrices are those of timed automata (Dill 1989); see docs/memory.md for when this search wins.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from operator import le

from dscompile.plan.arena_instance import Instance

# bounds[a][b] is the most that offset(a) - offset(b) can be; row and column 0 stand for the start of the arena.
Bounds = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class _Distance:
    """offset(upper) >= offset(lower) + units."""

    upper: int
    lower: int
    units: int


@dataclass(frozen=True)
class _Zone:
    """Bounds on the buffers alive, the decisions just taken, and the zone they were taken in."""

    bounds: Bounds
    decisions: tuple[_Distance, ...]
    parent: _Zone | None


class Sweep:
    """One decision: a placement of at most `limit` units, or the proof that there is none, within `max_nodes` zones.

    After `run()` gave None, `is_exhausted` says whether that is a proof.
    """

    def __init__(self, instance: Instance, limit: int, max_nodes: int) -> None:
        self.nodes = 0
        self.is_exhausted = False
        self._instance = instance
        self._limit = limit
        self._max_nodes = max_nodes
        self._gaps = instance.gaps.tolist()
        self._sizes = instance.sizes.tolist()

    def run(self) -> tuple[int, ...] | None:
        """Offsets of all buffers, or None."""
        first, last = self._instance.first.tolist(), self._instance.last.tolist()
        alive: list[int] = []
        zones = [_Zone(((0,),), (), None)]
        for i in sorted(range(self._instance.count), key=lambda i: (first[i], -self._sizes[i], i)):
            staying = [k for k, j in enumerate(alive) if last[j] >= first[i]]
            if len(staying) < len(alive):
                alive = [alive[k] for k in staying]
                zones = _widest(_project(zone, staying) for zone in zones)
            following: list[_Zone] = []
            for zone in zones:
                following.extend(self._successors(zone, alive, i))
                if self.nodes + self._cost(following) > self._max_nodes:
                    return None
            self.nodes += self._cost(following)
            zones = _widest(following)
            alive.append(i)
        if not zones:
            self.is_exhausted = True
            return None
        return self._offsets(zones[0])

    @staticmethod
    def _cost(zones: list[_Zone]) -> int:
        """Nodes that making these zones and comparing each with all others is worth."""
        return len(zones) + len(zones) ** 2 // 64

    def _successors(self, zone: _Zone, alive: list[int], i: int) -> list[_Zone]:
        """The zones in which buffer i has joined those alive; `alive[k]` has row k + 1, and i the last one."""
        room = self._limit - self._sizes[i]
        if room < 0:
            return []
        # The newcomer lies anywhere in [0, room]; all else about it follows from the bounds of the others.
        rows = [(*row, row[0]) for row in zone.bounds]
        start = (*rows, (*(room + bound for bound in zone.bounds[0]), 0))
        new = len(zone.bounds)
        found = [_Zone(start, (), zone)]
        for k, other in enumerate(alive, start=1):
            below = (_Distance(other, i, self._gaps[i][other]),)
            above = (_Distance(i, other, self._gaps[other][i]),)
            same = (_Distance(i, other, 0), _Distance(other, i, 0))
            choices = [below, above, same] if other in self._instance.partners[i] else [below, above]
            split = []
            for partial in found:
                for choice in choices:
                    bounds: Bounds | None = partial.bounds
                    for distance in choice:
                        upper, lower = (new, k) if distance.upper == i else (k, new)
                        bounds = None if bounds is None else _tighten(bounds, lower, upper, -distance.units)
                    if bounds is not None:
                        split.append(_Zone(bounds, partial.decisions + choice, zone))
            found = split
        return found

    def _offsets(self, zone: _Zone) -> tuple[int, ...]:
        """The lowest offsets that agree with all decisions on the way to a zone."""
        decisions: list[_Distance] = []
        step: _Zone | None = zone
        while step is not None:
            decisions.extend(step.decisions)
            step = step.parent
        decisions.reverse()
        offsets = [0] * self._instance.count
        changed = True
        while changed:
            changed = False
            for decision in decisions:
                least = offsets[decision.lower] + decision.units
                if offsets[decision.upper] < least:
                    offsets[decision.upper] = least
                    changed = True
        return tuple(offsets)


def _tighten(bounds: Bounds, a: int, b: int, most: int) -> Bounds | None:
    """The zone with offset(a) - offset(b) <= most besides, closed again; None if it is empty."""
    if bounds[a][b] <= most:
        return bounds
    if bounds[b][a] + most < 0:
        return None
    onward = bounds[b]
    return tuple(
        tuple(min(bound, row[a] + most + further) for bound, further in zip(row, onward, strict=True)) for row in bounds
    )


def _project(zone: _Zone, staying: list[int]) -> _Zone:
    """The zone without the buffers that have ended."""
    kept = [0, *(k + 1 for k in staying)]
    bounds = tuple(tuple(zone.bounds[a][b] for b in kept) for a in kept)
    return _Zone(bounds, zone.decisions, zone.parent)


def _widest(zones: Iterable[_Zone]) -> list[_Zone]:
    """The zones that are inside no other, in their order."""
    kept: list[tuple[tuple[int, ...], _Zone]] = []
    seen: set[Bounds] = set()
    for zone in zones:
        if zone.bounds in seen:
            continue
        seen.add(zone.bounds)
        flat = tuple(bound for row in zone.bounds for bound in row)
        if any(all(map(le, flat, wide)) for wide, _ in kept):
            continue
        kept = [entry for entry in kept if not all(map(le, entry[0], flat))]
        kept.append((flat, zone))
    return [zone for _, zone in kept]
