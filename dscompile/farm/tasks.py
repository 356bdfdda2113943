"""What the client and its workers say to each other."""

from __future__ import annotations

from dataclasses import dataclass

from dscompile.farm.address import Address
from dscompile.farm.candidate import Kind, Timing


@dataclass(frozen=True)
class Task:
    """A candidate, with where to measure it. `patience_s`: how long to wait for a tracker and a device."""

    tracker: Address
    key: str
    name: str
    library: bytes
    memory: bytes
    timing: Timing
    session_s: float
    patience_s: float


@dataclass(frozen=True)
class Stage:
    """The task has come to: `waiting` for a device, `connecting` to it, `running` on it."""

    name: str
    device: str = ""


@dataclass(frozen=True)
class Report:
    """The end of a task; `silent` if the session broke without a word, which a candidate or a device may cause."""

    kind: Kind
    seconds: tuple[float, ...] = ()
    memory: bytes | None = None
    error: str = ""
    silent: bool = False
