"""The arena: buffers with lifetimes placed in one block of memory, as small as possible.

The problem is dynamic storage allocation (Garey and Johnson 1979, SR2): rectangles of fixed extent in time slide along
the memory axis; two that share a step must not share a byte. It is NP-hard in general and easy for most networks, so
the planner stops as soon as a placement meets a lower bound, and searches only where none does. How it works, and what
may overlap, is told in docs/memory.md; the search itself is in plan/arena_search.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from dscompile.plan.arena_instance import Instance
from dscompile.plan.arena_search import solve

DEFAULT_NODES = 40_000


@dataclass(frozen=True)
class Request:
    """A buffer of `size_bytes`, alive in the steps `first` to `last`, both inclusive. Steps may be negative."""

    name: str
    size_bytes: int
    first: int
    last: int


@dataclass(frozen=True)
class Overlap:
    """Permission for two buffers that meet in one step: `earlier` is read for the last time where `later` is written.

    With `below_bytes`, `later` may begin anywhere at or below offset(earlier) - below_bytes: right for an operator that
    goes through memory upwards and has done with `earlier` up to byte i - below_bytes when it writes byte i of `later`
    (each counted from its own beginning). With `above_bytes`, it may begin anywhere at or above offset(earlier) +
    above_bytes: right for an operator that goes downwards. An operator that can do either has both,
    and looks at the placement for the direction. With neither, `later` may only take exactly the place of `earlier`
    (the same offset): in-place operators.

    These are permissions: the planner uses them only where they save memory, and may always keep the two apart.
    """

    earlier: str
    later: str
    below_bytes: int | None = None
    above_bytes: int | None = None

    @property
    def is_in_place(self) -> bool:
        """Whether the same offset is all that is permitted."""
        return self.below_bytes is None and self.above_bytes is None

    def permits(self, shift_bytes: int) -> bool:
        """Whether `later` may begin `shift_bytes` above `earlier` (below it, if negative)."""
        if self.is_in_place:
            return shift_bytes == 0
        below = self.below_bytes is not None and shift_bytes <= -self.below_bytes
        return below or (self.above_bytes is not None and shift_bytes >= self.above_bytes)


@dataclass(frozen=True)
class Placement:
    """Where the buffers lie.

    `offsets` maps every request's name to bytes from the start of the arena, multiples of the alignment. `size_bytes`
    is the size of the arena, a multiple of the alignment too. No placement can be smaller than `lower_bound_bytes`;
    `proven` says that this one is as small, because the two are equal. `method` names what found it.
    """

    offsets: Mapping[str, int]
    size_bytes: int
    lower_bound_bytes: int
    proven: bool
    method: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "offsets", MappingProxyType(dict(self.offsets)))


def plan_arena(
    requests: Sequence[Request],
    *,
    alignment: int,
    overlaps: Sequence[Overlap] = (),
    time_limit_nodes: int = DEFAULT_NODES,
) -> Placement:
    """The smallest arena found for `requests`.

    `alignment` (bytes, any positive number) holds for every offset. `time_limit_nodes` limits the work by counting
    placed buffers, never by the clock: the same input gives the same placement on every machine.

    Raises ValueError with everything that is wrong with the input: names given twice, lifetimes that end before they
    begin, negative sizes, overlaps of buffers that do not meet.
    """
    problems = _problems(requests, alignment, overlaps, time_limit_nodes)
    if problems:
        raise ValueError("; ".join(problems))
    solid = [request for request in requests if request.size_bytes]
    offsets = dict.fromkeys((request.name for request in requests), 0)
    solution = solve(instance_of(solid, alignment, overlaps), time_limit_nodes)
    for request, offset in zip(solid, solution.offsets, strict=True):
        offsets[request.name] = offset * alignment
    placement = Placement(
        offsets,
        solution.height * alignment,
        solution.bound * alignment,
        solution.height == solution.bound,
        solution.method,
    )
    if __debug__:
        check_placement(requests, overlaps, placement, alignment=alignment)
    return placement


def share_bytes(start: int, end: int, other_start: int, other_end: int) -> bool:
    """Whether [start, end) and [other_start, other_end) have a byte in common; empty ones have none."""
    return max(start, other_start) < min(end, other_end)


def check_placement(
    requests: Sequence[Request], overlaps: Sequence[Overlap], placement: Placement, *, alignment: int = 1
) -> None:
    """Raises AssertionError, naming the buffers, unless the placement is right. Shares nothing with the planner."""
    permitted = {frozenset((o.earlier, o.later)): o for o in overlaps}
    highest = 0
    for index, one in enumerate(requests):
        start = placement.offsets.get(one.name)
        if start is None:
            raise AssertionError(f"'{one.name}' has no place")
        if start < 0 or start % alignment:
            raise AssertionError(f"'{one.name}' at byte {start} is not aligned to {alignment}")
        highest = max(highest, start + one.size_bytes)
        for other in requests[:index]:
            if one.first > other.last or other.first > one.last or not one.size_bytes or not other.size_bytes:
                continue
            place = placement.offsets[other.name]
            if start >= place + other.size_bytes or place >= start + one.size_bytes:
                continue
            overlap = permitted.get(frozenset((one.name, other.name)))
            if overlap is None or not overlap.permits(
                placement.offsets[overlap.later] - placement.offsets[overlap.earlier]
            ):
                raise AssertionError(
                    f"'{other.name}' [{place}, {place + other.size_bytes}) and '{one.name}' "
                    f"[{start}, {start + one.size_bytes}) overlap in step {max(one.first, other.first)}"
                )
    if highest > placement.size_bytes:
        raise AssertionError(f"buffers reach byte {highest}, beyond the arena of {placement.size_bytes}")
    if placement.lower_bound_bytes > placement.size_bytes:
        raise AssertionError(f"the arena is smaller than its lower bound {placement.lower_bound_bytes}")
    if placement.proven != (placement.size_bytes == placement.lower_bound_bytes):
        raise AssertionError("'proven' does not say whether size and lower bound are equal")


def _problems(
    requests: Sequence[Request], alignment: int, overlaps: Sequence[Overlap], time_limit_nodes: int
) -> list[str]:
    problems = []
    if alignment < 1:
        problems.append(f"the alignment must be at least 1 byte, not {alignment}")
    if time_limit_nodes < 0:
        problems.append(f"the node limit must not be negative: {time_limit_nodes}")
    named: dict[str, Request] = {}
    for request in requests:
        if request.name in named:
            problems.append(f"there are two buffers called '{request.name}'")
        if request.size_bytes < 0:
            problems.append(f"buffer '{request.name}' has a negative size: {request.size_bytes} bytes")
        if request.last < request.first:
            problems.append(f"buffer '{request.name}' ends in step {request.last}, before it begins in {request.first}")
        named[request.name] = request
    pairs: set[frozenset[str]] = set()
    for overlap in overlaps:
        what = f"overlap of '{overlap.earlier}' and '{overlap.later}'"
        pair = frozenset((overlap.earlier, overlap.later))
        unknown = sorted(pair - named.keys())
        problems.extend(f"{what}: there is no buffer '{name}'" for name in unknown)
        if pair in pairs:
            problems.append(f"{what} is given twice")
        pairs.add(pair)
        for distance in (overlap.below_bytes, overlap.above_bytes):
            if distance is not None and distance < 0:
                problems.append(f"{what}: the distance must not be negative: {distance} bytes")
        if not unknown:
            problems.extend(
                f"{what}: {text}" for text in _meeting_problems(named[overlap.earlier], named[overlap.later])
            )
    return problems


def _meeting_problems(earlier: Request, later: Request) -> list[str]:
    """An overlap is safe only where the last use of one buffer is the first of the other."""
    if earlier.first >= later.first:
        return [f"'{earlier.name}' must begin before '{later.name}' does"]
    if earlier.last > later.first:
        return [f"'{earlier.name}' is needed until step {earlier.last}, but '{later.name}' begins in {later.first}"]
    if earlier.last < later.first:
        return [f"they never live in the same step ({earlier.last} and {later.first}), so they need none"]
    return []


def instance_of(requests: Sequence[Request], alignment: int, overlaps: Sequence[Overlap]) -> Instance:
    """The requests in units of the alignment: sizes and distances round up, so every offset is a whole number."""

    def units(size_bytes: int) -> int:
        return -(-size_bytes // alignment)

    index = {request.name: i for i, request in enumerate(requests)}
    sizes = np.array([units(request.size_bytes) for request in requests], dtype=np.int64)
    first = np.array([request.first for request in requests], dtype=np.int64)
    last = np.array([request.last for request in requests], dtype=np.int64)
    meets = (first[:, None] <= last[None, :]) & (first[None, :] <= last[:, None])
    np.fill_diagonal(meets, False)
    gaps = np.where(meets, sizes[:, None], 0)
    aliases = set()
    for overlap in overlaps:
        if overlap.earlier not in index or overlap.later not in index:
            continue  # an empty buffer overlaps nothing
        earlier, later = index[overlap.earlier], index[overlap.later]
        if overlap.is_in_place:
            aliases.add((earlier, later))
        if overlap.below_bytes is not None:
            gaps[later, earlier] = min(gaps[later, earlier], units(overlap.below_bytes))
        if overlap.above_bytes is not None:
            gaps[earlier, later] = min(gaps[earlier, later], units(overlap.above_bytes))
    return Instance(sizes, first, last, gaps, frozenset(aliases))
