"""Golden files: whole generated files, byte for byte. To write them anew: make golden, or this with --update-golden."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent
SHOWN_LINES = 60


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden files anew; review the diff")


def from_compiler(text: str) -> str:
    """The text without what another compiler changes: the sizes of the code and of the stack, and the fingerprint."""
    text = re.sub(r"flash [0-9 ]+ B", "flash N B", text)
    text = re.sub(r"stack at most [0-9 ]+ B", "stack at most N B", text)
    return re.sub(r"FINGERPRINT( !=)? 0x[0-9a-f]{8}u", r"FINGERPRINT\1 0xNNNNNNNNu", text)


def changes(path: Path, text: str) -> str:
    """A unified diff from the golden file to `text`; long ones are cut, as the whole is one `git diff` away."""
    golden = path.read_text(encoding="utf-8").splitlines()
    lines = list(difflib.unified_diff(golden, text.splitlines(), "golden", "generated", n=2, lineterm=""))
    more = [f"... and {len(lines) - SHOWN_LINES} more lines"] if len(lines) > SHOWN_LINES else []
    return "\n".join([*lines[:SHOWN_LINES], *more])


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """golden(name, text): `text` must be the file tests/golden/<name>, or becomes it with --update-golden."""
    update = request.config.getoption("--update-golden", default=False)  # unknown unless tests/golden is named

    def check(name: str, text: str) -> None:
        path = GOLDEN / name
        if update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        if not path.is_file():
            pytest.fail(f"{path} is missing; write it with: make golden", pytrace=False)
        if text != path.read_text(encoding="utf-8"):
            advice = "if that is right: make golden, and review git diff"
            pytest.fail(f"{path} differs; {advice}\n{changes(path, text)}", pytrace=False)

    return check
