"""Files of tuning records: what is written is read again, and what is wrong is said."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dscompile.errors import BadInputError, ToolError, UsageError
from dscompile.plan.choices import ConvChoice, DenseChoice, DepthwiseChoice
from dscompile.plan.tuning_file import MAX_RECORDS, read_tuning, require_fits, write_tuning
from dscompile.plan.tuning_records import Isa, TuningRecord
from dscompile.plan.workloads import ConvWorkload
from dscompile.target import find_target
from tests.tuning_files import AVX2, DEPTHWISE, POINTWISE, WORKLOADS, record_of, tuning_file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of good records."""
    write_tuning(tuning_file(), tmp_path / "tuning.json")
    return tmp_path / "tuning.json"


def test_what_is_written_is_read_again(path: Path) -> None:
    assert read_tuning(path) == tuning_file()
    require_fits(read_tuning(path), AVX2, path)


def test_a_file_without_records_is_read_again(tmp_path: Path) -> None:
    write_tuning(replace(tuning_file(), records=()), tmp_path / "empty.json")
    assert read_tuning(tmp_path / "empty.json").records == ()


def test_the_same_records_in_any_order_are_the_same_bytes_and_the_same_id(path: Path) -> None:
    backwards = replace(tuning_file(), records=tuning_file().records[::-1])
    before = path.read_bytes()
    write_tuning(backwards, path)
    assert path.read_bytes() == before
    assert backwards.name == tuning_file().name
    assert re.fullmatch(r"[0-9a-f]{8}", backwards.name)


def test_other_records_have_another_id() -> None:
    names = {
        tuning_file().name,
        tuning_file(*tuning_file().records[1:]).name,
        tuning_file(record_of(POINTWISE, best=ConvChoice(2, 4)), *tuning_file().records[1:]).name,
        replace(tuning_file(), target="x86-avx512").name,
    }
    assert len(names) == 4
    assert replace(tuning_file(), machine="another").name in names


def test_every_record_has_a_line_of_its_own(path: Path) -> None:
    lines = path.read_text().splitlines()
    records = [line for line in lines if '"workload"' in line]
    assert len(records) == len(WORKLOADS)
    assert all(json.loads(line.strip().rstrip(",")) for line in records)
    assert lines[:3] == ["{", '  "dscompile_tuning": 1,', '  "target": "x86-avx2",']


def test_writing_replaces_the_file_behind_a_link_and_leaves_nothing_else(path: Path) -> None:
    link = path.parent / "link.json"
    link.symlink_to(path.name)
    write_tuning(tuning_file(record_of(DEPTHWISE)), link)
    assert link.is_symlink()
    assert len(read_tuning(path).records) == 1
    assert {entry.name for entry in path.parent.iterdir()} == {"tuning.json", "link.json"}


def test_a_disk_that_refuses_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(ToolError, match="No space left on device"):
        write_tuning(tuning_file(record_of(DEPTHWISE)), path)
    assert read_tuning(path) == tuning_file()
    assert [entry.name for entry in path.parent.iterdir()] == ["tuning.json"]


# Records that cannot be


def test_a_record_holds_choices_of_its_kind_only() -> None:
    with pytest.raises(ValueError, match="is no choice for a workload of kind conv"):
        TuningRecord(POINTWISE, DenseChoice(1, 1), 1.0, ConvChoice(1, 1), 1.0, 2)


@pytest.mark.parametrize("costs", [(2.0, 1.0), (0.0, 1.0), (1.0, float("inf")), (float("nan"), 1.0)])
def test_a_record_has_costs_above_0_and_the_best_is_not_worse_than_the_rule(costs: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="costs must be above 0 and that of the best not above that of the rule"):
        TuningRecord(POINTWISE, ConvChoice(1, 1), costs[0], ConvChoice(1, 1), costs[1], 2)


def test_a_record_cannot_have_failed_always() -> None:
    with pytest.raises(ValueError, match="of 2 trials 2 cannot have failed"):
        TuningRecord(POINTWISE, ConvChoice(1, 1), 1.0, ConvChoice(1, 1), 1.0, 2, 2)


def test_a_file_has_one_record_of_a_workload() -> None:
    with pytest.raises(ValueError, match="two records of ConvWorkload"):
        tuning_file(record_of(POINTWISE), record_of(POINTWISE))


