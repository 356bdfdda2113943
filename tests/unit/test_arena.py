"""The arena planner against known optima, brute force, and networks of realistic size."""

import dataclasses
import random
from itertools import pairwise

import pytest

from dscompile.plan.arena import Overlap, Placement, Request, check_placement, plan_arena


def requests(*rows):
    """(size, first, last) per buffer, called a, b, c, ..."""
    return [Request(chr(ord("a") + i), *row) for i, row in enumerate(rows)]


# --- small instances with known optima ---------------------------------------------------------------------------


def test_no_buffers_need_no_arena():
    placement = plan_arena([], alignment=64)
    assert (dict(placement.offsets), placement.size_bytes, placement.proven) == ({}, 0, True)


def test_one_buffer_lies_at_zero():
    placement = plan_arena(requests((100, 0, 3)), alignment=64)
    assert dict(placement.offsets) == {"a": 0}
    assert (placement.size_bytes, placement.lower_bound_bytes, placement.proven) == (128, 128, True)


def test_buffers_that_never_meet_share_memory():
    placement = plan_arena(requests((64, 0, 1), (64, 2, 3), (32, 4, 4)), alignment=16)
    assert dict(placement.offsets) == {"a": 0, "b": 0, "c": 0}
    assert placement.size_bytes == 64


def test_lifetimes_are_inclusive_at_both_ends():
    assert plan_arena(requests((16, 0, 1), (16, 1, 2)), alignment=16).size_bytes == 32


def test_steps_may_be_negative_and_far_apart():
    placement = plan_arena(requests((16, -1, 0), (32, 0, 10**9), (16, 10**9, 10**9 + 1)), alignment=16)
    assert placement.size_bytes == 48


def test_empty_buffers_lie_at_zero_and_take_nothing():
    placement = plan_arena(requests((0, 0, 9), (64, 0, 9), (0, 3, 4)), alignment=16)
    assert dict(placement.offsets) == {"a": 0, "b": 0, "c": 0}
    assert placement.size_bytes == 64


def test_only_empty_buffers_need_no_arena():
    placement = plan_arena(requests((0, 0, 9)), alignment=16)
    assert (placement.size_bytes, placement.proven) == (0, True)


def test_every_offset_and_the_size_are_multiples_of_the_alignment():
    for alignment in (1, 4, 24, 64):
        placement = plan_arena(requests((5, 0, 2), (7, 1, 3), (9, 2, 4), (100, 3, 5)), alignment=alignment)
        assert all(offset % alignment == 0 for offset in placement.offsets.values())
        assert placement.size_bytes % alignment == 0


def test_the_bound_is_met_where_every_greedy_order_fails():
    # Largest first, longest first and so on all reach 11; b must lie between the two buffers of step 3.
    placement = plan_arena(requests((3, 3, 4), (3, 1, 3), (2, 3, 3), (4, 2, 2), (2, 2, 3)), alignment=1)
    assert (placement.size_bytes, placement.lower_bound_bytes) == (10, 10)
    assert placement.method in ("hill climbing", "exact search")


def test_the_bound_is_met_where_greedy_orders_and_climbing_fail():
    rows = [(8, 9, 9), (8, 3, 6), (4, 1, 3), (4, 7, 9), (3, 8, 9), (2, 4, 8)]
    rows += [(3, 7, 9), (4, 8, 8), (4, 7, 9), (4, 1, 5), (2, 6, 7), (3, 3, 8)]
    placement = plan_arena(requests(*rows), alignment=1)
    assert (placement.size_bytes, placement.lower_bound_bytes, placement.method) == (23, 23, "exact search")


def test_an_optimum_above_the_liveness_bound_is_proven():
    # At most 10 bytes live at once, but no placement is lower than 11.
    rows = [(4, 4, 5), (4, 0, 0), (3, 1, 4), (4, 5, 5), (3, 2, 4), (4, 0, 1), (3, 1, 2)]
    assert max(sum(size for size, first, last in rows if first <= step <= last) for step in range(6)) == 10
    placement = plan_arena(requests(*rows), alignment=1)
    assert (placement.size_bytes, placement.lower_bound_bytes, placement.proven) == (11, 11, True)


# --- overlaps ----------------------------------------------------------------------------------------------------


