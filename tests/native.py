"""From a network to its loaded artifact in one call, and a comparison with the oracle on poisoned memory."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from dscompile.api.reference import oracle_outputs
from dscompile.emit.native import write_artifact
from dscompile.emit.selftest import selftest_input
from dscompile.ir.network import Array, Network
from dscompile.passes import canonicalize
from dscompile.plan.lowering import plan_program
from dscompile.plan.program import Program
from dscompile.run.emulators.qemu_user import PROGRAM
from dscompile.run.native import NativeModel
from dscompile.run.opening import RunnableModel, open_model
from dscompile.target import Target, find_target, runs_here
from tests.comparing import expected_outputs, wrong_outputs
from tests.mcu import random_inputs
from tests.tools import require_tools

# What this machine runs comes first: tests that take one target, or only the first in the fast set, are not skipped.
TARGETS = tuple(sorted(("x86-avx512", "x86-avx2"), key=lambda name: not runs_here(find_target(name))))
ARM = "arm64-neon"
# For tests of single kernels, of which there are many: other targets only in the slow set.
TARGETS_FIRST_FAST = (TARGETS[0], *(pytest.param(name, marks=pytest.mark.slow) for name in (TARGETS[1], ARM)))
TOLERANCE = 1e-4  # of an output's largest magnitude


def target_here(name: str) -> Target:
    """The target, or the test is skipped by the name of what the CPU or its emulation lacks."""
    target = find_target(name)
    if target.family == "arm64" and not runs_here(target):
        require_tools(PROGRAM, target.compiler)
    elif not runs_here(target):
        pytest.skip(f"this CPU does not run {name}")
    return target


def planned(network: Network, target: Target) -> Program:
    """The program of a network that need not be canonical."""
    return plan_program(canonicalize(network), target)


def load(network: Network, target: Target) -> NativeModel:
    """The network built for `target` and loaded; its arena holds NaN until the first run."""
    model = opened(network, target)
    assert isinstance(model, NativeModel)
    return model


def opened(network: Network, target: Target) -> RunnableModel:
    """The network built for `target` and loaded here, or made ready for an emulator."""
    from dscompile.schedule.native import compile_functions

    program = planned(network, target)
    inputs = selftest_input(network)
    kernels = compile_functions(program.functions, target)
    with tempfile.TemporaryDirectory(prefix="dscompile-") as scratch:
        expected = oracle_outputs(network, inputs)
        artifact = write_artifact(program, kernels, inputs, expected, Path(scratch) / "artifact", origin="test")
        return open_model(artifact)


def input_sets(network: Network, seed: int) -> list[dict[str, Array]]:
    """Two inputs in border shapes: floats uniform in [-1, 1), then normal of deviation 2; integers uniform."""
    return [selftest_input(network), random_inputs(network, seed)]


def differences(
    model: RunnableModel, network: Network, inputs: Sequence[dict[str, Array]], *, near: bool = False
) -> list[str]:
    """Every output that differs from the oracle's, over runs one after another in one arena.

    Floats may differ by TOLERANCE, integers not at all; with `near`, an index may also be that of an element which is
    as large but for rounding.
    """
    found = []
    for number, feeds in enumerate(inputs):
        expected, others = expected_outputs(network, feeds)
        wrong = wrong_outputs(model.run(feeds), expected, others if near else {}, TOLERANCE)
        found += [f"run {number}, {text}" for text in wrong]
    return found


def assert_equals_oracle(network: Network, target: Target, seed: int = 0) -> None:
    """Builds the network and compares two runs with the oracle."""
    assert differences(opened(network, target), network, input_sets(network, seed)) == []
