"""Modules of GPUs compute what NumPy computes, and move what the planner says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dscompile.ir.ops import HARD_SWISH, RELU6
from dscompile.plan.gpu.choice import ModuleShape, front
from dscompile.plan.gpu.costs import module_cost
from dscompile.plan.gpu.kernels import ModuleKernel, Stage
from dscompile.plan.knobs import ModuleKnobs
from dscompile.plan.layout import Blocked
from dscompile.schedule import scheduled
from tests.gpu_modules import GPU, TARGET, Outcome, run_module, stage
from tests.tools import require_tools

ODD = (17, 13)


def _chain(*stages: Stage) -> tuple[Stage, ...]:
    return stages


def _inverted_residual(channels: int, wide: int, out: int, kernel: int = 3, stride: int = 1) -> tuple[Stage, ...]:
    middle = stage("depthwise", (wide, wide), ODD, kernel, stride)
    return stage("expand", (channels, wide), ODD), middle, stage("project", (wide, out), middle.size)


CASES = {
    "pointwise 1 -> 17": _chain(stage("project", (1, 17), ODD)),
    "pointwise 100 -> 17": _chain(stage("project", (100, 17), ODD)),
    "conv 3x3 s2, 3 -> 17": _chain(stage("project", (3, 17), ODD, 3, 2)),
    "conv 5x5 d2, 17 -> 8": _chain(stage("project", (17, 8), ODD, 5, 1, 2)),
    "depthwise 3x3 s2 SAME, 17": _chain(stage("depthwise", (17, 17), (14, 16), 3, 2, 1, (0, 1, 0, 1))),
    "depthwise 3x3 VALID, 3": _chain(stage("depthwise", (3, 3), ODD, 3, 1, 1, (0, 0, 0, 0))),
    "depthwise 5x5 s2, 100": _chain(stage("depthwise", (100, 100), ODD, 5, 2)),
    "depthwise 7x7 d2, 8": _chain(stage("depthwise", (8, 8), ODD, 7, 1, 2)),
    "depthwise -> pointwise, 17 -> 100": _chain(
        stage("depthwise", (17, 17), ODD, 3, 2), stage("project", (17, 100), (9, 7))
    ),
    "pointwise -> depthwise, 20 -> 48": _chain(stage("expand", (20, 48), ODD), stage("depthwise", (48, 48), ODD, 3)),
    "inverted residual 24 -> 144 -> 24": _inverted_residual(24, 144, 24),
    "inverted residual 17 -> 36 -> 20, 5x5 s2": _inverted_residual(17, 36, 20, 5, 2),
}


def _check(outcome: Outcome, tolerance: float = 3e-6) -> None:
    scale = float(np.abs(outcome.expected).max())
    assert float(np.abs(outcome.got - outcome.expected).max()) <= tolerance * scale


@pytest.mark.parametrize("case", ["pointwise 100 -> 17", "depthwise 5x5 s2, 100", "inverted residual 24 -> 144 -> 24"])
def test_module_equals_numpy(case: str, rng: np.random.Generator) -> None:
    _compare(case, rng, lightest=False)


@pytest.mark.slow
@pytest.mark.sampled
@pytest.mark.parametrize("lightest", [False, True], ids=["fastest", "lightest"])
@pytest.mark.parametrize("case", CASES)
def test_every_module_equals_numpy(case: str, lightest: bool, rng: np.random.Generator) -> None:
    _compare(case, rng, lightest=lightest)


def _compare(case: str, rng: np.random.Generator, *, lightest: bool) -> None:
    require_tools("g++")
    outcome = run_module(CASES[case], rng, lightest=lightest)
    _check(outcome)
    assert outcome.traffic.shared_bytes <= outcome.plan.cost.shared_bytes


def test_residual_and_activation_of_the_last_stage(rng: np.random.Generator) -> None:
    require_tools("g++")
    _check(run_module(_inverted_residual(20, 40, 20), rng, residual=True))
    _check(run_module(CASES["pointwise 100 -> 17"], rng, activation=HARD_SWISH))


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
def test_first_layers_read_the_image_of_the_user(layout: str, rng: np.random.Generator) -> None:
    require_tools("g++")
    first = stage("expand", (3, 17), (19, 21), 3, 2)
    middle = stage("depthwise", (17, 17), first.size, 3)
    _check(run_module((first, middle, stage("project", (17, 24), middle.size)), rng, flat=layout))
    _check(run_module((stage("project", (3, 16), (19, 21), 3, 2),), rng, flat=layout))


@pytest.mark.parametrize("case", ["conv 3x3 s2, 3 -> 17", "depthwise 5x5 s2, 100", "inverted residual 24 -> 144 -> 24"])
def test_the_planner_knows_every_byte_of_activations(case: str, rng: np.random.Generator) -> None:
    require_tools("g++")
    outcome = run_module(CASES[case], rng)
    cost = outcome.plan.cost
    stored = outcome.traffic.traffic("other").store_bytes
    assert stored == cost.output_bytes
    # Weights lie in the same kind of memory here: conv stages bring each of theirs into shared memory once per block.
    depthwise = any(one.is_depthwise for one in outcome.kernel.stages)
    loaded = outcome.traffic.traffic("other").load_bytes
    assert loaded >= cost.input_bytes + (0 if depthwise else cost.weight_bytes)


def test_passes_read_their_input_once(rng: np.random.Generator) -> None:
    """A block that makes its channels in passes keeps the tile of its input."""
    require_tools("g++")
    stages = CASES["pointwise -> depthwise, 20 -> 48"]
    plans = front(ModuleShape(stages), GPU)
    assert any(plan.knobs.passes > 1 for plan in plans)


def test_tiles_that_do_not_divide_are_refused() -> None:
    stages = _chain(stage("project", (8, 24), (8, 8)))
    image = Blocked(8, 8, 8, 4).strides
    kernel = ModuleKernel((replace(stages[0], finish=RELU6),), 8, 8, image, image)
    with pytest.raises(ValueError, match=r"knob block_quads \* passes = 4 does not divide 6"):
        scheduled(kernel, ModuleKnobs(block_quads=4, step=2), TARGET)


def test_what_does_not_fit_on_a_multiprocessor_has_no_cost() -> None:
    one = stage("depthwise", (512, 512), (64, 64), 3)
    image = Blocked(64, 64, 512, 4).strides
    kernel = ModuleKernel((one,), 64, 64, image, image)
    assert module_cost(kernel, ModuleKnobs(thread_rows=8, block_quads=1), GPU) is None  # 69 KB of shared memory


def test_stages_that_do_not_fit_together_are_refused() -> None:
    image = Blocked(8, 8, 8, 4).strides
    with pytest.raises(ValueError, match="stage project does not read what stage depthwise makes"):
        ModuleKernel((stage("depthwise", (8, 8), (8, 8), 3), stage("project", (12, 8), (8, 8))), 8, 8, image, image)
    with pytest.raises(ValueError, match="no module has the stages"):
        ModuleKernel((stage("expand", (8, 8), (8, 8)),), 8, 8, image, image)
