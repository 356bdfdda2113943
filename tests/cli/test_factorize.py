"""dscompile factorize and dscompile export."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import CommandLine

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def calibration(tiny: Path) -> Path:
    """Six samples for `tiny`, which stands beside them."""
    rng = np.random.default_rng(3)
    np.savez("calib.npz", image=rng.random((6, 9, 9, 3)).astype(np.float32))
    return Path("calib.npz")


def test_the_report_shows_layers_and_the_change_of_the_outputs(dscompile: CommandLine, tiny: Path, calibration: Path):
    outcome = dscompile("factorize", tiny, "--rank", 2, "--calibrate", calibration, "-q")
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[0] == "wrote       tiny_factorized.yaml"
    assert lines[1] == "network     10 668 -> 7 818 MAC, 73.3 %"
    header = ["layer", "kernel", "rank", "of", "discarded", "share", "MAC", "of", "before", "bound", "error"]
    assert lines[5].split() == [*header, "at", "outputs"]
    assert lines[6].split()[:4] == ["stem", "3x3x3x8", "2", "8"]
    assert lines[9].split() == ["samples", "6"]
    told = [line.split()[0] for line in lines[9:]]
    assert (lines[8], told) == ("outputs", ["samples", "change", "top-1", "layers'", "bound"])


def test_the_result_can_be_checked_and_built(dscompile: CommandLine, tiny: Path):
    assert dscompile("factorize", tiny, "--rank", 2, "-o", "out/small.yaml").code == 0
    assert sorted(path.name for path in Path("out").iterdir()) == ["small.npz", "small.yaml"]
    assert "stem.depthwise" in Path("out/small.yaml").read_text()
    assert dscompile("check", "out/small.yaml").code == 0
    assert dscompile("build", "out/small.yaml", "-t", "c99", "-o", "out/c99").code == 0
    assert dscompile("verify", "out/c99").code == 0


def test_json_has_ranks_costs_and_errors(dscompile: CommandLine, tiny: Path, calibration: Path):
    outcome = dscompile("factorize", tiny, "--max-macs", "8k", "--calibrate", calibration, "-t", "x86-avx2", "--json")
    record = json.loads(outcome.out)
    assert outcome.code == 0
    assert record["schema"] == 1
    assert (record["path"], record["name"], record["target"]) == ("tiny_factorized.yaml", "tiny", "x86-avx2")
    assert record["macs"]["before"] == 10668
    assert record["macs"]["after"] <= 8000
    (stem,) = record["layers"]
    assert (stem["name"], stem["kernel"], stem["full_rank"], stem["cheaper_up_to"]) == ("stem", [3, 3], 8, 4)
    assert stem["cycles"]["after"] < stem["cycles"]["before"]
    assert 0 < stem["discarded_share"] < 1
    assert stem["measured"] <= stem["bound"]
    outputs = record["outputs"]
    assert outputs["error"] <= outputs["bound"]
    assert outputs["error"] <= outputs["layers_sum"] * (1 + 1e-9)
    assert (outputs["samples"], outputs["unbounded_layer"]) == (6, None)


def test_without_data_random_inputs_of_the_seed_are_taken_and_nothing_is_fitted(dscompile: CommandLine, tiny: Path):
    first, second, other = (
        json.loads(dscompile("factorize", tiny, "--rank", 1, "--json", "--seed", seed).out)["outputs"]
        for seed in (1, 1, 2)
    )
    assert first == second != other
    assert first["samples"] == 8
    assert "as decomposed" in dscompile("factorize", tiny, "--rank", 1, "-o", "again.yaml").out


def test_cycles_have_columns_with_a_target(dscompile: CommandLine, tiny: Path):
    outcome = dscompile("factorize", tiny, "--rank", 1, "-t", "x86-avx2")
    header = next(line for line in outcome.out.splitlines() if line.startswith("layer "))
    assert "cycles" in header


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--rank", 2, "--max-error", 0.1), 2, "a rank leaves nothing to choose"),
        (("--even-if-dearer",), 2, "within limits no layer gets dearer"),
        (("--max-cycles", "1k"), 2, "cycles are those of a target's core"),
        (("--rank", 1, "-t", "cortex-m4"), 2, "the roofline knows cores with vectors and caches"),
        (("--rank", 5), 2, "rank 5 makes no layer cheaper"),
        (("--rank", 1, "-o", "net.txt"), 2, "'net.txt' is not the name of a net.yaml"),
        (("--max-macs", "many"), 2, "'many' is no amount such as 8000000, 8M or 1.5G"),
        (("--max-macs", 10), 4, "the lowest ranks leave 6543 MAC, more than the 10 allowed"),
        (("--max-error", 1e-9), 4, "no layer gets cheaper within a relative change of 1e-09"),
    ],
)
def test_what_cannot_be_done_is_refused(dscompile: CommandLine, tiny: Path, arguments, code, message):
    outcome = dscompile("factorize", tiny, *arguments)
    assert (outcome.code, outcome.out) == (code, "")
    assert message in outcome.err
    assert list(Path().glob("*_factorized*")) == []


def test_int8_networks_are_refused_with_advice(dscompile: CommandLine, tiny: Path, calibration: Path):
    quick = ("--no-equalize", "--no-bias-correction", "--weight-rounding", "nearest")
    assert dscompile("quantize", tiny, "--calibrate", calibration, *quick).code == 0
    outcome = dscompile("factorize", "tiny_int8.yaml", "--rank", 1)
    assert outcome.code == 3
    assert "factorize the float32 network, then run 'dscompile quantize' on the result" in outcome.err


def test_factorize_and_export_never_import_tvm(tiny: Path):
    code = (
        "import sys; from dscompile.cli.main import main; "
        "main(['factorize', 'tiny.yaml', '--rank', '2']); main(['export', 'tiny_factorized.yaml']); "
        "sys.exit('tvm' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False)
    assert done.returncode == 0
    assert Path("tiny.onnx").exists() or Path("tiny_factorized.onnx").exists()


def test_export_writes_onnx_and_json(dscompile: CommandLine, tiny: Path):
    assert dscompile("export", tiny).out == "wrote    tiny.onnx\nnetwork  tiny, 7 layers\n"
    record = json.loads(dscompile("export", tiny, "-o", "out/tiny.json", "--json").out)
    assert record == {"schema": 1, "path": "out/tiny.json", "name": "tiny", "layers": 7}
    assert json.loads(Path("out/tiny.json").read_text())["graph"]["name"] == "tiny"
    again = dscompile("build", "tiny.onnx", "-t", "c99")
    assert again.code == 0
    refused = dscompile("export", tiny, "-o", "tiny.pb")
    assert (refused.code, "'tiny.pb' is neither .onnx nor .json" in refused.err) == (2, True)
