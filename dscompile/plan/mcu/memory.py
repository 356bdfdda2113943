"""The program of a network as standalone C, in a memory mode: which layers are streamed, and why.

- fast: the fewest instructions, where one percent of them is worth a quarter of the arena: whole layers, unless streams
  are nearly free. With a budget, the fewest instructions that keep it.
- balanced: the smallest arena for at most 5 % more instructions; no rows are pushed.
- stream: rows of the input are pushed. The smallest arena, where one percent of the instructions is worth two percent
  of it; with a budget, the fewest instructions that keep it.

Instructions are estimates (plan/mcu/costs.py); arenas are exact. docs/memory.md tells how the cuts are found.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from dscompile.errors import UnsupportedError
from dscompile.ir.memory import MemoryMode
from dscompile.ir.network import Network
from dscompile.plan.mcu.cuts import Candidate, Cuts, instructions_of
from dscompile.plan.mcu.draft import Draft, Plan
from dscompile.plan.mcu.ways import lowered_drafts
from dscompile.plan.program import MemoryChoice, Program
from dscompile.target import Target

_FAST, _STREAM = 30, 2  # powers of the instructions, which times the arena is to be least
_BALANCED = 1.05
_MORE_FOR_ROWS = 1 / 32  # of an arena without tensors in rows
_ANY = float("inf")


@dataclass(frozen=True)
class _Way:
    """A cheapest plan of some cuts. No arena of it is smaller than `least_bytes`."""

    cuts: Cuts
    plan: tuple[Candidate, ...]
    least_bytes: int

    @property
    def instructions(self) -> float:
        return instructions_of(self.plan)


@dataclass(frozen=True)
class _Choice:
    """A way with its placement; `proven` as MemoryChoice has it."""

    way: _Way
    draft: Draft
    plan: Plan
    proven: bool = False

    @property
    def arena_bytes(self) -> int:
        return self.plan.places.size_bytes

    @property
    def instructions(self) -> float:
        return self.way.instructions


_Rank = tuple[float, float]
_Order = Callable[[int, float], _Rank | None]
"""How good an arena with some instructions is: less is better, a smaller arena never worse; None: it will not do."""


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
    if memory == "stream" and not chooser.can_push:
        chooser = _Chooser(lowered_drafts(network, target, affine=affine, vectors=False))
    chosen = chooser.choose(memory, arena_bytes)
    smallest = None
    if arena_bytes is not None and chosen.arena_bytes > arena_bytes:
        smallest = chooser.smallest()
    streams = sum(cut.segment is not None for cut in chosen.way.plan)
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
        self._cuts: dict[bool, list[Cuts]] = {}
        self._ways: dict[bool, list[_Way]] = {}
        self._placed: dict[tuple[Cuts, tuple[Candidate, ...]], _Choice] = {}
        self.fastest = min(cuts.whole for cuts in self._all_cuts(pushed=False))

    def choose(self, mode: MemoryMode, budget_bytes: int | None) -> _Choice:
        """The choice of a mode; the smallest arena of the mode where the budget cannot be kept."""
        if mode == "fast" and _has_regions(self._drafts[0].target):
            return self._whole()
        pushed = mode == "stream"
        if pushed:
            self._require_rows()
        order = self._order(mode)
        if mode != "balanced" and budget_bytes is not None:
            order = _fewest_within(budget_bytes)
        return self._best(order, pushed=pushed) or self._smallest(pushed=pushed)

    @property
    def can_push(self) -> bool:
        """Whether the rows of the input can be pushed one by one."""
        return bool(self._all_ways(pushed=True))

    def smallest(self) -> tuple[MemoryMode, int]:
        """The mode with the smallest arena of all, and its bytes."""
        best: list[tuple[int, MemoryMode]] = [(self._smallest(pushed=False).arena_bytes, "fast")]
        if self.can_push:
            best.append((self._smallest(pushed=True).arena_bytes, "stream"))
        size, mode = min(best, key=lambda each: each[0])
        return mode, size

    def _order(self, mode: MemoryMode) -> _Order:
        """What a mode prefers without a budget."""
        match mode:
            case "fast":
                return _least_product(_FAST, self.fastest)
            case "balanced":
                return _smallest_within(_BALANCED * self.fastest)
            case "stream":
                return _least_product(_STREAM, self.fastest)

    def _all_cuts(self, *, pushed: bool) -> list[Cuts]:
        if pushed not in self._cuts:
            self._cuts[pushed] = [Cuts(draft, pushed=pushed) for draft in self._drafts]
        return self._cuts[pushed]

    def _all_ways(self, *, pushed: bool) -> list[_Way]:
        """The cheapest plan of every limit, under the least limit that has it."""
        if pushed not in self._ways:
            self._ways[pushed] = [way for cuts in self._all_cuts(pushed=pushed) for way in _ways_of(cuts)]
        return self._ways[pushed]

    def _require_rows(self) -> None:
        if not self.can_push:
            raise UnsupportedError(
                f"memory mode 'stream' wants the rows of the input one by one: {_why_not(self._drafts[0])}",
                help="take --memory balanced, which keeps the whole input",
            )

    def _whole(self) -> _Choice:
        """Nothing streamed, for several memories. Tensors in rows, which are faster, unless room then lacks."""
        choices = [self._place(_Way(cuts, cuts.steps, 0)) for cuts in self._all_cuts(pushed=False)]
        whole = [replace(choice, proven=True) for choice in choices]
        dense = min((choice for choice in whole if not choice.draft.in_rows), key=_size)
        rows = min((choice for choice in whole if choice.draft.in_rows), key=_size, default=None)
        if rows is None:
            return dense
        one, other = dense.plan.places.split, rows.plan.places.split
        if one is not None and other is not None:
            return rows if other.lacking_bytes <= one.lacking_bytes else dense
        return rows if rows.arena_bytes <= dense.arena_bytes * (1 + _MORE_FOR_ROWS) else dense

    def _smallest(self, *, pushed: bool) -> _Choice:
        """The smallest arena of all; of equal ones the cheapest."""
        found = self._best(_smallest_within(_ANY), pushed=pushed)
        assert found is not None
        return found

    def _best(self, order: _Order, *, pushed: bool) -> _Choice | None:
        """The first in an order: ways are placed from the best hope on, until none is left that could be better."""
        hopes = [(order(way.least_bytes, way.instructions), way) for way in self._all_ways(pushed=pushed)]
        hopeful = sorted(((rank, way) for rank, way in hopes if rank is not None), key=lambda each: each[0])
        best: tuple[_Rank, _Choice] | None = None
        for hope, way in hopeful:
            if best is not None and hope >= best[0]:
                break
            choice = self._place(way)
            rank = order(choice.arena_bytes, choice.instructions)
            if rank is not None and (best is None or rank < best[0]):
                best = (rank, choice)
        return None if best is None else replace(best[1], proven=best[0] <= hopeful[0][0])

    def _place(self, way: _Way) -> _Choice:
        key = (way.cuts, way.plan)
        if key not in self._placed:
            draft = way.cuts.apply(way.plan)
            self._placed[key] = _Choice(way, draft, draft.plan())
        return self._placed[key]


def _ways_of(cuts: Cuts) -> list[_Way]:
    unit = cuts.draft.target.arena_alignment
    found: dict[tuple[Candidate, ...], _Way] = {}
    for limit in cuts.limits:
        plan = cuts.cheapest(limit)
        if plan is not None and plan not in found:
            found[plan] = _Way(cuts, plan, -(-limit // unit) * unit)
    return list(found.values())


def _smallest_within(most_instructions: float) -> _Order:
    """The smallest arena for so many instructions; of equal ones the cheapest."""
    return lambda arena, instructions: (arena, instructions) if instructions <= most_instructions else None


def _fewest_within(budget_bytes: int) -> _Order:
    """The fewest instructions in a budget."""
    return lambda arena, instructions: (instructions, 0) if arena <= budget_bytes else None


def _least_product(power: int, fastest: float) -> _Order:
    """The least product of the arena and a power of the instructions, as its logarithm."""

    def rank(arena: int, instructions: float) -> _Rank:
        extra = math.log(instructions / fastest) if fastest else 0.0
        return (math.log(max(arena, 1)) + power * extra, 0)

    return rank


def _has_regions(target: Target) -> bool:
    return bool(target.regions or target.weight_regions)


def _size(choice: _Choice) -> tuple[int, float, int]:
    """What is to be small: the arena, or over several memories first what they lack, then what accesses cost."""
    split = choice.plan.places.split
    return (0 if split is None else split.lacking_bytes, 0.0 if split is None else split.cost, choice.arena_bytes)


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
