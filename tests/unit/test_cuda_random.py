"""Random networks as CUDA beside the oracle, with every access to memory checked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dscompile.ir.network import Array, Network
from dscompile.oracle import from_border, to_border
from dscompile.oracle.execute import run
from dscompile.passes import canonicalize
from dscompile.plan.gpu.lowering import plan_gpu_program
from dscompile.report.vectors import seeded_inputs
from dscompile.run.cuda import ShimModel
from dscompile.target import find_target
from tests.gpu_networks import sources_of
from tests.int8_networks import random_int8_network
from tests.networks import random_network
from tests.tools import require_tools

pytestmark = pytest.mark.slow

TOLERANCE = 1e-5


def _results(network: Network, seed: int, scratch: Path) -> list[tuple[Array, Array]]:
    """What the CUDA artifact and the oracle give for each output."""
    require_tools("g++")
    canonical = canonicalize(network)
    artifact = sources_of(plan_gpu_program(canonical, find_target("cuda-sm80")), scratch / "artifact")
    inputs = seeded_inputs(artifact.manifest.inputs, seed)
    got = ShimModel(artifact, scratch, checked=True).run(inputs)
    expected = run(canonical, {name: from_border(canonical.tensor(name), inputs[name]) for name in canonical.inputs})
    return [(got[name], to_border(canonical.tensor(name), expected[name])) for name in canonical.outputs]


@pytest.mark.parametrize("seed", range(30))
def test_random_networks_equal_the_oracle(seed: int, tmp_path: Path) -> None:
    for got, expected in _results(random_network(seed), seed, tmp_path):
        assert got.shape == expected.shape
        assert float(np.abs(got - expected).max()) <= TOLERANCE * max(1.0, float(np.abs(expected).max()))


@pytest.mark.parametrize("seed", range(15))
def test_random_int8_networks_give_the_bytes_of_the_oracle(seed: int, tmp_path: Path) -> None:
    for got, expected in _results(random_int8_network(seed), seed, tmp_path):
        np.testing.assert_array_equal(got, expected)
