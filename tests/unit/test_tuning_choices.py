"""Which choice a layer gets: from its own record, from a similar one, or by rule."""

import random
from dataclasses import replace

import pytest

from dscompile.plan.choices import ConvChoice, DenseChoice, DepthwiseChoice
from dscompile.plan.spaces import allows, has_alternatives, rule, space
from dscompile.plan.tuning import UNTUNED, Decision, Learning, Tuning, distance_of
from dscompile.plan.workloads import ConvWorkload, DenseWorkload, DepthwiseWorkload
from dscompile.target import find_target
from tests.tuning_files import AVX2, DEPTHWISE, POINTWISE, TUNED, WORKLOADS, record_of, tuning_file

WIDER = ConvWorkload(1, 3136, 8, 96)  # 0.58 doublings of the input channels
FAR = ConvWorkload(1, 3136, 32, 64)
BEST = TUNED[POINTWISE]


def test_a_layer_with_a_record_gets_its_choice():
    assert tuning_file().tuning().choose(POINTWISE, AVX2) == (BEST, "record")


def test_a_similar_layer_gets_the_choice_of_the_record_and_the_decision_names_it():
    decision = tuning_file().tuning().decide(WIDER, AVX2)
    assert (decision.choice, decision.source, decision.near) == (BEST, "neighbor", POINTWISE)
    assert decision.distance == pytest.approx(distance_of(WIDER, POINTWISE))


def test_a_layer_that_is_unlike_all_records_goes_by_rule():
    assert tuning_file().tuning().decide(FAR, AVX2) == Decision(rule(FAR, AVX2), "rule")


def test_without_records_all_layers_go_by_rule():
    for workload in WORKLOADS:
        assert UNTUNED.choose(workload, AVX2) == (rule(workload, AVX2), "rule")


def test_where_tuning_gained_nothing_similar_layers_keep_the_rule():
    tuning = tuning_file(record_of(POINTWISE, gain=1.01)).tuning()
    assert tuning.choose(POINTWISE, AVX2) == (BEST, "record")
    decision = tuning.decide(WIDER, AVX2)
    assert (decision.choice, decision.source, decision.near) == (rule(WIDER, AVX2), "rule", POINTWISE)


def test_a_record_of_the_rule_alone_says_nothing():
    alone = replace(record_of(POINTWISE, best=rule(POINTWISE, AVX2)), trials=1, failures=0)
    tuning = tuning_file(alone, record_of(DEPTHWISE)).tuning()
    assert tuning.decide(POINTWISE, AVX2) == Decision(rule(POINTWISE, AVX2), "rule")
    assert tuning.decide(WIDER, AVX2) == Decision(rule(WIDER, AVX2), "rule")
    assert tuning.merged(tuning_file().tuning()).choose(POINTWISE, AVX2) == (BEST, "record")


def test_how_much_must_be_gained_and_how_near_a_record_must_be_can_be_set():
    file = tuning_file(record_of(POINTWISE, gain=1.01))
    eager = Tuning(file.tuning().best, "x", file.tuning().gains, Learning(farthest=2.0, least_gain=1.0))
    assert eager.choose(WIDER, AVX2) == (BEST, "neighbor")
    assert eager.choose(FAR, AVX2) == (BEST, "neighbor")


def test_a_record_without_a_gain_is_followed():
    assert Tuning({POINTWISE: BEST}, "x").choose(WIDER, AVX2) == (BEST, "neighbor")


def test_the_nearest_of_several_records_decides():
    near, nearer = ConvWorkload(1, 3136, 8, 120), ConvWorkload(1, 3136, 8, 100)
    tuning = Tuning({near: BEST, nearer: ConvChoice(2, 4)}, "x")
    assert tuning.choose(WIDER, AVX2) == (ConvChoice(2, 4), "neighbor")


def test_a_near_choice_that_a_layer_cannot_have_gives_way_to_the_next():
    odd = ConvWorkload(1, 3136, 8, 63)  # which no step of 4 channels divides
    tuning = Tuning({POINTWISE: BEST, ConvWorkload(1, 3136, 8, 80): ConvChoice(2, 4)}, "x")
    assert tuning.choose(odd, AVX2) == (ConvChoice(2, 4), "neighbor")
    assert Tuning({POINTWISE: BEST}, "x").choose(odd, AVX2) == (rule(odd, AVX2), "rule")


