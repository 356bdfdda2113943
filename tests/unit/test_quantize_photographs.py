"""A trained MobileNetV1-0.25 (MLPerf Tiny's visual wake words), quantized on photographs, beside its float original.

The photographs are split in three. Each third is held out once: the network that is measured on its crops was quantized
on crops of the others. No crop is left out, however close float32 finds its two classes. Quantizing takes longest: the
first third alone is held out in every run, and as many crops are of it, and each of the three with `--all-cases`.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dscompile.frontend.load import load_network
from dscompile.ir.network import Network
from dscompile.ir.storage import WeightBits
from dscompile.oracle import run
from dscompile.quantization import Settings, WeightRounding, quantize_network
from dscompile.quantization.batches import batched, in_batches
from dscompile.quantization.conversion import dequantize_array
from dscompile.quantization.measure import quantize_sample
from tests import models
from tests.photographs import crops, split

VWW = Path(__file__).resolve().parents[1] / "data" / "vww_96_float.tflite"
PARTS = 3

Scores = NDArray[np.float64]


@cache
def float_network() -> Network:
    return load_network(VWW).network


@cache
def our_network(part: int, weight_rounding: WeightRounding = "optimized", weight_type: WeightBits = "int8") -> Network:
    """Quantized on 96 crops of photographs of which none is in this part."""
    network = float_network()
    known, _ = split(part, PARTS)
    calibration = [{network.inputs[0]: crop[None]} for crop in crops(known, 96, 96, seed=1)]
    settings = Settings(weight_rounding=weight_rounding, weight_type=weight_type)
    return quantize_network(network, calibration, settings).network


def scores(network: Network, part: int, count: int, seed: int) -> Scores:
    """The scores [count, 2] of a float32 or int8 network on crops of the photographs that this part holds out."""
    (name,), (output,) = network.inputs, network.outputs
    _, held_out = split(part, PARTS)
    made = []
    for batch in in_batches(network, [{name: crop[None]} for crop in crops(held_out, count, 96, seed)]):
        given = quantize_sample(network, batch.sample) if network.is_quantized else batch.sample
        found = run(batched(network, batch.count), given)[output]
        made.append(dequantize_array(found, network.tensor(output).quantization).reshape(batch.count, -1))
    return np.concatenate(made)


@cache
def both_scores(parts: int, count: int, seed: int) -> tuple[Scores, Scores]:
    """The scores of float32 and of our int8 on `count` crops of the first so many parts, each held out once."""
    wanted, got = [], []
    for part in range(parts):
        share = (count + part) // parts
        wanted.append(scores(float_network(), part, share, seed))
        got.append(scores(our_network(part), part, share, seed))
    return np.concatenate(wanted), np.concatenate(got)


def same_class(first: Scores, second: Scores) -> NDArray[np.bool_]:
    return np.asarray(first.argmax(axis=1) == second.argmax(axis=1))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("parts", "count", "seed", "least"),
    [
        (1, 200, 2, 0.99),
        pytest.param(PARTS, 200, 2, 0.99, marks=pytest.mark.seldom),
        pytest.param(PARTS, 400, 3, 0.985, marks=pytest.mark.seldom),
    ],
)
def test_a_trained_mobilenet_agrees_with_float_on_photographs_it_was_not_calibrated_on(
    parts: int, count: int, seed: int, least: float, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted, got = both_scores(parts, count, seed)
    assert wanted.shape == got.shape == (count, 2)
    same = same_class(wanted, got)
    with capsys.disabled():
        print(f"\ntop-1 agreement {same.mean():.4f} of {count}; mean error {np.abs(wanted - got).mean():.4f}")
    assert same.mean() >= least
    assert np.abs(wanted - got).mean() < 0.015


@pytest.mark.seldom
@pytest.mark.slow
def test_optimized_rounding_is_nearer_to_float_than_the_nearest_integers(capsys: pytest.CaptureFixture[str]) -> None:
    wanted = scores(float_network(), 0, 200, seed=2)
    errors = {
        how: np.abs(wanted - scores(our_network(0, how), 0, 200, seed=2)).mean() for how in ("nearest", "optimized")
    }
    with capsys.disabled():
        print("\nmean error: " + ", ".join(f"{how} {error:.4f}" for how, error in errors.items()))
    assert errors["optimized"] < 0.95 * errors["nearest"]


@pytest.mark.seldom
@pytest.mark.slow
def test_weights_of_four_bits_agree_as_the_documentation_says() -> None:
    wanted, got = scores(float_network(), 0, 200, seed=2), scores(our_network(0, weight_type="int4"), 0, 200, seed=2)
    assert same_class(wanted, got).mean() >= 0.97
    assert np.abs(wanted - got).mean() < 0.03


@pytest.mark.slow
@pytest.mark.models
def test_it_is_nearer_to_float_than_the_int8_model_of_mlperf_tiny(capsys: pytest.CaptureFixture[str]) -> None:
    theirs = load_network(models.model_path("vww_96_int8.tflite")).network
    wanted, got = both_scores(1, 200, seed=2)
    other = scores(theirs, 0, 200, seed=2)
    own_error, their_error = np.abs(wanted - got).mean(), np.abs(wanted - other).mean()
    with capsys.disabled():
        agreement = same_class(wanted, other).mean()
        print(f"\nmean error: own {own_error:.4f}; MLPerf Tiny {their_error:.4f}, its agreement {agreement:.4f}")
    assert own_error < their_error
