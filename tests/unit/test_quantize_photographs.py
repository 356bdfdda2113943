"""A trained MobileNetV1-0.25 (MLPerf Tiny's visual wake words), quantized on photographs, beside its float original."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dscompile.frontend.load import load_network
from dscompile.oracle import run
from dscompile.quantize import Settings, quantize_network
from dscompile.quantize.conversion import dequantize_array
from dscompile.quantize.measure import quantize_sample
from tests import models
from tests.photographs import CALIBRATION, HELD_OUT, crops

VWW = Path(__file__).resolve().parents[1] / "data" / "vww_96_float.tflite"


@pytest.mark.slow
def test_a_trained_mobilenet_agrees_with_float_on_photographs_it_was_not_calibrated_on(capsys) -> None:
    network = load_network(VWW).network
    (name,) = network.inputs
    calibration = [{name: crop[None]} for crop in crops(CALIBRATION, 48, 96, seed=1)]
    held_out = [{name: crop[None]} for crop in crops(HELD_OUT, 200, 96, seed=2)]
    result = quantize_network(network, calibration, Settings(), against=held_out)
    assert result.against is not None
    with capsys.disabled():
        print(f"\nown int8: {result.against}")
    assert result.against.top1 is not None
    assert result.against.top1 >= 0.99
    assert result.against.cosine > 0.998
    assert all(layer.sqnr_db > 15 for layer in result.layers)


@pytest.mark.slow
@pytest.mark.models
def test_it_is_no_worse_than_the_int8_model_of_mlperf_tiny(capsys) -> None:
    network, theirs = load_network(VWW).network, load_network(models.model_path("vww_96_int8.tflite")).network
    (name,), (their_name,) = network.inputs, theirs.inputs
    (output,), (their_output,) = network.outputs, theirs.outputs
    calibration = [{name: crop[None]} for crop in crops(CALIBRATION, 48, 96, seed=1)]
    ours = quantize_network(network, calibration, Settings()).network
    errors = []
    for crop in crops(HELD_OUT, 100, 96, seed=3):
        sample = {name: crop[None]}
        wanted = run(network, sample)[output]
        answers = (
            (run(ours, quantize_sample(ours, sample))[output], ours.tensor(output)),
            (run(theirs, quantize_sample(theirs, {their_name: crop[None]}))[their_output], theirs.tensor(their_output)),
        )
        errors.append([np.abs(dequantize_array(got, tensor.quantization) - wanted).max() for got, tensor in answers])
    own, other = np.mean(errors, axis=0)
    with capsys.disabled():
        print(f"\nmean error of the score: own int8 {own:.4f}, MLPerf Tiny's int8 {other:.4f}")
    assert own < 1.5 * other
