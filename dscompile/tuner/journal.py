"""The journal: everything that was measured, on disk before the next candidate is proposed.

A directory with the two files of MetaSchedule's JSONDatabase, which opens them; and with what these cannot hold:

    journal.json                  {"dscompile_journal": 1, "target": ..., "mcpu": ..., "features": [...], "costs": ...}
    database_workload.json        a line for each workload: MetaSchedule's hash and a module that names the workload
    database_tuning_record.json   a line for each measurement: the workload's line, a trace that notes the fields of the
                                  choice, what it cost
    failures.jsonl                a line for each failure, with its words
    lock                          held by the process that tunes

Choices are read back by their fields, so that records outlive changes of the spaces. Lines are written here and not by
JSONDatabase, which does not notice a full disk.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from dscompile.artifact.fields import Fields
from dscompile.errors import BadInputError, Position
from dscompile.plan.choices import Choice
from dscompile.plan.spaces import space
from dscompile.plan.tuning_json import choice_from_json, choice_to_json, workload_from_json, workload_to_json
from dscompile.plan.workloads import Workload
from dscompile.target import Target
from dscompile.tuner.lines import LineFile, Lock, cannot
from dscompile.tuner.packages import require_packages
from dscompile.tuner.trace import noted_fields, record

KEY, SCHEMA = "dscompile_journal", 1
HEADER, LOCK, FAILURES = "journal.json", "lock", "failures.jsonl"
WORKLOADS, RECORDS = "database_workload.json", "database_tuning_record.json"
FAILED = 1e10  # what MetaSchedule notes instead of the cost of a candidate that failed
_ELSEWHERE = "tune in another directory, or move this one away"

Result = float | str  # the cost, or why there is none


class Journal:
    """The measurements of one target. One process has a journal open at a time, and one thread of it adds to it."""

    def __init__(self, directory: Path, target: Target, *, costs: str = "seconds") -> None:
        """Open the journal in a directory, or begin one; what was written last is repaired if its writer died.

        `costs` says what is measured, and where if that matters: a journal does not mix what cannot be compared.
        Raises UsageError if another process has it open, BadInputError if it is of another target, of other costs,
        of another version or damaged (nothing is changed then), ToolError if the disk refuses or a package is missing.
        """
        require_packages()
        self._target = target
        self._results: dict[Workload, dict[Choice, Result]] = {}
        self._indices: dict[Workload, int] = {}
        _make(directory)
        self._lock = Lock(directory / LOCK)
        self._workloads, self._records, self._failures = self._files = tuple(
            LineFile(directory / name) for name in (WORKLOADS, RECORDS, FAILURES)
        )
        try:
            _open_header(LineFile(directory / HEADER), _header(target, costs), self._files)
            self._load()
            for file in self._files:
                file.open()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let others have it."""
        for file in self._files:
            file.close()
        self._lock.release()

    @property
    def repairs(self) -> tuple[str, ...]:
        """What was repaired when it was opened, in words."""
        return tuple(
            f"the last line of '{file.path}' had no end, for its writer was killed: it was cut off, {file.cut_bytes} B"
            for file in self._files
            if file.cut_bytes
        )

    @property
    def workloads(self) -> tuple[Workload, ...]:
        """All of which something is known, in the order in which they were met."""
        return tuple(self._results)

    def known(self, workload: Workload) -> Mapping[Choice, float | None]:
        """The least that each choice cost, None for those that failed; only those that are choices of this version.

        Whatever disturbs a measurement makes it longer, so that the least is the nearest to what a choice costs.
        Of a failure and measurements the later counts: one may be tried again, another be found out.
        """
        return {
            choice: result if isinstance(result, float) else None for choice, result in self._allowed(workload).items()
        }

    def failures(self, workload: Workload) -> Mapping[Choice, str]:
        """Why choices failed, the latest last."""
        return {choice: result for choice, result in self._allowed(workload).items() if isinstance(result, str)}

    def add(self, workload: Workload, choice: Choice, samples: tuple[float, ...], error: str = "") -> None:
        """What a choice cost, or why it failed. On return it is written.

        Raises ToolError if the disk does not take it, ValueError unless there are either samples or an error.
        """
        if bool(samples) == bool(error):
            raise ValueError(f"either samples or an error must be given, not {samples} and '{error}'")
        if not all(0 <= sample < FAILED for sample in samples):
            raise ValueError(f"costs must be from 0 to less than {FAILED:g}, not {samples}")
        if error:
            self._failures.append(
                {
                    "workload": workload_to_json(workload),
                    "choice": choice_to_json(choice),
                    "error": error,
                    "after": self._records.count,
                }
            )
            self._note(workload, choice, error)
            return
        self._records.append([self._index(workload), record(choice, samples, self._machine)])
        self._note(workload, choice, float(min(samples)))

    def _allowed(self, workload: Workload) -> dict[Choice, Result]:
        results = self._results.get(workload, {})
        allowed = space(workload, self._target)
        return {choice: result for choice, result in results.items() if choice in allowed}

    def _note(self, workload: Workload, choice: Choice, result: Result) -> None:
        results = self._results.setdefault(workload, {})
        before = results.pop(choice, None)  # it comes last again
        if isinstance(before, float) and isinstance(result, float):
            result = min(before, result)
        results[choice] = result

    def _index(self, workload: Workload) -> int:
        """The line of a workload, written if it is new."""
        if workload not in self._indices:
            from dscompile.tuner.metaschedule import workload_line  # TVM

            self._workloads.append(workload_line(json.dumps(workload_to_json(workload))))
            self._indices[workload] = self._workloads.count - 1
        return self._indices[workload]

    @cached_property
    def _machine(self) -> object:
        from dscompile.tuner.metaschedule import target_json  # TVM

        return target_json(self._target)

    def _load(self) -> None:
        workloads = self._read_workloads()
        records, failures = self._records.read(), self._failures.read()
        noted = 0
        for number, failure in enumerate(failures, 1):
            fields = Fields(failure, "", [])
            after, error = fields.whole("after"), fields.text("error")
            if fields.problems:
                raise self._failures.broken(number, f"this line is no failure: {fields.problems[0]}")
            self._note_records(workloads, records, noted, after)
            noted = max(noted, after)
            workload = workload_from_json(fields.child("workload"))
            choice = choice_from_json(workload.kind, fields.child("choice")) if workload is not None else None
            if workload is not None and choice is not None:
                self._note(workload, choice, error)
        self._note_records(workloads, records, noted, len(records))

    def _note_records(self, workloads: list[Workload | None], records: list[Any], start: int, end: int) -> None:
        for number, line in enumerate(records[start:end], start + 1):
            try:
                index, (trace, samples, *_) = line
                if index < 0:
                    raise ValueError(f"there is no workload {index}")
                workload = workloads[index]
                noted, cost = noted_fields(trace), min(map(float, samples or (FAILED,)))
            except (ValueError, TypeError, LookupError, OverflowError) as error:
                raise self._records.broken(number, f"this line is no record: {error}") from error
            choice = choice_from_json(workload.kind, Fields(noted, "", [])) if workload is not None else None
            if workload is not None and choice is not None and cost < FAILED:
                self._note(workload, choice, cost)

    def _read_workloads(self) -> list[Workload | None]:
        """None for those that this version does not know."""
        lines = self._workloads.read()
        if not lines:
            return []
        from dscompile.tuner.metaschedule import workload_text  # TVM

        workloads: list[Workload | None] = []
        for index, line in enumerate(lines):
            try:
                text = workload_text(line)
                content = json.loads(text) if text else None
            except (ValueError, TypeError, RuntimeError, AttributeError, LookupError) as error:
                raise self._workloads.broken(index + 1, "MetaSchedule cannot read this workload") from error
            workload = workload_from_json(Fields(content, "", [])) if text else None
            workloads.append(workload)
            if workload is not None:
                self._indices.setdefault(workload, index)
        return workloads


