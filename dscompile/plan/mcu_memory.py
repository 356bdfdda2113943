"""The program of a network as standalone C, in a memory mode: which layers are streamed, and why.

- fast: the fewest instructions, where one percent of them is worth a quarter of the arena: whole layers, unless streams
  are nearly free. With a budget, the fewest instructions that keep it.
- balanced: the smallest arena for at most 5 % more instructions; no rows are pushed.
- stream: rows of the input are pushed. The smallest arena, where one percent of the instructions is worth two percent
  of it; with a budget, the fewest instructions that keep it.

Instructions are estimates (plan/mcu_costs.py); arenas are exact. docs/memory.md tells how the cuts are found.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dscompile.errors import UnsupportedError
from dscompile.ir.memory import MemoryMode
from dscompile.ir.network import Network
from dscompile.plan.mcu_cuts import Candidate, Cuts, instructions_of
from dscompile.plan.mcu_draft import Draft, Plan
from dscompile.plan.mcu_lowering import lowered_drafts
from dscompile.plan.program import MemoryChoice, Program
from dscompile.target import Target

_FAST, _STREAM = 30, 2  # powers of the instructions, which times the arena is to be least
_BALANCED = 1.05
_MORE_FOR_ROWS = 1 / 32  # of an arena without tensors in rows
_ANY = float("inf")


@dataclass(frozen=True)
class _Choice:
    """Cuts with their placement; `proven` as MemoryChoice has it."""

    draft: Draft
    plan: Plan
    cuts: tuple[Candidate, ...]
    proven: bool

    @property
    def arena_bytes(self) -> int:
        return self.plan.places.size_bytes

    @property
    def instructions(self) -> float:
        return instructions_of(self.cuts)


def plan_mcu_program(
    network: Network,
    target: Target,
    *,
    affine: bool = True,
    memory: MemoryMode = "fast",
    arena_bytes: int | None = None,
) -> Program:
    """The program of a canonical network (see dscompile.passes) as standalone C for `target`.

    `affine` allows requantization by a searched multiplication (plan/requantization.py), which gives the same results
    as the network's own rounding. `arena_bytes` is the budget that the cuts are to keep; where none can, the program
    has the smallest arena of its mode, and its `memory` names the smallest of all modes. Raises UnsupportedError for
    batches, for sums that could leave 32 bits, in the mode `stream` for networks whose rows cannot be pushed, and for
    any mode but `fast` where the target names several memories, over which nothing is streamed.
    """
    if memory != "fast" and _has_regions(target):
        raise UnsupportedError(
            f"memory mode '{memory}' streams layers through one arena, but {target.name} has memories with names",
            help="give 'arena' one size and 'weights' no regions, or take the mode fast",
        )
    chooser = _Chooser(lowered_drafts(network, target, affine=affine))
    fastest = chooser.fastest
    if memory == "stream" and not chooser.can_push():
        chooser = _Chooser(lowered_drafts(network, target, affine=affine, vectors=False))
    chosen = chooser.choose(memory, arena_bytes)
    smallest = None
    if arena_bytes is not None and chosen.arena_bytes > arena_bytes:
        smallest = chooser.smallest()
    streams = sum(cut.segment is not None for cut in chosen.cuts)
    choice = MemoryChoice(
        mode=memory,
        streams=streams,
        instructions=round(chosen.instructions),
        fastest_instructions=round(fastest),
        proven=chosen.proven,
        smallest=smallest,
    )
    return chosen.draft.program(chosen.plan, choice)


class _Chooser:
    """The best plans over all drafts of a network."""

    def __init__(self, drafts: Sequence[Draft]) -> None:
        self._drafts = drafts
        self._found: dict[bool, list[Cuts]] = {}
        self.fastest = min(cuts.whole for cuts in self._cuts(pushed=False))

    def _cuts(self, *, pushed: bool) -> list[Cuts]:
        if pushed not in self._found:
            self._found[pushed] = [Cuts(draft, pushed=pushed) for draft in self._drafts]
        return self._found[pushed]

    def choose(self, mode: MemoryMode, budget_bytes: int | None) -> _Choice:
        """The choice of a mode; the smallest arena of the mode where the budget cannot be kept."""
        match mode:
            case "fast":
                if _has_regions(self._drafts[0].target):
                    return self._whole()
                if budget_bytes is None:
                    return self._least_product(_FAST, pushed=False)
                return self._within(budget_bytes, pushed=False) or self._smallest(_ANY, pushed=False)
            case "balanced":
                return self._smallest(_BALANCED * self.fastest, pushed=False)
            case "stream":
                self._require_rows()
                if budget_bytes is None:
                    return self._least_product(_STREAM, pushed=True)
                return self._within(budget_bytes, pushed=True) or self._smallest(_ANY, pushed=True)

    def smallest(self) -> tuple[MemoryMode, int]:
        """The mode with the smallest arena of all, and its bytes."""
        best: list[tuple[int, MemoryMode]] = [(self._smallest(_ANY, pushed=False).arena_bytes, "fast")]
        if self.can_push():
            best.append((self._smallest(_ANY, pushed=True).arena_bytes, "stream"))
        size, mode = min(best, key=lambda each: each[0])
        return mode, size

    def can_push(self) -> bool:
        """Whether the rows of the input can be pushed one by one."""
        return any(cuts.cheapest(limit) is not None for cuts in self._cuts(pushed=True) for limit in cuts.limits[-1:])

    def _require_rows(self) -> None:
        if not self.can_push():
            raise UnsupportedError(
                f"memory mode 'stream' wants the rows of the input one by one: {_why_not(self._drafts[0])}",
                help="take --memory balanced, which keeps the whole input",
            )

    def _whole(self) -> _Choice:
        """Nothing streamed, for several memories. Tensors in rows, which are faster, unless room then lacks."""
        ways = [_placed(cuts, cuts.steps, True) for cuts in self._cuts(pushed=False)]
        dense = min((way for way in ways if not way.draft.in_rows), key=_size)
        rows = min((way for way in ways if way.draft.in_rows), key=_size, default=None)
        if rows is None:
            return dense
        one, other = dense.plan.places.split, rows.plan.places.split
        if one is not None and other is not None:
            return rows if other.lacking_bytes <= one.lacking_bytes else dense
        return rows if rows.arena_bytes <= dense.arena_bytes * (1 + _MORE_FOR_ROWS) else dense

    def _smallest(self, most_instructions: float, *, pushed: bool) -> _Choice:
        """The smallest arena of plans within the instructions; of equal ones the cheapest."""
        best: _Choice | None = None
        for cuts in self._cuts(pushed=pushed):
            for limit in cuts.limits:
                if best is not None and limit >= best.arena_bytes:
                    break
                plan = cuts.cheapest(limit)
                if plan is None or instructions_of(plan) > most_instructions:
                    continue
                found = _placed(cuts, plan, False)
                if best is None or found.arena_bytes < best.arena_bytes:
                    best = _Choice(
                        found.draft, found.plan, plan, found.arena_bytes - limit < found.draft.target.arena_alignment
                    )
        assert best is not None
        return self._cheapest_as_small(best, pushed=pushed)

    def _least_product(self, power: int, *, pushed: bool) -> _Choice:
        """The least product of the arena and a power of the instructions: plans are placed from the least bound on."""
        plans: dict[tuple[Candidate, ...], tuple[float, Cuts]] = {}
        for cuts in self._cuts(pushed=pushed):
            for limit in cuts.limits:
                plan = cuts.cheapest(limit)
                if plan is not None and plan not in plans:
                    plans[plan] = (self._product(limit, instructions_of(plan), power), cuts)
        best: tuple[float, _Choice] | None = None
        least = min(bound for bound, _ in plans.values())
        for plan, (bound, cuts) in sorted(plans.items(), key=lambda each: each[1][0]):
            if best is not None and bound >= best[0]:
                break
            found = _placed(cuts, plan, False)
            score = self._product(found.arena_bytes, found.instructions, power)
            if best is None or score < best[0]:
                best = (score, found)
        assert best is not None
        return replace(best[1], proven=best[0] <= least)

    def _product(self, arena_bytes: int, instructions: float, power: int) -> float:
        """The logarithm of the arena times a power of the instructions."""
        extra = math.log(instructions / self.fastest) if self.fastest else 0.0
        return math.log(max(arena_bytes, 1)) + power * extra

    def _cheapest_as_small(self, best: _Choice, *, pushed: bool) -> _Choice:
        """A cheaper plan whose arena is no larger, if the exact placement has one."""
        found = self._within(best.arena_bytes, pushed=pushed)
        if found is not None and found.instructions < best.instructions:
            return _Choice(found.draft, found.plan, found.cuts, best.proven)
        return best

    def _within(self, budget_bytes: int, *, pushed: bool) -> _Choice | None:
        """The fewest instructions whose arena keeps the budget."""
        ways = []
        for cuts in self._cuts(pushed=pushed):
            limits = [limit for limit in cuts.limits if limit <= budget_bytes]
            last: tuple[Candidate, ...] | None = None
            for limit in reversed(limits):
                plan = cuts.cheapest(limit)
                if plan is None:
                    break
                if plan == last:
                    continue
                found = _placed(cuts, plan, last is None)
                last = plan
                if found.arena_bytes <= budget_bytes:
                    ways.append(found)
                    break
        return min(ways, key=lambda way: way.instructions, default=None)


def _has_regions(target: Target) -> bool:
    return bool(target.regions or target.weight_regions)


def _size(way: _Choice) -> tuple[int, float, int]:
    """What is to be small: the arena, or over several memories first what they lack, then what accesses cost."""
    split = way.plan.places.split
    return (0 if split is None else split.lacking_bytes, 0.0 if split is None else split.cost, way.arena_bytes)


def _placed(cuts: Cuts, plan: tuple[Candidate, ...], proven: bool) -> _Choice:
    draft = cuts.apply(plan)
    return _Choice(draft, draft.plan(), plan, proven)


def _why_not(draft: Draft) -> str:
    """Why the rows of a network's input cannot be pushed."""
    inputs = draft.network.user_inputs
    if len(inputs) != 1:
        return f"the network has {len(inputs)} inputs"
    if draft.network.states:
        return "the network keeps state from one inference to the next"
    tensor = draft.network.tensor(inputs[0])
    if len(tensor.shape) != 4:
        return f"input '{tensor.name}' {list(tensor.shape)} is no image"
    if tensor.border == "nchw":
        return f"input '{tensor.name}' is in NCHW order, where a row is not in one place"
    readers = draft.network.consumers[tensor.name]
    if len(readers) != 1:
        return f"{len(readers)} layers read input '{tensor.name}'"
    return f"layer '{readers[0].name}' does not work row by row"
