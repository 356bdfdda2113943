"""Programs planned with tuning records: which layers took what, and what a build says of it."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from dscompile.artifact import TuningInfo
from dscompile.passes import canonicalize
from dscompile.plan.choices import ConvChoice, DepthwiseChoice, Int8ConvChoice
from dscompile.plan.planning import plan
from dscompile.plan.program import Chosen
from dscompile.plan.tuning import UNTUNED, Learning, Tuning
from dscompile.plan.tuning_use import layers_by_source, tuning_info
from dscompile.plan.workloads import Int8ConvWorkload
from dscompile.report.tuning import tiles_record, tiles_table, tuning_lines, without_schedules
from dscompile.target import find_target
from tests.tuning_files import AVX2, POINTWISE
from tests.unit.netfiles import network
from tests.unit.test_emit_manifest import MANIFEST

NETWORK = canonicalize(
    network(
        "- conv: {name: stem, out: 16, kernel: 3, stride: 2}\n"
        "- separable: {name: first, out: 32, kernel: 3}\n"
        "- separable: {name: second, out: 48, kernel: 3}\n"
        "- conv: {name: third, out: 64, kernel: 1}\n"
        "- pool: {kind: average, over: all}\n"
        "- dense: {name: head, out: 4}\n"
    )
)


def program_with(tuning: Tuning):
    return plan(NETWORK, AVX2, tuning=tuning)


def chosen_of(layer: str) -> Chosen:
    return next(chosen for chosen in program_with(UNTUNED).chosen if chosen.layer == layer)


def test_without_records_no_layer_is_a_fallback_and_the_line_says_it_once():
    program = program_with(UNTUNED)
    assert program.fallback_layers == ()
    info = tuning_info(program)
    assert info is not None
    assert (info.ids, info.from_records, info.from_similar) == ((), (), ())
    assert set(info.by_rule) == {
        "stem",
        "first.depthwise",
        "first.pointwise",
        "second.depthwise",
        "second.pointwise",
        "third",
        "head",
    }
    assert tuning_lines([info]) == ("no records: 7 layers by rule",)


def test_with_records_the_layers_that_they_say_nothing_of_are_fallbacks():
    pointwise = chosen_of("second.pointwise")
    tuning = Tuning({pointwise.workload: ConvChoice(2, 1)}, "a1b2c3d4", learning=Learning(farthest=0.0))
    program = program_with(tuning)
    assert {chosen.choice for chosen in program.chosen if chosen.layer == "second.pointwise"} == {ConvChoice(2, 1)}
    info = tuning_info(program)
    assert info is not None
    assert info.from_records == ("second.pointwise",)
    assert info.from_similar == ()
    assert program.fallback_layers == info.by_rule
    assert tuning_lines([info]) == ("1 of 7 layers from records (a1b2c3d4), 6 by rule",)


def test_similar_layers_are_counted_and_name_the_record_that_decided():
    first = chosen_of("second.pointwise").workload
    program = program_with(Tuning({first: ConvChoice(2, 1)}, "a1b2c3d4", learning=Learning(farthest=3.0)))
    info = tuning_info(program)
    assert info is not None
    assert info.from_similar == ("third",)
    assert tuning_lines([info]) == ("1 of 7 layers from records (a1b2c3d4), 1 from similar ones, 5 by rule",)
    (row,) = [one for one in tiles_record(program.chosen) if one["layer"] == "third"]
    assert row["source"] == "neighbor"
    assert row["near"]["channels"] == first.channels
    assert row["choice"]["pixels"] == 2
    table = tiles_table(program.chosen)
    assert re.search(r"^third +conv height 1 .* similar +conv height 1 ", table, re.MULTILINE)
    assert re.search(r"^head +dense channels 64 units 4 +vectors 4 accumulators 12 +rule$", table, re.MULTILINE)


def test_a_layer_that_is_cut_in_several_ways_counts_as_the_one_with_most_of_the_work():
    choice = ConvChoice(1, 1)
    border = replace(POINTWISE, width=28)
    chosen = (
        Chosen(0, "a", POINTWISE, choice, "record"),
        Chosen(0, "a", border, choice, "rule"),
        Chosen(1, "b", POINTWISE, choice, "neighbor"),
        Chosen(1, "b", border, choice, "record", times=500),
        Chosen(2, "c", border, choice, "record"),
        Chosen(2, "c", POINTWISE, choice, "rule"),
        Chosen(3, "d", POINTWISE, choice, "neighbor"),
    )
    assert layers_by_source(chosen, AVX2) == {"record": ("a", "b"), "neighbor": ("d",), "rule": ("c",)}


def test_the_lines_of_several_programs_name_their_targets():
    one = TuningInfo("x86-avx2", ("a", "b"), ("x", "y"), (), ())
    other = TuningInfo("x86-avx512", (), (), (), ("x",))
    assert tuning_lines([one, other]) == (
        "x86-avx2: 2 of 2 layers from records (a, b)",
        "x86-avx512: no records: 1 layer by rule",
    )
    assert tuning_lines([]) == ()


def test_layers_without_a_schedule_are_told_apart_from_layers_without_a_record():
    tuned = TuningInfo("x86-avx2", ("a",), (), (), ("b",))
    manifest = replace(MANIFEST, fallback_layers=("grouped", "b"), tuning=(tuned,))
    assert without_schedules(manifest) == ("grouped",)
    untuned = replace(manifest, fallback_layers=("b",), tuning=(replace(tuned, ids=()),))
    assert without_schedules(untuned) == ("b",)


def test_grouped_layers_are_fallbacks_with_and_without_records():
    grouped = canonicalize(
        network("- conv: {name: stem, out: 12, kernel: 3}\n- conv: {name: odd, out: 12, kernel: 3, groups: 4}\n")
    )
    assert plan(grouped, AVX2).fallback_layers == ("odd",)
    tuned = plan(grouped, AVX2, tuning=Tuning({POINTWISE: ConvChoice(1, 1)}, "a"))
    assert tuned.fallback_layers == ("odd", "stem")


@pytest.mark.parametrize("name", ["c99", "cuda-sm80"])
def test_programs_for_other_targets_have_nothing_to_tune(name: str):
    assert tuning_info(plan(NETWORK, find_target(name))) is None


def test_a_choice_of_another_kind_of_layer_is_a_mistake_of_whoever_made_the_tuning():
    workload = chosen_of("second.pointwise").workload
    with pytest.raises(TypeError, match="is tuned with DepthwiseKnobs"):
        program_with(Tuning({workload: DepthwiseChoice(1)}, "a"))


def test_a_layer_that_has_but_one_choice_is_not_counted():
    chosen = (Chosen(0, "a", Int8ConvWorkload(1, 1, 1, 64), Int8ConvChoice(1, 1, 2), "rule"),)
    assert layers_by_source(chosen, AVX2) == {"record": (), "neighbor": (), "rule": ()}
    assert layers_by_source(chosen, find_target("arm64-i8mm"))["rule"] == ("a",)
