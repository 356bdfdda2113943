"""Inner loops for 64-bit Arm and the stack: what the disassembly of every kernel of the real networks says."""

from __future__ import annotations

from pathlib import Path

import pytest

from dscompile.api.networks import read_network
from tests.arm import stack_moves
from tests.models import model_path
from tests.native import target_here

TESTS = Path(__file__).parents[1]
# Network, target -> innermost loops that read or write the stack, and the most such instructions in one of them. Where
# they are not 0, docs/decisions/arm64-schedules.md says what else was tried.
IN_TREE = {
    ("micro_speech_quantized.tflite", "arm64-dotprod"): (0, 0),
    ("micro_speech_quantized.tflite", "arm64-neon"): (0, 0),
    ("micro_speech_quantized.tflite", "arm64-i8mm"): (0, 0),
    ("kws_ref_model_int8.tflite", "arm64-dotprod"): (0, 0),
    ("kws_ref_model_int8.tflite", "arm64-neon"): (0, 0),
    ("kws_ref_model_int8.tflite", "arm64-i8mm"): (0, 0),
    ("vww_96_int8.tflite", "arm64-dotprod"): (0, 0),
    ("vww_96_int8.tflite", "arm64-neon"): (0, 0),
    ("vww_96_int8.tflite", "arm64-i8mm"): (0, 0),
    ("vww_96_float.tflite", "arm64-neon"): (0, 0),
}
MODELS = {
    ("face_landmark.tflite", "arm64-neon"): (0, 0),
    ("onnx/mobilenetv3_large_100.onnx", "arm64-neon"): (0, 0),
    ("onnx/efficientnet_b0.onnx", "arm64-neon"): (12, 7),
    ("pretrainedResnet_quant.tflite", "arm64-dotprod"): (0, 0),
    ("pretrainedResnet_quant.tflite", "arm64-neon"): (0, 0),
    ("pretrainedResnet_quant.tflite", "arm64-i8mm"): (0, 0),
}


def check(path: Path, target: str, loops: int, moves: int) -> None:
    found = stack_moves(read_network(path, None).network, target_here(target))
    assert len(found) <= loops, found
    assert max((loop.moves for loop in found), default=0) <= moves, found


@pytest.mark.every_case
@pytest.mark.parametrize(
    ("name", "target"),
    [pytest.param(name, target, marks=() if "micro" in name else pytest.mark.slow) for name, target in IN_TREE],
)
def test_inner_loops_of_small_networks_keep_off_the_stack(name: str, target: str) -> None:
    check(TESTS / "data" / name, target, *IN_TREE[name, target])


@pytest.mark.slow
@pytest.mark.models
@pytest.mark.sampled
@pytest.mark.parametrize(("name", "target"), MODELS)
def test_inner_loops_of_models_keep_off_the_stack(name: str, target: str) -> None:
    check(model_path(name), target, *MODELS[name, target])


@pytest.mark.slow
def test_inner_loops_of_mobilenet_v1_keep_off_the_stack() -> None:
    check(TESTS.parent / "nets" / "mobilenet_v1.yaml", "arm64-neon", 0, 0)
