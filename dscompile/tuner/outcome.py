"""What came of tuning: per workload the rule's cost, the best, the bound, and which knob mattered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dscompile.plan.choices import Choice
from dscompile.plan.spaces import Space, space
from dscompile.plan.workloads import Int8ConvWorkload, Int8DepthwiseWorkload, Workload
from dscompile.target import Target
from dscompile.tuner.devices import Unit
from dscompile.tuner.ranking import Ranking
from dscompile.tuner.state import TaskState


@dataclass(frozen=True)
class TaskOutcome:
    """One workload. Costs are in the unit of the outcome, of one run; an inference has `times` of them.

    `best` is the choice to take; `network_gain` what it gained inside the network, None if that was not measured.
    `bound` is the least that the target's arithmetic takes, None if that is not known. `knobs` say of every axis how
    much more the best choice would cost that keeps the rule's value there.
    """

    label: str
    layers: tuple[str, ...]
    workload: Workload
    times: int
    points: int
    trials: int
    failures: int
    last_error: str
    rule: Choice
    rule_cost: float | None
    best: Choice
    best_cost: float | None
    network_gain: float | None
    bound: float | None
    knobs: Mapping[str, float]

    @property
    def gain(self) -> float:
        """The rule's cost over the best one; 1 where nothing was gained."""
        if self.rule_cost is None or self.best_cost is None:
            return 1.0
        return self.rule_cost / self.best_cost


@dataclass(frozen=True)
class Outcome:
    """All workloads of a network, and the whole of it by rule and tuned, in seconds, where that was measured."""

    target: str
    unit: Unit
    tasks: tuple[TaskOutcome, ...]
    rule_s: float | None = None
    tuned_s: float | None = None

    @property
    def rule_cost(self) -> float:
        """Of all tasks that were measured."""
        return sum(task.times * task.rule_cost for task in self.tasks if task.rule_cost is not None)

    @property
    def best_cost(self) -> float:
        """Of the same tasks with what was found."""
        return sum(task.times * (task.best_cost or task.rule_cost) for task in self.tasks if task.rule_cost is not None)


def outcome_of(
    states: Sequence[TaskState], target: Target, unit: Unit, ranking: Ranking | None, peak_gflops: float | None = None
) -> Outcome:
    """The outcome of a session; with a ranking, choices are those that won inside the network, if it did as a whole.

    `peak_gflops` is what the device's multiply-adds can do, for the bounds of float32 workloads that were timed.
    """
    scale = 1e6 if unit == "us" else 1.0
    kept = ranking is None or ranking.tuned_s < ranking.rule_s
    tasks = []
    for state in states:
        workload, best = state.task.workload, state.best
        choice = state.task.rule if best is None else best[0]
        gain = None
        if ranking is not None:
            choice = ranking.chosen.get(workload, state.task.rule) if kept else state.task.rule
            gain = ranking.gains.get(workload, 0.0) if kept else 0.0
        cost = state.costs.get(choice)
        tasks.append(
            TaskOutcome(
                label=state.task.label,
                layers=state.task.layers,
                workload=workload,
                times=state.task.times,
                points=state.task.points,
                trials=state.trials,
                failures=state.failures,
                last_error=state.last_error,
                rule=state.task.rule,
                rule_cost=None if state.rule_cost is None else state.rule_cost * scale,
                best=choice,
                best_cost=None if cost is None else cost * scale,
                network_gain=gain,
                bound=_bound(workload, target, unit, peak_gflops),
                knobs=knobs_that_mattered(state, space(workload, target)),
            )
        )
    whole = (None, None) if ranking is None else (ranking.rule_s, ranking.tuned_s if kept else ranking.rule_s)
    return Outcome(target.name, unit, tuple(tasks), *whole)


def knobs_that_mattered(state: TaskState, allowed: Space) -> Mapping[str, float]:
    """Axis -> how much more than the best the cheapest choice costs that has the rule's value there.

    Only axes along which something was measured; 0.1 is a tenth more.
    """
    if state.rule_cost is None or len(state.costs) < 2:
        return {}
    least = min(state.costs.values())
    result = {}
    for axis in allowed.axes:
        values = {choice: tuple(getattr(choice, field) for field in axis.fields) for choice in state.costs}
        if len(set(values.values())) > 1:
            kept = min(cost for choice, cost in state.costs.items() if values[choice] == values[state.task.rule])
            result[axis.name] = kept / least - 1
    return result


def _bound(workload: Workload, target: Target, unit: Unit, peak_gflops: float | None) -> float | None:
    """The least cost by arithmetic alone: every multiply-add instruction full, and nothing else."""
    macs = workload.macs(target.lanes)
    quantized = isinstance(workload, Int8ConvWorkload | Int8DepthwiseWorkload)
    if unit == "instructions":
        return macs / (_int8_macs(workload, target) if quantized else target.lanes)
    if quantized or peak_gflops is None:
        return None
    return 2 * macs / peak_gflops / 1e3


def _int8_macs(workload: Workload, target: Target) -> int:
    """Multiply-adds of int8 in one instruction of a 64-bit Arm: SMMLA, SDOT, or SMULL with SADALP for every second."""
    if target.has("i8mm") and isinstance(workload, Int8ConvWorkload):
        return 32
    return 16 if target.has("asimddp") else 8
