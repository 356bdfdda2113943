"""Buffers over several memories: the cheapest assignment that fits, against all assignments tried one by one."""

from __future__ import annotations

import itertools
import random

import pytest

from dscompile.plan.arena import Overlap, Request, check_placement, plan_arena
from dscompile.plan.arena_regions import plan_regions
from dscompile.regions import Region, WeightRegion, check_regions

FAST, SLOW = Region("dtcm", 8, 1), Region("sram", 16, 3)


def cheapest_by_trying(requests, overlaps, traffic, regions):
    """The least cost of all assignments whose regions have placements; None if there is none."""
    costs = []
    for chosen in itertools.product(range(len(regions)), repeat=len(requests)):
        if all(
            placed([q for q, c in zip(requests, chosen, strict=True) if c == r], overlaps).size_bytes
            <= region.size_bytes
            for r, region in enumerate(regions)
        ):
            costs.append(sum(traffic[q.name] * regions[c].milli for q, c in zip(requests, chosen, strict=True)))
    return min(costs, default=None)


def placed(requests, overlaps):
    names = {request.name for request in requests}
    return plan_arena(requests, alignment=1, overlaps=[o for o in overlaps if {o.earlier, o.later} <= names])


@pytest.mark.parametrize("seed", range(12))
def test_no_assignment_is_cheaper_than_the_plan(seed):
    rng = random.Random(seed)
    requests = []
    for index in range(rng.randint(1, 6)):
        first = rng.randint(0, 5)
        requests.append(Request(f"b{index}", rng.randint(1, 6), first, min(6, first + rng.randint(0, 2))))
    traffic = {request.name: rng.randint(0, 20) for request in requests}
    overlaps = [
        Overlap(a.name, b.name, rng.choice((None, 0)))
        for a, b in itertools.permutations(requests, 2)
        if a.last == b.first and a.first < b.first and rng.random() < 0.4
    ]
    regions = [Region("a", rng.randint(3, 9)), Region("b", rng.randint(5, 14), 3)]
    plan = plan_regions(requests, overlaps, traffic, regions, alignment=1)
    best = cheapest_by_trying(requests, overlaps, traffic, regions)
    if best is None:
        assert plan.lacking_bytes > 0
    else:
        assert (plan.cost, plan.proven, plan.lacking_bytes) == (best, True, 0)
    for region, placement in zip(regions, plan.placements, strict=True):
        inside = [request for request in requests if plan.regions[request.name] == region.name]
        names = {request.name for request in inside}
        check_placement(inside, [o for o in overlaps if {o.earlier, o.later} <= names], placement)


def test_the_hottest_of_two_buffers_gets_the_fast_memory():
    plan = plan_regions(
        [Request("cold", 8, 0, 1), Request("hot", 8, 0, 1)], [], {"cold": 8, "hot": 800}, [FAST, SLOW], alignment=1
    )
    assert plan.regions == {"cold": "sram", "hot": "dtcm"}
    assert plan.cost == 800 * 1000 + 8 * 3000


def test_what_lives_at_other_times_shares_the_fast_memory():
    plan = plan_regions(
        [Request("early", 8, 0, 0), Request("late", 8, 1, 1)], [], {"early": 1, "late": 1}, [FAST, SLOW], alignment=1
    )
    assert set(plan.regions.values()) == {"dtcm"}


def test_buffers_that_do_not_fit_tell_how_much_the_last_region_lacks():
    requests = [Request("a", 8, 0, 0), Request("b", 16, 0, 0), Request("c", 5, 0, 0)]
    plan = plan_regions(requests, [], {"a": 1, "b": 1, "c": 1}, [FAST, SLOW], alignment=1)
    assert plan.lacking_bytes == 5


def test_offsets_and_sizes_are_multiples_of_the_alignment():
    requests = [Request("a", 5, 0, 0), Request("b", 5, 0, 0)]
    plan = plan_regions(requests, [], {"a": 1, "b": 1}, [Region("x", 16), Region("y", 32, 2)], alignment=8)
    assert [p.size_bytes for p in plan.placements] == [16, 0]


def test_an_empty_buffer_lies_in_the_first_region():
    plan = plan_regions([Request("none", 0, 0, 0)], [], {}, [FAST, SLOW], alignment=1)
    assert plan.regions == {"none": "dtcm"}
    assert plan.placements[0].offsets == {"none": 0}


def test_when_states_are_cut_the_plan_fits_and_does_not_claim_to_be_the_cheapest(monkeypatch):
    monkeypatch.setattr("dscompile.plan.arena_regions.STATES", 1)
    requests = [Request(f"b{i}", 4, i, i + 2) for i in range(6)]
    regions = [Region("a", 8), Region("b", 64, 3)]
    plan = plan_regions(requests, [], {f"b{i}": i + 1 for i in range(6)}, regions, alignment=1)
    assert plan.lower_bound_cost <= plan.cost
    assert plan.lacking_bytes == 0


def test_when_no_assignment_may_be_tried_the_hottest_buffers_come_first(monkeypatch):
    monkeypatch.setattr("dscompile.plan.arena_regions.TRIALS", 0)
    plan = plan_regions(
        [Request("cold", 8, 0, 1), Request("hot", 8, 0, 1)], [], {"cold": 8, "hot": 800}, [FAST, SLOW], alignment=1
    )
    assert plan.regions == {"cold": "sram", "hot": "dtcm"}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Region("2nd", 8), "region '2nd' must be called by letters, digits and _, as C needs it"),
        (lambda: Region("a", 0), "region 'a' must have at least one byte and fewer than 4 GiB"),
        (lambda: Region("a", 8, 0.0), "the cost of region 'a' must be above 0 and at most 1000"),
        (lambda: check_regions([Region("a", 8), WeightRegion("A", 8)]), "two regions are called 'a' and 'A'"),
    ],
)
def test_a_region_that_makes_no_sense_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
