"""How long-running functions say what they are doing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """What is being done now: "planning 64 layers". With a `total`, `done` of so many parts are finished."""

    stage: str
    done: int = 0
    total: int = 0


Progress = Callable[[Event], None]


def silent(event: Event) -> None:
    """The progress callback of whoever does not want to know."""
