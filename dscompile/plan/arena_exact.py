"""The exact part of the arena planner: is there a placement of at most this height?

A placement can be pushed down until every buffer lies at 0 or rests upon another one. Built in the order of offsets,
such a placement has only one candidate offset for each next buffer, so a depth-first search over that order finds one
if there is any. Branches are cut where a step cannot hold what is still to come, where another buffer could have lain
entirely below the one just chosen, and where the same state was seen before (docs/memory.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dscompile.plan.arena_instance import Instance, Ints

MAX_GROUPS = 2000


@dataclass(frozen=True)
class _State:
    """A partial placement.

    `floor[i]` is the lowest offset that unplaced buffer i can still have; placed buffers have `_nowhere`, and so has
    one further entry that stands for nobody. `to_come[c]` is what the unplaced buffers of clique c need at least.
    """

    floor: Ints
    to_come: Ints


@dataclass(frozen=True)
class _Candidate:
    """What may begin next: one buffer, or several that share their offset as aliases."""

    offset: int
    weight: int
    members: tuple[int, ...]


class ExactSearch:
    """One decision: a placement of at most `limit` units, or the proof that there is none, within `max_nodes`.

    `nodes` counts the buffers placed. After `run()` gave None, `is_exhausted` says whether that is a proof.
    """

    def __init__(self, instance: Instance, limit: int, max_nodes: int) -> None:
        self.nodes = 0
        self.is_exhausted = False
        self._limit = limit
        self._max_nodes = max_nodes
        self._instance = instance
        count, cliques = instance.count, instance.cliques
        self._nowhere = 2 * (limit + int(instance.sizes.sum()))
        self._weights = instance.sizes * (instance.last - instance.first + 1)
        self._reach = np.maximum(instance.gaps.max(axis=1), 1)
        self._gaps = np.hstack([instance.gaps, np.zeros((count, 1), dtype=np.int64)])
        longest = max(map(len, cliques))
        self._members = np.array([[*c, *[count] * (longest - len(c))] for c in cliques], dtype=np.int64)
        self._inside = np.array([[i in clique for clique in cliques] for i in range(count)], dtype=np.int64)
        self._savings: list[list[tuple[int, int, int]]] = [[] for _ in range(count)]
        for i, j, units in instance.savings:
            meeting = int(np.argmax(self._inside[i] & self._inside[j]))
            self._savings[i].append((j, meeting, units))
            self._savings[j].append((i, meeting, units))
        self._twins = _twins(instance)
        self._groups, self._has_all_groups = alias_groups(instance)
        self._seen: set[bytes] = set()

    def run(self) -> tuple[int, ...] | None:
        """Offsets of all buffers, or None."""
        instance = self._instance
        floor = np.zeros(instance.count + 1, dtype=np.int64)
        floor[-1] = self._nowhere
        to_come = instance.sizes @ self._inside
        for i, partners in enumerate(self._savings):
            for j, meeting, units in partners:
                if i < j:
                    to_come[meeting] -= units
        root = _State(floor, to_come)
        if self._is_hopeless(root):
            self.is_exhausted = True
            return None
        return self._explore(root)

    def _explore(self, root: _State) -> tuple[int, ...] | None:
        """Depth first, on a stack of its own: there may be more buffers than Python allows nested calls."""
        stack = [(root, self._candidates(root))]
        path: list[_Candidate] = []
        while stack:
            state, candidates = stack[-1]
            candidate = next(candidates, None)
            if candidate is None:
                stack.pop()
                if path:
                    path.pop()
                continue
            if self.nodes >= self._max_nodes:
                return None
            self.nodes += len(candidate.members)
            child = self._place(candidate, state)
            if self._is_hopeless(child) or self._was_seen(child):
                continue
            path.append(candidate)
            if (child.floor == self._nowhere).all():
                placed = {i: step.offset for step in path for i in step.members}
                return tuple(placed[i] for i in range(self._instance.count))
            stack.append((child, self._candidates(child)))
        self.is_exhausted = self._has_all_groups
        return None

    def _candidates(self, state: _State) -> Iterator[_Candidate]:
        """Buffers that may begin next, lowest and bulkiest first.

        Whatever is not chosen now lies at or above the chosen offset. If some buffer, and all it keeps others from,
        fitted below that offset, it could be moved down there; so only offsets below every such end are worth trying.
        """
        floor = state.floor
        unplaced = np.flatnonzero(floor < self._nowhere)
        horizon = int((floor[unplaced] + self._reach[unplaced]).min())
        found = []
        for i in unplaced[floor[unplaced] < horizon].tolist():
            if self._twins[i] < 0 or floor[self._twins[i]] == self._nowhere:
                found.append(_Candidate(int(floor[i]), int(self._weights[i]), (i,)))
        for group in self._groups:
            offset = int(floor[list(group)].max())
            if offset < horizon and offset + int(self._instance.sizes[list(group)].max()) <= self._limit:
                found.append(_Candidate(offset, int(self._weights[list(group)].sum()), group))
        return iter(sorted(found, key=lambda c: (c.offset, -c.weight, c.members)))

    def _place(self, candidate: _Candidate, state: _State) -> _State:
        floor = np.maximum(state.floor, candidate.offset)
        to_come = state.to_come.copy()
        unplaced = set(candidate.members)
        for i in candidate.members:
            np.maximum(floor, candidate.offset + self._gaps[i], out=floor)
            to_come -= self._instance.sizes[i] * self._inside[i]
            unplaced.remove(i)
            for j, meeting, units in self._savings[i]:
                if j in unplaced or (j not in candidate.members and state.floor[j] < self._nowhere):
                    to_come[meeting] += units
        floor[list(candidate.members)] = self._nowhere
        return _State(floor, to_come)

    def _is_hopeless(self, state: _State) -> bool:
        """Whether a buffer no longer fits below the limit, or a clique has too much to come above its floor."""
        ends = state.floor[:-1] + self._instance.sizes
        if ((ends > self._limit) & (ends <= self._nowhere)).any():
            return True
        lowest = state.floor[self._members].min(axis=1)
        return bool(((lowest + state.to_come > self._limit) & (lowest < self._nowhere)).any())

    def _was_seen(self, state: _State) -> bool:
        """Equal floors mean equal buffers to come under equal conditions; a digest stands for them to save memory."""
        digest = hashlib.blake2b(state.floor.tobytes(), digest_size=16).digest()
        if digest in self._seen:
            return True
        self._seen.add(digest)
        return False


def alias_groups(instance: Instance) -> tuple[list[tuple[int, ...]], bool]:
    """Sets of two and more buffers that can all have one offset, and whether these are all of them.

    Such a set is connected by aliases, and those of its buffers that meet are aliases or may begin at the same offset.
    """
    neighbors = [set(row) for row in instance.neighbors]
    compatible = {frozenset(pair) for pair in instance.aliases}
    known: dict[frozenset[int], None] = {}
    grown = [frozenset((i,)) for i in range(instance.count) if instance.partners[i]]
    while grown:
        following: dict[frozenset[int], None] = {}
        for group in grown:
            for partner in sorted({p for i in group for p in instance.partners[i]} - group):
                meeting = [i for i in group if i in neighbors[partner]]
                if all(frozenset((i, partner)) in compatible or _may_coincide(instance, i, partner) for i in meeting):
                    following[group | {partner}] = None
        for group in following:
            if len(known) == MAX_GROUPS:
                return [tuple(sorted(g)) for g in known], False
            known[group] = None
        grown = list(following)
    return [tuple(sorted(group)) for group in known], True


def _may_coincide(instance: Instance, i: int, j: int) -> bool:
    return min(int(instance.gaps[i, j]), int(instance.gaps[j, i])) == 0


def _twins(instance: Instance) -> list[int]:
    """For each buffer the one before it that is just like it, or -1: of twins, the first is placed first."""
    special = {i for pair in instance.savings for i in pair[:2]}
    latest: dict[tuple[int, int, int], int] = {}
    twins = []
    for i in range(instance.count):
        key = (int(instance.sizes[i]), int(instance.first[i]), int(instance.last[i]))
        twins.append(-1 if i in special else latest.get(key, -1))
        if i not in special:
            latest[key] = i
    return twins
