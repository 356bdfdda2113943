"""Bfloat16 on 64-bit Arm: kernels and networks under qemu-aarch64, their instructions and what they spill."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import dscompile
from dscompile.api.networks import read_network
from dscompile.ir.ops import NONE, RELU6, SWISH
from dscompile.plan.bf16_tiles import bf16_tiling
from dscompile.plan.knobs import PixelKnobs
from dscompile.target import find_target
from tests.arm import run_network, stack_moves
from tests.bf16_kernels import BF16, conv_kernel, run_bf16
from tests.int8_kernels import Machine
from tests.kernels import assert_close
from tests.native import target_here

ROOT = Path(__file__).parents[2]
LANES, WORD = 4, 4
SUMS = 5e-6  # BFMMLA rounds sums to odd: twice the error of float32's, over some hundred channels


@pytest.mark.parametrize("channels", [1, 3, 17, 100])
def test_any_number_of_channels_is_summed_and_what_lies_behind_them_is_not(channels: int) -> None:
    kernel = conv_kernel(1, 15, channels, 2, 16, LANES, WORD, activation=RELU6)
    got, expected, _ = run_bf16(kernel, PixelKnobs(5, reread_weights=True), BF16)
    assert_close(got, expected, SUMS)


@pytest.mark.parametrize(("pixels", "panel"), [(1, 32), (7, 12), (11, 4)], ids=str)
def test_odd_tiles_strided_rows_and_residuals(pixels: int, panel: int) -> None:
    kernel = conv_kernel(
        2, pixels, 18, 2, panel, LANES, WORD, stride=(2, 2), activation=NONE, residual=True, residual_activation=SWISH
    )
    got, expected, _ = run_bf16(kernel, PixelKnobs(pixels, reread_weights=True), BF16)
    assert_close(got, expected, SUMS)


def test_bfmmla_in_plain_operations_gives_the_same_on_any_core() -> None:
    kernel = conv_kernel(1, 6, 18, 1, 8, LANES, WORD, activation=RELU6)
    got, expected, _ = run_bf16(kernel, PixelKnobs(6, reread_weights=True), Machine("arm64-neon", "cortex-a72"))
    assert_close(got, expected)


def test_a_pointwise_convolution_takes_two_fifths_of_the_instructions_of_float32() -> None:
    """0.294 per multiply-accumulate in float32 (test_arm_instructions.py); BFMMLA makes 16 at once: 0.0625."""
    tiling = bf16_tiling(192, 192 // LANES, 256, find_target("arm64-bf16"))
    (columns,), (panels,) = tiling.columns, tiling.blocks
    kernel = conv_kernel(1, 192, 256, panels.count, panels.tile * LANES, LANES, WORD, activation=RELU6)
    got, expected, counts = run_bf16(kernel, PixelKnobs(columns.tile, reread_weights=True), BF16)
    assert_close(got, expected, SUMS)
    assert counts.total / (192 * 256 * 192) <= 0.112
    assert counts.spills == 0


NET = """\
dscompile: 1
network:
  name: small
  input: {name: image, shape: [1, 15, 13, 3]}
  defaults: {activation: relu}
  layers:
    - conv: {name: stem, out: 17, kernel: 3, stride: 2}
    - separable: {name: block, out: 100, kernel: 3}
    - inverted_residual: {name: same, expand: 2, out: 100, squeeze_excite: 0.25}
    - conv: {name: strided, out: 36, kernel: 1, stride: 2}
    - pool: {kind: average, over: all}
    - dense: {name: last, out: 10, activation: none}
targets:
  arm64-bf16: {precision: bfloat16}
weights: {seed: 7}
"""


@pytest.mark.slow
def test_an_artifact_says_what_it_multiplies_and_passes_at_its_tolerance(tmp_path: Path) -> None:
    target_here("arm64-bf16")
    path = tmp_path / "net.yaml"
    path.write_text(NET)
    artifact = dscompile.build(path, "arm64-bf16", tmp_path / "artifact").artifact
    assert (artifact.manifest.precision, artifact.manifest.tolerance) == ("bfloat16", 0.2)
    assert "#define TOLERANCE 0.2" in artifact.selftest.read_text()
    done = dscompile.verify(artifact.directory)
    assert done.ok
    assert done.precision == "bfloat16"
    assert 1e-4 < done.max_rel_error < 2e-2  # a few layers of rounded factors


@pytest.mark.slow
def test_visual_wake_words_takes_fewer_instructions_and_spills_nothing() -> None:
    """0.326 per multiply-accumulate in float32; what stays float32 (first layer, depthwise) is a third of this."""
    target = target_here("arm64-bf16")
    network = read_network(ROOT / "tests" / "data" / "vww_96_float.tflite", None).network
    run = run_network(network, target, precision="bfloat16")
    assert np.isclose(run.macs, 7.5e6, rtol=0.1)
    assert run.instructions_per_mac <= 0.2
    assert [loop for loop in stack_moves(network, target, "bfloat16") if loop.kernel == "bf16_pointwise"] == []


@pytest.mark.seldom
@pytest.mark.slow
def test_mobilenet_v1_takes_less_than_half_the_instructions() -> None:
    """0.303 per multiply-accumulate in float32."""
    network = read_network(ROOT / "nets" / "mobilenet_v1.yaml", None).network
    run = run_network(network, target_here("arm64-bf16"), precision="bfloat16")
    assert run.instructions_per_mac <= 0.131
    assert run.spills_per_mac == 0.0