def test_an_in_place_operator_takes_its_inputs_place():
    placement = plan_arena(requests((64, 0, 1), (64, 1, 2)), alignment=16, overlaps=[Overlap("a", "b")])
    assert dict(placement.offsets) == {"a": 0, "b": 0}
    assert placement.size_bytes == 64


def test_a_sum_in_place_of_one_operand_keeps_the_other_apart():
    overlaps = [Overlap("a", "c"), Overlap("b", "c")]
    placement = plan_arena(requests((64, 0, 2), (64, 1, 2), (64, 2, 3)), alignment=16, overlaps=overlaps)
    assert placement.size_bytes == 128
    assert placement.proven


def test_a_large_result_in_place_of_a_small_input_leaves_room_for_others():
    rows = requests((2, 0, 1), (6, 1, 2), (4, 0, 1))
    placement = plan_arena(rows, alignment=1, overlaps=[Overlap("a", "b")])
    assert placement.offsets["a"] == placement.offsets["b"]
    assert (placement.size_bytes, placement.proven) == (10, True)


def test_an_operator_that_runs_upwards_writes_below_its_input():
    overlaps = [Overlap("a", "b", below_bytes=10)]
    placement = plan_arena(requests((100, 0, 1), (80, 1, 2)), alignment=1, overlaps=overlaps)
    assert placement.size_bytes == 110
    assert placement.offsets["b"] <= placement.offsets["a"] - 10


def test_an_operator_that_runs_downwards_writes_above_its_input():
    overlaps = [Overlap("a", "b", above_bytes=30)]
    placement = plan_arena(requests((100, 0, 1), (80, 1, 2)), alignment=1, overlaps=overlaps)
    assert placement.size_bytes == 110
    assert placement.offsets["b"] >= placement.offsets["a"] + 30


def test_distances_round_up_to_the_alignment():
    overlaps = [Overlap("a", "b", below_bytes=10)]
    placement = plan_arena(requests((96, 0, 1), (96, 1, 2)), alignment=16, overlaps=overlaps)
    assert placement.size_bytes == 112


def test_a_chain_of_fused_separable_layers_swings_between_two_overlapped_places():
    # Keyword spotting, 25x5x64 int8: each block may lie 896 bytes below or above the one before it.
    chain = [Request(f"block{i}", 8000, i, i + 1) for i in range(5)]
    overlaps = [Overlap(a.name, b.name, below_bytes=896, above_bytes=896) for a, b in pairwise(chain)]
    placement = plan_arena(chain, alignment=16, overlaps=overlaps)
    assert (placement.size_bytes, placement.proven) == (8896, True)


def test_a_chain_that_can_only_run_upwards_sinks_and_is_proven():
    chain = [Request(f"block{i}", 8000, i, i + 1) for i in range(5)]
    overlaps = [Overlap(a.name, b.name, below_bytes=896) for a, b in pairwise(chain)]
    placement = plan_arena(chain, alignment=16, overlaps=overlaps)
    assert (placement.size_bytes, placement.proven) == (8000 + 4 * 896, True)


def test_an_overlap_with_an_empty_buffer_is_harmless():
    placement = plan_arena(requests((0, 0, 1), (64, 1, 2)), alignment=16, overlaps=[Overlap("a", "b")])
    assert placement.size_bytes == 64


# --- rejected input ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("buffers", "overlaps", "text"),
    [
        ([Request("x", 1, 0, 1), Request("x", 2, 0, 1)], [], "there are two buffers called 'x'"),
        ([Request("x", -1, 0, 1)], [], "buffer 'x' has a negative size: -1 bytes"),
        ([Request("x", 1, 3, 2)], [], "buffer 'x' ends in step 2, before it begins in 3"),
        (requests((1, 0, 1)), [Overlap("a", "q")], "overlap of 'a' and 'q': there is no buffer 'q'"),
        (requests((1, 0, 1), (1, 1, 2)), [Overlap("a", "b")] * 2, "overlap of 'a' and 'b' is given twice"),
        (requests((1, 0, 1), (1, 1, 2)), [Overlap("a", "b", -4)], "the distance must not be negative: -4 bytes"),
        (requests((1, 0, 1), (1, 1, 2)), [Overlap("a", "b", None, -8)], "the distance must not be negative: -8 bytes"),
        (requests((1, 1, 1), (1, 1, 2)), [Overlap("a", "b")], "'a' must begin before 'b' does"),
        (requests((1, 0, 3), (1, 1, 2)), [Overlap("a", "b")], "'a' is needed until step 3, but 'b' begins in 1"),
        (requests((1, 0, 1), (1, 2, 3)), [Overlap("a", "b")], "they never live in the same step (1 and 2)"),
    ],
)
def test_bad_input_is_rejected_with_its_reason(buffers, overlaps, text):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 -- the text is compared literally below
        plan_arena(buffers, alignment=16, overlaps=overlaps)
    assert text in str(caught.value)


