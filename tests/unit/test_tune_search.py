"""Searches: what is proposed, in which order, and how soon it is good."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable, Mapping
from itertools import islice

import numpy as np
import pytest

from dscompile.errors import ExitCode, ToolError
from dscompile.plan.choices import Choice
from dscompile.plan.spaces import Axis, Space, rule, space
from dscompile.plan.workloads import (
    ConvWorkload,
    DenseWorkload,
    DepthwiseWorkload,
    Int8ConvWorkload,
    Int8DepthwiseWorkload,
    Workload,
)
from dscompile.target import Target, find_target
from dscompile.tuner.evolution import Evolution
from dscompile.tuner.features import features, predicted_cost
from dscompile.tuner.generations import neighbors
from dscompile.tuner.packages import require_packages
from dscompile.tuner.search import Search, Sweep, make_search
from dscompile.tuner.spreading import spread
from tests.cost_surfaces import Surface, instructions, part_of_gain, valley

AVX2, AVX512, NEON, I8MM = (find_target(name) for name in ("x86-avx2", "x86-avx512", "arm64-neon", "arm64-i8mm"))
POINTWISE = ConvWorkload(1, 196, 16, 256)  # three axes, 684 choices on AVX-512
DEPTHWISE = DepthwiseWorkload(112, 112, 8)  # two axes, 116 choices on Arm


class Memory:
    """What a journal would know."""

    def __init__(self, costs: Mapping[Choice, float | None] | None = None) -> None:
        self.costs = costs or {}

    def known(self, workload: Workload) -> Mapping[Choice, float | None]:
        return self.costs


def searched(search: Search, surface: Mapping[Choice, float | None], trials: int, at_once: int = 4) -> list[Choice]:
    """The choices of so many trials, each answered before the next are asked for."""
    tried: list[Choice] = []
    while len(tried) < trials and (proposed := search.propose(min(at_once, trials - len(tried)))):
        for choice in proposed:
            search.tell(choice, surface[choice])
        tried += proposed
    return tried


def test_a_small_space_is_swept_and_a_large_one_evolves() -> None:
    dense = DenseWorkload(1024, 1000)
    assert isinstance(make_search(dense, AVX512, trials=len(space(dense, AVX512)), journal=Memory(), seed=0), Sweep)
    assert isinstance(make_search(DEPTHWISE, NEON, trials=115, journal=Memory(), seed=0), Evolution)
    assert isinstance(make_search(DEPTHWISE, NEON, trials=116, journal=Memory(), seed=0), Sweep)


def test_a_sweep_proposes_every_choice_once_that_of_the_rule_first() -> None:
    search = Sweep(DEPTHWISE, NEON)
    tried = searched(search, dict.fromkeys(space(DEPTHWISE, NEON), 1.0), trials=1000, at_once=7)
    assert tried[0] == rule(DEPTHWISE, NEON)
    assert sorted(tried, key=str) == sorted(space(DEPTHWISE, NEON), key=str)
    assert search.exhausted
    assert search.propose(1) == []


def test_a_sweep_reaches_all_corners_of_a_space_before_it_fills_it() -> None:
    tried = Sweep(POINTWISE, AVX512).propose(40)
    assert {choice.panel for choice in tried} == {1, 2, 3, 4}
    assert {(choice.panel_outer, choice.prefetch) for choice in tried} == {(True, False), (True, True), (False, False)}
    assert {choice.unroll_channels for choice in tried} == {1, 2, 4, 8}
    widths = [choice.pixels for choice in tried]
    assert min(widths) == 1
    assert max(widths) >= 27


def test_each_choice_of_a_spread_is_the_farthest_from_those_before_it() -> None:
    line = Space("conv", (Axis("tile", ("pixels", "panel"), tuple((pixels, 1) for pixels in range(1, 10))),))
    assert [choice.pixels for choice in spread(line, line.choice((0,)))][:4] == [1, 9, 5, 3]


@pytest.mark.parametrize("kind", [Sweep, lambda workload, target: Evolution(workload, target, seed=3)])
def test_what_was_told_is_not_proposed_be_it_a_failure_or_not(kind: type[Sweep]) -> None:
    search = kind(DEPTHWISE, NEON)
    told = list(space(DEPTHWISE, NEON))[::2]
    for index, choice in enumerate(told):
        search.tell(choice, None if index % 3 else 1.0 + index)
    tried = searched(search, dict.fromkeys(space(DEPTHWISE, NEON), 5.0), trials=1000)
    assert sorted((*tried, *told), key=str) == sorted(space(DEPTHWISE, NEON), key=str)
    assert search.exhausted


def test_what_a_journal_knows_is_not_proposed_and_choices_of_another_version_are_ignored() -> None:
    known = dict.fromkeys(islice(space(DEPTHWISE, NEON), 100), 1.0)
    other = type(rule(DEPTHWISE, NEON))(columns=29, rows=4)
    for trials in (20, 1000):
        search = make_search(DEPTHWISE, NEON, trials=trials, journal=Memory({**known, other: 0.5}), seed=1)
        tried = searched(search, dict.fromkeys(space(DEPTHWISE, NEON), 5.0), trials=1000)
        assert len(tried) == 16
        assert not set(tried) & set(known)


def test_a_space_of_one_choice_has_one_proposal() -> None:
    workload = Int8ConvWorkload(1, 1, 1, 8)
    for search in (Sweep(workload, AVX2), Evolution(workload, AVX2, seed=0)):
        assert search.propose(8) == [rule(workload, AVX2)]
        assert search.exhausted
        assert search.propose(8) == []


def test_an_evolution_begins_with_the_rule_and_never_repeats_itself() -> None:
    surface = valley(POINTWISE, AVX512, seed=1)
    search = Evolution(POINTWISE, AVX512, seed=1)
    tried = searched(search, surface, trials=40)
    assert tried[0] == rule(POINTWISE, AVX512)
    assert len(set(tried)) == 40
    assert set(tried) <= set(surface)
    assert not search.exhausted


def test_the_same_seed_and_answers_give_the_same_proposals_another_seed_others() -> None:
    surface = valley(POINTWISE, AVX512, seed=2)
    first, again, other = (searched(Evolution(POINTWISE, AVX512, seed=seed), surface, trials=32) for seed in (7, 7, 8))
    assert first == again
    assert first != other


def test_an_evolution_goes_on_when_proposals_are_not_answered_yet() -> None:
    search = Evolution(POINTWISE, AVX512, seed=0)
    proposed = search.propose(30)
    assert len(set(proposed)) == 30


def test_an_evolution_goes_on_where_everything_fails() -> None:
    surface: dict[Choice, float | None] = dict.fromkeys(space(DEPTHWISE, NEON))
    assert len(set(searched(Evolution(DEPTHWISE, NEON, seed=0), surface, trials=30, at_once=10))) == 30


def test_a_failure_keeps_an_evolution_away_from_its_neighbors() -> None:
    surface: dict[Choice, float | None] = dict(valley(POINTWISE, AVX512, seed=4))
    for choice in surface:
        if choice.panel == 3:  # type: ignore[union-attr]
            surface[choice] = None
    tried = searched(Evolution(POINTWISE, AVX512, seed=0), surface, trials=48)
    assert sum(surface[choice] is None for choice in tried[24:]) <= 6


def test_a_choice_of_another_space_cannot_be_told() -> None:
    other = type(rule(DEPTHWISE, NEON))(columns=29, rows=4)
    with pytest.raises(ValueError, match="is not in the space of this depthwise"):
        Evolution(DEPTHWISE, NEON, seed=0).tell(other, 1.0)


def test_the_neighbors_of_a_value_are_sorted_by_how_many_values_lie_between() -> None:
    axis = Axis("tile", ("pixels", "panel"), ((1, 1), (2, 1), (28, 1), (1, 4)))
    assert neighbors(axis) == [[1, 3, 2], [0, 2, 3], [1, 0, 3], [0, 1, 2]]


@pytest.mark.parametrize(
    ("workload", "target"),
    [
        (POINTWISE, AVX512),
        (DEPTHWISE, NEON),
        (DenseWorkload(1024, 1000), AVX512),
        (Int8ConvWorkload(1, 196, 32, 256), I8MM),
        (Int8ConvWorkload(1, 196, 32, 256), AVX2),
        (Int8DepthwiseWorkload(56, 56, 8), I8MM),
    ],
    ids=lambda value: value.name if isinstance(value, Target) else str(value),
)
def test_all_choices_of_a_workload_have_as_many_finite_features(workload: Workload, target: Target) -> None:
    rows = np.array([features(workload, choice, target) for choice in space(workload, target)])
    assert rows.ndim == 2
    assert np.isfinite(rows).all()


def test_choices_of_another_kind_have_no_features() -> None:
    with pytest.raises(TypeError, match="is not a choice of"):
        features(DEPTHWISE, rule(POINTWISE, NEON), NEON)


def test_the_rule_is_what_is_predicted_to_cost_least_of_what_it_may_take() -> None:
    for workload, target in ((POINTWISE, AVX512), (Int8ConvWorkload(1, 196, 32, 256), I8MM)):
        costs = {choice: predicted_cost(workload, choice, target) for choice in space(workload, target)}
        assert costs[rule(workload, target)] == min(costs.values())


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xgboost", None)
    with pytest.raises(ToolError, match="tuning needs xgboost, which is not installed") as error:
        make_search(POINTWISE, AVX512, trials=4, journal=Memory(), seed=0)
    assert error.value.code == ExitCode.TOOL_MISSING
    assert error.value.diagnostics[0].help == "pip install 'dscompile[tune]'"
    monkeypatch.setitem(sys.modules, "psutil", None)
    with pytest.raises(ToolError, match="tuning needs psutil and xgboost, which are not installed"):
        require_packages()


def test_tensor_intrinsics_are_left_out_for_a_moment_and_left_alone_where_they_are() -> None:
    script = """
