"""What `dscompile stream` made, as JSON and as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dscompile.ir.state import slots, state_bytes
from dscompile.report import text
from dscompile.report.record import Record

if TYPE_CHECKING:
    from dscompile.passes.slide import Slid


def stream_record(path: str, slid: Slid) -> Record:
    """`stream --json`."""
    return {
        "path": path,
        "name": slid.network.name,
        "window": slid.window,
        "step": slid.step,
        "steps_to_fill": slid.steps_to_fill,
        "state_bytes": _state_bytes(slid),
        "macs": {"window": slid.macs_before, "step": slid.macs_after},
        "whole": list(slid.whole),
    }


def stream_text(path: str, slid: Slid) -> str:
    """What a step takes, costs and keeps."""
    frames = text.plural(slid.step, "frame")
    lines = [
        ("wrote", path),
        ("network", f"{slid.network.name}, {frames} a step, results of the last {text.number(slid.window)}"),
        ("step", f"{text.number(slid.macs_after)} MAC, of a window {text.number(slid.macs_before)}"),
        ("state", text.size(_state_bytes(slid))),
        ("filled", f"after {text.plural(slid.steps_to_fill, 'step')}; before the first frame there are zeros"),
    ]
    if slid.whole:
        lines.append(("whole", f"each step on all rows: {', '.join(slid.whole)}"))
    return text.fields(lines, indent="")


def _state_bytes(slid: Slid) -> int:
    return state_bytes(slots(slid.network.states, slid.network.tensors))
