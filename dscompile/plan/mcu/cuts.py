"""Which steps of a draft become streams: every cut needs memory and costs instructions, the best are found exactly.

A candidate is one step as it is, or a segment of steps as one stream. Candidates that follow each other make a plan. In
the step that a candidate becomes, the arena holds at least its `need_bytes`: what lives across it, its rings, its
source and its result less what these two may share. That does not depend on the other candidates, because only
tensors that nobody outside reads vanish into a segment. So the cheapest plan whose needs all keep a limit is a shortest
path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dscompile.plan.mcu.costs import kernel_instructions, stream_overhead, target_isa
from dscompile.plan.mcu.draft import Draft
from dscompile.plan.mcu.streams import Rows, Segment, row_forms, rows_of, streamed

LONGEST = 12  # steps of a stream that is not pushed; longer ones save nothing that two of them would not


@dataclass(frozen=True)
class Candidate:
    """The steps [first, end) as they are, one step, or as a stream; a lower bound of the arena, and instructions."""

    first: int
    end: int
    need_bytes: int
    instructions: float
    segment: Segment | None = None


class Cuts:
    """All candidates of a draft, and the best plans that they make."""

    def __init__(self, draft: Draft, *, pushed: bool, longest: int = LONGEST) -> None:
        self.draft = draft
        self._forms = row_forms(draft)
        self._rows: dict[Segment, Rows] = {}
        self._by_end: dict[int, list[Candidate]] = {}
        count = len(draft.steps)
        self.steps = tuple(_step_candidate(draft, index) for index in range(count))  # the plan without streams
        for first in range(count):
            is_pushed = pushed and first == 0
            if not is_pushed:
                self._add(self.steps[first])
            for end in range(
                first + (1 if is_pushed else 2), min(count, first + (count if is_pushed else longest)) + 1
            ):
                if self._forms[end - 1] is None:
                    break
                segment = Segment(first, end, is_pushed)
                rows = rows_of(draft, self._forms, segment)
                if rows is not None:
                    self._rows[segment] = rows
                    self._add(_stream_candidate(draft, segment, rows))

    @property
    def whole(self) -> float:
        """Instructions without streams."""
        return instructions_of(self.steps)

    def _add(self, candidate: Candidate) -> None:
        self._by_end.setdefault(candidate.end, []).append(candidate)

    @property
    def limits(self) -> list[int]:
        """All needs of candidates: between two of them a limit changes nothing."""
        return sorted({each.need_bytes for candidates in self._by_end.values() for each in candidates})

    def cheapest(self, limit_bytes: int) -> tuple[Candidate, ...] | None:
        """The plan of the fewest instructions in which no need exceeds the limit; None if there is none."""
        best: list[tuple[float, tuple[Candidate, ...]] | None] = [(0.0, ())]
        for end in range(1, len(self.draft.steps) + 1):
            ways = []
            for each in self._by_end.get(end, ()):
                before = best[each.first]
                if before is not None and each.need_bytes <= limit_bytes:
                    ways.append((before[0] + each.instructions, (*before[1], each)))
            best.append(min(ways, key=lambda way: way[0], default=None))
        found = best[-1]
        return None if found is None else found[1]

    def apply(self, plan: Sequence[Candidate]) -> Draft:
        """The draft with the streams of a plan."""
        segments = [each.segment for each in plan if each.segment is not None]
        return streamed(self.draft, {segment: self._rows[segment] for segment in segments})


def instructions_of(plan: Sequence[Candidate]) -> float:
    """Of a whole plan."""
    return sum(each.instructions for each in plan)


def _step_instructions(draft: Draft, index: int) -> float:
    return sum(kernel_instructions(call.kernel, target_isa(draft.target)) for call in draft.steps[index].calls)


def _step_candidate(draft: Draft, index: int) -> Candidate:
    """One step; what two buffers may share is in whole units of the alignment, as for the planner of the arena."""
    unit = draft.target.arena_alignment
    sizes = {s.name: _aligned(s.size_bytes, unit) for s in draft.live_stores if s.first <= index <= s.last}
    need = sum(sizes.values())
    for overlap in draft.step_overlaps(index):
        earlier, later = sizes[overlap.earlier], sizes[overlap.later]
        ways = [earlier + later]
        if overlap.is_in_place:
            ways.append(max(earlier, later))
        if overlap.below_bytes is not None:
            ways.append(max(earlier + _aligned(overlap.below_bytes, unit), later))
        if overlap.above_bytes is not None:
            ways.append(max(earlier, _aligned(overlap.above_bytes, unit) + later))
        need -= earlier + later - min(ways)
    return Candidate(index, index + 1, max(need, 0), _step_instructions(draft, index))


def _stream_candidate(draft: Draft, segment: Segment, rows: Rows) -> Candidate:
    """The merged step alone, in a draft where nothing else is a stream."""
    merged = streamed(draft, {segment: rows})
    made = 0
    moved = 0
    kernels = 0.0
    for row, count in zip(rows.stages, rows.flow.moved, strict=True):
        made += row.form.rows.outputs
        moved += count * row.form.x_row_bytes
        kernels += row.form.rows.outputs * kernel_instructions(row.form.kernel, target_isa(draft.target))
    if segment.pushed:
        moved += rows.stages[0].form.rows.size * rows.stages[0].form.x_row_bytes
    step = _step_candidate(merged, segment.first)
    return Candidate(segment.first, segment.end, step.need_bytes, kernels + stream_overhead(made, moved), segment)


def _aligned(size_bytes: int, unit: int) -> int:
    return -(-size_bytes // unit) * unit
