"""The report of a tuning session: for every layer what the rule takes, the best, the bound, and what mattered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dscompile.plan.tuning_json import choice_to_json, workload_to_json
from dscompile.report import text
from dscompile.tuner.outcome import Outcome, TaskOutcome

_HEADER = ("layer", "times", "share", "rule", "best", "gain", "in network", "of bound", "trials", "failed", "mattered")
LEAST_MATTERING = 0.01  # a knob is named from one per cent on


def outcome_report(outcome: Outcome, verbose: bool = False) -> str:
    """The table of an outcome, what the whole network gained, and in words what is wrong."""
    whole = max(outcome.rule_cost, 1e-30)
    tasks = sorted(outcome.tasks, key=lambda task: -(task.rule_cost or 0.0) * task.times)
    lines = [text.table(_HEADER, [_row(task, whole) for task in tasks], right=_HEADER[1:10])]
    lines.append(f"costs are {'microseconds' if outcome.unit == 'us' else 'executed instructions'} of one run")
    lines.append(_whole(outcome))
    lines += [_trouble(task) for task in tasks if task.failures]
    if verbose:
        lines += [f"{task.label}: {_words(task)}" for task in tasks]
    return "\n".join(lines)


def outcome_record(outcome: Outcome) -> Mapping[str, object]:
    """The outcome as JSON."""
    return {
        "target": outcome.target,
        "unit": outcome.unit,
        "rule_cost": outcome.rule_cost,
        "best_cost": outcome.best_cost,
        "network_rule_us": None if outcome.rule_s is None else outcome.rule_s * 1e6,
        "network_tuned_us": None if outcome.tuned_s is None else outcome.tuned_s * 1e6,
        "tasks": [_task_record(task) for task in outcome.tasks],
    }


def _task_record(task: TaskOutcome) -> Mapping[str, object]:
    return {
        "layers": list(task.layers),
        "times": task.times,
        "workload": workload_to_json(task.workload),
        "rule": choice_to_json(task.rule),
        "rule_cost": task.rule_cost,
        "best": choice_to_json(task.best),
        "best_cost": task.best_cost,
        "network_gain": task.network_gain,
        "bound": task.bound,
        "trials": task.trials,
        "failures": task.failures,
        "last_error": task.last_error or None,
        "knobs": dict(task.knobs),
    }


def _row(task: TaskOutcome, whole: float) -> tuple[str, ...]:
    share = "" if task.rule_cost is None else text.percent(task.rule_cost * task.times / whole)
    of_bound = "" if task.bound is None or task.best_cost is None else text.percent(task.bound / task.best_cost)
    return (
        task.label,
        str(task.times),
        share,
        _cost(task.rule_cost),
        _cost(task.best_cost),
        f"{task.gain:.2f}x",
        "" if task.network_gain is None else f"{task.network_gain:+.1%}",
        of_bound,
        f"{task.trials}/{task.points}",
        str(task.failures) if task.failures else "",
        ", ".join(f"{name} {effect:+.0%}" for name, effect in _mattering(task)),
    )


def _mattering(task: TaskOutcome) -> Sequence[tuple[str, float]]:
    effects = sorted(task.knobs.items(), key=lambda knob: -knob[1])
    return [(name, effect) for name, effect in effects if effect >= LEAST_MATTERING]


def _cost(cost: float | None) -> str:
    if cost is None:
        return "-"
    return f"{cost:.1f}" if cost < 1000 else text.number(round(cost))


def _whole(outcome: Outcome) -> str:
    if outcome.rule_s is not None and outcome.tuned_s is not None:
        before, after = outcome.rule_s * 1e6, outcome.tuned_s * 1e6
        if after >= before:
            return f"whole network: {before:.1f} us by rule, and nothing that was tried is faster; the rule stays"
        return f"whole network: {before:.1f} us by rule, {after:.1f} us tuned, {before / after:.3f}x"
    if not outcome.rule_cost:
        return "nothing was measured"
    gain = outcome.rule_cost / outcome.best_cost
    if gain == 1:
        return "tuned layers together: the rule was best everywhere"
    return f"tuned layers together: {_cost(outcome.rule_cost)} by rule, {_cost(outcome.best_cost)} tuned, {gain:.3f}x"


def _trouble(task: TaskOutcome) -> str:
    if task.failures == task.trials:
        return f"{task.label}: all {task.trials} candidates failed; the last one {task.last_error}"
    return f"{task.label}: {task.failures} of {task.trials} candidates failed; the last one {task.last_error}"


def _words(task: TaskOutcome) -> str:
    return f"rule {task.rule}, best {task.best}"
