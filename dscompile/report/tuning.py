"""What a build took of tuning records: as a line, as a table of tiles, as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from dscompile.report.text import plural, shape, table

if TYPE_CHECKING:
    from dscompile.artifact import Manifest, TuningInfo
    from dscompile.plan.program import Chosen

_SOURCES = {"record": "record", "neighbor": "similar", "rule": "rule"}


def tuning_lines(tuning: Sequence[TuningInfo]) -> tuple[str, ...]:
    """A line for each program that has tiles to choose; of several, with its target in front."""
    lines = tuple(map(_line, tuning))
    return lines if len(lines) == 1 else tuple(f"{one.target}: {line}" for one, line in zip(tuning, lines, strict=True))


def _line(one: TuningInfo) -> str:
    if not one.ids:
        return f"no records: {plural(one.layer_count, 'layer')} by rule"
    parts = [f"{len(one.from_records)} of {plural(one.layer_count, 'layer')} from records ({', '.join(one.ids)})"]
    if one.from_similar:
        parts.append(f"{len(one.from_similar)} from similar ones")
    if one.by_rule:
        parts.append(f"{len(one.by_rule)} by rule")
    return ", ".join(parts)


def without_schedules(manifest: Manifest) -> tuple[str, ...]:
    """The layers that no schedule was made for: fallbacks for another reason than that records say nothing of them."""
    by_rule = {name for one in manifest.tuning if one.ids for name in one.by_rule}
    return tuple(name for name in manifest.fallback_layers if name not in by_rule)


def tiles_table(tiles: Sequence[Chosen]) -> str:
    """The choice of every layer, where it comes from, and the similar layer that decided, if one did."""
    from dscompile.plan.tuning_json import choice_to_json, workload_to_json

    rows = [
        (
            one.layer,
            _fields(workload_to_json(one.workload)),
            _fields(choice_to_json(one.choice)),
            _SOURCES[one.source],
            "" if one.near is None else _fields(workload_to_json(one.near)),
        )
        for one in tiles
    ]
    return table(("layer", "workload", "tiles", "from", "similar to"), rows)


def tiles_record(tiles: Sequence[Chosen]) -> list[Mapping[str, object]]:
    """The same as JSON."""
    from dscompile.plan.tuning_json import choice_to_json, workload_to_json

    return [
        {
            "layer": one.layer,
            "workload": workload_to_json(one.workload),
            "choice": choice_to_json(one.choice),
            "source": one.source,
            "near": None if one.near is None else workload_to_json(one.near),
        }
        for one in tiles
    ]


def _fields(content: Mapping[str, object]) -> str:
    """{"kind": "conv", "height": 7, "kernel": [1, 1]} -> "conv height 7 kernel 1x1"."""
    return " ".join(_field(name, value) for name, value in content.items() if value is not False)


def _field(name: str, value: object) -> str:
    if isinstance(value, list):
        return f"{name} {shape(value)}"
    return name if value is True else str(value) if name == "kind" else f"{name} {value}"
