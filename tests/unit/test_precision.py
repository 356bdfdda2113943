"""`precision: float16`: how it is asked for, what it plans, and what an artifact then says and passes."""

from __future__ import annotations

import json
from pathlib import Path
from unittest import mock

import pytest

import dscompile
from dscompile.artifact import load_artifact
from dscompile.errors import BadInputError, UnsupportedError
from dscompile.frontend.load import load_network
from dscompile.ir.network import Network
from dscompile.ir.tensor import Precision
from dscompile.passes import canonicalize
from dscompile.plan.gpu.choice import ModuleShape, cheapest, front
from dscompile.plan.gpu.kernels import Stage
from dscompile.plan.gpu.modules import find_groups
from dscompile.plan.gpu.tensor_kernels import TensorKernel
from dscompile.plan.planning import plan
from dscompile.target import find_target
from tests.cuda_tensor import gpu_of
from tests.tools import require_tools

NETS = Path(__file__).parents[2] / "nets"
TENSOR_PEAKS = {
    "sm75": 65,
    "sm80": 312,
    "sm86": 60,
    "sm89": 165,
    "sm90": 1071,
}  # printed for H100 at a lower clock: 989


def write_network(folder: Path, settings: str, name: str = "net.yaml") -> Path:
    path = folder / name
    path.write_text(f"""\
dscompile: 1
network:
  name: halves
  input: {{name: image, shape: [1, 28, 28, 3]}}
  defaults: {{activation: relu}}
  layers:
    - conv: {{name: stem, out: 128, kernel: 3, stride: 2}}
    - pointwise: {{name: wide, out: 256}}
    - pointwise: {{name: last, out: 60, activation: none}}
targets:
  {settings}
weights: {{seed: 7}}
""")
    return path


def canonical(path: Path) -> Network:
    return canonicalize(load_network(path).network)


@pytest.mark.parametrize(("arch", "tflops"), TENSOR_PEAKS.items())
def test_tensor_cores_have_the_peak_that_nvidia_prints(arch: str, tflops: int) -> None:
    assert round(gpu_of(arch).tensor_peak_flops / 1e12) == tflops


def test_float32_is_the_default_and_float16_is_read(tmp_path: Path) -> None:
    settings = "cuda-sm80: {precision: float16}\n  cuda-sm86: {precision: float32}\n  cuda-sm90: {arena: 1 MiB}"
    budgets = load_network(write_network(tmp_path, settings)).budgets
    assert [budgets[f"cuda-{arch}"].precision for arch in ("sm80", "sm86", "sm90")] == ["float16", "float32", "float32"]


def test_unknown_precisions_and_targets_that_do_not_multiply_them_are_errors_in_their_places(tmp_path: Path) -> None:
    path = write_network(
        tmp_path, "cuda-sm80: {precision: half}\n  x86: {precision: float16}\n  c99: {precision: float32}"
    )
    with pytest.raises(BadInputError) as caught:
        load_network(path)
    found = [(d.position.line, d.message) for d in caught.value.diagnostics if d.position is not None]
    assert found == [
        (11, "'precision' must be one of float32, float16, bfloat16, not the text 'half'"),
        (12, "target 'x86' does not multiply float16"),
    ]


def test_planning_halves_for_a_cpu_is_refused(tmp_path: Path) -> None:
    network = canonical(write_network(tmp_path, "x86: {}"))
    with pytest.raises(UnsupportedError, match="x86-avx2 does not multiply float16"):
        plan(network, find_target("x86-avx2"), "float16")


@pytest.mark.parametrize("arch", ["sm75", "sm80"])
def test_tensor_cores_make_mobilenet_v1_faster_by_the_estimate(arch: str) -> None:
    network = canonical(NETS / "mobilenet_v1.yaml")

    def time_us(precision: Precision) -> float:
        groups = find_groups(network, gpu_of(arch), precision=precision)
        return sum(group.plan.cost.time_s * 1e6 for group in groups if group.plan is not None)

    assert time_us("float16") < 0.8 * time_us("float32")


def test_what_tensor_cores_cannot_do_is_planned_as_ever() -> None:
    size = (14, 14)
    strided = Stage("project", 64, 128, (28, 28), size, (1, 1), (2, 2), (1, 1), (0, 0))
    shape = ModuleShape((strided,), precision="float16")
    assert [plan.knobs for plan in front(shape, gpu_of())] == [
        plan.knobs for plan in front(ModuleShape((strided,)), gpu_of())
    ]
    pointwise = Stage("project", 512, 512, size, size, (1, 1), (1, 1), (1, 1), (0, 0))
    halves = cheapest(ModuleShape((pointwise,), precision="float16"), gpu_of())
    assert halves is not None
    assert isinstance(halves.kernel, TensorKernel)


def test_an_artifact_records_its_precision_and_passes_at_its_tolerance(tmp_path: Path) -> None:
    require_tools("g++")
    path = write_network(tmp_path, "cuda-sm80: {precision: float16}")
    with mock.patch("dscompile.cuda_toolkit.installed_nvcc", return_value=None):
        artifact = dscompile.build(path, "cuda-sm80", tmp_path / "artifact").artifact
    manifest = load_artifact(artifact.directory).manifest
    assert (manifest.precision, manifest.tolerance) == ("float16", 0.03)
    assert "half_pointwise" in {kernel.kind for kernel in manifest.kernels}
    assert "#define TOLERANCE 0.03" in artifact.selftest.read_text()
    done = dscompile.verify(artifact.directory)
    assert done.ok
    assert 1e-5 < done.max_rel_error < 3e-3  # two layers of rounded factors


def test_a_manifest_with_another_precision_is_refused(tmp_path: Path) -> None:
    path = write_network(tmp_path, "cuda-sm80: {}")
    with mock.patch("dscompile.cuda_toolkit.installed_nvcc", return_value=None):
        artifact = dscompile.build(path, "cuda-sm80", tmp_path / "artifact").artifact
    assert (artifact.manifest.precision, artifact.manifest.tolerance) == ("float32", 1e-4)
    file = artifact.directory / "manifest.json"
    content = json.loads(file.read_text())
    content["precision"] = "float8"
    file.write_text(json.dumps(content))
    with pytest.raises(BadInputError, match="'precision' is 'float8', it must be one of float32, float16, bfloat16"):
        load_artifact(artifact.directory)
