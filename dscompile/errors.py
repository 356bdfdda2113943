"""What the user is told when something cannot be done: what, where, why, and what to do next.

Every problem that is not our own bug is a `DscompileError`. It carries its exit code, so that the command line only
prints it and leaves. Several problems found in one run
travel together as its `diagnostics`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every command (docs/reference: exit codes)."""

    OK = 0
    CHECK_FAILED = 1
    USAGE = 2
    BAD_INPUT = 3
    BUDGET_EXCEEDED = 4
    TOOL_MISSING = 5
    INTERNAL = 70
    INTERRUPTED = 130


@dataclass(frozen=True)
class Position:
    """A place in a source file: 1-based line and column; `length` characters are underlined."""

    file: str
    line: int = 0
    column: int = 0
    length: int = 1
    text: str = ""  # the whole source line, without its end


@dataclass(frozen=True)
class Diagnostic:
    """One problem: message, optional place, layer and advice."""

    message: str
    position: Position | None = None
    layer: str | None = None
    help: str | None = None

    def render(self) -> str:
        """The diagnostic as text, in the manner of a compiler."""
        lines = [f"error: {self.message}" if self.layer is None else f"error: layer {self.layer}: {self.message}"]
        where = self.position
        if where is not None:
            place = where.file if not where.line else f"{where.file}:{where.line}:{where.column}"
            lines.append(f"  --> {place}")
            if where.text:
                number = str(where.line)
                pad = " " * (len(number) + 2)
                lines.append(f"{pad}|")
                lines.append(f" {number} | {where.text}")
                lines.append(f"{pad}| {' ' * (where.column - 1)}{'^' * max(1, where.length)}")
        if self.help:
            lines.append(f"  = help: {self.help}")
        return "\n".join(lines)


class DscompileError(Exception):
    """Base of all errors a user can cause. `diagnostics` has at least one entry."""

    code: ExitCode = ExitCode.BAD_INPUT

    def __init__(
        self,
        message: str | Sequence[Diagnostic],
        *,
        position: Position | None = None,
        layer: str | None = None,
        help: str | None = None,
    ) -> None:
        if isinstance(message, str):
            self.diagnostics: tuple[Diagnostic, ...] = (Diagnostic(message, position, layer, help),)
        else:
            self.diagnostics = tuple(message)
        super().__init__("\n".join(d.render() for d in self.diagnostics))


class UsageError(DscompileError):
    """The command line asks for something that does not exist or does not fit together (exit 2)."""

    code = ExitCode.USAGE


class BadInputError(DscompileError):
    """A network, model, weight or target file is wrong (exit 3)."""

    code = ExitCode.BAD_INPUT


class UnsupportedError(BadInputError):
    """The model is valid, but uses what this version or this target does not support (exit 3)."""


class BudgetError(DscompileError):
    """The network does not fit its arena, flash or latency budget (exit 4)."""

    code = ExitCode.BUDGET_EXCEEDED


class ToolError(DscompileError):
    """A compiler, emulator, runtime or device is missing or failed; or the disk refuses to be written (exit 5)."""

    code = ExitCode.TOOL_MISSING


class CheckFailedError(DscompileError):
    """Something ran and gave the wrong answer (exit 1)."""

    code = ExitCode.CHECK_FAILED


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """`did you mean 'x'?` for the nearest known word, or None if nothing is near."""
    import difflib  # only a user who mistyped waits for it

    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean '{near[0]}'?" if near else None
