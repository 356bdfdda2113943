"""Ranking inside the network: what wins there is taken, what wins only by itself is not."""

from __future__ import annotations

from concurrent.futures import Future

import numpy as np
import pytest

from dscompile.errors import CheckFailedError
from dscompile.ir.network import NetworkBuilder
from dscompile.ir.ops import Conv2D, Dense, Pads, Reshape
from dscompile.ir.tensor import Tensor
from dscompile.plan.lowering import plan_program
from dscompile.plan.spaces import space
from dscompile.plan.tuning import Tuning
from dscompile.target import find_target, resolve_target
from dscompile.tuner import ranking
from dscompile.tuner.devices import Measurement
from dscompile.tuner.outcome import knobs_that_mattered, outcome_of
from dscompile.tuner.ranking import measure_steps, rank_in_network
from dscompile.tuner.report import outcome_report
from dscompile.tuner.runnable import Runnable
from dscompile.tuner.state import TaskState
from dscompile.tuner.tasks import tasks_of
from dscompile.tuner.this_machine import local_devices

TARGET = find_target("x86-avx2")


def network():
    rng = np.random.default_rng(0)
    net = NetworkBuilder("small")
    x = net.input(Tensor("x", (1, 6, 6, 24)))
    kernel = rng.uniform(-1, 1, (3, 3, 1, 24)).astype(np.float32)
    y = net.add("first", Conv2D(24, (3, 3), pads=Pads(1, 1, 1, 1), groups=24), [x], kernel=kernel)
    y = net.add("flat", Reshape((1, 864)), [y])
    y = net.add("head", Dense(24), [y], kernel=rng.uniform(-1, 1, (864, 24)).astype(np.float32))
    return net.build([y])


@pytest.fixture
def states():
    """Two tasks; for each two choices are faster than the rule's, and one is slower."""
    made = []
    for task in tasks_of([plan_program(network(), TARGET)], TARGET):
        state = TaskState(task)
        others = [choice for choice in space(task.workload, TARGET) if choice != task.rule]
        state.note(task.rule, 10e-6)
        for choice, cost in zip(others, (8e-6, 9e-6, 20e-6), strict=False):
            state.note(choice, cost)
        made.append(state)
    assert [state.task.label for state in made] == ["first", "head"]
    return made


class FakeDevices:
    """Gives the times of one trial after the other."""

    name = "a device"

    def __init__(self, *times) -> None:
        self.times = list(times)

    def submit(self, candidate: Runnable) -> Future[Measurement]:
        done: Future[Measurement] = Future()
        answer = self.times.pop(0)
        if isinstance(answer, str):
            done.set_result(Measurement(error=answer))
        else:  # the step between the two takes no time
            rows = np.array([[first, 0, head] for first, head in answer], np.int64)
            done.set_result(Measurement((0.0,), rows.tobytes()))
        return done


@pytest.fixture
def trials(monkeypatch):
    """The programs of the trials, which are not compiled."""
    seen = []

    def keep(net, programs):
        seen.append(programs)
        return Runnable(b"", b"", 64, 0, 8)

    monkeypatch.setattr(ranking, "network_trial", keep)
    return seen


def test_the_choice_is_made_by_the_time_of_the_steps_in_the_network(states, trials):
    first, head = states
    # by rule, with the best of each, with the second best; the steps are those of the two layers
    devices = FakeDevices([[100, 100], [120, 60], [90, 70]], [[100, 100], [91, 61]])
    result = rank_in_network(network(), TARGET, states, devices)
    assert result.chosen == {first.task.workload: first.ranked()[1], head.task.workload: head.ranked()[0]}
    assert result.gains == {first.task.workload: pytest.approx(0.1), head.task.workload: pytest.approx(0.4)}
    assert (result.rule_s, result.tuned_s) == (200e-9, 152e-9)
    assert [len(programs) for programs in trials] == [3, 2]


def test_what_gains_less_than_one_per_cent_is_left_to_the_rule(states, trials):
    devices = FakeDevices([[1000, 1000], [999, 1200], [995, 991]], [[1000, 1000], [1000, 1000]])
    assert rank_in_network(network(), TARGET, states, devices).chosen == {}


def test_if_the_whole_network_does_not_gain_the_rule_stays_and_the_report_says_so(states, trials):
    devices = FakeDevices([[100, 100], [80, 80], [90, 90]], [[100, 100], [105, 100]])
    result = rank_in_network(network(), TARGET, states, devices)
    outcome = outcome_of(states, TARGET, "us", result)
    assert all(task.best == task.rule and task.network_gain == 0.0 for task in outcome.tasks)
    assert "0.2 us by rule, and nothing that was tried is faster; the rule stays" in outcome_report(outcome)


def test_a_device_that_does_not_run_the_network_is_said(states, trials):
    with pytest.raises(CheckFailedError, match="the whole network on a device: crashed with SIGSEGV"):
        rank_in_network(network(), TARGET, states, FakeDevices("crashed with SIGSEGV"))


def test_the_report_names_failures_bounds_and_the_knob_that_mattered(states):
    first, head = states
    head.note(next(iter(head.costs)), None)
    head.last_error = "crashed with SIGSEGV"
    outcome = outcome_of(states, TARGET, "us", None, peak_gflops=100.0)
    lines = outcome_report(outcome).splitlines()
    assert lines[1].split()[:6] == ["first", "1", "50.0", "%", "10.0", "8.0"]
    assert "1.25x" in lines[1]
    assert f"{2 * first.task.workload.macs(8) / 100.0 / 1e3 / 8.0:.1%}"[:-1] in lines[1]
    assert "head: 1 of 5 candidates failed; the last one crashed with SIGSEGV" in lines
    assert "tuned layers together: 20.0 by rule, 16.0 tuned, 1.250x" in lines


def test_a_knob_matters_by_what_keeping_the_rules_value_costs():
    (task, _) = tasks_of([plan_program(network(), TARGET)], TARGET)
    state = TaskState(task)
    allowed = space(task.workload, TARGET)
    other = next(choice for choice in allowed if choice != task.rule)
    state.note(task.rule, 3.0)
    state.note(other, 2.0)
    assert knobs_that_mattered(state, allowed) == {"tile": pytest.approx(0.5)}


@pytest.mark.slow
def test_a_network_with_several_tunings_runs_and_every_step_is_timed():
    target = resolve_target("host")
    net = network()
    plain = plan_program(net, target)
    other = Tuning(
        {
            chosen.workload: next(c for c in space(chosen.workload, target) if c != chosen.choice)
            for chosen in plain.chosen
        }
    )
    devices = local_devices(target)
    try:
        times = measure_steps(net, [plain, plan_program(net, target, other)], devices)
    finally:
        devices.close()
    assert times.shape == (2, len(plain.steps))
    assert (times > 0).all()
    assert (times < 1e9).all()
