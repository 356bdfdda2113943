"""tools/make_venv.py, with a package index of our own."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONTENT = b"not really a wheel"


@pytest.fixture
def make_venv() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_venv", ROOT / "tools" / "make_venv.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def entry(name: str, content: bytes = CONTENT, digest: str | None = None, **more: object) -> dict[str, object]:
    digest = hashlib.sha256(content).hexdigest() if digest is None else digest
    return {"filename": name, "url": f"../../files/{name}", "hashes": {"sha256": digest}, "content": content, **more}


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, object]]]:
    """A package index on this machine; the test fills the list of its files."""
    files: list[dict[str, object]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            wanted = [file for file in files if file["url"].endswith(self.path)]
            body = wanted[0]["content"] if wanted else json.dumps({"files": files}, default=repr).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple/")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield files
    server.shutdown()
    server.server_close()


def test_the_newest_release_is_fetched(make_venv: ModuleType, index: list[dict[str, object]], tmp_path: Path):
    index += [
        entry("pip-9.0.1-py3-none-any.whl"),
        entry("pip-24.10-py3-none-any.whl"),
        entry("pip-24.9-py3-none-any.whl"),
        entry("pip-25.0b1-py3-none-any.whl"),
        entry("pip-26.0-py3-none-any.whl", yanked=True),
        entry("pip-27.0.tar.gz"),
    ]
    wheel = make_venv.fetch_pip(tmp_path)
    assert wheel == tmp_path / "pip-24.10-py3-none-any.whl"
    assert wheel.read_bytes() == CONTENT


def test_a_wrong_checksum_is_refused(make_venv: ModuleType, index: list[dict[str, object]], tmp_path: Path):
    index.append(entry("pip-24.0-py3-none-any.whl", digest="0" * 64))
    with pytest.raises(ValueError, match=r"pip-24.0-py3-none-any.whl does not have the checksum that http"):
        make_venv.fetch_pip(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_index_without_pip(make_venv: ModuleType, index: list[dict[str, object]], tmp_path: Path):
    with pytest.raises(ValueError, match="no pip at http"):
        make_venv.fetch_pip(tmp_path)


def test_an_old_python_is_named(
    make_venv: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    monkeypatch.setattr(make_venv.sys, "version_info", (3, 9, 2))
    assert make_venv.main([str(tmp_path / "venv")]) == 1
    assert capsys.readouterr().err == "error: Python 3.11 or newer is needed, this is 3.9.2\n"


def test_a_failure_leaves_nothing_behind(
    make_venv: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    def fail(directory: Path, **options: object) -> None:
        directory.mkdir()
        raise OSError("disk full")

    monkeypatch.setattr(make_venv.venv, "create", fail)
    assert make_venv.main([str(tmp_path / "venv")]) == 1
    assert "error: cannot make the virtual environment" in capsys.readouterr().err
    assert not (tmp_path / "venv").exists()


@pytest.mark.slow
def test_the_environment_has_pip(make_venv: ModuleType, tmp_path: Path):
    assert make_venv.main([str(tmp_path / "venv")]) == 0
    assert (tmp_path / "venv" / "bin" / "pip").exists()


@pytest.mark.slow
def test_without_ensurepip_and_pip_the_index_gives_pip(
    make_venv: ModuleType, index: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    ensurepip = pytest.importorskip("ensurepip")
    bundled = sorted((Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"))
    if not bundled:
        pytest.skip("this Python keeps its pip wheel elsewhere")
    index.append(entry(bundled[0].name, bundled[0].read_bytes()))
    monkeypatch.setattr(make_venv.importlib.util, "find_spec", lambda name: None)
    assert make_venv.main([str(tmp_path / "venv")]) == 0
    assert (tmp_path / "venv" / "bin" / "pip").exists()
