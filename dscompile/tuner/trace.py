"""Tuning records in the form of MetaSchedule: a trace that notes a choice on the only block of a module."""

from __future__ import annotations

from typing import Any

from dscompile.plan.choices import Choice
from dscompile.plan.tuning_json import choice_to_json

BLOCK = "choice"
_NOTE = "dscompile."  # what its annotations begin with


def record(choice: Choice, samples: tuple[float, ...], machine: object) -> list[object]:
    """A tuning record as MetaSchedule writes it: a trace that notes every field of the choice on the only block."""
    notes = [["Annotate", ["b0", value], [f"{_NOTE}{field}"], []] for field, value in choice_to_json(choice).items()]
    return [
        [[["GetSBlock", [], [BLOCK, "main"], ["b0"]], *notes], []],
        [float(sample) for sample in samples],
        machine,
        [],
    ]


def noted_fields(trace: list[Any]) -> dict[str, object]:
    """The fields of the choice that a trace notes."""
    instructions, _ = trace
    notes = {}
    for name, inputs, attributes, *_ in instructions:
        if name == "Annotate" and str(attributes[0]).startswith(_NOTE):
            notes[attributes[0].removeprefix(_NOTE)] = inputs[1]
    return notes
