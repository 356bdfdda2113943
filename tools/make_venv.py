"""Makes a virtual environment with pip, also where Python came without ensurepip (Debian without python3-venv).

    python3 tools/make_venv.py .venv

Runs on a bare Python >= 3.11. Where ensurepip is missing, the pip of the system installs into the environment, and
where there is none either, pip is fetched from the package index ($PIP_INDEX_URL or pypi.org) and checked against the
index's SHA-256.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
import venv
from pathlib import Path
from urllib.parse import urljoin

MINIMUM = (3, 11)


def main(arguments: list[str]) -> int:
    """Makes the environment named on the command line; it is there with pip, or not at all."""
    if len(arguments) != 1:
        print("usage: make_venv.py DIRECTORY", file=sys.stderr)
        return 2
    if sys.version_info < MINIMUM:
        version = ".".join(map(str, sys.version_info[:3]))
        print(f"error: Python {MINIMUM[0]}.{MINIMUM[1]} or newer is needed, this is {version}", file=sys.stderr)
        return 1
    directory = Path(arguments[0])
    try:
        make(directory)
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        shutil.rmtree(directory, ignore_errors=True)
        print(f"error: cannot make the virtual environment {directory}: {error}", file=sys.stderr)
        print("  = help: on Debian and Ubuntu, 'apt install python3-venv' usually helps", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        shutil.rmtree(directory, ignore_errors=True)
        return 130
    return 0


def make(directory: Path) -> None:
    """The environment, with pip in it."""
    with_ensurepip = importlib.util.find_spec("ensurepip") is not None
    venv.create(directory, with_pip=with_ensurepip, clear=True, symlinks=True)
    if with_ensurepip:
        return
    python = str(directory / "bin" / "python")
    if importlib.util.find_spec("pip") is not None:
        subprocess.run([sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "pip"], check=True)
        return
    with tempfile.TemporaryDirectory() as scratch:
        wheel = fetch_pip(Path(scratch))
        # A wheel is a zip file, and pip runs out of one.
        command = [python, str(wheel / "pip"), "install", "--quiet", "--no-index", str(wheel)]
        subprocess.run(command, check=True)


def fetch_pip(directory: Path) -> Path:
    """Downloads the newest pip wheel of the index (PEP 691) that runs on MINIMUM, and checks its SHA-256."""
    index = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/") + "/pip/"
    request = urllib.request.Request(index, headers={"Accept": "application/vnd.pypi.simple.v1+json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        files = json.load(answer)["files"]
    wheels = [
        file
        for file in files
        if file["filename"].endswith("-py3-none-any.whl") and not file.get("yanked") and _release(file["filename"])
    ]
    if not wheels:
        raise ValueError(f"no pip at {index}")
    newest = max(wheels, key=lambda file: _release(file["filename"]))
    with urllib.request.urlopen(urljoin(index, newest["url"]), timeout=60) as answer:
        content = answer.read()
    if hashlib.sha256(content).hexdigest() != newest["hashes"]["sha256"]:
        raise ValueError(f"{newest['filename']} does not have the checksum that {index} promises")
    wheel = directory / newest["filename"]
    wheel.write_bytes(content)
    return wheel


def _release(filename: str) -> tuple[int, ...]:
    """pip-23.0.1-py3-none-any.whl -> (23, 0, 1); () for previews."""
    parts = filename.split("-")[1].split(".")
    return tuple(map(int, parts)) if all(part.isdigit() for part in parts) else ()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
