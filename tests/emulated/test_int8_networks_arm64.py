"""Whole int8 networks for 64-bit Arm under qemu: byte for byte the oracle's results, in so many instructions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from dscompile import oracle
from dscompile.api.networks import read_network
from dscompile.emit.selftest import selftest_input
from dscompile.frontend.load import load_network
from dscompile.ir.network import Array, Network
from dscompile.quantization.calibration import observe, tensor_parameters
from dscompile.quantization.conversion import int8_network
from dscompile.quantization.lowering import lower
from dscompile.run.emulated import Count, EmulatedModel
from tests.native import opened, target_here

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Case:
    """A network, one input, and what the oracle makes of it."""

    network: Network
    inputs: Mapping[str, Array]
    wanted: Mapping[str, Array]


@lru_cache(maxsize=1)
def mobilenet_v1() -> Case:
    """MobileNetV1 1.0 224 with ranges of one input: as odd as any int8 network, and quickly made.

    Its logits are an output too, since random weights tell nothing apart behind a softmax.
    """
    real = lower(read_network(ROOT / "nets" / "mobilenet_v1.yaml", None).network)
    sample = {
        name: np.random.default_rng(1).uniform(-1, 1, real.shape(name)).astype(np.float32) for name in real.inputs
    }
    scales = tensor_parameters(real, observe(real, [sample], lambda _done, _total: None), "min-max", 1.0)
    integer = int8_network(real, scales, "tflite", least_error_kernels=False)
    (logits,) = integer.layers[-1].inputs
    return case_of(replace(integer, outputs=(logits, *integer.outputs)).validate())


def case_of(network: Network) -> Case:
    inputs = selftest_input(network)
    return Case(network, inputs, oracle.run(network, inputs))


def counted(case: Case, target: str) -> Count:
    """Instructions of one inference, whose results are the oracle's."""
    model = opened(case.network, target_here(target))
    assert isinstance(model, EmulatedModel)
    results = model.run(case.inputs)
    for name, wanted in case.wanted.items():
        np.testing.assert_array_equal(results[name], wanted)
    return model.count(case.inputs)


@pytest.mark.seldom
@pytest.mark.slow
@pytest.mark.parametrize(("target", "most"), [("arm64-dotprod", 0.102), ("arm64-i8mm", 0.074), ("arm64-neon", 0.285)])
def test_instructions_of_a_whole_mobilenet_v1(target: str, most: float):
    """With border, stem, halos, pool, softmax and driver."""
    case = mobilenet_v1()
    assert len(np.unique(case.wanted[case.network.outputs[0]])) > 100
    count = counted(case, target)
    macs = sum(layer.macs for layer in count.layers)
    assert macs > 567_000_000
    assert count.instructions / macs <= most, layer_table(count)
    assert sum(layer.instructions for layer in count.layers) > 0.998 * count.instructions


def layer_table(count: Count) -> str:
    """What to look at when there are too many: instructions of every layer, also per multiply-accumulate."""
    rows = (
        f"{layer.instructions:12,} {layer.instructions / layer.macs if layer.macs else 0:8.4f}  {layer.name}"
        for layer in count.layers
    )
    return "\n".join(["", *rows, f"{count.instructions:12,}           whole network"])


@pytest.mark.parametrize(("target", "most"), [("arm64-dotprod", 0.145), ("arm64-i8mm", 0.143), ("arm64-neon", 0.385)])
def test_instructions_of_keyword_spotting(target: str, most: float):
    """Whose first layer has one channel."""
    count = counted(case_of(load_network(ROOT / "tests" / "data" / "kws_ref_model_int8.tflite").network), target)
    macs = sum(layer.macs for layer in count.layers)
    assert count.instructions / macs <= most, layer_table(count)
