"""Real networks as CUDA: right on the CPU under the shim, light on memory, and within what a multiprocessor has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dscompile.api import zoo_write
from dscompile.ir.network import Array
from dscompile.oracle.execute import run
from dscompile.report.vectors import seeded_inputs
from dscompile.run.cuda import ShimModel
from dscompile.run.cuda_report import ShimReport
from dscompile.target import list_targets
from tests.gpu_networks import counted_bytes, network_of, planned_bytes, program_of, sources_of
from tests.models import model_path
from tests.tools import require_nvcc, require_tools

pytestmark = [pytest.mark.slow, pytest.mark.models]

TARGETS = sorted(target.name for target in list_targets() if target.gpu)
NETWORKS = ("mobilenetv1_100", "mobilenetv2_100", "mobilenetv3_large_100", "efficientnet_b0", "shufflenetv2_x1_0")
INT8 = ("kws_ref_model_int8", "vww_96_int8", "micro_speech_quantized", "pretrainedResnet_quant", "ad01_int8")
TOLERANCE = 1e-4
QUARTER = 0.25


def run_on_shim(
    path: Path, scratch: Path, image: Array, *, fuse: bool = True, checked: bool = True
) -> tuple[Array, ShimReport]:
    """The first output for an image, and what was counted."""
    require_tools("g++")
    artifact = sources_of(program_of(path, "cuda-sm80", fuse=fuse), scratch / "artifact")
    model = ShimModel(artifact, scratch, checked)
    got = model.run({artifact.manifest.inputs[0].name: image})
    return got[artifact.manifest.outputs[0].name], model.report()


def stored(path: Path, what: str) -> Array:
    """The input or the reference output beside a model."""
    array: Array = np.load(path.with_suffix("").with_suffix(f".{what}.npy"))
    return array


def assert_is_near(got: Array, expected: Array) -> None:
    assert float(np.abs(got - expected.reshape(got.shape)).max()) <= TOLERANCE * float(np.abs(expected).max())


@pytest.mark.sampled
@pytest.mark.parametrize("name", ["mobilenetv3_large_100", "efficientnet_b0", "shufflenetv2_x1_0"])
def test_a_classifier_equals_onnxruntime_at_full_resolution(name: str, tmp_path: Path) -> None:
    path = model_path(f"onnx/{name}.onnx")
    got, _ = run_on_shim(path, tmp_path, stored(path, "in"), checked=False)
    assert_is_near(got, stored(path, "ref"))


def assert_fusing_saves_traffic(path: Path, image: Array, expected: Array, share: float, scratch: Path) -> None:
    """Of what is counted with every access checked, which is what was planned; both plans give the expected answer."""
    totals = {}
    for fuse in (True, False):
        folder = scratch / f"fuse-{fuse}"
        folder.mkdir()
        got, report = run_on_shim(path, folder, image, fuse=fuse)
        assert_is_near(got, expected)
        counted = counted_bytes(report)
        for symbol, planned in planned_bytes(program_of(path, "cuda-sm80", fuse=fuse)).items():
            assert counted[symbol] == pytest.approx(planned, rel=0.10), symbol
        totals[fuse] = sum(counted.values())
    assert totals[True] <= share * totals[False], f"{totals[True] / totals[False]:.3f} of the unfused plan's"


@pytest.mark.sampled
@pytest.mark.parametrize(("name", "share"), [("mobilenet_v1", 0.85), ("mobilenet_v2", 0.56)])
def test_fusing_saves_global_memory_traffic_as_planned(name: str, share: float, tmp_path: Path) -> None:
    """At 96 x 96, where it saves less than at 224 x 224; what is planned there is in the table of the README."""
    path = zoo_write(name, tmp_path, resolution="96")
    network = network_of(path)
    inputs = seeded_inputs([network.tensor(name) for name in network.inputs], 0)
    (image,), (expected,) = inputs.values(), run(network, inputs).values()
    assert_fusing_saves_traffic(path, image, expected, share, tmp_path)


@pytest.mark.seldom
@pytest.mark.parametrize(("name", "share"), [("mobilenetv1_100", 0.70), ("mobilenetv2_100", 0.45)])
def test_fusing_saves_global_memory_traffic_at_full_resolution(name: str, share: float, tmp_path: Path) -> None:
    path = model_path(f"onnx/{name}.onnx")
    assert_fusing_saves_traffic(path, stored(path, "in"), stored(path, "ref"), share, tmp_path)


@pytest.mark.parametrize("name", INT8)
def test_int8_gives_the_bytes_of_the_oracle(name: str, tmp_path: Path) -> None:
    require_tools("g++")
    path = model_path(f"{name}.tflite")
    network = network_of(path)
    artifact = sources_of(program_of(path, "cuda-sm80"), tmp_path / "artifact")
    model = ShimModel(artifact, tmp_path, checked=True)
    for seed in range(3):
        inputs = seeded_inputs(artifact.manifest.inputs, seed)
        got, expected = model.run(inputs), run(network, inputs)
        for output in network.outputs:
            np.testing.assert_array_equal(got[output].reshape(-1), expected[output].reshape(-1))


@pytest.mark.sampled
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", NETWORKS)
def test_kernels_spill_nothing_and_fill_a_quarter_of_the_warps(name: str, target: str, tmp_path: Path) -> None:
    """As ptxas says, for every architecture."""
    from dscompile.gpu import occupancy

    nvcc = require_nvcc()
    program = program_of(model_path(f"onnx/{name}.onnx"), target)
    gpu = program.target.gpu
    assert gpu is not None
    artifact = sources_of(program, tmp_path / "artifact")
    cubin = nvcc.compile_cubin(artifact.driver.resolve(), gpu.arch, tmp_path)
    threads = {kernel.symbol: kernel.block[0] * kernel.block[1] for kernel in artifact.manifest.kernels}
    assert sorted(threads) == [one.symbol for one in cubin.kernels]
    for one in cubin.kernels:
        assert not one.spills, one.symbol
        assert one.stack_bytes == 0, one.symbol
        resident = occupancy(gpu, threads[one.symbol], one.registers, one.shared_bytes)
        assert resident.fraction >= QUARTER, one.symbol


IN_README = {
    "MobileNetV1": "mobilenetv1_100",
    "MobileNetV2": "mobilenetv2_100",
    "MobileNetV3-Large": "mobilenetv3_large_100",
    "EfficientNet-B0": "efficientnet_b0",
    "ShuffleNetV2": "shufflenetv2_x1_0",
}


@pytest.mark.parametrize("title", IN_README)
def test_the_table_of_the_readme_is_what_is_planned(title: str) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    row = next(line for line in readme.splitlines() if line.startswith(f"| {title} |") and "->" in line)
    path = model_path(f"onnx/{IN_README[title]}.onnx")
    for target, cell in zip(("cuda-sm80", "cuda-sm86"), row.strip("| ").split(" | ")[1:], strict=True):
        apart, fused = (sum(planned_bytes(program_of(path, target, fuse=fuse)).values()) for fuse in (False, True))
        assert cell == f"{apart / 1e6:.1f} -> {fused / 1e6:.1f} MB, {100 * fused / apart:.0f} %"
