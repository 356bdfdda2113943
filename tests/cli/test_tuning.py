"""Tuning records on the command line: inspect and build take them, and say what they took."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from dscompile.api import inspect, tunings
from dscompile.artifact import load_artifact
from dscompile.plan.choices import Choice, ConvChoice
from dscompile.plan.tuning_file import write_tuning
from dscompile.plan.tuning_records import TuningFile
from dscompile.plan.workloads import Workload
from dscompile.target import find_target
from tests.cli.conftest import CommandLine
from tests.tuning_files import record_of, tuning_file


def tiles_of(name: str) -> Mapping[str, list[Workload]]:
    """The workloads of the small network on a target, by layer."""
    found: dict[str, list[Workload]] = {}
    for tile in inspect("tiny.yaml", name, tuning=None).tiles:
        found.setdefault(tile.layer, []).append(tile.workload)
    return found


def pointwise_file(name: str, choice: Choice) -> TuningFile:
    """A record of the pointwise layer alone."""
    (workload,) = tiles_of(name)["block.pointwise"]
    return tuning_file(record_of(workload, best=choice), target=find_target(name))


@pytest.fixture
def records(tiny: Path) -> Path:
    """Records of the small network for x86-avx2."""
    write_tuning(pointwise_file("x86-avx2", ConvChoice(2, 1)), Path("mine.json"))
    return Path("mine.json")


@pytest.fixture(autouse=True)
def nothing_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No records ship, unless a test puts some into this folder."""
    (tmp_path / "shipped" / "tuning").mkdir(parents=True)
    monkeypatch.setattr(tunings, "data_directory", lambda _name: tmp_path / "shipped")
    return tmp_path / "shipped" / "tuning"


def test_inspect_says_what_it_took_of_records(dscompile: CommandLine, tiny: Path, records: Path):
    outcome = dscompile("inspect", tiny, "-q", "-t", "x86-avx2", "--tuning", records)
    assert outcome.code == 0
    assert re.search(r"^tuning: 1 of 4 layers from records \([0-9a-f]{8}\), 3 by rule$", outcome.out, re.MULTILINE)
    outcome = dscompile("inspect", tiny, "-q", "-t", "x86-avx2")
    assert "\ntuning: no records: 4 layers by rule" in outcome.out


def test_inspect_lists_tiles_with_v_and_as_json(dscompile: CommandLine, tiny: Path, records: Path):
    outcome = dscompile("inspect", tiny, "-v", "-t", "x86-avx2", "--tuning", records)
    assert re.search(r"^block\.pointwise +conv .* pixels 2 panel 1 .* record$", outcome.out, re.MULTILINE)
    content = json.loads(dscompile("inspect", tiny, "--json", "-t", "x86-avx2", "--tuning", records).out)
    assert content["tuning"]["from_records"] == ["block.pointwise"]
    (tile,) = [one for one in content["tiles"] if one["source"] == "record"]
    assert (tile["layer"], tile["choice"]["pixels"], tile["near"]) == ("block.pointwise", 2, None)
    without = json.loads(dscompile("inspect", tiny, "--json").out)
    assert (without["tuning"], without["tiles"]) == (None, [])


def test_inspect_takes_records_for_a_target_only(dscompile: CommandLine, tiny: Path, records: Path):
    outcome = dscompile("inspect", tiny, "--tuning", records)
    assert outcome.code == 2
    assert "tuning records are those of a target" in outcome.err


def test_tuning_and_no_tuning_exclude_each_other(dscompile: CommandLine, tiny: Path, records: Path):
    for command in ("inspect", "build"):
        outcome = dscompile(command, tiny, "-t", "x86-avx2", "--tuning", records, "--no-tuning")
        assert (outcome.code, outcome.out) == (2, "")
        assert "--tuning and --no-tuning exclude each other" in outcome.err


def test_records_that_ship_are_taken_unless_there_is_no_tuning(
    dscompile: CommandLine, tiny: Path, records: Path, nothing_ships: Path
):
    records.rename(nothing_ships / "x86-avx2.json")
    assert "1 of 4 layers from records" in dscompile("inspect", tiny, "-q", "-t", "x86-avx2").out
    assert "no records: 4 layers" in dscompile("inspect", tiny, "-q", "-t", "x86-avx2", "--no-tuning").out


