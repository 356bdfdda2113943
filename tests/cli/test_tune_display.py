"""What a tuning session shows while it runs."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from dscompile.cli.tune_display import session_table, summary
from dscompile.plan.spaces import rule, space
from dscompile.plan.workloads import DenseWorkload, DepthwiseWorkload
from dscompile.target import find_target
from dscompile.tuner.session import Snapshot
from dscompile.tuner.state import TaskState
from dscompile.tuner.tasks import Task

TARGET = find_target("x86-avx2")


def state(workload, label: str, *costs: float) -> TaskState:
    task = Task(workload, (label,), 1, rule(workload, TARGET), len(space(workload, TARGET)))
    made = TaskState(task)
    choices = [task.rule, *(choice for choice in space(workload, TARGET) if choice != task.rule)]
    for choice, cost in zip(choices, costs, strict=False):
        made.note(choice, cost)
    return made


def snapshot(*states: TaskState, **fields) -> Snapshot:
    given = {"unit": "us", "done": 5, "fresh": 4, "total": 40, "elapsed_s": 2.0, "remaining_s": 200.0, "busy": 0.84}
    return Snapshot(states=states, **{**given, **fields})


def test_the_summary_has_rate_gain_and_the_time_that_is_left():
    text = summary(
        snapshot(state(DenseWorkload(64, 24), "head", 3e-6, 2e-6), state(DepthwiseWorkload(6, 6, 2), "a", 1e-6))
    )
    assert text == "5 of 40 candidates, 2.0 a second, device busy 84%, gain so far 1.33x, about 3 min left"


def test_before_anything_is_known_nothing_is_claimed():
    text = summary(snapshot(state(DenseWorkload(64, 24), "head"), done=0, fresh=0, elapsed_s=0.5, remaining_s=None))
    assert text == "0 of 40 candidates, device busy 84%"


def test_the_table_has_the_dearest_layers_first_with_best_gain_trials_and_failures():
    failed = state(DepthwiseWorkload(6, 6, 2), "block.depthwise", 1e-6)
    failed.note(next(iter(failed.costs)), None)
    console = Console(width=100, record=True, file=StringIO())
    console.print(session_table(snapshot(failed, state(DenseWorkload(64, 24), "head", 3e-6, 2e-6))))
    lines = [line.split() for line in console.export_text().splitlines()]
    assert lines[0] == ["layer", "best", "gain", "trials", "failed"]
    assert lines[1] == ["head", "2.0", "us", "1.50x", "2"]
    assert lines[2] == ["block.depthwise", "1.0", "us", "1.00x", "2", "1"]


def test_counts_are_shown_as_counts():
    assert snapshot(unit="instructions").shown(1234567.0) == "1 234 567"
