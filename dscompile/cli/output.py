"""Where text goes: results to stdout, everything else to stderr; colors only for people."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping
from typing import TextIO

from dscompile.cli.settings import current_settings
from dscompile.errors import Diagnostic, DscompileError, ExitCode

JsonObject = Mapping[str, object]

_RED, _YELLOW, _RESET = "\x1b[1;31m", "\x1b[1;33m", "\x1b[0m"


def result(text: str, record: JsonObject) -> None:
    """Prints a command's result: `text`, or with --json the record as one object."""
    if current_settings().json:
        print_json(record)
    else:
        print(text)


def print_json(record: JsonObject) -> None:
    """One JSON object with "schema": 1 on stdout. Infinite numbers, which JSON does not know, become null."""
    import json

    print(json.dumps(_plain({"schema": 1, **record}), indent=2, ensure_ascii=False, allow_nan=False))


def note(text: str) -> None:
    """A remark on stderr, unless -q."""
    if not current_settings().quiet:
        print(f"{paint('note:', _YELLOW)} {text}", file=sys.stderr)


def warning(text: str) -> None:
    """A danger, on stderr, also with -q."""
    print(f"{paint('warning:', _YELLOW)} {text}", file=sys.stderr)


def error_text(diagnostics: tuple[Diagnostic, ...]) -> str:
    """The diagnostics as on a terminal, an empty line between two."""
    head = paint("error:", _RED)
    return "\n\n".join(head + diagnostic.render().removeprefix("error:") for diagnostic in diagnostics)


def failure(error: DscompileError) -> None:
    """Why a command fails after it has printed its result: on stderr, also with --json."""
    print(error_text(error.diagnostics), file=sys.stderr)


def error_record(error: DscompileError | Diagnostic, code: ExitCode) -> JsonObject:
    """{"error": ..., "errors": [...]}: the first problem, and all of them."""
    diagnostics = error.diagnostics if isinstance(error, DscompileError) else (error,)
    all_of_them = [
        {
            "code": int(code),
            "message": diagnostic.message,
            "file": diagnostic.position.file if diagnostic.position else None,
            "line": (diagnostic.position.line or None) if diagnostic.position else None,
            "column": (diagnostic.position.column or None) if diagnostic.position else None,
            "layer": diagnostic.layer,
            "help": diagnostic.help,
        }
        for diagnostic in diagnostics
    ]
    return {"error": all_of_them[0], "errors": all_of_them}


def paint(text: str, color: str, stream: TextIO | None = None) -> str:
    """`text` in color if the stream (stderr) is a terminal and NO_COLOR is not set."""
    stream = stream or sys.stderr
    return f"{color}{text}{_RESET}" if stream.isatty() and not os.environ.get("NO_COLOR") else text


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
