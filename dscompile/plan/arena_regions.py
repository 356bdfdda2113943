"""Which memory every buffer of the arena lies in, where there are several: the cheapest way that fits.

An access costs what its region says; what all accesses cost together is to be least, and each region holds its buffers
at their lifetimes (plan/arena.py). The search first forgets that buffers must keep their offsets: along the steps, it
finds the cheapest assignment under which no step has more bytes alive in a region than that holds, which no placement
can beat. Such assignments are then tried in the order of their costs until the buffers of every region find places.
docs/memory.md tells more.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from dscompile.plan.arena import Overlap, Placement, Request, instance_of, plan_arena
from dscompile.regions import Region

STATES = 20_000  # assignments of the buffers alive in one step that are kept
TRIALS = 400  # assignments whose placement is tried
NODES = 5_000  # placed buffers in the search for one region's placement
_NOWHERE = 1 << 62  # costs to the end where there is no way
_GROWTH_STEPS = 24  # halvings in the search for how much a region lacks


@dataclass(frozen=True)
class RegionPlan:
    """A region for every buffer, and the placement in each region, in the order of the regions.

    `cost` is the sum of bytes times costs in thousandths; no plan costs less than `lower_bound_cost`. `proven` says
    that they are equal. `lacking_bytes` is what the last region lacks: its placement is larger than the region by that.
    """

    regions: Mapping[str, str]
    placements: tuple[Placement, ...]
    cost: int
    lower_bound_cost: int
    lacking_bytes: int = 0

    @property
    def proven(self) -> bool:
        """Whether no plan costs less."""
        return self.cost == self.lower_bound_cost


def plan_regions(
    requests: Sequence[Request],
    overlaps: Sequence[Overlap],
    traffic: Mapping[str, int],
    regions: Sequence[Region],
    *,
    alignment: int,
) -> RegionPlan:
    """The cheapest plan found for `requests`, of which each moves `traffic` bytes in an inference.

    Where they do not fit, the last region gets as much as it needs. Everything is limited by counts: the same input
    gives the same plan on every machine.
    """
    search = _Search(requests, overlaps, traffic, regions, alignment)
    found = search.best([region.size_bytes for region in regions])
    if found is not None:
        return found
    sizes = [region.size_bytes for region in regions]
    low = sizes[-1]
    high = low + sum(-(-request.size_bytes // alignment) * alignment for request in requests)
    found = search.best([*sizes[:-1], high])
    for _ in range(_GROWTH_STEPS):
        if high - low <= alignment:
            break
        middle = (low + high) // 2 // alignment * alignment
        tried = search.best([*sizes[:-1], middle])
        if tried is None:
            low = middle
        else:
            found, high = tried, middle
    assert found is not None  # a region that holds all buffers side by side is enough
    return replace(found, lacking_bytes=found.placements[-1].size_bytes - sizes[-1])


@dataclass
class _Node:
    """The regions of the buffers that live on after a step, and ways there: (cost, buffers and regions, next node)."""

    alive: tuple[tuple[int, int], ...]
    reached: int
    edges: list[tuple[int, tuple[tuple[int, int], ...], int]] = field(default_factory=list)
    ahead: int = 0


class _Search:
    """The buffers of one program, by number, and what is known of sets of them."""

    def __init__(
        self,
        requests: Sequence[Request],
        overlaps: Sequence[Overlap],
        traffic: Mapping[str, int],
        regions: Sequence[Region],
        alignment: int,
    ) -> None:
        self._empty = [request for request in requests if not request.size_bytes]
        self._solid = [request for request in requests if request.size_bytes]
        self._overlaps = overlaps
        self._regions = regions
        self._alignment = alignment
        self._instance = instance_of(self._solid, alignment, overlaps)
        self._costs = [[traffic.get(r.name, 0) * region.milli for region in regions] for r in self._solid]
        self._placements: dict[frozenset[int], Placement] = {}

    def best(self, sizes: Sequence[int]) -> RegionPlan | None:
        """The cheapest plan found with so many bytes in each region; None if none was found."""
        layers, is_whole = self._layers(sizes)
        if not layers[-1]:
            return None
        least = layers[0][0].ahead if is_whole else sum(min(costs) for costs in self._costs)
        is_exact = is_whole  # whether no way that was refused might have had a place
        for cost, chosen in itertools.islice(_ways(layers), TRIALS):
            refused = self._refusal(chosen, sizes)
            if refused is None:
                return self._plan(chosen, cost, cost if is_exact else least)
            if is_exact and not refused:
                least, is_exact = cost, False
        greedy = self._hottest_first(sizes)
        return None if greedy is None else self._plan(greedy, self._cost(greedy), least)

    def _layers(self, sizes: Sequence[int]) -> tuple[list[list[_Node]], bool]:
        """The nodes after each step in which buffers begin, with the costs ahead of them; whether none was left out.

        The last list is empty if nothing fits.
        """
        steps = sorted({request.first for request in self._solid})
        layers, is_whole = [[_Node((), 0)]], True
        for step, following in itertools.zip_longest(steps, steps[1:]):
            new = [i for i, request in enumerate(self._solid) if request.first == step]
            nodes: dict[tuple[tuple[int, int], ...], int] = {}
            made: list[_Node] = []
            for node in layers[-1]:
                for chosen in self._choices(node.alive, new, sizes):
                    cost = sum(self._costs[i][region] for i, region in chosen)
                    alive = tuple(
                        (i, region)
                        for i, region in (*node.alive, *chosen)
                        if following is not None and self._solid[i].last >= following
                    )
                    if alive not in nodes:
                        nodes[alive] = len(made)
                        made.append(_Node(alive, node.reached + cost))
                    index = nodes[alive]
                    made[index].reached = min(made[index].reached, node.reached + cost)
                    node.edges.append((cost, chosen, index))
            if len(made) > STATES:
                is_whole = False
                made = _keep_cheapest(layers[-1], made)
            layers.append(made)
        for nodes_before, nodes_after in reversed(list(itertools.pairwise(layers))):
            _look_ahead(nodes_before, nodes_after)
        return layers, is_whole

    def _choices(
        self, alive: tuple[tuple[int, int], ...], new: Sequence[int], sizes: Sequence[int]
    ) -> list[tuple[tuple[int, int], ...]]:
        """The ways to give the `new` buffers regions beside those alive, without more in any region than it holds."""
        ways: list[tuple[tuple[int, int], ...]] = [()]
        for i in new:
            ways = [
                (*way, (i, region))
                for way in ways
                for region in range(len(sizes))
                if self._fits([*(j for j, r in (*alive, *way) if r == region), i], sizes[region])
            ]
        return ways

    def _fits(self, together: list[int], size: int) -> bool:
        """Whether buffers alive at once may have places in so many bytes, which their sizes may rule out."""
        return self._instance.clique_bound(together) * self._alignment <= size

    def _refusal(self, chosen: Sequence[int], sizes: Sequence[int]) -> bool | None:
        """None if the buffers of every region have places; else whether it is proven that those of one have none."""
        refusal: bool | None = None
        for region, size in enumerate(sizes):
            placement = self._placement(frozenset(i for i, r in enumerate(chosen) if r == region))
            if placement.size_bytes > size:
                if placement.lower_bound_bytes > size:
                    return True
                refusal = False
        return refusal

    def _placement(self, members: frozenset[int]) -> Placement:
        """The smallest arena found for some of the buffers."""
        if members not in self._placements:
            requests = [self._solid[i] for i in sorted(members)]
            names = {request.name for request in requests}
            overlaps = [o for o in self._overlaps if {o.earlier, o.later} <= names]
            self._placements[members] = plan_arena(
                requests, alignment=self._alignment, overlaps=overlaps, time_limit_nodes=NODES
            )
        return self._placements[members]

    def _hottest_first(self, sizes: Sequence[int]) -> list[int] | None:
        """Buffers in the order of their traffic per byte, each into the cheapest region in which it finds a place."""
        chosen = [-1] * len(self._solid)
        order = sorted(range(len(chosen)), key=lambda i: (-self._costs[i][0] / self._solid[i].size_bytes, i))
        cheapest = sorted(range(len(sizes)), key=lambda region: (self._regions[region].milli, region))
        for i in order:
            for region in cheapest:
                members = frozenset((i, *(j for j, r in enumerate(chosen) if r == region)))
                if self._placement(members).size_bytes <= sizes[region]:
                    chosen[i] = region
                    break
            else:
                return None
        return chosen

    def _cost(self, chosen: Sequence[int]) -> int:
        return sum(costs[region] for costs, region in zip(self._costs, chosen, strict=True))

    def _plan(self, chosen: Sequence[int], cost: int, least: int) -> RegionPlan:
        placements = [
            self._placement(frozenset(i for i, r in enumerate(chosen) if r == region))
            for region in range(len(self._regions))
        ]
        if self._empty:
            empty = dict.fromkeys((request.name for request in self._empty), 0)
            placements[0] = replace(placements[0], offsets={**placements[0].offsets, **empty})
        regions = {request.name: self._regions[0].name for request in self._empty}
        regions |= {self._solid[i].name: self._regions[region].name for i, region in enumerate(chosen)}
        return RegionPlan(regions, tuple(placements), cost, least)


def _keep_cheapest(before: list[_Node], made: list[_Node]) -> list[_Node]:
    """The nodes that are reached at least cost; edges to others go."""
    kept = sorted(range(len(made)), key=lambda index: (made[index].reached, index))[:STATES]
    number = {old: new for new, old in enumerate(kept)}
    for node in before:
        node.edges = [(cost, chosen, number[index]) for cost, chosen, index in node.edges if index in number]
    return [made[old] for old in kept]


def _look_ahead(before: list[_Node], after: list[_Node]) -> None:
    """The least cost from each node to the end; edges that lead nowhere go."""
    for node in before:
        node.edges = [edge for edge in node.edges if after[edge[2]].ahead < _NOWHERE]
        node.ahead = min((cost + after[index].ahead for cost, _, index in node.edges), default=_NOWHERE)


def _ways(layers: Sequence[Sequence[_Node]]) -> Iterator[tuple[int, list[int]]]:
    """All ways from the first step to the last with their costs, the cheapest first: a region for every buffer."""
    number = itertools.count()
    open_ways: list[tuple[int, int, int, int, tuple[tuple[int, int], ...]]] = [(layers[0][0].ahead, 0, 0, 0, ())]
    while open_ways:
        total, _, layer, index, chosen = heapq.heappop(open_ways)
        node = layers[layer][index]
        if layer + 1 == len(layers):
            yield total, [region for _, region in sorted(chosen)]
            continue
        spent = total - node.ahead
        for cost, more, following in node.edges:
            ahead = layers[layer + 1][following].ahead
            heapq.heappush(open_ways, (spent + cost + ahead, -next(number), layer + 1, following, (*chosen, *more)))