# Files that are wrong


def put(*path: Any) -> Callable[[Any], None]:
    """A change: the last of `path` becomes the value at the keys before it."""
    *keys, last, value = path

    def change(content: Any) -> None:
        for key in keys:
            content = content[key]
        content[last] = value

    return change


FIRST = ("records", 0)
SIZE = (*FIRST, "workload", "width")
WRONG: dict[str, Callable[[Any], object]] = {
    "'target' is missing": lambda m: m.pop("target"),
    "'unit' must be one of us, instructions, not 'ms'": put("unit", "ms"),
    "unknown key 'unti'; did you mean 'unit'?": put("unti", "us"),
    "unknown key 'x'; known: dscompile_tuning, target, isa, dscompile, unit, machine, records": put("x", 1),
    "unknown key 'x' in 'isa'; known: features": put("isa", "x", 1),
    "unknown key 'best_price' in 'records[0]'; did you mean 'best_cost'?": put(*FIRST, "best_price", 1),
    "unknown key 'depth' in 'records[0].workload'": put(*FIRST, "workload", "depth", 1),
    "unknown key 'word' in 'records[0].best'": put(*FIRST, "best", "word", 1),
    "'records' must be a list, not 5": put("records", 5),
    "'records[0]' must be an object, not 7": put("records", 0, 7),
    "'records[0].workload' is missing": lambda m: m["records"][0].pop("workload"),
    "'records[0].workload.kind' must be one of conv, depthwise, dense, int8_conv, int8_depthwise, not 'pool'": put(
        *FIRST, "workload", "kind", "pool"
    ),
    "'records[0].workload.width' must be a whole number of at least 1, not 0": put(*SIZE, 0),
    "'records[0].workload.width' must be a whole number of at least 1, not -5": put(*SIZE, -5),
    "'records[0].workload.width' must be a whole number, not 1e+30": put(*SIZE, 1e30),
    "'records[0].workload.width' must be a whole number, not True": put(*SIZE, True),
    "'records[0].workload.width' must be at most 16777216, not 1000000000000000000000000000000": put(*SIZE, 10**30),
    "'records[0].workload.kernel' must be two whole numbers of 1 to 1024": put(*FIRST, "workload", "kernel", [1, 5000]),
    "'records[0].workload.stride' must be two whole numbers of 1 to 1024": put(*FIRST, "workload", "stride", [1]),
    "'records[0].workload.blocked' must be true or false, not 1": put(*FIRST, "workload", "blocked", 1),
    "'records[0].best.pixels' is missing": lambda m: m["records"][0]["best"].pop("pixels"),
    "'records[0].best': only a panel that all pixels pass over has a next one to fetch": put(
        *FIRST, "best", "panel_outer", False
    ),
    "'records[0].best_cost' must be a number, not '8'": put(*FIRST, "best_cost", "8"),
    "'records[0].rule_cost' must be a number, not 1000": put(*FIRST, "rule_cost", 10**400),
    "'records[0]': costs must be above 0": put(*FIRST, "best_cost", -1),
    "'records[0]': of 1 trials 1 cannot have failed": put(*FIRST, "trials", 1),
    "'records[1]' is of the same workload as 'records[0]'": lambda m: m["records"].insert(1, m["records"][0]),
    f"it has {MAX_RECORDS + 1} records; at most {MAX_RECORDS} are read": put("records", [0] * (MAX_RECORDS + 1)),
    "this is no file of tuning records that this dscompile reads: the key 'dscompile_tuning' is missing": lambda m: (
        m.pop("dscompile_tuning")
    ),
    "this is no file of tuning records that this dscompile reads: its schema is 2, not 1": put("dscompile_tuning", 2),
    "its schema is True, not 1": put("dscompile_tuning", True),
}


@pytest.mark.parametrize("problem", WRONG)
def test_what_is_wrong_is_said(path: Path, problem: str) -> None:
    content = json.loads(path.read_text())
    WRONG[problem](content)
    path.write_text(json.dumps(content))
    with pytest.raises(BadInputError) as caught:
        read_tuning(path)
    assert any(problem in one.message for one in caught.value.diagnostics), str(caught.value)
    assert all(one.position is not None and one.position.file == str(path) for one in caught.value.diagnostics)


