"""What a release is: a wheel and an sdist that work without the repository."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

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


def test_the_changelog_has_a_section_for_what_is_not_released_or_for_this_version() -> None:
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] in {"Unreleased", __version__}