import sys, types
from dscompile.tuner.metaschedule import without_intrinsics
name = "tvm.s_tir.tensor_intrin"
with without_intrinsics():
    import tvm.s_tir.tensor_intrin
    assert not hasattr(sys.modules[name], "__file__")
assert name not in sys.modules
real = sys.modules[name] = types.ModuleType(name)
with without_intrinsics():
    assert sys.modules[name] is real
assert sys.modules[name] is real
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workload", "target"),
    [
        (POINTWISE, AVX512),
        (ConvWorkload(1, 196, 32, 256), AVX2),
        (ConvWorkload(7, 7, 30, 960, (3, 3)), AVX512),
    ],
    ids=["684 choices", "312 choices", "324 choices"],
)
@pytest.mark.parametrize("surface", [valley, instructions])
def test_64_trials_find_95_percent_of_the_gain_and_more_than_random_ones(
    surface: Callable[[ConvWorkload, Target, int], Surface], workload: ConvWorkload, target: Target
) -> None:
    gains, random_gains = [], []
    for seed in range(3):
        costs: Surface = surface(workload, target, seed)
        search = make_search(workload, target, trials=64, journal=Memory(), seed=seed)
        gains.append(part_of_gain(costs, searched(search, costs, trials=64), workload, target))
        dice = random.Random(seed)
        for _ in range(10):
            guesses = [rule(workload, target), *dice.sample(list(costs), 63)]
            random_gains.append(part_of_gain(costs, guesses, workload, target))
    assert min(gains) >= 0.95
    assert np.mean(gains) > np.mean(random_gains) + 0.05
