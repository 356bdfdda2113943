"""What is measured, how, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

Kind = Literal["ok", "wrong", "failed", "crash", "memory", "hang", "refused", "lost"]

_VERDICTS = ("ok", "wrong", "failed", "crash", "memory", "hang")


@dataclass(frozen=True)
class Timing:
    """How `main` is timed: `repeat` times the mean of `number` calls in a row, on the device's clock.

    `number` is raised until the calls of one repeat take `min_repeat_ms`. With `flush_bytes` above 0 the device
    copies that many bytes before each repeat, so that its caches hold nothing of the candidate's; a repeat is then a
    single call.

    Raises ValueError if a number is out of range, or if caches are flushed for more than one call.
    """

    number: int = 3
    repeat: int = 3
    min_repeat_ms: int = 20
    flush_bytes: int = 0

    def __post_init__(self) -> None:
        if self.number < 1 or self.repeat < 1 or self.min_repeat_ms < 0 or self.flush_bytes < 0:
            raise ValueError(f"{self} measures nothing: number and repeat are at least 1, the others at least 0")
        if self.flush_bytes and (self.number, self.min_repeat_ms) != (1, 0):
            raise ValueError("caches are flushed before a repeat: take number=1 and min_repeat_ms=0 with flush_bytes")


@dataclass(frozen=True)
class Candidate:
    """A library to measure, and the memory it works in.

    `library` is a shared library for the device, or its path; it may depend on libc and libm alone, and exports the
    packed functions `prepare`, `main` and `finish` (`__tvm_ffi_<name>`). Each takes one flat uint8 tensor, the memory
    (64-byte-aligned), and returns nothing or 0. `memory` is what the memory holds before `prepare` is called; its
    length is the memory's size in bytes. `name` is for people and logs: it need not be unique.
    """

    name: str
    library: bytes | Path
    memory: bytes
    timing: Timing = Timing()

    def library_bytes(self) -> bytes:
        """The content of the library. Raises OSError if its file cannot be read."""
        return self.library.read_bytes() if isinstance(self.library, Path) else self.library


@dataclass(frozen=True)
class Measurement:
    """What came of a candidate.

    | kind | |
    |---|---|
    | ok | measured: `seconds` per call, one for each repeat, and `memory` after prepare, main and finish |
    | wrong | measured, and found wrong by whoever looked at `memory` (`found_wrong`) |
    | failed | could not be loaded, or one of its functions reported an error |
    | crash | killed its session, by a signal or without a word on two devices |
    | memory | took more memory than the device allows |
    | hang | took longer than it may |
    | refused | the device could not do its part: its disk is full, it has no processes left |
    | lost | never measured: no device, no tracker, or the device died and there was no other |

    `error` says why in plain words; `device` is the last one that had it, host:port, or empty. `elapsed_s` is how long
    that device was occupied.
    """

    kind: Kind
    seconds: tuple[float, ...] = ()
    memory: bytes | None = None
    device: str = ""
    error: str = ""
    elapsed_s: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether it may be believed."""
        return self.kind == "ok"

    @property
    def is_verdict(self) -> bool:
        """Whether this says something about the candidate; otherwise another attempt may end differently."""
        return self.kind in _VERDICTS

    @property
    def best_s(self) -> float:
        """The shortest time of a call in seconds; infinite if it was not measured."""
        return min(self.seconds, default=float("inf")) if self.ok else float("inf")

    def found_wrong(self, why: str) -> Self:
        """The same, of a candidate whose memory is not what it should be."""
        return replace(self, kind="wrong", error=why)
