"""What an artifact was made from: the files that its build read, and the tools that decide on its bytes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, cast, get_args

from dscompile.artifact.fields import Fields, Json

Role = Literal["network", "weights", "target", "tuning"]
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class InputFile:
    """A file that a build read: what it was read as, its name without directories, its size and its SHA-256."""

    role: Role
    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Tool:
    """A program or library that a build used, and its version in its own words."""

    name: str
    version: str


@dataclass(frozen=True)
class MadeFrom:
    """The bill of materials of an artifact: with the same files and tools, a build gives the same bytes.

    Empty in manifests of before it was written down. A network in memory has no file.
    """

    files: tuple[InputFile, ...] = ()
    tools: tuple[Tool, ...] = ()


def made_from_to_json(made_from: MadeFrom) -> Json:
    """As manifests have it; files and tools are in the order of their use."""
    return {
        "files": [
            {"role": file.role, "name": file.name, "bytes": file.size_bytes, "sha256": file.sha256}
            for file in made_from.files
        ],
        "tools": [{"name": tool.name, "version": tool.version} for tool in made_from.tools],
    }


def made_from_from_json(fields: Fields) -> MadeFrom:
    """That of a manifest; empty if it has none."""
    if not fields.has_value("made_from"):
        return MadeFrom()
    inner = fields.child("made_from")
    return MadeFrom(inner.children("files", _file), inner.children("tools", _tool))


def _file(fields: Fields) -> InputFile:
    return InputFile(
        cast(Role, fields.word("role", get_args(Role))),
        fields.text("name"),
        fields.whole("bytes"),
        fields.matching("sha256", _SHA256, "64 hexadecimal digits"),
    )


def _tool(fields: Fields) -> Tool:
    return Tool(fields.text("name"), fields.text("version"))
