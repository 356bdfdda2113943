"""Sessions: every candidate that fails does so alone, nothing is measured twice, limits are kept."""

from __future__ import annotations

import time
from concurrent.futures import BrokenExecutor

import numpy as np
import pytest

from dscompile.errors import ToolError
from dscompile.plan.spaces import rule, space
from dscompile.plan.workloads import DenseWorkload, DepthwiseWorkload, Int8DepthwiseWorkload
from dscompile.target import find_target
from dscompile.tuner.devices import Measurement
from dscompile.tuner.session import MOST_LOST, Limits, Session
from dscompile.tuner.tasks import Task
from tests.tuner.fakes import FakeBuilders, FakeDevice, Notebook, pool, right_output

TARGET = find_target("x86-avx2")
DEPTHWISE = DepthwiseWorkload(6, 6, 2)
DENSE = DenseWorkload(64, 24)


def task(workload, times: int = 1) -> Task:
    return Task(workload, ("layer",), times, rule(workload, TARGET), len(space(workload, TARGET)))


def good(workload, cost: float = 1e-6) -> Measurement:
    return Measurement((cost, 2 * cost), right_output(workload, TARGET))


def session(tasks, device, *, answer=lambda choice: None, journal=None, trials=64, seconds=None, **options):
    builders = FakeBuilders(answer)
    journal = Notebook() if journal is None else journal
    made = Session(tasks, TARGET, builders, pool(device), journal, Limits(trials, seconds), **options)
    return made, builders, journal


def test_a_small_space_is_measured_whole_and_the_cheapest_wins():
    choices = list(space(DEPTHWISE, TARGET))
    winner = next(choice for choice in reversed(choices) if choice != rule(DEPTHWISE, TARGET))
    device = FakeDevice(lambda name: good(DEPTHWISE, 1e-6 if name == repr(winner) else 2e-6))
    tuning, builders, journal = session([task(DEPTHWISE)], device)
    tuning.run()
    (state,) = tuning.states
    assert state.best == (winner, 1e-6)
    assert state.rule_cost == 2e-6
    assert state.gained
    assert builders.built[0] == rule(DEPTHWISE, TARGET)
    assert sorted(map(repr, builders.built)) == sorted(map(repr, choices))
    assert journal.known(DEPTHWISE).keys() == set(choices)


def test_the_rule_stays_where_nothing_is_cheaper():
    tuning, _, _ = session([task(DEPTHWISE)], FakeDevice(lambda name: good(DEPTHWISE)))
    tuning.run()
    assert tuning.states[0].best == (rule(DEPTHWISE, TARGET), 1e-6)
    assert not tuning.states[0].gained


def test_what_is_in_the_journal_is_not_measured_again():
    journal = Notebook()
    first, _, _ = session([task(DEPTHWISE)], FakeDevice(lambda name: good(DEPTHWISE)), journal=journal, trials=5)
    first.run()
    assert len(journal.known(DEPTHWISE)) == 5
    again, builders, _ = session([task(DEPTHWISE)], FakeDevice(lambda name: good(DEPTHWISE)), journal=journal)
    again.run()
    assert len(builders.built) == len(space(DEPTHWISE, TARGET)) - 5
    assert again.snapshot().fresh == len(builders.built)
    assert again.snapshot().done == again.snapshot().total == len(space(DEPTHWISE, TARGET))


def test_trials_and_time_are_limits():
    limited, builders, _ = session([task(DEPTHWISE), task(DENSE)], _any_device(), trials=3)
    limited.run()
    assert len(builders.built) == 6
    hurried, builders, _ = session([task(DEPTHWISE)], _any_device(0.05), seconds=0.2)
    begun = time.monotonic()
    hurried.run()
    assert time.monotonic() - begun < 2
    assert 0 < len(builders.built) < len(space(DEPTHWISE, TARGET))


def _any_device(seconds: float = 0.0) -> FakeDevice:
    outputs = {repr(choice): workload for workload in (DEPTHWISE, DENSE) for choice in space(workload, TARGET)}

    def measure(name: str) -> Measurement:
        time.sleep(seconds)
        return good(outputs[name])

    return FakeDevice(measure)


def test_wrong_numbers_never_win():
    cheat = list(space(DEPTHWISE, TARGET))[3]
    expected = np.frombuffer(right_output(DEPTHWISE, TARGET), np.float32)
    wrong = Measurement((1e-12,), (expected * np.float32(1.001)).tobytes())
    device = FakeDevice(lambda name: wrong if name == repr(cheat) else good(DEPTHWISE))
    tuning, _, journal = session([task(DEPTHWISE)], device)
    tuning.run()
    assert tuning.states[0].failures == 1
    assert tuning.states[0].best[0] != cheat
    assert journal.failures(DEPTHWISE)[cheat].startswith("returned wrong numbers: relative error 0.001")


