"""Candidates: one layer that is exactly the wanted workload, compiled as a build would, with the oracle's numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dscompile.plan.choices import ConvChoice
from dscompile.plan.spaces import rule, space
from dscompile.plan.workloads import (
    ConvWorkload,
    DenseWorkload,
    DepthwiseWorkload,
    Int8ConvWorkload,
    Int8DepthwiseWorkload,
)
from dscompile.target import find_target, resolve_target
from dscompile.tuner.candidates import Job, build_candidate, output_of
from dscompile.tuner.harness import harness
from dscompile.tuner.this_machine import local_devices
from tests.tools import require_tools

WORKLOADS = [
    ConvWorkload(1, 49, 3, 24),
    ConvWorkload(14, 14, 2, 17),
    ConvWorkload(5, 7, 1, 3, (3, 3), (2, 2), blocked=False),
    ConvWorkload(5, 7, 2, 3, (3, 3)),
    ConvWorkload(4, 4, 1, 16, (3, 3), (1, 1), (2, 2)),
    DepthwiseWorkload(7, 9, 3, (5, 5), (2, 2)),
    DepthwiseWorkload(6, 6, 2, (3, 3), (1, 1), (2, 2)),
    DepthwiseWorkload(5, 5, 1, (7, 7)),
    DenseWorkload(100, 17),
    Int8ConvWorkload(1, 21, 2, 40),
    Int8ConvWorkload(5, 5, 1, 17, (3, 3), (2, 2)),
    Int8ConvWorkload(5, 5, 1, 9, (3, 1), (2, 1)),
    Int8DepthwiseWorkload(6, 5, 2),
]
TARGETS = ["x86-avx2", "x86-avx512", "arm64-neon", "arm64-dotprod", "arm64-i8mm"]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("workload", WORKLOADS, ids=str)
def test_the_layer_of_a_harness_is_the_wanted_workload(workload, target):
    machine = find_target(target)
    program = harness(workload, machine).program(workload, rule(workload, machine), machine)
    assert [chosen.workload for chosen in program.chosen] == [workload]
    assert [chosen.source for chosen in program.chosen] == ["record"]


def test_a_choice_that_makes_another_workload_is_refused():
    machine = find_target("x86-avx2")
    workload = ConvWorkload(1, 49, 3, 24)
    other = replace(workload, channels=25)
    with pytest.raises(ValueError, match="became"):
        harness(workload, machine).program(other, rule(other, machine), machine)


def test_outputs_are_neither_all_clamped_nor_all_the_same():
    for target in ("x86-avx2", "arm64-neon"):
        for workload in WORKLOADS:
            expected = harness(workload, find_target(target)).expected()
            low, high = expected.min(), expected.max()
            assert np.mean((expected > low) & (expected < high)) > 0.2, (target, workload)


@pytest.mark.slow
@pytest.mark.parametrize("workload", WORKLOADS, ids=str)
def test_any_choice_computes_what_the_oracle_does(workload):
    machine = resolve_target("host")
    devices = local_devices(machine)
    choices = list(space(workload, machine))
    picked = {rule(workload, machine), choices[0], choices[len(choices) // 2], choices[-1]}
    try:
        for choice in picked:
            candidate = build_candidate(Job(workload, choice, machine, devices.form))
            measurement = devices.submit(candidate.runnable).result()
            assert measurement.error == ""
            assert len(measurement.samples) >= 3
            assert min(measurement.samples) > 0
            got = output_of(candidate, measurement.output, machine)
            expected = harness(workload, machine).expected()
            if expected.dtype == np.int8:
                assert (got == expected).all()
            else:
                assert np.abs(got - expected).max() <= 1e-5 * np.abs(expected).max()
    finally:
        devices.close()


@pytest.mark.slow
@pytest.mark.parametrize("target", ["arm64-neon", "arm64-dotprod", "arm64-i8mm"])
def test_instructions_are_counted_where_the_target_does_not_run(target):
    require_tools("qemu-aarch64")
    machine = find_target(target)
    devices = local_devices(machine)
    workload = Int8ConvWorkload(1, 21, 2, 40)
    try:
        candidate = build_candidate(Job(workload, rule(workload, machine), machine, devices.form))
        first, second = (devices.submit(candidate.runnable).result() for _ in range(2))
    finally:
        devices.close()
    assert devices.unit == "instructions"
    assert (first.error, first.samples) == ("", second.samples)
    assert 0.02 < first.samples[0] / workload.macs(machine.lanes) < 2
    assert (output_of(candidate, first.output, machine) == harness(workload, machine).expected()).all()


def test_a_choice_of_another_kind_is_a_mistake_of_the_caller():
    machine = find_target("x86-avx2")
    workload = DepthwiseWorkload(6, 6, 2)
    with pytest.raises(TypeError, match="is tuned with ConvChoice"):
        build_candidate(Job(workload, ConvChoice(1, 1), machine))
