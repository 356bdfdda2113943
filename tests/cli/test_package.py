"""dscompile build --package."""

from __future__ import annotations

import json
import re
from pathlib import Path

import dscompile as package
from tests.cli.conftest import CommandLine


def test_package_makes_an_artifact_a_library(dscompile: CommandLine, tiny: Path):
    outcome = dscompile("build", tiny, "-t", "c99", "-o", "out", "--package", "cmake", "--package", "zephyr")
    assert outcome.code == 0
    assert re.search(r"^  sources +tiny.c, tiny_weights.c$", outcome.out, re.MULTILINE)
    assert Path("out/CMakeLists.txt").is_file()
    assert "zephyr/module.yml" in json.loads(Path("out/manifest.json").read_text())["checksums"]
    assert not Path("out/package").exists()


def test_an_unknown_package_gets_the_nearest(dscompile: CommandLine, tiny: Path):
    outcome = dscompile("build", tiny, "-t", "c99", "--package", "platfromio")
    assert outcome.code == 2
    assert "error: unknown package 'platfromio'\n  = help: did you mean 'platformio'?" in outcome.err


def test_a_package_for_a_target_with_libraries_is_refused(dscompile: CommandLine, tiny: Path):
    outcome = dscompile("build", tiny, "-t", "c99", "-t", "x86-avx2", "--package", "cmake")
    assert outcome.code == 2
    assert "error: package cmake: packagings hold C sources, and a build for x86-avx2 makes libraries" in outcome.err
    assert "= help: name a target of standalone C, such as c99 or cortex-m4" in outcome.err
    assert not Path("build").exists()


def test_the_api_takes_packages(tiny: Path):
    model = package.build(tiny, target="c99", output="out", packages=["platformio"])
    assert "library.json" in {checksum.file for checksum in model.artifact.manifest.checksums}
