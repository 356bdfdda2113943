"""What the arena planner works on: numbered buffers, sizes in units of the alignment, least distances of pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Instance:
    """Buffers 0..n-1, all of positive size.

    `gaps[i, j]` is how far above offset(i) buffer j must begin if it lies at or above i: the size of i if the two meet
    in a step, less if j may overlap i from above, 0 if they never meet. `aliases` are the pairs (earlier, later) that
    may also have the same offset.
    """

    sizes: Ints
    first: Ints
    last: Ints
    gaps: Ints
    aliases: frozenset[tuple[int, int]] = frozenset()

    @property
    def count(self) -> int:
        """Number of buffers."""
        return len(self.sizes)

    @cached_property
    def neighbors(self) -> tuple[tuple[int, ...], ...]:
        """For each buffer, those that meet it in some step, in ascending order."""
        meets = (self.first[:, None] <= self.last[None, :]) & (self.first[None, :] <= self.last[:, None])
        np.fill_diagonal(meets, False)
        return tuple(tuple(int(j) for j in np.flatnonzero(row)) for row in meets)

    @cached_property
    def partners(self) -> tuple[tuple[int, ...], ...]:
        """For each buffer, those it may share its offset with."""
        table: list[list[int]] = [[] for _ in range(self.count)]
        for earlier, later in sorted(self.aliases):
            table[earlier].append(later)
            table[later].append(earlier)
        return tuple(tuple(row) for row in table)

    @cached_property
    def savings(self) -> tuple[tuple[int, int, int], ...]:
        """(i, j, units) for every pair that may overlap: the most that the pair can have in common."""
        found = []
        for i in range(self.count):
            for j in self.neighbors[i]:
                if i < j and (common := self._common(i, j)):
                    found.append((i, j, common))
        return tuple(found)

    def _common(self, i: int, j: int) -> int:
        one, other = int(self.sizes[i]), int(self.sizes[j])
        if j in self.partners[i]:
            return min(one, other)
        j_upon_i, i_upon_j = one - int(self.gaps[i, j]), other - int(self.gaps[j, i])
        return max(0, min(other, j_upon_i), min(one, i_upon_j))

    @cached_property
    def cliques(self) -> tuple[tuple[int, ...], ...]:
        """The sets of buffers alive at once, without those that are part of another; in the order of time."""
        found: list[tuple[int, ...]] = []
        for step in sorted(set(self.first.tolist())):
            alive = tuple(int(i) for i in np.flatnonzero((self.first <= step) & (self.last >= step)))
            while found and set(found[-1]) <= set(alive):
                found.pop()
            if not found or not set(alive) <= set(found[-1]):
                found.append(alive)
        return tuple(found)

    def clique_bound(self, clique: Sequence[int]) -> int:
        """Memory that buffers alive at once must take: their sizes less what pairs can have in common."""
        members = set(clique)
        total = sum(int(self.sizes[i]) for i in clique)
        common = sum(units for i, j, units in self.savings if i in members and j in members)
        return max(total - common, max(int(self.sizes[i]) for i in clique))

    def restricted(self, kept: Sequence[int]) -> Instance:
        """The same problem on some of the buffers, renumbered in the order given."""
        rows = np.array(kept, dtype=np.int64)
        number = {old: new for new, old in enumerate(kept)}
        aliases = frozenset((number[i], number[j]) for i, j in self.aliases if i in number and j in number)
        return Instance(
            self.sizes[rows], self.first[rows], self.last[rows], self.gaps[np.ix_(rows, rows)].copy(), aliases
        )

    def height(self, offsets: Sequence[int]) -> int:
        """Size of the arena that a placement needs."""
        return max((offset + int(size) for offset, size in zip(offsets, self.sizes, strict=True)), default=0)