def test_records_of_users_come_before_those_that_ship():
    mine = Tuning({POINTWISE: ConvChoice(2, 4)}, "mine")
    merged = tuning_file().tuning().merged(mine)
    assert merged.best[POINTWISE] == ConvChoice(2, 4)
    assert POINTWISE not in merged.gains
    assert merged.best[DEPTHWISE] == TUNED[DEPTHWISE]
    assert merged.names == ("mine", tuning_file().name)
    assert UNTUNED.merged(mine).names == ("mine",)
    assert UNTUNED.names == ()


def test_workloads_of_different_kinds_windows_or_row_widths_say_nothing_of_each_other():
    infinite = float("inf")
    assert distance_of(POINTWISE, DEPTHWISE) == infinite
    assert distance_of(POINTWISE, DenseWorkload(64, 64)) == infinite
    assert distance_of(DEPTHWISE, DepthwiseWorkload(56, 56, 8, stride=(2, 2))) == infinite
    assert distance_of(DEPTHWISE, DepthwiseWorkload(56, 28, 8)) == infinite
    row = ConvWorkload(1, 56, 2, 3, (2, 3), (2, 2), blocked=False)
    assert distance_of(row, replace(row, width=28)) == infinite
    assert distance_of(POINTWISE, replace(POINTWISE, width=1568)) == pytest.approx(1.0)
    assert distance_of(DEPTHWISE, DepthwiseWorkload(28, 56, 16)) == pytest.approx(2.0)
    assert distance_of(DenseWorkload(64, 10), DenseWorkload(128, 10)) == pytest.approx(1.0)


def test_images_of_other_widths_can_be_asked_too_if_tiles_divide_their_rows():
    choice = DepthwiseChoice(7, 1)
    same = Tuning({DEPTHWISE: choice}, "x")
    other = replace(same, learning=Learning(2.0, other_widths=True))
    assert same.choose(replace(DEPTHWISE, width=49), AVX2)[1] == "rule"
    assert other.choose(replace(DEPTHWISE, width=49), AVX2) == (choice, "neighbor")
    assert other.choose(replace(DEPTHWISE, width=48), AVX2)[1] == "rule"
    assert other.choose(replace(DEPTHWISE, height=49), AVX2) == (choice, "neighbor")
    rows = ConvWorkload(14, 14, 8, 64)
    pointwise = replace(other, best={rows: ConvChoice(2, 4)})
    assert pointwise.choose(replace(rows, width=16), AVX2) == (ConvChoice(2, 4), "neighbor")
    assert pointwise.choose(replace(rows, width=15), AVX2)[1] == "rule"
    assert pointwise.choose(replace(rows, height=1), AVX2)[1] == "rule"


@pytest.mark.parametrize("name", ["x86-avx2", "x86-avx512", "arm64-neon", "arm64-i8mm"])
def test_a_choice_is_allowed_if_and_only_if_it_is_in_the_space(name):
    target = find_target(name)
    rng = random.Random(1)
    for workload in (*WORKLOADS, ConvWorkload(7, 7, 1, 3, (3, 3), (2, 2), blocked=False)):
        choices = list(space(workload, target))
        assert has_alternatives(workload, target) == (len(choices) > 1)
        assert all(allows(workload, choice, target) for choice in rng.sample(choices, min(20, len(choices))))
        for choice in (
            ConvChoice(5, 9),
            ConvChoice(40, 1),
            DepthwiseChoice(50),
            DenseChoice(3, 3),
            ConvChoice(2, 1, 3),
        ):
            assert allows(workload, choice, target) == (choice in space(workload, target))
        for pixels, panel in ((rng.randrange(1, 30), rng.randrange(1, 6)) for _ in range(20)):
            choice = ConvChoice(pixels, panel)
            assert allows(workload, choice, target) == (choice in space(workload, target))