@pytest.mark.parametrize(
    ("target", "code", "problem"),
    [
        ("x86-avx512", 2, "'mine.json' has tuning records of 'x86-avx2', and this is for x86-avx512"),
        ("cortex-m4", 2, "'mine.json': cortex-m4 takes no tuning records"),
        ("cuda-sm80", 2, "'mine.json': cuda-sm80 takes no tuning records"),
    ],
)
def test_records_of_another_target_are_refused_before_anything_is_compiled(
    dscompile: CommandLine, tiny: Path, records: Path, target: str, code: int, problem: str
):
    outcome = dscompile("build", tiny, "-q", "-t", target, "--tuning", records)
    assert outcome.code == code
    assert problem in outcome.err
    assert not Path("build").exists()


def test_a_damaged_file_ends_with_exit_code_3_and_its_name(dscompile: CommandLine, tiny: Path, records: Path):
    records.write_text(records.read_text().replace('"pixels": 2', '"pixels": 200'))
    outcome = dscompile("build", tiny, "-q", "-t", "x86-avx2", "--tuning", records)
    assert outcome.code == 3
    assert re.search(
        r'"pixels": 200.* is not among the choices that x86-avx2 has for .*\n  --> mine\.json$', outcome.err, re.M
    )
    assert dscompile("build", tiny, "-q", "--tuning", "none.json").code == 2


@pytest.mark.slow
def test_build_takes_records_and_its_manifest_names_them(dscompile: CommandLine, tiny: Path, records: Path):
    outcome = dscompile("build", tiny, "-q", "-t", "x86-avx2", "--tuning", records, "-o", "tuned")
    assert outcome.code == 0
    name = pointwise_file("x86-avx2", ConvChoice(2, 1)).name
    assert f"\n  tuning     1 of 4 layers from records ({name}), 3 by rule\n" in outcome.out + "\n"
    assert "by rule    schedules" not in outcome.out
    manifest = load_artifact(Path("tuned")).manifest
    assert manifest.tuning_ids == (name,)
    assert manifest.tuning[0].from_records == ("block.pointwise",)
    assert set(manifest.fallback_layers) == {"stem", "block.depthwise", "head"}
    again = dscompile("build", tiny, "-t", "x86-avx2", "--tuning", records, "-o", "again", "--json", "-q")
    (artifact,) = json.loads(again.out)["artifacts"]
    assert artifact["tuning"][0]["ids"] == [name]
    for file in ("tiny.c", "libtiny.a", "libtiny.so", "manifest.json"):
        assert (Path("tuned") / file).read_bytes() == (Path("again") / file).read_bytes()
    assert dscompile("verify", "tuned", "-q").code == 0


@pytest.mark.slow
def test_every_variant_of_a_library_takes_the_records_of_its_own_target(
    dscompile: CommandLine, tiny: Path, records: Path
):
    write_tuning(pointwise_file("x86-avx512", ConvChoice(3, 1)), Path("other.json"))
    outcome = dscompile("build", tiny, "-q", "-t", "x86", "--tuning", records, "--tuning", "other.json", "-o", "fat")
    assert outcome.code == 0
    for target in ("x86-avx512", "x86-avx2"):
        pattern = rf"^  tuning     {target}: 1 of 4 layers from records \([0-9a-f]{{8}}\), 3 by rule$"
        assert re.search(pattern, outcome.out, re.MULTILINE)
    assert len(load_artifact(Path("fat")).manifest.tuning_ids) == 2
    assert dscompile("verify", "fat", "-q").code == 0


@pytest.mark.slow
def test_without_records_one_line_says_so_and_v_names_all_layers_with_them(
    dscompile: CommandLine, tiny: Path, records: Path
):
    plain = dscompile("build", tiny, "-q", "-t", "x86-avx2", "-o", "plain")
    assert re.search(r"^  tuning     no records: 4 layers by rule$", plain.out, re.MULTILINE)
    assert load_artifact(Path("plain")).manifest.fallback_layers == ()
    named = dscompile("build", tiny, "-v", "-t", "x86-avx2", "--tuning", records, "-o", "named")
    assert re.search(r"^  by rule    schedules of stem, block\.depthwise, head$", named.out, re.MULTILINE)
    assert "tuning" not in dscompile("build", tiny, "-q", "-t", "c99", "-o", "c99").out