def test_numbers_that_are_none_are_wrong():
    nothing = Measurement((1e-12,), np.full(DEPTHWISE.macs(8) // 9, np.nan, np.float32).tobytes())
    tuning, _, journal = session([task(DEPTHWISE)], FakeDevice(lambda name: nothing), trials=1)
    tuning.run()
    assert tuning.states[0].failures == 1
    assert "wrong numbers" in next(iter(journal.failures(DEPTHWISE).values()))


def test_a_single_wrong_byte_of_int8_is_wrong():
    workload = Int8DepthwiseWorkload(6, 6, 2)
    output = bytearray(right_output(workload, TARGET))
    output[7] ^= 1
    tuning, _, journal = session(
        [task(workload)], FakeDevice(lambda name: Measurement((1e-9,), bytes(output))), trials=1
    )
    tuning.run()
    assert next(iter(journal.failures(workload).values())) == f"returned 1 wrong numbers of {len(output)}"


def test_a_candidate_that_does_not_compile_or_crashes_fails_alone():
    choices = list(space(DEPTHWISE, TARGET))
    device = FakeDevice(
        lambda name: Measurement(error="crashed with SIGSEGV") if name == repr(choices[4]) else good(DEPTHWISE)
    )
    tuning, _, journal = session(
        [task(DEPTHWISE)], device, answer=lambda choice: ValueError if choice == choices[2] else None
    )
    tuning.run()
    assert tuning.states[0].failures == 2
    assert len(tuning.states[0].costs) == len(choices) - 2
    assert journal.failures(DEPTHWISE) == {
        choices[2]: "does not compile: no registers left",
        choices[4]: "crashed with SIGSEGV",
    }


def test_a_build_that_ends_its_process_is_found_among_those_that_ran_with_it():
    choices = list(space(DEPTHWISE, TARGET))
    tuning, builders, journal = session(
        [task(DEPTHWISE)],
        FakeDevice(lambda name: good(DEPTHWISE)),
        answer=lambda choice: BrokenExecutor if choice == choices[2] else None,
    )
    tuning.run()
    assert builders.built.count(choices[2]) == 2
    assert builders.restarts == 2
    assert tuning.states[0].failures == 1
    assert journal.failures(DEPTHWISE)[choices[2]] == "its compiler crashed or took too long"
    assert len(tuning.states[0].costs) == len(choices) - 1


def test_a_candidate_without_a_device_is_tried_later_and_blamed_for_nothing():
    lost = iter([True, True, False, True])
    device = FakeDevice(
        lambda name: Measurement(error="the device left", lost=True) if next(lost, False) else good(DEPTHWISE)
    )
    tuning, _, journal = session([task(DEPTHWISE)], device)
    tuning.run()
    assert tuning.states[0].failures == 0
    assert journal.known(DEPTHWISE).keys() == set(space(DEPTHWISE, TARGET))


def test_a_disk_that_refuses_a_build_is_held_against_no_candidate():
    refusals = iter([OSError, None, FullDiskError, None, None, None])
    tuning, _, journal = session(
        [task(DEPTHWISE)], FakeDevice(lambda name: good(DEPTHWISE)), answer=lambda choice: next(refusals, None)
    )
    tuning.run()
    assert tuning.states[0].failures == 0
    assert journal.known(DEPTHWISE).keys() == set(space(DEPTHWISE, TARGET))


def test_a_disk_that_refuses_every_build_ends_the_session():
    device = FakeDevice(lambda name: good(DEPTHWISE))
    tuning, _, journal = session([task(DEPTHWISE)], device, answer=lambda choice: FullDiskError)
    with pytest.raises(ToolError, match="not measured: cannot be built: ld: No space left on device"):
        tuning.run()
    assert not journal.known(DEPTHWISE)


class FullDiskError(ToolError):
    """What a linker says, whatever it is asked."""

    def __init__(self, _asked: str) -> None:
        super().__init__("ld: No space left on device")


def test_without_any_device_the_session_ends_and_says_so():
    device = FakeDevice(lambda name: Measurement(error="no device 'rpi4' is free", lost=True))
    tuning, _, journal = session([task(DEPTHWISE)], device)
    with pytest.raises(ToolError, match=f"{MOST_LOST} candidates in a row were not measured: no device 'rpi4' is free"):
        tuning.run()
    assert not journal.known(DEPTHWISE)


def test_what_takes_most_of_the_time_is_tuned_first():
    costs = {DEPTHWISE: 1e-6, DENSE: 50e-6}
    outputs = {repr(choice): workload for workload in costs for choice in space(workload, TARGET)}
    device = FakeDevice(lambda name: good(outputs[name], costs[outputs[name]]))
    tuning, _, _ = session([task(DEPTHWISE), task(DENSE)], device, trials=10)
    seen: list[tuple[int, int]] = []
    tuning._observe = lambda snapshot: seen.append(tuple(state.trials for state in snapshot.states))  # type: ignore[assignment]
    tuning.run()
    assert seen[-1] == (10, 8)
    assert next(depthwise for depthwise, dense in seen if dense == 8) <= 6


def test_an_interrupt_passes_through_and_everything_measured_is_kept():
    journal = Notebook()

    def stop(snapshot) -> None:
        if snapshot.done >= 3:
            raise KeyboardInterrupt

    tuning, _, _ = session([task(DEPTHWISE)], FakeDevice(lambda name: good(DEPTHWISE)), journal=journal, observe=stop)
    with pytest.raises(KeyboardInterrupt):
        tuning.run()
    assert len(journal.known(DEPTHWISE)) >= 3
