"""Pages of the documentation, taken apart into blocks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
_BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>[^\n]*) -->\n)?"
    r"^```(?P<language>[\w+]+)?(?: title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)^```",
    re.MULTILINE | re.DOTALL,
)
_COMMAND = re.compile(r"^(?:    |\$ )?(?:\w+=\S+ )*dscompile ([a-z].*)$")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the file that it is to be if it has a title, why it is not run if it is not."""

    language: str
    title: str
    text: str
    reason: str


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found = _BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [Block(m["language"] or "", m["title"] or "", m["text"], m["reason"] or "") for m in found]


def commands(page: Path) -> list[str]:
    """What follows `dscompile` on lines that are command lines, of shells or of indented examples; no comments."""
    text = re.sub(r"\\\n\s*", "", page.read_text(encoding="utf-8"))
    matches = (_COMMAND.match(line) for line in text.splitlines())
    return [re.sub(r"\s+#.*$", "", match[1]) for match in matches if match is not None]
