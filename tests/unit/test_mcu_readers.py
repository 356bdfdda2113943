"""What programs that read C say of every template: clang-tidy, gcc's analyzer, cppcheck and its MISRA add-on."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from dscompile.artifact import Artifact
from dscompile.data import data_directory
from tests.every_template import artifact_of
from tests.golden.mcu_cases import CASES
from tests.golden.test_golden_mcu import generated
from tests.tools import require_tools

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "scrutiny.md").read_text(encoding="utf-8")
# Cases that have every template between them, and every rule that any case violates.
READ = (
    *(
        "int8_m4",
        "int8_m55",
        "int8_m0plus",
        "int8_rv32",
        "int8_rv64",
        "separables_m4",
        "squeezed_m4",
        "turned_m4",
        "planes_m4",
        "borders",
    ),
    *("activations", "grids_int8", "indices", "streaming", "streamed_m0plus", "sums_single"),
)
pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")


def said(command: list[str]) -> str:
    """What a program writes, which must end well."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def files(artifact: Artifact) -> list[str]:
    return [str(path) for path in artifact.sources]


@pytest.mark.slow
def test_clang_tidy_finds_nothing() -> None:
    """With the checks of .clang-tidy, which says why some are off."""
    require_tools("clang-tidy")
    artifacts = [artifact_of(name) for name in CASES]
    sources = [path for artifact in artifacts for path in (*files(artifact), str(artifact.selftest))]
    said(["clang-tidy", "--quiet", f"--config-file={ROOT / '.clang-tidy'}", *sources, "--", "-std=c99"])


@pytest.mark.slow
@pytest.mark.sampled
@pytest.mark.parametrize("name", CASES)
def test_the_analyzer_of_gcc_finds_nothing(name: str) -> None:
    artifact = artifact_of(name)
    for source in artifact.sources:
        said(["gcc", "-std=c99", "-O1", "-fanalyzer", "-Werror", "-c", str(source), "-o", "/dev/null"])


@pytest.mark.slow
@pytest.mark.parametrize("names", [READ, pytest.param(tuple(CASES), marks=pytest.mark.seldom)], ids=["read", "all"])
def test_the_rules_of_misra_that_are_violated_are_those_that_the_docs_list(names: tuple[str, ...]) -> None:
    """In what every compiler reads: portable twins in place of assembly."""
    require_tools("cppcheck")
    violated: dict[str, set[str]] = defaultdict(set)
    command = ["cppcheck", "--std=c99", "--addon=misra", "--enable=style", "--max-configs=1", "--quiet"]
    for name in names:
        text = said([*command, "--template={id} {file}:{line}", *files(artifact_of(name))])
        assert "syntaxError" not in text
        for rule, place in re.findall(r"^misra-c2012-([\d.]+) (\S+)$", text, re.MULTILINE):
            violated[rule].add(Path(place).name)
    listed = re.findall(r"^\| (\d+\.\d+) \|", PAGE, re.MULTILINE)
    assert len(listed) == len(set(listed))
    assert {rule: sorted(violated[rule])[:3] for rule in violated.keys() - set(listed)} == {}, "rules that docs omit"
    assert set(listed) - violated.keys() == set(), "rules that docs list and nothing violates"


@pytest.mark.slow
def test_the_networks_that_are_read_have_every_template() -> None:
    used = {template for name in READ for template in generated(name).templates}
    there = {f"mcu/{path.name}" for path in (data_directory("templates") / "mcu").glob("*.j2")}
    assert there - used == set()
