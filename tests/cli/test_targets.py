"""dscompile targets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dscompile import target
from tests.cli.conftest import CommandLine

HASWELL = frozenset({"avx2", "fma", "f16c", "bmi1", "bmi2", "sse4_2"})


@pytest.fixture
def haswell(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with AVX2 and nothing newer."""
    monkeypatch.setattr(target, "host_features", lambda: HASWELL)
    monkeypatch.setattr(target.platform, "machine", lambda: "x86_64")


@pytest.mark.usefixtures("haswell")
def test_list_says_what_runs_here(dscompile: CommandLine):
    outcome = dscompile("targets", "list")
    assert outcome.code == 0
    assert outcome.out == (
        "target      vector     runs here    what\n"
        "host                   as x86-avx2  what this machine is\n"
        "x86                    as x86-avx2  the best x86-64 variant that this machine runs\n"
        "x86-avx2    8 floats   yes          x86-64 with AVX2 and FMA (Haswell, Zen and later)\n"
        "x86-avx512  16 floats  no           "
        "x86-64 with AVX-512 F/BW/DQ/VL/CD (Skylake-SP, Ice Lake, Zen 4 and later)\n"
    )


@pytest.mark.usefixtures("haswell")
def test_show_prints_what_is_known(dscompile: CommandLine):
    assert dscompile("targets", "show", "x86-avx2").out == (
        "x86-avx2\n"
        "  description  x86-64 with AVX2 and FMA (Haswell, Zen and later)\n"
        "  runs here    yes\n"
        "  family       x86\n"
        "  LLVM core    haswell\n"
        "  features     avx2 bmi1 bmi2 f16c fma\n"
        "  vector       32 B, 8 floats, 16 registers\n"
        "  FMA          2 per cycle, latency 5 cycles\n"
        "  caches       L1d 32.0 KiB, L2 256.0 KiB, L3 8.0 MiB\n"
        "  compiler     gcc -march=haswell\n"
        "  alignment    arena 64 B\n"
    )


@pytest.mark.usefixtures("haswell")
def test_show_names_the_variants_of_an_alias(dscompile: CommandLine):
    assert dscompile("targets", "show", "x86").out == (
        "x86\n"
        "  description  the best x86-64 variant that this machine runs\n"
        "  runs here    as x86-avx2\n"
        "  variants     x86-avx512, x86-avx2\n"
    )


def test_a_machine_that_runs_no_variant(dscompile: CommandLine, monkeypatch: pytest.MonkeyPatch, tiny: Path):
    monkeypatch.setattr(target, "host_features", frozenset)
    assert "host                   no " in dscompile("targets", "list").out
    outcome = dscompile("build", tiny, "-t", "x86")
    assert outcome.code == 5
    assert outcome.err == (
        "error: this machine runs none of the variants of 'x86' (x86-avx512, x86-avx2)\n"
        "  = help: name one of them to build for another machine\n"
    )


def test_list_as_json(dscompile: CommandLine):
    record = json.loads(dscompile("targets", "list", "--json").out)
    assert record["schema"] == 1
    assert [entry["name"] for entry in record["targets"]] == ["host", "x86", "x86-avx2", "x86-avx512"]
    assert record["targets"][2]["vector_bytes"] == 32


def test_an_unknown_target_gets_the_nearest_name(dscompile: CommandLine, tiny: Path):
    for arguments in (("targets", "show", "x86-avx51"), ("build", tiny, "--target", "x86-avx51")):
        outcome = dscompile(*arguments)
        assert outcome.code == 2
        assert outcome.err.endswith("error: unknown target 'x86-avx51'\n  = help: did you mean 'x86-avx512'?\n")


def test_a_target_file_of_the_users(dscompile: CommandLine, folder: Path):
    (folder / "mine.yaml").write_text(
        "dscompile_target: 1\nname: mine\nfamily: x86\ndescription: my box\n"
        "isa: {mcpu: znver3, features: [avx2]}\nvector: {bytes: 32, registers: 16}\n"
    )
    assert dscompile("targets", "show", "./mine.yaml").out.startswith("mine\n  description  my box\n")
