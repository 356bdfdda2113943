"""Standalone C at the ends of its inputs' ranges, and in arenas that hold anything: every template and helper."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from dscompile.frontend.load import load_network
from dscompile.target import find_target
from tests.comparing import expected_outputs, wrong_outputs
from tests.every_template import artifact_of, network_of
from tests.extremes import beyond_numbers, extreme_inputs, wrong_at_extremes
from tests.golden.mcu_cases import CASES
from tests.mcu import FLOAT_TOLERANCE, HostModel, here, write
from tests.sanitized import MEMORY_SANITIZER, SanitizedModel

DATA = Path(__file__).parents[1] / "data"
TRAINED = ("kws_ref_model_int8", "vww_96_int8", "micro_speech_quantized", "mww_alexa")
# Nothing in it is converted to another type, so that a NaN goes through as it does through the oracle.
FLOATS = [name for name, case in CASES.items() if case.network().rounding is None]
pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")


@pytest.mark.every_case
@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_outputs_are_the_oracles_at_extremes_whatever_the_arena_held(name: str) -> None:
    network, model = network_of(name), HostModel(artifact_of(name), flags=("-O0",))
    assert wrong_at_extremes(model, network) == []
    inputs = extreme_inputs(network)["alternating by channel"]
    random = np.random.default_rng(0).integers(0, 256, model.arena_bytes, np.uint8)
    results = []
    for held in (np.uint8(0), np.uint8(0xFF), np.uint8(0x7F), random, ~random):
        model.fill_arena(held)
        results.append({output: array.tobytes() for output, array in model.run(inputs).items()})
    assert results == [results[0]] * 5


@pytest.mark.parametrize("name", FLOATS)
def test_floats_beyond_all_numbers_are_no_undefined_behavior(name: str, tmp_path: Path) -> None:
    model = SanitizedModel(artifact_of(name), "gcc", tmp_path)
    for inputs in beyond_numbers(network_of(name)).values():
        model.run(inputs)


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith(("borders", "sums"))])
def test_floats_beyond_all_numbers_become_the_integers_of_the_oracle(name: str) -> None:
    network, model = network_of(name), HostModel(artifact_of(name))
    for inputs in beyond_numbers(network).values():
        expected, others = expected_outputs(network, inputs)
        assert list(wrong_outputs(model.run(inputs), expected, others, FLOAT_TOLERANCE)) == []


@pytest.mark.slow
@pytest.mark.sampled
@pytest.mark.parametrize("name", CASES)
def test_nothing_is_read_that_was_never_written(name: str, tmp_path: Path) -> None:
    """What the arena holds before matters to no branch, no address and no output."""
    model = SanitizedModel(artifact_of(name), "clang", tmp_path, MEMORY_SANITIZER)
    model.run(extreme_inputs(network_of(name))["alternating by element"])


@pytest.mark.slow
@pytest.mark.sampled
@pytest.mark.parametrize("core", ["c99", "cortex-m4", "cortex-m55"])
@pytest.mark.parametrize("name", TRAINED)
def test_a_trained_network_is_exact_at_extremes(name: str, core: str, tmp_path: Path) -> None:
    network = load_network(DATA / f"{name}.tflite").network
    target = find_target("c99") if core == "c99" else here(core)
    assert wrong_at_extremes(HostModel(write(network, tmp_path / "a", target, measured=False)), network) == []