def test_of_many_problems_twenty_are_said_and_the_others_counted(path: Path) -> None:
    content = json.loads(path.read_text())
    content["records"] = [1] * 50
    path.write_text(json.dumps(content))
    with pytest.raises(BadInputError) as caught:
        read_tuning(path)
    messages = [one.message for one in caught.value.diagnostics]
    assert len(messages) == 21
    assert re.fullmatch(r"tuning records: and \d+ more such problems", messages[-1])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "are not JSON: Expecting value"),
        (b"\xff\xfe\x00", "are not JSON"),
        (b'{"dscompile_tuning": 1, "target": NaN}', "are not JSON: NaN is no number"),
        (b'{"dscompile_tuning": 1, "dscompile_tuning": 1}', "are not JSON: the key 'dscompile_tuning' is there twice"),
        (b"[" * 100_000, "are not JSON: maximum recursion depth"),
        (b'{"dscompile_tuning": ' + b"9" * 5000 + b"}", "are not JSON"),
        (b"[]", "the key 'dscompile_tuning' is missing"),
        (b'{"dscompile_tuning": 1, "target": ' + b"[" * 900 + b"]" * 900 + b"}", "'target' must be a string"),
    ],
)
def test_what_is_no_records_file_at_all_is_refused(path: Path, text: bytes, problem: str) -> None:
    path.write_bytes(text)
    with pytest.raises(BadInputError, match=re.escape(problem)):
        read_tuning(path)


def test_a_huge_file_is_refused_without_reading_it_all(tmp_path: Path) -> None:
    path = tmp_path / "huge.json"
    with path.open("wb") as stream:
        stream.truncate(200 << 20)
    with pytest.raises(BadInputError, match="larger than any file of tuning records: more than 16 MiB"):
        read_tuning(path)


def test_a_missing_file_and_a_directory_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no file of tuning records '.*/none.json'"):
        read_tuning(tmp_path / "none.json")
    with pytest.raises(BadInputError, match="tuning records are read from files, and this is none"):
        read_tuning(tmp_path)
    with pytest.raises(BadInputError, match="cannot read the tuning records: File name too long"):
        read_tuning(tmp_path / ("x" * 5000))


# Files that do not fit a target


def refused(file: Any, target: Any, problem: str) -> None:
    with pytest.raises(BadInputError, match=re.escape(problem)):
        require_fits(file, target, Path("tuning.json"))


def test_records_of_another_target_do_not_fit() -> None:
    refused(tuning_file(), find_target("x86-avx512"), "its records are of 'x86-avx2', and not of x86-avx512")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"registers": 8}, "it was made for another x86-avx2: registers 16 there, 8 here"),
        ({"multiply": "element"}, "multiply 'broadcast' there, element here"),
        ({"features": frozenset({"avx2"})}, "features 'avx2 bmi1 bmi2 f16c fma' there, 'avx2' here"),
    ],
)
def test_records_of_other_facts_of_the_target_do_not_fit(change: dict[str, Any], problem: str) -> None:
    refused(tuning_file(), replace(AVX2, **change), problem)


def test_choices_outside_the_space_do_not_fit_and_are_named_as_in_the_file() -> None:
    bad = (
        replace(record_of(POINTWISE), best=ConvChoice(28, 4)),
        replace(record_of(DEPTHWISE), best=DepthwiseChoice(500)),
    )
    with pytest.raises(BadInputError) as caught:
        require_fits(tuning_file(*bad), AVX2, Path("tuning.json"))
    first, second = caught.value.diagnostics
    assert '{"pixels": 28, "panel": 4' in first.message
    assert '"width": 3136' in first.message
    assert "is not among the choices that x86-avx2 has for" in second.message


def test_an_absurd_workload_is_reckoned_with_in_no_time() -> None:
    huge = ConvWorkload(1 << 24, 1 << 24, 1 << 24, 1 << 24, (1024, 1024), (1024, 1024), (1024, 1024))
    file = tuning_file(TuningRecord(huge, ConvChoice(28, 4), 1.0, ConvChoice(1, 1), 1.0, 2))
    refused(file, AVX2, "is not among the choices")


def test_the_facts_of_a_target_are_equal_to_themselves() -> None:
    assert Isa.of(AVX2).difference(AVX2) == ""
