"""dscompile bench: the budgets of latency that it checks."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from dscompile import api
from dscompile.report.timing import CountResult
from tests.cli.conftest import TINY, CommandLine
from tests.tools import require_tools


def built(dscompile: CommandLine, folder: Path, latency: str) -> str:
    """An artifact of portable C with a latency budget."""
    require_tools("cc")
    (folder / "net.yaml").write_text(f"{TINY}targets:\n  c99: {{latency: {latency}}}\n")
    outcome = dscompile("build", "net.yaml", "-t", "c99", "-o", "artifact")
    assert outcome.code == 0
    note = "note: c99: the latency budget is not checked by a build; 'dscompile bench' measures and checks"
    assert note in outcome.err.splitlines()
    return "artifact"


def test_a_latency_budget_that_is_exceeded_fails_with_exit_code_4(dscompile: CommandLine, folder: Path):
    outcome = dscompile("bench", built(dscompile, folder, "1 ns"), "--repeats", "30", "--json", "-q")
    assert outcome.code == 4
    (result,) = json.loads(outcome.out)["results"]
    assert result["latency_budget_us"] == 0.001
    assert re.fullmatch(
        r"error: artifact: an inference takes \d+\.\d us \(median of 30\), the budget of c99 is 0\.001 us\n"
        r"  = help: 'dscompile bench --layers' shows where the time goes\n",
        outcome.err,
    )


def test_a_latency_budget_that_is_kept(dscompile: CommandLine, folder: Path):
    outcome = dscompile("bench", built(dscompile, folder, "100 s"), "--repeats", "30", "-q")
    assert (outcome.code, outcome.err) == (0, "")


def test_layers_that_share_a_step_are_named_below_it(dscompile: CommandLine, folder: Path):
    artifact = built(dscompile, folder, "100 s")
    outcome = dscompile("bench", artifact, "--layers", "--repeats", "30", "-q")
    assert outcome.code == 0
    _, table = outcome.out.split("\nartifact\n")
    header, *rows = table.splitlines()
    assert header.split() == ["layer", "kind", "MAC", "of", "MAC", "us", "of", "time", "GMAC/s"]
    assert [re.split(r"(?<=\S)  ", row)[0] for row in rows] == [
        "stem",
        "block.depthwise",
        "  block.depthwise",
        "  block.pointwise",
        "pool",
        "head",
        "softmax",
    ]
    assert re.fullmatch(r"block.depthwise    depthwise \+ pointwise  5 200  48.7 % .*", rows[1])
    assert re.fullmatch(r"  block.pointwise +3 400  31.9 %", rows[3])


def test_layers_as_json_have_the_share_of_their_step(dscompile: CommandLine, folder: Path):
    outcome = dscompile("bench", built(dscompile, folder, "100 s"), "--layers", "--repeats", "30", "--json", "-q")
    (result,) = json.loads(outcome.out)["results"]
    assert sum(step["macs"] for step in result["steps"]) == result["macs"]
    assert 0.1 * result["median_us"] < sum(step["median_us"] for step in result["steps"]) < 10 * result["median_us"]
    (fused,) = (step for step in result["steps"] if step["layers"])
    assert sum(layer["macs"] for layer in fused["layers"]) == fused["macs"]
    assert sum(layer["macs_share"] for layer in fused["layers"]) == pytest.approx(1.0)


def test_an_emulated_device_has_no_clock_to_check_a_budget_with(
    dscompile: CommandLine, monkeypatch: pytest.MonkeyPatch
):
    counted = CountResult("net", "cortex-m4", "unicorn", 10, 20, 64, latency_budget_us=5.0)
    monkeypatch.setattr(api, "bench", lambda *_args, **_options: (counted,))
    outcome = dscompile("bench", "net")
    assert outcome.code == 0
    assert outcome.err == "note: net: the latency budget is not checked; an emulator keeps no time\n"
