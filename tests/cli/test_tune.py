"""dscompile tune."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dscompile.plan.tuning_file import read_tuning
from dscompile.target import resolve_target
from dscompile.tuner.journal import Journal
from tests.cli.conftest import CommandLine
from tests.tools import require_tools

ROOT = Path(__file__).resolve().parents[2]

SMALL = """\
dscompile: 1
network:
  name: small
  input: {name: image, shape: [1, 6, 6, 24]}
  layers:
    - depthwise: {name: first, kernel: 3}
    - dense: {name: head, out: 24}
weights: {seed: 7}
"""


@pytest.fixture
def small(folder: Path) -> Path:
    (folder / "small.yaml").write_text(SMALL)
    return Path("small.yaml")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--budget", "soon"), 2, "'soon' is no time; write 90s, 10m or 1h"),
        (("--budget", "0s"), 2, "'0s' is no time"),
        (("--builders", "0"), 2, "neither a number of processes nor the address of a Dask scheduler"),
        (("--trials", "0"), 2, "0 is not in the range"),
        (("--farm", "127.0.0.1:9190"), 2, "--farm and --key belong together"),
        (("-t", "cortex-m4"), 3, "there is nothing to tune for cortex-m4: its C kernels are chosen by exact counts"),
        (("-t", "cuda-sm80"), 3, "there is nothing to tune for cuda-sm80: its kernels are chosen by a model"),
        (("-t", "x87"), 2, "unknown target 'x87'"),
        (("--report",), 2, "nothing was tuned for 'tuning.json'"),
        (("--farm", "127.0.0.1:9", "--key", "x"), 5, "127.0.0.1:9"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_measured(dscompile: CommandLine, small, arguments, code, words):
    outcome = dscompile("tune", small, *arguments)
    assert outcome.code == code
    assert words in outcome.err
    assert not Path("tuning.json").exists()


def test_a_network_without_choices_has_nothing_to_tune(dscompile: CommandLine, folder: Path):
    (folder / "pool.yaml").write_text(
        "dscompile: 1\nnetwork:\n  name: pool\n  input: {name: x, shape: [1, 4, 4, 8]}\n"
        "  layers:\n    - pool: {kind: average, over: all}\n"
    )
    outcome = dscompile("tune", "pool.yaml")
    assert outcome.code == 3
    assert "no layer of this network has a choice" in outcome.err


def test_records_of_another_target_are_not_extended(dscompile: CommandLine, small):
    Path("tuning.json").write_text("{}")
    outcome = dscompile("tune", small, "--trials", "1")
    assert outcome.code == 3
    assert Path("tuning.json").read_text() == "{}"


@pytest.mark.slow
def test_tuning_reports_writes_records_goes_on_and_builds_take_them(dscompile: CommandLine, small):
    first = dscompile("tune", small, "--trials", "4", "--json", "-q")
    assert first.code == 0, first.err
    result = json.loads(first.out)
    assert result["unit"] == "us"
    assert [task["layers"] for task in result["tasks"]] == [["first"], ["head"]]
    assert [task["trials"] for task in result["tasks"]] == [4, 4]
    assert result["measured"] == 8
    assert all(task["failures"] == 0 for task in result["tasks"])
    records = read_tuning(Path("tuning.json"))
    assert records.target == resolve_target("host").name
    assert [record.networks for record in records.records] == [("small",), ("small",)]

    again = json.loads(dscompile("tune", small, "--trials", "6", "--json", "-q").out)
    assert again["measured"] == 4
    report = dscompile("tune", small, "--report")
    assert report.code == 0
    lines = report.out.splitlines()
    assert lines[0].split()[:5] == ["layer", "times", "share", "rule", "best"]
    assert {lines[1].split()[0], lines[2].split()[0]} == {"first", "head"}
    assert lines[-1] == "records: tuning.json"

    built = dscompile("build", small, "--tuning", "tuning.json", "-o", "out")
    assert built.code == 0, built.err
    assert re.search(r"tuning +2 of 2 layers from records", built.out)
    assert dscompile("verify", "out").code == 0


@pytest.mark.slow
def test_targets_of_arm_are_tuned_by_instructions(dscompile: CommandLine, small):
    require_tools("qemu-aarch64")
    outcome = dscompile("tune", small, "-t", "arm64-neon", "--trials", "5", "--json", "-q")
    assert outcome.code == 0, outcome.err
    result = json.loads(outcome.out)
    assert result["unit"] == "instructions"
    for task in result["tasks"]:
        assert task["best_cost"] <= task["rule_cost"]
        assert task["best_cost"] >= task["bound"]
    assert read_tuning(Path("tuning.json")).unit == "instructions"


@pytest.mark.slow
def test_a_killed_tuner_loses_nothing_that_was_measured(small, tmp_path):
    """Killed at random moments; each time the records load, and the journal has all that it had and more."""
    command = [sys.executable, "-c", "from dscompile.cli.main import run; run()", "tune", str(small)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    rng = random.Random(4)
    target = resolve_target("host")
    known = 0
    for _ in range(6):
        tuner = subprocess.Popen(command, env=environment, start_new_session=True, stderr=subprocess.DEVNULL)
        _wait_for(lambda known=known: _lines() > known, 60)
        time.sleep(rng.random())
        os.killpg(tuner.pid, signal.SIGKILL)
        tuner.wait()
        if Path("tuning.json").exists():
            read_tuning(Path("tuning.json"))
        lines = _lines()
        with Journal(Path("tuning.json.measured"), target, costs=_costs()) as journal:
            found = sum(len(journal.known(workload)) for workload in journal.workloads)
        assert found >= known
        assert found >= lines - 1  # the last line may have been cut off in the middle
        known = found
    assert known > 0


def _lines() -> int:
    path = Path("tuning.json.measured/database_tuning_record.json")
    return len(path.read_bytes().splitlines()) if path.exists() else 0


def _costs() -> str:
    return json.loads(Path("tuning.json.measured/journal.json").read_text())["costs"]


def _wait_for(condition, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)


@pytest.mark.slow
def test_an_interrupt_keeps_what_was_measured_and_says_how_to_go_on(small):
    command = [sys.executable, "-c", "from dscompile.cli.main import run; run()", "tune", str(small)]
    tuner = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True)
    _wait_for(lambda: tuner.poll() is not None or _lines() >= 2, 90)
    tuner.send_signal(signal.SIGINT)
    _, errors = tuner.communicate(timeout=120)
    assert tuner.returncode == 130
    assert "what was measured is kept in tuning.json and beside it; the same command goes on from there" in errors
    assert read_tuning(Path("tuning.json")).records


@pytest.mark.slow
def test_candidates_can_be_built_by_a_dask_cluster(dscompile: CommandLine, small):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        outcome = dscompile("tune", small, "--trials", "3", "--builders", cluster.scheduler_address, "--json", "-q")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["measured"] == 6


def test_a_dask_scheduler_that_is_not_there_is_named(dscompile: CommandLine, small, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr("dscompile.tuner.builders._CONNECT_S", 0.5)
    outcome = dscompile("tune", small, "--builders", "tcp://127.0.0.1:9", "--trials", "1")
    assert outcome.code == 5
    assert "no Dask scheduler answers at tcp://127.0.0.1:9" in outcome.err
