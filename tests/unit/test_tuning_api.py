"""Which records a build takes: the user's files, those that ship, or none."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from dscompile.api import tunings
from dscompile.api.tunings import read_tunings, shipped_files
from dscompile.errors import BadInputError, UsageError
from dscompile.plan.choices import ConvChoice
from dscompile.plan.spaces import rule
from dscompile.plan.tuning import UNTUNED
from dscompile.plan.tuning_file import read_tuning, require_fits, write_tuning
from dscompile.target import find_target
from tests.tuning_files import AVX2, DEPTHWISE, POINTWISE, TUNED, record_of, tuning_file

AVX512 = find_target("x86-avx512")
MINE = record_of(POINTWISE, best=ConvChoice(2, 4))


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where records ship: an empty folder."""
    folder = tmp_path / "targets" / "tuning"
    folder.mkdir(parents=True)
    monkeypatch.setattr(tunings, "data_directory", lambda name: tmp_path / name)
    return folder


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A file of the user's."""
    write_tuning(tuning_file(MINE), tmp_path / "mine.json")
    return tmp_path / "mine.json"


def test_records_that_ship_are_taken_by_default(data: Path):
    write_tuning(tuning_file(), data / "x86-avx2.json")
    read = read_tunings((), [AVX2, AVX512])
    assert read.of(AVX2) == tuning_file().tuning()
    assert read.of(AVX512) == UNTUNED


def test_no_tuning_takes_none_of_them(data: Path):
    write_tuning(tuning_file(), data / "x86-avx2.json")
    assert read_tunings(None, [AVX2]).of(AVX2) == UNTUNED


def test_records_of_the_user_come_before_those_that_ship(data: Path, mine: Path):
    write_tuning(tuning_file(), data / "x86-avx2.json")
    tuning = read_tunings(mine, [AVX2]).of(AVX2)
    assert tuning.choose(POINTWISE, AVX2) == (ConvChoice(2, 4), "record")
    assert tuning.choose(DEPTHWISE, AVX2) == (TUNED[DEPTHWISE], "record")
    assert tuning.names == (tuning_file(MINE).name, tuning_file().name)


def test_of_several_files_for_a_target_the_first_is_asked_first(data: Path, mine: Path):
    other = mine.with_name("other.json")
    write_tuning(tuning_file(), other)
    assert read_tunings([mine, str(other)], [AVX2]).of(AVX2).best[POINTWISE] == ConvChoice(2, 4)
    assert read_tunings([other, mine], [AVX2]).of(AVX2).best[POINTWISE] == TUNED[POINTWISE]


def test_every_target_takes_the_files_that_are_its_own(data: Path, mine: Path):
    other = mine.with_name("other.json")
    write_tuning(tuning_file(record_of(DEPTHWISE), target=AVX512), other)
    read = read_tunings([mine, other], [AVX2, AVX512, find_target("cortex-m4")])
    assert set(read.of(AVX2).best) == {POINTWISE}
    assert set(read.of(AVX512).best) == {DEPTHWISE}
    assert read.of(find_target("cortex-m4")) == UNTUNED


def test_a_file_that_fits_no_target_is_an_error(data: Path, mine: Path):
    expected = f"'{mine}' has tuning records of 'x86-avx2', and this is for x86-avx512, arm64-neon"
    with pytest.raises(UsageError, match=re.escape(expected)):
        read_tunings(mine, [AVX512, find_target("arm64-neon")])


@pytest.mark.parametrize("name", ["cortex-m4", "c99", "cuda-sm80"])
def test_targets_that_are_planned_otherwise_take_no_records(data: Path, mine: Path, name: str):
    with pytest.raises(UsageError, match=f"'{mine}': {name} takes no tuning records"):
        read_tunings([mine], [find_target(name)])
    assert read_tunings((), [find_target(name)]).of(find_target(name)) == UNTUNED


def test_a_target_of_the_users_that_has_the_name_of_another_takes_no_records_of_that_one(data: Path, mine: Path):
    write_tuning(tuning_file(), data / "x86-avx2.json")
    own = replace(AVX2, registers=8)
    read = read_tunings((), [AVX2, own])
    assert (read.of(own), read.of(AVX2)) == (UNTUNED, tuning_file().tuning())
    with pytest.raises(BadInputError, match="it was made for another x86-avx2: registers 16 there, 8 here"):
        read_tunings(mine, [own])


def test_records_that_ship_fit_their_targets_and_the_rule_in_them_is_that_of_today():
    for path in shipped_files():
        file = read_tuning(path)
        target = find_target(path.stem)
        require_fits(file, target, path)
        stale = [one.workload for one in file.records if one.rule != rule(one.workload, target)]
        assert not stale, f"{path.name}: the rule of {len(stale)} workloads has changed; tune again"
