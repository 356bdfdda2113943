"""The tuner on a farm: candidates are built here and measured there, whatever happens to devices."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from dscompile.plan.tuning_file import read_tuning
from tests.cli.test_tune import SMALL
from tests.farm.servers import COMMAND, ROOT, joined, start_device, start_tracker, wait_until
from tests.tools import require_tools


@pytest.mark.slow
def test_a_network_is_tuned_on_two_devices_of_which_one_is_killed(tmp_path: Path):
    require_tools("gcc")
    (tmp_path / "small.yaml").write_text(SMALL)
    with (
        start_tracker(tmp_path / "tracker") as tracker,
        joined(*(start_device(tmp_path / name, tracker.address) for name in ("one", "two"))) as devices,
    ):
        arguments = ["tune", "small.yaml", "-t", "x86-avx2", "--farm", str(tracker.address), "--key", "x86", "--json"]
        with subprocess.Popen(
            [*COMMAND, *arguments, "--trials", "16"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as tuner:
            journal = tmp_path / "tuning.json.measured" / "database_tuning_record.json"
            wait_until(lambda: journal.exists() and journal.read_bytes().count(b"\n") >= 6)
            devices[0].kill()
            out, errors = tuner.communicate(timeout=300)
    assert tuner.returncode == 0, errors
    result = json.loads(out)
    assert [task["layers"] for task in result["tasks"]] == [["first"], ["head"]]
    assert [task["trials"] for task in result["tasks"]] == [16, 8]
    assert [task["failures"] for task in result["tasks"]] == [0, 0]
    assert result["measured"] == 24
    assert "devices 'x86'" in result["device"]
    assert len(read_tuning(tmp_path / "tuning.json").records) == 2