def _header(target: Target, costs: str) -> dict[str, object]:
    return {
        KEY: SCHEMA,
        "target": target.name,
        "mcpu": target.mcpu,
        "features": sorted(target.features),
        "costs": costs,
    }


def _make(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot("write", directory, error) from error


def _open_header(file: LineFile, expected: dict[str, object], others: Sequence[LineFile]) -> None:
    """Write the header of a new journal, or compare that of an old one."""
    lines = file.read()
    if not lines:
        if any(other.path.exists() and other.path.stat().st_size for other in others):
            raise BadInputError(
                f"'{file.path.parent}' holds a database, but is no journal of dscompile: there is no complete {HEADER}",
                help=_ELSEWHERE,
            )
        file.open()
        file.append(expected)
        file.close()
        return
    found = lines[0] if isinstance(lines[0], dict) else {}
    if found.get(KEY) != SCHEMA:
        raise _foreign(file, f"its schema is {found.get(KEY)}, and this dscompile reads {SCHEMA}")
    for key, value in expected.items():
        if found.get(key) != value:
            be = "are" if key.endswith("s") else "is"
            raise _foreign(file, f"its {key} {be} {_words(found.get(key))}, not {_words(value)}")


def _foreign(file: LineFile, why: str) -> BadInputError:
    return BadInputError(
        f"the journal holds other measurements: {why}", position=Position(str(file.path)), help=_ELSEWHERE
    )


def _words(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
