"""Workloads and choices as JSON: in files of tuning records, and wherever else measurements are kept.

Both are dataclasses of whole numbers, pairs of them, and flags; their fields are the keys. Sizes have limits, so that
whatever is read can be reckoned with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields as fields_of
from typing import Any, cast

from dscompile.artifact.fields import Fields, Json, shown
from dscompile.ir.ops import MAX_SIZE
from dscompile.plan.choices import CHOICES, Choice
from dscompile.plan.workloads import WORKLOADS, Workload

MAX_WINDOW = 1024  # kernels, strides, dilations


def workload_to_json(workload: Workload) -> Json:
    """{"kind": "conv", "height": 1, ...}, in the order of its fields."""
    return {"kind": workload.kind, **_to_json(workload)}


def choice_to_json(choice: Choice) -> Json:
    """{"pixels": 7, ...}, in the order of its fields. The kind is that of the workload it is for."""
    return _to_json(choice)


def workload_from_json(fields: Fields) -> Workload | None:
    """The workload in an object; None if it has problems, which are among `fields.problems` then."""
    kind = fields.word("kind", tuple(WORKLOADS))
    return cast(Workload | None, _from_json(WORKLOADS[kind], fields, ("kind",))) if kind in WORKLOADS else None


def choice_from_json(kind: str, fields: Fields) -> Choice | None:
    """The choice in an object, for a workload of this kind; None if it has problems."""
    return cast(Choice | None, _from_json(CHOICES[kind], fields))


def _to_json(value: Workload | Choice) -> Json:
    named = ((field.name, getattr(value, field.name)) for field in fields_of(value))
    return {name: list(held) if isinstance(held, tuple) else held for name, held in named}


def _from_json(kind: type[Workload | Choice], fields: Fields, others: Iterable[str] = ()) -> Workload | Choice | None:
    before = len(fields.problems)
    known = {field.name: str(field.type) for field in fields_of(kind)}
    fields.only((*others, *known))
    values = {name: _READERS[what](fields, name) for name, what in known.items()}
    if len(fields.problems) > before:
        return None
    try:
        return kind(**values)
    except ValueError as error:
        fields.problems.append(f"'{fields.where.rstrip('.')}': {error}")
        return None


def _size(fields: Fields, key: str) -> int:
    value = fields.whole(key, least=1)
    if value > MAX_SIZE:
        fields.problems.append(f"'{fields.where}{key}' must be at most {MAX_SIZE}, not {shown(value)}")
    return value


def _pair(fields: Fields, key: str) -> tuple[int, ...]:
    before = len(fields.problems)
    values = fields.wholes(key)
    if len(fields.problems) == before and not (len(values) == 2 and all(1 <= value <= MAX_WINDOW for value in values)):
        fields.problems.append(f"'{fields.where}{key}' must be two whole numbers of 1 to {MAX_WINDOW}")
    return values


_READERS: Mapping[str, Callable[[Fields, str], Any]] = {"int": _size, "Pair": _pair, "bool": Fields.flag}
