"""Real networks, built for both vector widths, against the runtimes their models came from."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import dscompile
from dscompile.run.selftest import SANITIZERS, run_selftest
from tests.models import model_path
from tests.native import TARGETS, target_here

pytestmark = [pytest.mark.slow, pytest.mark.models]

VWW = "vww_96_float.tflite"
ONNX = ["mobilenetv1_100", "mobilenetv2_100", "mobilenetv2_100.bn", "mobilenetv3_large_100", "shufflenetv2_x1_0"]
CASES = [(name, target) for name in (VWW, *(f"onnx/{name}.onnx" for name in ONNX)) for target in TARGETS]


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Callable:
    """(model, target) -> the built model, made once."""
    models: dict[tuple[str, str], dscompile.Model] = {}

    def built(name: str, target: str) -> dscompile.Model:
        source = model_path(name)
        target_here(target)
        if (name, target) not in models:
            output = tmp_path_factory.mktemp("models") / "artifact"
            models[name, target] = dscompile.build(source, target, output)
        return models[name, target]

    return built


def images(shape: tuple[int, ...]) -> list[np.ndarray]:
    """Noise, a smooth image, nothing, and one bright pixel."""
    rng = np.random.default_rng(3)
    spot = np.zeros(shape, np.float32)
    spot.reshape(-1)[spot.size // 2 + 5] = 8.0
    smooth = np.sin(np.arange(spot.size, dtype=np.float32) / 97).reshape(shape)
    return [rng.standard_normal(shape).astype(np.float32), smooth, np.zeros(shape, np.float32), spot]


def litert(path: Path) -> Callable:
    from ai_edge_litert import interpreter

    runner = interpreter.Interpreter(str(path), num_threads=1)
    runner.allocate_tensors()

    def run(x):
        runner.set_tensor(runner.get_input_details()[0]["index"], x)
        runner.invoke()
        return runner.get_tensor(runner.get_output_details()[0]["index"])

    return run


def onnxruntime(path: Path) -> Callable:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {session.get_inputs()[0].name: x})[0]


def assert_agree(model: dscompile.Model, reference: Callable, tolerance: float) -> None:
    (tensor,) = model.artifact.manifest.inputs
    for x in images(tensor.border_shape):
        expected = reference(x)
        got = model(x)
        assert got.shape == expected.shape
        error = np.abs(got - expected).max() / np.abs(expected).max()
        assert error <= tolerance


@pytest.mark.parametrize("target", TARGETS)
def test_visual_wake_words_equals_litert(target, built):
    assert_agree(built(VWW, target), litert(model_path(VWW)), 1e-5)


@pytest.mark.sampled
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", ONNX)
def test_a_classifier_equals_onnxruntime(name, target, built):
    path = model_path(f"onnx/{name}.onnx")
    assert_agree(built(f"onnx/{name}.onnx", target), onnxruntime(path), 1e-4)


@pytest.mark.parametrize("target", TARGETS)
def test_mobilenet_v2_is_its_weights_and_little_more(target, built):
    model = built("onnx/mobilenetv2_100.onnx", target)
    parameters = 3_504_872 - 17_056  # torchvision's count, without the scales of the batch norms that were folded
    assert model.artifact.shared_library.stat().st_size <= 4 * parameters + 1_500_000


LOADER = """
import ctypes, sys, time
start = time.perf_counter()
ctypes.CDLL(sys.argv[1], mode=2)
print(time.perf_counter() - start)
"""


@pytest.mark.parametrize("target", TARGETS)
def test_mobilenet_v2_loads_in_50_ms(target, built):
    library = built("onnx/mobilenetv2_100.onnx", target).artifact.shared_library
    command = [sys.executable, "-c", LOADER, str(library)]
    seconds = [float(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(5)]
    assert min(seconds) < 0.05


@pytest.mark.sampled
@pytest.mark.parametrize(("name", "target"), CASES)
def test_only_the_interface_is_exported(name, target, built):
    artifact = built(name, target).artifact
    prefix = artifact.manifest.c_name
    lines = subprocess.run(
        ["nm", "-D", "--defined-only", str(artifact.shared_library)], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    exported = {line.split()[-1] for line in lines}
    shared = ("run_parallel", "pool_start", "pool_stop")
    parts = ("run", "run_profiled", "input", "output", "layers", "fingerprint", *shared)
    assert exported == {f"{prefix}_{part}" for part in parts}


@pytest.mark.parametrize("target", TARGETS)
def test_the_selftest_runs_clean_under_sanitizers(target, built):
    result = run_selftest(built(VWW, target).artifact, SANITIZERS)
    assert result.passed, result.message


THREADS = """
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include "HEADER"

