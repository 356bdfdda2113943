"""--rounding: another meaning of int8 layers than the usual one."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import CommandLine

DATA = Path(__file__).parents[1] / "data"


def test_build_with_another_rounding_says_so_in_header_and_manifest(dscompile: CommandLine, folder: Path):
    outcome = dscompile(
        "build", DATA / "kws_ref_model_int8.tflite", "-t", "c99", "--rounding", "float32", "-o", folder / "kws"
    )
    assert outcome.code == 0
    assert '"rounding": "float32"' in (folder / "kws" / "manifest.json").read_text()
    assert "float32" in (folder / "kws" / "kws_ref_model_int8.h").read_text()
    assert dscompile("verify", folder / "kws", "-q").code == 0


def test_a_net_yaml_names_its_own_rounding(dscompile: CommandLine, tiny: Path):
    outcome = dscompile("build", tiny, "--rounding", "single")
    assert outcome.code == 2
    assert "says itself how its layers round" in outcome.err


def test_float_models_do_not_round(dscompile: CommandLine):
    outcome = dscompile("build", DATA / "vww_96_float.tflite", "--rounding", "single")
    assert outcome.code == 3
    assert "this model is float32; the rounding 'single' is for int8" in outcome.err
