"""How the rounds of a call are cut, and who does those that are left over."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from dscompile.plan.leftovers import LEANS, even_leans, first_round, section_lean


def parts(threads: int, count: int, lean: int) -> list[int]:
    """How many rounds every thread does."""
    begins = [first_round(thread, threads, count, lean) for thread in range(threads + 1)]
    assert (begins[0], begins[-1]) == (0, count)
    return [end - begin for begin, end in pairwise(begins)]


@pytest.mark.parametrize("threads", [1, 2, 3, 7, 64])
def test_threads_do_every_round_once_and_differ_by_one_at_most(threads: int) -> None:
    for count in (0, 1, 5, 64, 1001):
        for lean in range(LEANS):
            done = parts(threads, count, lean)
            assert min(done) >= 0
            assert max(done) - min(done) <= 1


def test_a_call_leans_to_the_first_thread_or_to_the_last() -> None:
    assert (parts(2, 7, LEANS - 1), parts(2, 7, 0)) == ([4, 3], [3, 4])
    assert (parts(4, 1, LEANS - 1), parts(4, 1, 0)) == ([1, 0, 0, 0], [0, 0, 0, 1])


@pytest.mark.parametrize(("sections", "threads"), [(2, 2), (3, 3), (4, 4), (4, 2), (2, 1)])
def test_sections_go_to_the_threads_in_their_order(sections: int, threads: int) -> None:
    owners = [parts(threads, 1, section_lean(number, sections)).index(1) for number in range(sections)]
    assert owners == [number * threads // sections for number in range(sections)]


def test_small_calls_fill_what_a_large_one_leaves() -> None:
    large, small = (3, 100), (1, 90)
    leans = even_leans([large, small])
    done = np.array([parts(2, *pair) for pair in zip((3, 1), leans, strict=True)])
    assert sorted(np.array([100, 90]) @ done) == [190, 200]


def test_calls_that_cannot_be_cut_are_spread_over_the_threads() -> None:
    leans = even_leans([(1, 10)] * 4)
    for threads in (2, 4):
        done = np.sum([parts(threads, 1, lean) for lean in leans], axis=0)
        assert set(done.tolist()) == {4 // threads}