def test_all_problems_are_reported_at_once():
    with pytest.raises(ValueError, match=r"alignment.*not 0; .*node limit.*-1; .*negative size.*; .*ends in step"):
        plan_arena(requests((-1, 0, 1), (1, 2, 1)), alignment=0, time_limit_nodes=-1)


# --- the checker -------------------------------------------------------------------------------------------------

TWO = requests((64, 0, 1), (32, 1, 2))


def placed(a, b, size=96, bound=96, proven=True):
    return Placement({"a": a, "b": b}, size, bound, proven, "by hand")


def test_the_checker_accepts_a_right_placement():
    check_placement(TWO, [], placed(0, 64), alignment=32)
    check_placement(TWO, [Overlap("a", "b")], placed(0, 0, 64, 64))
    check_placement(TWO, [Overlap("a", "b", 16)], placed(16, 0, 80, 80))


@pytest.mark.parametrize(
    ("placement", "overlaps", "text"),
    [
        (Placement({"a": 0}, 64, 64, True, ""), [], "'b' has no place"),
        (placed(0, 72, 104, 104), [], "'b' at byte 72 is not aligned to 16"),
        (placed(0, -16), [], "'b' at byte -16 is not aligned to 16"),
        (placed(0, 48), [], r"'a' \[0, 64\) and 'b' \[48, 80\) overlap in step 1"),
        (placed(0, 16), [Overlap("a", "b")], "overlap in step 1"),
        (placed(0, 16), [Overlap("a", "b", below_bytes=16)], "overlap in step 1"),
        (placed(0, 16), [Overlap("a", "b", above_bytes=32)], "overlap in step 1"),
        (placed(0, 64, 80, 80), [], "buffers reach byte 96, beyond the arena of 80"),
        (placed(0, 64, 96, 112), [], "the arena is smaller than its lower bound 112"),
        (placed(0, 64, 96, 80), [], "'proven' does not say whether size and lower bound are equal"),
    ],
)
def test_the_checker_names_what_is_wrong(placement, overlaps, text):
    with pytest.raises(AssertionError, match=text):
        check_placement(TWO, overlaps, placement, alignment=16)


# --- against brute force -----------------------------------------------------------------------------------------


def optimum(buffers, overlaps):
    """The smallest arena at alignment 1, by trying every offset of every buffer."""
    permitted = {(o.earlier, o.later): o for o in overlaps}

    def may_lie(one, p, other, q):
        if one.first > other.last or other.first > one.last:
            return True
        if p + one.size_bytes <= q or q + other.size_bytes <= p:
            return True
        if (one.name, other.name) in permitted:
            return permitted[one.name, other.name].permits(q - p)
        return (other.name, one.name) in permitted and permitted[other.name, one.name].permits(p - q)

    def complete(offsets, height):
        if len(offsets) == len(buffers):
            return True
        new = buffers[len(offsets)]
        return any(
            complete([*offsets, p], height)
            for p in range(height - new.size_bytes + 1)
            if all(may_lie(new, p, old, q) for old, q in zip(buffers, offsets, strict=False))
        )

    height = max(buffer.size_bytes for buffer in buffers)
    while not complete([], height):
        height += 1
    return height


def tiny_instance(seed, with_overlaps):
    dice = random.Random(seed)
    steps = dice.randint(3, 6)
    buffers = []
    for i in range(dice.randint(2, 6)):
        first = dice.randrange(steps)
        buffers.append(Request(f"b{i}", dice.randint(1, 4), first, min(steps, first + dice.randrange(4))))
    overlaps = [
        Overlap(a.name, b.name, dice.choice([None, None, 0, 1, 2]), dice.choice([None, None, 0, 1, 2]))
        for a in buffers
        for b in buffers
        if with_overlaps and a.first < b.first == a.last and dice.random() < 0.7
    ]
    return buffers, overlaps


