"""What a release is: a wheel and an sdist that work without the repository."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from dscompile.version import __version__

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TIMEOUT_S = 240


def run(*command: object, cwd: Path, **environment: str) -> str:
    """The output of a command that must succeed; nothing of the checkout is on Python's path."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**os.environ, "PYTHONSAFEPATH": "1", **environment},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist of the checkout, and the wheel that is built from the unpacked sdist alone."""
    folder = tmp_path_factory.mktemp("release")
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", folder, cwd=ROOT)
    with tarfile.open(folder / f"dscompile-{__version__}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    unpacked = folder / f"dscompile-{__version__}"
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=unpacked)
    return folder


@pytest.mark.slow
def test_the_wheel_alone_runs_the_demo(release: Path, tmp_path: Path) -> None:
    (wheel,) = release.glob("*.whl")
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    where = {"PYTHONPATH": str(installed)}
    code = "import dscompile; print(dscompile.__file__)"
    assert run(sys.executable, "-c", code, cwd=tmp_path, **where).startswith(str(installed))
    command = [sys.executable, "-c", "from dscompile.cli.main import run; run()"]
    run(*command, "init", "net", cwd=tmp_path, **where)
    for target in ("host", "c99"):
        run(*command, "build", "net/net.yaml", "-t", target, "-o", target, cwd=tmp_path, **where)
        assert ": ok" in run(*command, "verify", target, cwd=tmp_path, **where)
        tools = json.loads((tmp_path / target / "manifest.json").read_text(encoding="utf-8"))["made_from"]["tools"]
        versions = {tool["name"]: tool["version"] for tool in tools}
        assert (versions["dscompile"], versions["python"]) == (__version__, platform.python_version())
        assert versions["numpy"] == importlib.metadata.version("numpy")
        assert ("apache-tvm" in versions) == (target == "host")
    assert "mobilenet_v2" in run(*command, "zoo", "list", cwd=tmp_path, **where)
    assert "cortex-m4" in run(*command, "targets", "list", cwd=tmp_path, **where)


@pytest.mark.slow
def test_the_wheel_says_what_it_needs_and_holds_no_tests(release: Path) -> None:
    (wheel,) = release.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(f"dscompile-{__version__}.dist-info/METADATA").decode()
    assert not [name for name in names if name.startswith(("tests/", "tools/", "benchmarks/"))]
    assert {"dscompile/_data/targets/cortex-m4.yaml", "dscompile/_data/nets/ds_cnn.yaml"} <= set(names)
    assert f"Version: {__version__}\n" in metadata
    assert set(re.findall(r"^Provides-Extra: (\S+)", metadata, re.MULTILINE)) == set(PROJECT["optional-dependencies"])
    licenses = {f"dscompile-{__version__}.dist-info/licenses/{name}" for name in ("LICENSE", "NOTICE")}
    assert licenses <= set(names)


@pytest.mark.slow
def test_the_sdist_holds_what_tests_and_documentation_need(release: Path) -> None:
    unpacked = release / f"dscompile-{__version__}"
    for name in ("README.md", "Makefile", "CHANGELOG.md", "mkdocs.yml", "docs/index.md", "tests/conftest.py"):
        assert (unpacked / name).is_file(), name


def test_extras_that_pages_name_exist() -> None:
    """`pip install 'dscompile[tune]'` and the like, in the pages and in the advice of errors."""
    extras = PROJECT["optional-dependencies"]
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "dscompile").rglob("*.py")]
    named = {
        extra.strip()
        for page in pages
        for group in re.findall(r"dscompile\[([a-z, ]+)\]", page.read_text(encoding="utf-8"))
        for extra in group.split(",")
    }
    assert named
    assert named <= set(extras)


def needed(extra: str) -> set[Requirement]:
    """What an extra asks for, with what the extras in it do."""
    found = set()
    for requirement in map(Requirement, PROJECT["optional-dependencies"][extra]):
        if requirement.name == "dscompile":
            found |= {inner for other in requirement.extras for inner in needed(other)}
        else:
            found.add(requirement)
    return found


def test_one_environment_meets_what_all_extras_ask_for() -> None:
    """As far as their packages are installed here; and extras within extras exist."""
    wanted = {requirement for extra in PROJECT["optional-dependencies"] for requirement in needed(extra)}
    wanted |= set(map(Requirement, PROJECT["dependencies"]))
    here = {re.sub(r"[-_.]+", "-", one.name).lower(): one.version for one in importlib.metadata.distributions()}
    unmet = [str(one) for one in wanted if (have := here.get(one.name.lower())) and have not in one.specifier]
    assert unmet == []


def test_sections_of_the_changelog_are_of_versions_up_to_this_one_newest_first() -> None:
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    versions = [Version(heading) for heading in headings if heading != "Unreleased"]
    assert versions == sorted(set(versions), reverse=True)
    assert all(version <= Version(__version__) for version in versions)


def test_the_version_is_that_of_the_installed_package_and_of_the_command() -> None:
    assert "version" in PROJECT["dynamic"]
    assert str(Version(__version__)) == __version__
    said = run(
        sys.executable, "-c", "from dscompile.cli.main import run; run()", "--version", cwd=ROOT, PYTHONPATH=str(ROOT)
    )
    assert __version__ in said


def test_the_changelog_has_a_section_for_what_is_not_released_or_for_this_version() -> None:
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] in {"Unreleased", __version__}
