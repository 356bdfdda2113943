"""How a session on a device ended, in the device's words, which the client passes on."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from typing import Literal, cast

ToldKind = Literal["crash", "memory", "hang", "refused"]
EndingKind = Literal["ended", "left"] | ToldKind

_MARK = "dscompile-farm"
_TOLD = re.compile(rf"{_MARK}\[(crash|memory|hang|refused)\] ([^\n]*)")


@dataclass(frozen=True)
class Ending:
    """`ended`: as the client wished; `left`: the client has gone; the others as in `Measurement`."""

    kind: EndingKind
    text: str

    @property
    def is_told(self) -> bool:
        """Whether the client waits for an answer that it would never get."""
        return self.kind not in ("ended", "left")

    def encode(self) -> str:
        """As the message of an exception of TVM's RPC, which is all that a device may send unasked."""
        line = " ".join(self.text.split())
        return f"{_MARK}[{self.kind}] {line}"


def decode(message: str) -> tuple[ToldKind, str] | None:
    """Kind and text of the ending in the message of an exception, if a device of ours sent it."""
    match = _TOLD.search(message)
    if match is None:
        return None
    return cast(ToldKind, match[1]), match[2].strip()


def of_signal(number: int) -> Ending:
    """The ending of a process that a signal ended, which nobody here had sent."""
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    if number == signal.SIGXCPU:
        return Ending("hang", "took more processor time than its time limit")
    if number == signal.SIGKILL:
        return Ending("crash", f"was killed with {name}: the system ran out of memory, or somebody killed it")
    return Ending("crash", f"crashed with {name}")