static NET_arena arenas[2];
static float inputs[2][PREFIX_INPUT_SIZE], outputs[2][2][PREFIX_OUTPUT_SIZE];

static void *work(void *argument)
{
    const int who = *(const int *)argument;
    for (int repeat = 0; repeat < 20; ++repeat) {
        memset(&arenas[who], 0xff, sizeof arenas[who]);
        if (NET_run(&arenas[who], inputs[who], outputs[1][who]) != PREFIX_OK ||
            memcmp(outputs[1][who], outputs[0][who], sizeof outputs[1][who]) != 0) {
            return argument;
        }
    }
    return NULL;
}

int main(void)
{
    static const int who[2] = {0, 1};
    pthread_t threads[2];
    void *failed[2];
    for (int index = 0; index < 2; ++index) {
        for (unsigned i = 0; i < PREFIX_INPUT_SIZE; ++i) {
            inputs[index][i] = (float)((i * (index ? 7919u : 104729u)) % 1000u) / 500.0f - 1.0f;
        }
        if (NET_run(&arenas[index], inputs[index], outputs[0][index]) != PREFIX_OK) {
            return 1;
        }
    }
    if (memcmp(outputs[0][0], outputs[0][1], sizeof outputs[0][0]) == 0) {
        return 2; /* the two threads must have different answers to mix up */
    }
    for (int index = 0; index < 2; ++index) {
        pthread_create(&threads[index], NULL, work, (void *)&who[index]);
    }
    for (int index = 0; index < 2; ++index) {
        pthread_join(threads[index], &failed[index]);
    }
    return failed[0] || failed[1] ? 3 : 0;
}
"""


@pytest.mark.parametrize("target", TARGETS)
def test_two_threads_with_two_arenas_give_the_right_answers_at_once(target, built, tmp_path):
    artifact = built(VWW, target).artifact
    name = artifact.manifest.c_name
    text = THREADS.replace("HEADER", artifact.header.name).replace("NET_", f"{name}_")
    (tmp_path / "app.c").write_text(text.replace("PREFIX_", f"{name.upper()}_"))
    command = ["gcc", "-O1", f"-I{artifact.directory}", "app.c", str(artifact.static_library), "-lm", "-lpthread"]
    subprocess.run([*command, "-o", "app"], cwd=tmp_path, check=True)
    assert subprocess.run([tmp_path / "app"], check=False, timeout=120).returncode == 0


def test_a_library_is_loaded_by_any_program_without_this_package(built):
    """The shared library and ctypes alone, as a user of another language would call it."""
    model = built(VWW, "x86-avx2")
    manifest = model.artifact.manifest
    library = ctypes.CDLL(str(model.artifact.shared_library))
    (tensor,), (result,) = manifest.inputs, manifest.outputs
    x = images(tensor.border_shape)[0]
    room = np.empty(manifest.arena.size_bytes + 64, np.uint8)
    arena = room[-room.ctypes.data % 64 :]
    y = np.empty(result.border_shape, np.float32)
    pointers = [ctypes.c_void_p(array.ctypes.data) for array in (arena, x, y)]
    assert library[f"{manifest.c_name}_run"](*pointers) == 0
    np.testing.assert_array_equal(y, model(x))