@pytest.mark.parametrize("block", range(5))
@pytest.mark.parametrize("with_overlaps", [False, True])
def test_tiny_instances_are_solved_exactly(block, with_overlaps):
    for seed in range(40 * block, 40 * block + 40):
        buffers, overlaps = tiny_instance(seed, with_overlaps)
        placement = plan_arena(buffers, alignment=1, overlaps=overlaps)
        assert (placement.size_bytes, placement.proven) == (optimum(buffers, overlaps), True), seed


# --- networks ----------------------------------------------------------------------------------------------------


def chain(dice, count):
    return [Request(f"t{i}", dice.randint(1, 400) * 1000, i, i + 1) for i in range(count)], []


def residual(dice, count):
    """Some tensors wait for two to four layers; most sums may be written in place."""
    last = [i + 1 if dice.random() < 0.7 else i + dice.randint(2, 4) for i in range(count)]
    buffers = [Request(f"t{i}", dice.randint(1, 400) * 1000, i, min(last[i], count)) for i in range(count)]
    overlaps = [Overlap(f"t{i}", f"t{last[i]}") for i in range(count) if last[i] < count and dice.random() < 0.6]
    return buffers, overlaps


def dag(dice, count):
    """Every layer reads up to three of the twelve before it, as in densely connected cells."""
    last = list(range(1, count + 1))
    for i in range(1, count):
        for _ in range(dice.randint(1, 3)):
            source = max(0, i - dice.randint(1, 12))
            last[source] = max(last[source], i)
    sizes = [dice.randint(1, 100) * dice.choice([64, 640, 6400]) for _ in range(count)]
    return [Request(f"t{i}", sizes[i], i, last[i]) for i in range(count)], []


def upward_chain(dice, count):
    """A microcontroller's chain: every layer writes some rows below what it reads."""
    buffers = [Request(f"t{i}", dice.randint(50, 400) * 16, i, i + 1) for i in range(count)]
    return buffers, [Overlap(a.name, b.name, dice.randint(1, 40) * 16) for a, b in pairwise(buffers)]


@pytest.mark.parametrize("network", [chain, residual, dag, upward_chain])
@pytest.mark.parametrize("seed", range(6))
def test_networks_of_a_hundred_buffers_are_proven_or_within_one_percent(network, seed):
    buffers, overlaps = network(random.Random(seed), 100)
    placement = plan_arena(buffers, alignment=16, overlaps=overlaps)
    check_placement(buffers, overlaps, placement, alignment=16)
    assert placement.proven or placement.size_bytes <= 1.01 * placement.lower_bound_bytes


def test_the_same_input_gives_the_same_placement():
    buffers, overlaps = residual(random.Random(5), 60)
    first = plan_arena(buffers, alignment=64, overlaps=overlaps)
    assert first == plan_arena(list(buffers), alignment=64, overlaps=tuple(overlaps))


def adversarial(count):
    """Many long lifetimes of all sizes: the crowd is deep, and exact search hopeless within few nodes."""
    dice = random.Random(11)
    starts = [dice.randrange(count) for _ in range(count)]
    return [Request(f"t{i}", dice.randint(1, 1000), s, s + dice.randrange(count // 2)) for i, s in enumerate(starts)]


def test_an_adversarial_instance_stops_at_its_node_limit_and_claims_nothing():
    buffers = adversarial(120)
    placement = plan_arena(buffers, alignment=1, time_limit_nodes=500)
    assert not placement.proven
    assert placement.lower_bound_bytes < placement.size_bytes < 1.2 * placement.lower_bound_bytes


def test_more_nodes_never_give_a_larger_arena():
    buffers = adversarial(60)
    sizes = [plan_arena(buffers, alignment=1, time_limit_nodes=nodes).size_bytes for nodes in (0, 1000, 20000)]
    assert sizes == sorted(sizes, reverse=True)


def test_a_placement_cannot_be_changed():
    placement = plan_arena(TWO, alignment=16)
    with pytest.raises(TypeError):
        placement.offsets["a"] = 5
    with pytest.raises(dataclasses.FrozenInstanceError):
        placement.size_bytes = 5
