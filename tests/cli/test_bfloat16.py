"""`precision: bfloat16` as its user meets it: what `inspect`, `build` and `verify` say of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import CommandLine
from tests.native import target_here

SAID = "bfloat16 factors, float32 sums; errors of up to 0.2 of an output's largest magnitude pass"


@pytest.fixture
def net(tmp_path: Path) -> str:
    path = tmp_path / "net.yaml"
    path.write_text("""\
dscompile: 1
network:
  name: narrow
  input: {name: image, shape: [1, 5, 7, 4]}
  layers:
    - pointwise: {name: odd, out: 17, activation: relu}
    - pointwise: {name: last, out: 3, activation: none}
targets:
  arm64-bf16: {precision: bfloat16}
  x86-avx512bf16: {precision: bfloat16}
weights: {seed: 7}
""")
    return str(path)


def test_inspect_says_what_is_multiplied(dscompile: CommandLine, net: str) -> None:
    assert f"precision  {SAID}" in dscompile("inspect", net, "-t", "x86-avx512bf16").out
    assert json.loads(dscompile("inspect", net, "-t", "x86-avx512bf16", "--json").out)["precision"] == "bfloat16"
    assert "precision" not in dscompile("inspect", net, "-t", "x86-avx512").out


@pytest.mark.slow
def test_build_and_verify_say_what_is_multiplied_and_which_error_passes(
    dscompile: CommandLine, net: str, tmp_path: Path
) -> None:
    target_here("arm64-bf16")
    folder = str(tmp_path / "artifact")
    built = dscompile("build", net, "-t", "arm64-bf16", "-o", folder)
    assert built.code == 0
    assert f"precision  {SAID}" in built.out
    verified = dscompile("verify", folder)
    assert verified.code == 0
    assert SAID in verified.out
    record = json.loads(dscompile("verify", folder, "--json").out)
    assert (record["precision"], record["tolerance"]) == ("bfloat16", 0.2)
    assert 1e-5 < record["max_rel_error"] < 2e-2


def test_a_build_for_a_target_without_the_instruction_says_which_have_it(
    dscompile: CommandLine, net: str, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(Path(net).read_text().replace("arm64-bf16", "arm64"))
    outcome = dscompile("build", str(wrong), "-t", "arm64")
    assert outcome.code == 3
    assert "error: target 'arm64' does not multiply bfloat16" in outcome.err
    assert "help: targets that do: arm64-bf16, x86-avx512bf16" in outcome.err
