"""The benchmark that leaves networks out: what an untuned one costs, from made-up measurements."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import untuned
from benchmarks.untuned import all_left_out, left_out, main, read_costs
from dscompile.errors import BadInputError
from dscompile.plan.choices import ConvChoice
from dscompile.plan.spaces import rule
from dscompile.plan.tuning import UNTUNED, Learning
from dscompile.plan.tuning_file import write_tuning
from dscompile.plan.tuning_json import choice_to_json, workload_to_json
from tests.tuning_files import AVX2, DEPTHWISE, POINTWISE, TUNED, record_of, tuning_file

WIDER = replace(POINTWISE, channels=96)
OWN = ConvChoice(2, 4)
BEST = TUNED[POINTWISE]
# `one` has a pointwise layer; `two` has a wider one that is tuned otherwise, and shares a depthwise one with `one`.
FILE = tuning_file(
    record_of(POINTWISE, networks=("one",)),
    record_of(WIDER, best=OWN, networks=("two",)),
    record_of(DEPTHWISE, networks=("one", "two")),
)
COSTS = {(WIDER, BEST): 8.4, (POINTWISE, OWN): 9.2}


def results(*, shared=False, learning=Learning(), costs=COSTS, counts=None):  # noqa: B008
    return {one.name: one for one in all_left_out(FILE, AVX2, costs, counts or {}, learning, shared=shared)}


def test_a_network_takes_choices_of_others_and_the_rule():
    two = results()["two"]
    assert two.sources() == {"neighbor": 1, "rule": 1}
    assert two.slower == pytest.approx((8.4 + 10.0) / 16)
    assert two.rule_slower == pytest.approx((10.0 + 10.0) / 16)
    assert results()["one"].slower == pytest.approx((9.2 + 10.0) / 16)


def test_shared_records_are_kept_if_asked():
    two = results(shared=True)["two"]
    assert two.sources() == {"neighbor": 1, "record": 1}
    assert two.slower == pytest.approx((8.4 + 8.0) / 16)


def test_workloads_count_as_often_as_the_network_has_them():
    two = results(counts={"two": {WIDER: 3}})["two"]
    assert two.slower == pytest.approx((3 * 8.4 + 10.0) / (4 * 8.0))


def test_what_was_not_measured_is_in_no_sum():
    two = results(costs={})["two"]
    assert two.unmeasured == 1
    assert two.slower == two.rule_slower == pytest.approx(10.0 / 8.0)


def test_a_network_of_which_nothing_was_measured_has_no_ratio():
    file = tuning_file(record_of(POINTWISE, networks=("one",)), record_of(WIDER, best=OWN, networks=("two",)))
    assert all(math.isnan(one.slower) for one in all_left_out(file, AVX2, {}, {}, Learning(), shared=False))


def test_where_the_rule_is_best_it_costs_the_best():
    by_rule = rule(POINTWISE, AVX2)
    file = tuning_file(replace(record_of(POINTWISE, best=by_rule), best_cost=8.0, rule_cost=8.1))
    assert left_out(file, AVX2, {}, "net", {}, UNTUNED).slower == 1.0


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Records and costs."""
    write_tuning(FILE, tmp_path / "records.json")
    lines = [
        json.dumps({"workload": workload_to_json(workload), "choice": choice_to_json(choice), "cost": cost})
        for (workload, choice), cost in [*COSTS.items(), *((key, cost + 1) for key, cost in COSTS.items())]
    ]
    (tmp_path / "costs.jsonl").write_text("\n".join(lines))
    return tmp_path / "records.json", tmp_path / "costs.jsonl"


def test_of_several_costs_of_a_choice_the_least_counts(files):
    assert read_costs(files[1], FILE, AVX2) == COSTS


def test_the_tables_and_the_verdict(files, capsys):
    assert main([str(files[0]), str(files[1]), "--layers", "--sweep"]) == 1
    out = capsys.readouterr().out
    assert re.search(r"^one +2 +1\.200 +1\.250 +0 +1 +1 +0$", out, re.MULTILINE)
    assert re.search(r'^\{"kind": "depthwise".*\} +1 +1\.250 +1\.250 +rule ', out, re.MULTILINE)
    assert re.search(r"^ +same +1 +1\.02 +1\.200 +1\.175 +2 +0$", out, re.MULTILINE)
    assert out.splitlines()[-1] == "above 1.1, or not measured: one, two"
    assert main([str(files[0]), str(files[1]), "--shared"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "above 1.1, or not measured: none"


def test_a_network_file_tells_how_often_a_workload_is_there(files, capsys, monkeypatch):
    monkeypatch.setattr(untuned, "count_workloads", lambda path, target: {WIDER: 30})
    assert main([str(files[0]), str(files[1]), "--network", "two=two.yaml"]) == 1
    assert re.search(r"^two +2 +1\.056 ", capsys.readouterr().out, re.MULTILINE)


def test_workloads_are_counted_in_a_plan(tmp_path):
    (tmp_path / "net.yaml").write_text(
        "dscompile: 1\nnetwork:\n  name: net\n  input: {name: x, shape: [1, 8, 8, 16]}\n  layers:\n"
        "    - conv: {name: a, out: 16, kernel: 1}\n    - conv: {name: b, out: 16, kernel: 1}\nweights: {seed: 1}\n"
    )
    assert list(untuned.count_workloads(str(tmp_path / "net.yaml"), AVX2).values()) == [2]


@pytest.mark.parametrize("network", ["three=x.yaml", "one", "one="])
def test_networks_that_no_record_names_are_refused(files, capsys, network):
    assert main([str(files[0]), str(files[1]), "--network", network]) == 2
    assert f"--network {network}: not NAME=FILE of one of one, two" in capsys.readouterr().err


def test_records_that_name_no_network_are_refused(files, capsys):
    write_tuning(tuning_file(record_of(POINTWISE, networks=())), files[0])
    assert main([str(files[0]), str(files[1])]) == 2
    assert "no record names a network that it came from" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "not JSON: "),
        ("{}", "'workload' is missing"),
        (json.dumps({"workload": workload_to_json(POINTWISE), "choice": {}, "cost": 1}), "'choice.pixels' is missing"),
        (
            json.dumps({"workload": workload_to_json(POINTWISE), "choice": choice_to_json(OWN), "cost": 0}),
            "'cost' must be above 0, not 0",
        ),
    ],
)
def test_costs_that_are_wrong_are_refused_with_their_line(tmp_path, line, problem):
    (tmp_path / "costs.jsonl").write_text(line)
    with pytest.raises(BadInputError, match=re.escape(problem)) as caught:
        read_costs(tmp_path / "costs.jsonl", FILE, AVX2)
    assert caught.value.diagnostics[0].position.line == 1


@pytest.mark.slow
def test_what_a_tuner_measured_is_read_from_its_journal(tmp_path):
    from dscompile.api.tuning import costs_label
    from dscompile.tuner.journal import Journal

    with Journal(tmp_path / "measured", AVX2, costs=costs_label(FILE.unit, FILE.machine)) as journal:
        for (workload, choice), cost in COSTS.items():
            journal.add(workload, choice, (cost / 1e6 + 1, cost / 1e6))
        journal.add(POINTWISE, BEST, (), "it failed")
    assert read_costs(tmp_path / "measured", FILE, AVX2) == pytest.approx(COSTS)


def test_costs_that_are_not_there_are_refused(files, capsys):
    assert main([str(files[0]), "nowhere"]) == 2
    assert "there is no journal and no table of costs 'nowhere'" in capsys.readouterr().err
