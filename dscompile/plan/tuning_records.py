"""Tuning records: what was measured for the workloads of one target, and the choices that won."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from typing import Literal, get_args

from dscompile.artifact.fields import Json, shown
from dscompile.plan.choices import CHOICES, Choice
from dscompile.plan.tuning import Tuning
from dscompile.plan.tuning_json import choice_to_json, workload_to_json
from dscompile.plan.workloads import WORKLOADS, Workload
from dscompile.target import Target

Unit = Literal["us", "instructions"]
UNITS: tuple[Unit, ...] = get_args(Unit)
_ID_DIGITS = 8


@dataclass(frozen=True)
class Isa:
    """What a choice must fit: of two targets that differ in it, records of one say nothing of the other."""

    features: tuple[str, ...]
    vector_bytes: int
    registers: int
    int8_lanes: int
    multiply: str

    @staticmethod
    def of(target: Target) -> Isa:
        """That of a target."""
        features = tuple(sorted(target.features))
        return Isa(features, target.vector_bytes, target.registers, target.int8_lanes, target.multiply)

    def difference(self, target: Target) -> str:
        """The first thing that a target has otherwise, in words; empty if there is none."""
        other = Isa.of(target)
        if self == other:
            return ""
        names = ("vector_bytes", "registers", "int8_lanes", "multiply")
        name = next((name for name in names if getattr(self, name) != getattr(other, name)), None)
        if name is not None:
            return f"{name} {shown(getattr(self, name))} there, {getattr(other, name)} here"
        return f"features {shown(' '.join(self.features))} there, '{' '.join(other.features)}' here"


@dataclass(frozen=True)
class TuningRecord:
    """A workload that was tuned: the best choice and what it costs, and the same of the choice by the rule.

    Costs are of one run of the workload, in the unit of the file. `trials` choices were tried, and `failures` of them
    gave no cost or a wrong result. `networks` are the names of those that the workload was met in.

    Raises ValueError for what cannot be, such as a best choice that is worse than that of the rule.
    """

    workload: Workload
    best: Choice
    best_cost: float
    rule: Choice
    rule_cost: float
    trials: int
    failures: int = 0
    networks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        kind = CHOICES[self.workload.kind]
        for choice in (self.best, self.rule):
            if not isinstance(choice, kind):
                raise ValueError(f"{choice} is no choice for a workload of kind {self.workload.kind}")
        if not (0 < self.best_cost <= self.rule_cost < math.inf):
            raise ValueError(
                f"costs must be above 0 and that of the best not above that of the rule, "
                f"not {self.best_cost:g} and {self.rule_cost:g}"
            )
        if not 0 <= self.failures < self.trials:
            raise ValueError(f"of {self.trials} trials {self.failures} cannot have failed")

    @property
    def gain(self) -> float:
        """The rule's cost over the best one: 1.25 is a quarter more."""
        return self.rule_cost / self.best_cost


@dataclass(frozen=True)
class TuningFile:
    """The records of one target, in a fixed order. `version` is that of the dscompile that measured, on `machine`.

    Raises ValueError if two records are of the same workload.
    """

    target: str
    isa: Isa
    version: str
    unit: Unit
    machine: str
    records: tuple[TuningRecord, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "records", tuple(sorted(self.records, key=_order)))
        for one, other in zip(self.records, self.records[1:], strict=False):
            if one.workload == other.workload:
                raise ValueError(f"two records of {one.workload}")

    @property
    def name(self) -> str:
        """An id of what the records say: eight hexadecimal digits."""
        digest = hashlib.sha256("\n".join((json.dumps(self.target), self.unit, *self.lines())).encode())
        return digest.hexdigest()[:_ID_DIGITS]

    def lines(self) -> Iterator[str]:
        """Every record as JSON on a line of its own."""
        return (json.dumps(_record_to_json(record)) for record in self.records)

    def tuning(self) -> Tuning:
        """What a planner takes of them: all but those of which only the rule's choice was tried, which say nothing."""
        compared = [record for record in self.records if record.trials > 1]
        best = {record.workload: record.best for record in compared}
        return Tuning(best, self.name, {record.workload: record.gain for record in compared})


def _order(record: TuningRecord) -> tuple[object, ...]:
    return tuple(WORKLOADS).index(record.workload.kind), astuple(record.workload)


def _record_to_json(record: TuningRecord) -> Json:
    return {
        "workload": workload_to_json(record.workload),
        "best": choice_to_json(record.best),
        "best_cost": record.best_cost,
        "rule": choice_to_json(record.rule),
        "rule_cost": record.rule_cost,
        "trials": record.trials,
        "failures": record.failures,
        "networks": list(record.networks),
    }
