"""The parts of the arena planner: bounds, reductions, and both exact searches by themselves."""

import numpy as np
import pytest

from dscompile.plan import arena_exact
from dscompile.plan.arena_exact import ExactSearch, alias_groups
from dscompile.plan.arena_instance import Instance
from dscompile.plan.arena_search import Budget, climb, components, lower_bound, place_in_order, set_aside
from dscompile.plan.arena_sweep import Sweep

SEARCHES = pytest.mark.parametrize("search", [ExactSearch, Sweep])

# Seven buffers of which at most 10 units live at once, though no placement is lower than 11.
ABOVE_ITS_BOUND = [(4, 4, 5), (4, 0, 0), (3, 1, 4), (4, 5, 5), (3, 2, 4), (4, 0, 1), (3, 1, 2)]


def instance(rows, gaps=None, aliases=()):
    """(size, first, last) per buffer; `gaps` maps (lower, upper) to a smaller distance."""
    sizes, first, last = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
    meets = (first[:, None] <= last[None, :]) & (first[None, :] <= last[:, None]) & ~np.eye(len(rows), dtype=bool)
    table = np.where(meets, sizes[:, None], 0)
    for pair, units in (gaps or {}).items():
        table[pair] = units
    return Instance(sizes, first, last, table, frozenset(aliases))


def test_cliques_are_the_largest_sets_alive_at_once():
    assert instance([(1, 0, 3), (1, 1, 2), (1, 3, 5), (1, 4, 4)]).cliques == ((0, 1), (0, 2), (2, 3))


def test_a_clique_needs_its_sizes_less_what_overlaps_can_save():
    assert instance([(8, 0, 1), (6, 1, 2)]).clique_bound((0, 1)) == 14
    assert instance([(8, 0, 1), (6, 1, 2)], aliases=[(0, 1)]).clique_bound((0, 1)) == 8
    assert instance([(8, 0, 1), (6, 1, 2)], gaps={(1, 0): 2}).clique_bound((0, 1)) == 10
    assert instance([(8, 0, 1), (6, 1, 2)], gaps={(0, 1): 3}).clique_bound((0, 1)) == 9


def test_the_bound_of_a_step_with_two_overlaps_is_exact():
    # Either operand may share its place with the sum, never both: sizes less both savings would say 8.
    both = instance([(8, 0, 2), (8, 1, 2), (8, 2, 3)], aliases=[(0, 2), (1, 2)])
    assert both.clique_bound((0, 1, 2)) == 8
    assert lower_bound(both, Budget(1000)) == 16


def test_small_buffers_beside_large_ones_are_set_aside():
    # Buffer 1 finds a place of its size in 100 units wherever buffer 0 lies; 0 and 2 fill all of it.
    assert set_aside(instance([(60, 0, 1), (2, 1, 1), (40, 0, 0)]), 100) == [1]


def test_a_buffer_that_might_find_no_gap_is_not_set_aside():
    # Two gaps of one unit on both sides of the large buffer could be all that is left.
    assert 1 not in set_aside(instance([(8, 0, 1), (2, 0, 1)]), 10)


def test_seams_in_time_split_the_problem():
    assert components(instance([(1, 0, 2), (1, 2, 3), (1, 4, 5), (1, 9, 9), (1, 5, 6)]), range(5)) == [
        [0, 1],
        [2, 4],
        [3],
    ]


def test_best_fit_takes_the_tightest_gap_and_first_fit_the_lowest():
    # Buffer 0 is gone when the last one comes and leaves 3 units at the bottom; buffer 2 leaves 2 further up.
    tower = instance([(3, 0, 0), (1, 0, 1), (2, 0, 0), (1, 0, 1), (2, 1, 1)])
    assert place_in_order(tower, range(5), "first") == (0, 3, 4, 6, 0)
    assert place_in_order(tower, range(5), "best") == (0, 3, 4, 6, 4)


def test_climbing_improves_on_a_bad_order():
    rows = instance([(3, 3, 4), (3, 1, 3), (2, 3, 3), (4, 2, 2), (2, 2, 3)])
    start = place_in_order(rows, range(5), "first")
    assert rows.height(start) > 10
    assert rows.height(climb(rows, range(5), start, 10, Budget(8000))) == 10


@SEARCHES
def test_a_search_finds_an_optimum_above_the_clique_bound_and_proves_it(search):
    rows = instance(ABOVE_ITS_BOUND)
    found = search(rows, 11, 5000).run()
    assert found is not None
    assert rows.height(found) == 11
    below = search(rows, 10, 5000)
    assert below.run() is None
    assert below.is_exhausted


@SEARCHES
def test_a_search_that_runs_out_of_nodes_proves_nothing(search):
    cut = search(instance(ABOVE_ITS_BOUND), 10, 3)
    assert cut.run() is None
    assert not cut.is_exhausted


@SEARCHES
def test_a_limit_below_the_largest_buffer_is_refuted_at_once(search):
    refused = search(instance([(8, 0, 1)]), 7, 10)
    assert refused.run() is None
    assert refused.is_exhausted


@SEARCHES
def test_aliases_move_up_together_where_only_one_of_them_is_held_up(search):
    # 0 and 1 share an offset, but 2, which only meets 1, lies below it: the pair must leave the bottom.
    rows = instance([(4, 0, 1), (4, 1, 2), (3, 2, 3), (4, 0, 0), (5, 3, 3)], aliases=[(0, 1)])
    found = search(rows, 8, 5000).run()
    assert found is not None
    assert rows.height(found) <= 8


@SEARCHES
def test_buffers_that_overlap_from_below_are_found(search):
    found = search(instance([(8, 0, 1), (8, 1, 2), (8, 2, 3)], gaps={(1, 0): 2, (2, 1): 2}), 12, 5000).run()
    assert found == (4, 2, 0)


def test_alias_groups_are_the_sets_that_can_share_an_offset():
    chain = instance([(4, 0, 1), (4, 1, 2), (4, 2, 3)], aliases=[(0, 1), (1, 2)])
    assert alias_groups(chain) == ([(0, 1), (1, 2), (0, 1, 2)], True)
    both_operands = instance([(4, 0, 1), (4, 0, 1), (4, 1, 2)], aliases=[(0, 2), (1, 2)])
    assert alias_groups(both_operands) == ([(0, 2), (1, 2)], True)


def test_a_search_with_too_many_alias_groups_claims_no_proof(monkeypatch):
    monkeypatch.setattr(arena_exact, "MAX_GROUPS", 1)
    chain = instance([(4, 0, 1), (3, 1, 2), (4, 2, 3), (2, 1, 1)], aliases=[(0, 1), (1, 2)])
    assert Sweep(chain, 6, 1000).run() is not None
    search = ExactSearch(chain, 6, 1000)
    assert search.run() is None
    assert not search.is_exhausted
