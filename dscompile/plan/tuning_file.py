"""Files of tuning records: one JSON object with a line for each record (docs/tuning.md).

They come from users and travel between machines, so whatever is wrong in one is said, and nothing of it is used.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn, cast

from dscompile.artifact.fields import Fields, shown
from dscompile.errors import BadInputError, Diagnostic, Position, UsageError
from dscompile.frontend.paths import write_files
from dscompile.plan.spaces import allows
from dscompile.plan.tuning_json import choice_from_json, choice_to_json, workload_from_json, workload_to_json
from dscompile.plan.tuning_records import UNITS, Isa, TuningFile, TuningRecord, Unit
from dscompile.plan.workloads import Workload
from dscompile.target import Target

KEY, SCHEMA = "dscompile_tuning", 1
MAX_BYTES = 16 << 20
MAX_RECORDS = 10_000
MAX_PROBLEMS = 20  # more are counted
_KEYS = (KEY, "target", "isa", "dscompile", "unit", "machine", "records")
_ISA_KEYS = ("features", "vector_bytes", "registers", "int8_lanes", "multiply")
_RECORD_KEYS = ("workload", "best", "best_cost", "rule", "rule_cost", "trials", "failures", "networks")
_MAKE_ONE = "'dscompile tune' writes such files"


def read_tuning(path: Path) -> TuningFile:
    """The records in a file. Whether its choices fit a target is another question: `require_fits`.

    Raises UsageError if there is no file, BadInputError with what is wrong in it (the first twenty things).
    """
    content = _content(path)
    problems: list[str] = []
    fields = Fields(content, "", problems)
    version = fields.content.get(KEY)
    if version != SCHEMA or isinstance(version, bool):
        what = f"the key '{KEY}' is missing" if version is None else f"its schema is {shown(version)}, not {SCHEMA}"
        raise BadInputError(
            f"this is no file of tuning records that this dscompile reads: {what}",
            position=Position(str(path)),
            help=_MAKE_ONE,
        )
    fields.only(_KEYS)
    records = fields.content.get("records")
    if isinstance(records, list) and len(records) > MAX_RECORDS:
        _refuse(path, [f"it has {len(records)} records; at most {MAX_RECORDS} are read"])
    target, isa, found = fields.text("target"), _isa(fields), fields.children("records", _record)
    unit, version, machine = fields.word("unit", UNITS), fields.text("dscompile"), fields.text("machine")
    _refuse_twice(found, problems)
    if problems:
        _refuse(path, problems)
    known = tuple(record for record in found if record is not None)
    return TuningFile(target, isa, version, cast(Unit, unit), machine, known)


def require_fits(file: TuningFile, target: Target, path: Path) -> None:
    """Raises BadInputError unless records, read from `path`, are of a target as it is now and in its spaces."""
    if file.target != target.name:
        _refuse(path, [f"its records are of {shown(file.target)}, and not of {target.name}"])
    difference = file.isa.difference(target)
    if difference:
        _refuse(path, [f"it was made for another {target.name}: {difference}"])
    problems = [
        f"{json.dumps(choice_to_json(record.best))} is not among the choices that {target.name} has for "
        f"{json.dumps(workload_to_json(record.workload))}"
        for record in file.records
        if not allows(record.workload, record.best, target)
    ]
    if problems:
        _refuse(path, problems)


def write_tuning(file: TuningFile, path: Path) -> None:
    """Writes records, the same ones as the same bytes: aside first and down to the disk, then renamed.

    Raises ToolError if the disk refuses; then `path` is as it was.
    """
    final = Path(os.path.realpath(path))
    write_files(final.parent, {final.name: _text(file).encode()})


def _text(file: TuningFile) -> str:
    head = {
        KEY: SCHEMA,
        "target": file.target,
        "isa": asdict(file.isa),
        "dscompile": file.version,
        "unit": file.unit,
        "machine": file.machine,
    }
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
    records = ",\n".join(f"    {line}" for line in file.lines())
    return "\n".join(("{", *lines, f'  "records": [\n{records}\n  ]' if records else '  "records": []', "}", ""))


def _content(path: Path) -> object:
    where = Position(str(path))
    try:
        if not path.exists():
            raise UsageError(f"there is no file of tuning records '{path}'", help=_MAKE_ONE)
        if not path.is_file():
            raise BadInputError("tuning records are read from files, and this is none", position=where)
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadInputError(f"cannot read the tuning records: {error.strerror}", position=where) from error
    if len(data) > MAX_BYTES:
        raise BadInputError(
            f"this is larger than any file of tuning records: more than {MAX_BYTES >> 20} MiB", position=where
        )
    try:
        return json.loads(data, object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"the tuning records are not JSON: {error}", position=where, help=_MAKE_ONE) from error


def _once(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    content: dict[str, object] = {}
    for key, value in pairs:
        if key in content:
            raise ValueError(f"the key {shown(key)} is there twice")
        content[key] = value
    return content


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")


def _isa(fields: Fields) -> Isa:
    inner = fields.child("isa")
    inner.only(_ISA_KEYS)
    return Isa(
        tuple(sorted(inner.texts("features"))),
        inner.whole("vector_bytes", least=1),
        inner.whole("registers"),
        inner.whole("int8_lanes", least=1),
        inner.text("multiply"),
    )


def _record(fields: Fields) -> TuningRecord | None:
    before = len(fields.problems)
    fields.only(_RECORD_KEYS)
    workload = workload_from_json(fields.child("workload"))
    if workload is None:
        return None
    best = choice_from_json(workload.kind, fields.child("best"))
    rule = choice_from_json(workload.kind, fields.child("rule"))
    costs = fields.number("best_cost"), fields.number("rule_cost")
    trials, failures, networks = fields.whole("trials"), fields.whole("failures"), fields.texts("networks")
    if best is None or rule is None or len(fields.problems) > before:
        return None
    try:
        return TuningRecord(workload, best, costs[0], rule, costs[1], trials, failures, networks)
    except ValueError as error:
        fields.problems.append(f"'{fields.where.rstrip('.')}': {error}")
        return None


def _refuse_twice(records: Sequence[TuningRecord | None], problems: list[str]) -> None:
    first: dict[Workload, int] = {}
    for index, record in enumerate(records):
        if record is not None and first.setdefault(record.workload, index) != index:
            problems.append(f"'records[{index}]' is of the same workload as 'records[{first[record.workload]}]'")


def _refuse(path: Path, problems: Sequence[str]) -> NoReturn:
    where = Position(str(path))
    said = [f"tuning records: {problem}" for problem in problems[:MAX_PROBLEMS]]
    if len(problems) > MAX_PROBLEMS:
        said.append(f"tuning records: and {len(problems) - MAX_PROBLEMS} more such problems")
    raise BadInputError([Diagnostic(one, where, help="tune again with this dscompile") for one in said])
