"""dscompile quantize."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import TINY, CommandLine

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def calibration(tiny: Path) -> Path:
    """Six samples for `tiny`, which stands beside them."""
    rng = np.random.default_rng(3)
    np.savez("calib.npz", image=rng.random((6, 9, 9, 3)).astype(np.float32))
    return Path("calib.npz")


def test_the_report_shows_layers_improvements_and_agreement(dscompile: CommandLine, tiny: Path, calibration: Path):
    outcome = dscompile("quantize", tiny, "--calibrate", calibration, "--against", calibration, "-q")
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[0] == "wrote     tiny_int8.yaml"
    assert lines[1] == "ranges    mse; 6 calibration samples"
    assert lines[2] == "rounding  tflite"
    assert lines[4].split() == ["layer", "kind", "low", "high", "SQNR", "dB", "kernel", "dB", "clipped"]
    assert [line.split()[0] for line in lines[5:12]] == [
        "stem",
        "block.depthwise",
        "block.pointwise",
        "pool",
        "head.flatten",
        "head",
        "softmax",
    ]
    assert [line.split("  ")[0] for line in lines[14:18]] == [
        "bias correction",
        "equalization by noise",
        "equalization by kernels",
        "weight rounding",
    ]
    assert lines[20].startswith("calibration data")
    assert lines[21].startswith("other data")


def test_the_result_can_be_checked_inspected_and_built(dscompile: CommandLine, tiny: Path, calibration: Path):
    assert dscompile("quantize", tiny, "--calibrate", calibration, "-o", "out/small.yaml").code == 0
    assert sorted(path.name for path in Path("out").iterdir()) == ["small.npz", "small.yaml"]
    checked = dscompile("check", "out/small.yaml")
    assert checked.code == 0
    assert '"image" int8 NHWC [1, 9, 9, 3]' in checked.out
    assert checked.err == ""
    assert "block.depthwise" in dscompile("inspect", "out/small.yaml").out
    assert dscompile("build", "out/small.yaml", "-t", "c99", "-o", "out/c").code == 0
    assert dscompile("verify", "out/c").code == 0
    assert dscompile("build", "out/small.yaml", "-t", "host", "-o", "out/host").code == 0
    assert dscompile("verify", "out/host").code == 0


def test_the_same_call_writes_the_same_bytes(dscompile: CommandLine, tiny: Path, calibration: Path):
    written = []
    for name in ("one", "two"):
        assert dscompile("quantize", tiny, "--calibrate", calibration, "-o", f"{name}/net.yaml").code == 0
        written.append([path.read_bytes() for path in sorted(Path(name).iterdir())])
    assert written[0] == written[1]


def test_json_has_what_scripts_rely_on(dscompile: CommandLine, tiny: Path, calibration: Path):
    outcome = dscompile(
        "quantize", tiny, "--calibrate", calibration, "--method", "mse", "--rounding", "single", "--json"
    )
    record = json.loads(outcome.out)
    assert (record["schema"], record["path"], record["method"], record["keep"], record["rounding"]) == (
        1,
        "tiny_int8.yaml",
        "mse",
        None,
        "single",
    )
    assert record["calibration_samples"] == 6
    assert record["layers"][0].keys() == {
        "name",
        "kind",
        "low",
        "high",
        "scale",
        "zero_point",
        "sqnr_db",
        "kernel_sqnr_db",
        "clipped",
        "storage",
    }
    assert record["agreement"].keys() == {"samples", "top1", "max_error", "cosine", "sqnr_db"}
    assert record["against"] is None
    assert "rounding: single" in Path("tiny_int8.yaml").read_text()


def test_the_section_of_the_net_yaml_gives_defaults(dscompile: CommandLine, tiny: Path, calibration: Path):
    section = "quantization: {scheme: int8, rounding: half-up, calibration: {file: calib.npz, method: min-max}}\n"
    tiny.write_text(TINY + section)
    out = dscompile("quantize", tiny).out
    assert "ranges    min-max; 6 calibration samples\nrounding  half-up\n" in out
    overridden = dscompile("quantize", tiny, "--method", "percentile", "--keep", "0.99", "--rounding", "float32").out
    assert "ranges    percentile, 0.99 of the values; 6 calibration samples\nrounding  float32\n" in overridden


def test_improvements_can_be_switched_off(dscompile: CommandLine, tiny: Path, calibration: Path):
    options = ("quantize", tiny, "--calibrate", calibration, "--json")
    record = json.loads(dscompile(*options, "--no-equalize").out)
    assert [step["name"] for step in record["steps"]] == ["bias correction", "weight rounding"]
    assert record["weight_rounding"] == "optimized"
    record = json.loads(dscompile(*options, "--no-equalize", "--no-bias-correction").out)
    assert [step["name"] for step in record["steps"]] == ["weight rounding"]
    plain = ("--no-equalize", "--no-bias-correction", "--weight-rounding", "nearest")
    record = json.loads(dscompile(*options, *plain).out)
    assert (record["steps"], record["weight_rounding"]) == ([], "nearest")


def test_smaller_weights_are_reported_built_and_verified(dscompile: CommandLine, tiny: Path, calibration: Path):
    options = ("--weight-type", "int4", "--sparsity", "2:4", "--layer-weights", "head=int4")
    outcome = dscompile("quantize", tiny, "--calibrate", calibration, *options, "-o", "small.yaml")
    assert outcome.code == 0
    rows = {line.split()[0]: line.split()[-1] for line in outcome.out.splitlines()[5:12]}
    assert rows["stem"] == "int8"
    assert (rows["block.depthwise"], rows["block.pointwise"], rows["head"]) == ("int8", "int4-2:4", "int4")
    assert "weights as int4 and int4-2:4" in outcome.out
    assert 'storage: "int4-2:4"' in Path("small.yaml").read_text()
    inspected = json.loads(dscompile("inspect", "small.yaml", "--json").out)
    saved = {layer["name"]: (layer["storage"], layer["saved_bytes"]) for layer in inspected["layers"]}
    assert saved["block.pointwise"] == ("int4-2:4", 8 * 17 - 51)
    assert saved["block.depthwise"] == ("plain", 0)
    assert "int4-2:4     85" in dscompile("inspect", "small.yaml").out
    built = dscompile("build", "small.yaml", "-t", "c99", "-o", "c")
    assert "weights of 2 layers as int4-2:4, int4" in built.out
    record = json.loads(dscompile("build", "small.yaml", "-t", "c99", "-o", "c", "--json").out)
    assert [one["layer"] for one in record["artifacts"][0]["packed"]] == ["block.pointwise", "head"]
    assert dscompile("verify", "c").code == 0


def test_the_section_of_the_net_yaml_says_which_weights_are_smaller(
    dscompile: CommandLine, tiny: Path, calibration: Path
):
    section = "quantization: {scheme: int8, weights: int4, sparsity: 2:4, layers: {head: int4, stem: int8}}\n"
    tiny.write_text(TINY + section)
    record = json.loads(dscompile("quantize", tiny, "--calibrate", calibration, "--json").out)
    assert (record["weight_type"], record["sparsity"]) == ("int4", "2:4")
    storage = {layer["name"]: layer["storage"] for layer in record["layers"]}
    assert (storage["stem"], storage["block.pointwise"], storage["head"]) == ("plain", "int4-2:4", "int4")
    overridden = ("--sparsity", "none", "--weight-type", "int8", "--layer-weights", "head=int8")
    record = json.loads(dscompile("quantize", tiny, "--calibrate", calibration, *overridden, "--json").out)
    assert {layer["storage"] for layer in record["layers"]} == {"plain"}


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ((), 2, "there is no calibration data"),
        (("--calibrate", "calib.npz", "-o", "net.txt"), 2, "'net.txt' is not the name of a net.yaml"),
        (("--calibrate", "calib.npz", "-o", "tiny.yaml"), 2, "'tiny.yaml' is the network that is read"),
        (("--calibrate", "calib.npz", "-o", "calib.yaml"), 2, "'calib.npz' exists, but 'calib.yaml' does not"),
        (
            ("--calibrate", "calib.npz", "--method", "mse", "--keep", "0.9"),
            2,
            "'keep' belongs to the method",
        ),
        (("--calibrate", "calib.npz", "--keep", "0"), 2, "0.0 is not in the range 0<x<=1"),
        (("--calibrate", "calib.npz", "--weight-rounding", "best"), 2, "'best' is not one of 'nearest', 'optimized'"),
        (("--calibrate", "calib.npz", "--weight-type", "int2"), 2, "'int2' is not one of 'int8', 'int4'"),
        (("--calibrate", "calib.npz", "--sparsity", "1:4"), 2, "'1:4' is not one of '2:4', 'none'"),
        (
            ("--calibrate", "calib.npz", "--layer-weights", "head"),
            2,
            "'head' is not a layer and one of int8, int4, 2:4, int4-2:4, such as stem=int8",
        ),
        (
            ("--calibrate", "calib.npz", "--layer-weights", "heat=int4"),
            3,
            "there is no layer 'heat' whose weights can be stored as int4",
        ),
        (("--calibrate", "none.npz"), 3, "'none.npz' cannot be read"),
        (("--calibrate", "calib.npz", "--against", "none.npz"), 3, "'none.npz' cannot be read"),
    ],
)
def test_wrong_options(
    dscompile: CommandLine, tiny: Path, calibration: Path, options: tuple[str, ...], code: int, message: str
):
    outcome = dscompile("quantize", tiny, *options)
    assert outcome.code == code
    assert message in outcome.err
    assert sorted(path.name for path in Path().iterdir()) == ["calib.npz", "tiny.yaml"]


def test_quantize_never_imports_tvm(tiny: Path, calibration: Path):
    program = (
        "import sys; from dscompile.cli.main import main; "
        "assert main(['quantize', 'tiny.yaml', '--calibrate', 'calib.npz', '-q']) == 0; assert 'tvm' not in sys.modules"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, env=environment)
