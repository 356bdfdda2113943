"""A trained MobileNetV1-0.25 (MLPerf Tiny's visual wake words), quantized on photographs, beside its float original."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dscompile.frontend.load import load_network
from dscompile.ir.network import Network
from dscompile.oracle import run
from dscompile.quantize import Settings, quantize_network
from dscompile.quantize.conversion import dequantize_array
from dscompile.quantize.measure import quantize_sample
from tests import models
from tests.photographs import CALIBRATION, HELD_OUT, crops

VWW = Path(__file__).resolve().parents[1] / "data" / "vww_96_float.tflite"

Scores = NDArray[np.float64]


@cache
def held_out_scores(count: int) -> tuple[Scores, Scores]:
    """The scores [count, 2] of the float network and of its int8 form, on photographs it was not calibrated on."""
    network = load_network(VWW).network
    calibration = [{network.inputs[0]: crop[None]} for crop in crops(CALIBRATION, 96, 96, seed=1)]
    ours = quantize_network(network, calibration, Settings()).network
    return scores(network, count), scores(ours, count)


def scores(network: Network, count: int) -> Scores:
    """The scores [count, 2] of a float32 or int8 network on held-out crops."""
    (name,), (output,) = network.inputs, network.outputs
    made = []
    for crop in crops(HELD_OUT, count, 96, seed=2):
        sample = {name: crop[None]}
        given = quantize_sample(network, sample) if network.is_quantized else sample
        made.append(dequantize_array(run(network, given)[output], network.tensor(output).quantization).reshape(-1))
    return np.stack(made)


@pytest.mark.slow
def test_a_trained_mobilenet_agrees_with_float_on_photographs_it_was_not_calibrated_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    wanted, got = held_out_scores(200)
    same = wanted.argmax(axis=1) == got.argmax(axis=1)
    clear = np.abs(wanted[:, 0] - wanted[:, 1]) > 0.1
    with capsys.disabled():
        print(f"\ntop-1 agreement {same.mean():.4f} of 200; of the {clear.sum()} clear ones {same[clear].mean():.4f}")
    assert clear.sum() > 150
    assert same[clear].mean() >= 0.99
    # Of crops that float32 itself calls a draw, some fall to the other side.
    assert same.mean() >= 0.97
    assert np.abs(wanted - got).mean() < 0.02


@pytest.mark.slow
@pytest.mark.models
def test_it_is_nearer_to_float_than_the_int8_model_of_mlperf_tiny(capsys: pytest.CaptureFixture[str]) -> None:
    theirs = load_network(models.model_path("vww_96_int8.tflite")).network
    wanted, got = held_out_scores(200)
    other = scores(theirs, 200)
    own_error, their_error = np.abs(wanted - got).mean(), np.abs(wanted - other).mean()
    same = (wanted.argmax(axis=1) == other.argmax(axis=1)).mean()
    with capsys.disabled():
        print(
            f"\nmean error: own {own_error:.4f}; MLPerf Tiny's int8 {their_error:.4f}, its top-1 agreement {same:.4f}"
        )
    assert own_error < their_error
