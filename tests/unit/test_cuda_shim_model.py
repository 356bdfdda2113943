"""A CUDA artifact, made by hand, runs on the CPU."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dscompile.artifact import Artifact
from dscompile.errors import CheckFailedError, ExitCode, ToolError, UsageError
from dscompile.run.cuda import ShimModel
from dscompile.run.cuda_build import compile_cuda, precompiled_header
from dscompile.run.cuda_report import read_report
from dscompile.toolchain import finish_tool
from tests.tiny_programs import single
from tests.tools import require_tools

DATA = Path(__file__).parents[1] / "data" / "cuda"
WEIGHTS = np.arange(1000, dtype=np.float32) / 8


def write_scale(directory: Path) -> Artifact:
    """tests/data/cuda/scale.* as an artifact: its manifest is that of another, with the border of this one."""
    made = single(shape=(1, 10, 10, 10)).write(directory / "made")
    folder = Path(shutil.copytree(DATA, directory / "scale"))
    (folder / "scale_weights.bin").write_bytes(WEIGHTS.tobytes())
    return Artifact(folder, replace(made.manifest, c_name="scale", layers=made.manifest.layers[:2], checksums=()))


def with_change(scale: Artifact, directory: Path, old: str, new: str) -> Artifact:
    """A copy of the artifact whose .cu has `new` for `old`."""
    folder = Path(shutil.copytree(scale.directory, directory / "scale"))
    source = folder / "scale.cu"
    assert old in source.read_text()
    source.write_text(source.read_text().replace(old, new))
    return Artifact(folder, scale.manifest)


@pytest.fixture(scope="module")
def scale(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    require_tools("g++", "gcc")
    return write_scale(tmp_path_factory.mktemp("cuda"))


@pytest.fixture(scope="module")
def checked(scale: Artifact, tmp_path_factory: pytest.TempPathFactory) -> ShimModel:
    return ShimModel(scale, tmp_path_factory.mktemp("checked"), checked=True)


def image(artifact: Artifact) -> dict[str, np.ndarray]:
    (tensor,) = artifact.manifest.inputs
    return {tensor.name: np.random.default_rng(3).standard_normal(tensor.border_shape, dtype=np.float32)}


@pytest.mark.parametrize("is_checked", [False, True])
def test_results_are_those_of_numpy(scale: Artifact, tmp_path: Path, is_checked: bool) -> None:
    model = ShimModel(scale, tmp_path, checked=is_checked)
    inputs = image(scale)
    (given,) = inputs.values()
    (result,) = model.run(inputs).values()
    np.testing.assert_array_equal(result.ravel(), 2 * (WEIGHTS * given.ravel()))
    assert model.report().checked == is_checked
    assert (model.instructions, model.stack_bytes) == (None, None)
    assert model.runner == f"CUDA shim, {'checked' if is_checked else 'plain'}"


def test_traffic_is_counted_by_what_the_memory_is_for(checked: ShimModel) -> None:
    checked.run(image(checked.artifact))
    report = checked.report()
    multiply, twice = report.kernel("multiply"), report.kernel("twice")
    assert [kernel.name for kernel in report.kernels] == ["multiply", "twice"]
    assert (multiply.launches, multiply.blocks, multiply.threads) == (1, 8, 1024)
    for name, bytes_read, bytes_written in (("input", 4000, 0), ("weights", 4000, 0), ("arena", 0, 4000)):
        traffic = multiply.traffic(name)
        assert (traffic.load_bytes, traffic.store_bytes) == (bytes_read, bytes_written)
        assert (traffic.loads, traffic.stores) == (bytes_read // 4, bytes_written // 4)
        assert traffic.footprint_bytes == 4000
    assert (twice.traffic("arena").loads, twice.traffic("arena").load_bytes) == (250, 4000)
    assert (twice.traffic("output").stores, twice.traffic("output").store_bytes) == (250, 4000)
    assert report.total("arena").load_bytes == report.total("arena").store_bytes == 4000
    assert multiply.efficiency == 1.0


def test_latencies_come_from_launches_of_a_graph(checked: ShimModel) -> None:
    times = checked.latencies_us(image(checked.artifact), repeats=3, warmup=2)
    assert len(times) == 3
    assert (times > 0).all()
    assert checked.report().kernel("twice").launches == 5


def test_every_step_is_timed(checked: ShimModel) -> None:
    times = checked.profile(image(checked.artifact), repeats=4)
    assert len(times) == 2
    assert min(times) > 0


def test_an_access_outside_the_arena_fails_the_run(scale: Artifact, tmp_path: Path) -> None:
    model = ShimModel(with_change(scale, tmp_path, "i < 1000", "i < 1001"), tmp_path, checked=True)
    with pytest.raises(CheckFailedError, match=r"kernel 'multiply', block \(7,0,0\).*out-of-bounds read of 4 bytes"):
        model.run(image(scale))


def test_writing_after_an_allocation_is_found_without_checks(scale: Artifact, tmp_path: Path) -> None:
    model = ShimModel(with_change(scale, tmp_path, "i < 1000", "i < 1001"), tmp_path, checked=False)
    with pytest.raises(CheckFailedError, match=r"somebody wrote after the allocation: .*'arena' of 4000 bytes"):
        model.run(image(scale))


def test_before_a_run_there_is_no_report(scale: Artifact, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has not run on the CUDA shim, plain yet"):
        ShimModel(scale, tmp_path, checked=False).report()


def test_a_missing_compiler_is_named(scale: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match=re.escape("apt install g++")) as caught:
        ShimModel(scale, tmp_path, checked=False)
    assert caught.value.code == ExitCode.TOOL_MISSING


@pytest.mark.parametrize("is_checked", [False, True])
def test_headers_are_read_once(tmp_path: Path, is_checked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """g++ says which files it reads (-H), and marks the precompiled ones that it takes with an exclamation mark."""
    require_tools("g++")
    read = []

    def run_tool(command: list[str], directory: Path, task: str) -> str:
        done = finish_tool([*command, "-H"] if "-S" in command else command, directory, task)
        read.append(done.stderr)
        return done.stdout

    monkeypatch.setattr("dscompile.run.cuda_build.run_tool", run_tool)
    (tmp_path / "empty.cu").write_text("#include <cuda_runtime.h>\n__global__ void nothing() {}\n")
    compile_cuda(tmp_path / "empty.cu", tmp_path / "empty.o", checked=is_checked)
    (lines,) = filter(None, read)
    assert lines.splitlines()[0] == f"! {precompiled_header(is_checked)}.gch"
    assert "bits/" not in lines


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "the CUDA shim wrote no report"),
        ('{"checked": true', "the CUDA shim wrote no report"),
        ('{"checked": true, "kernels": [{"classes": {}, "sampled": {}}], "errors": []}', "no number 'launches'"),
        ('{"checked": true, "kernels": [{"classes": 1, "sampled": {}}], "errors": []}', "of another version"),
    ],
)
def test_damaged_reports_are_told(tmp_path: Path, content: str | None, message: str) -> None:
    file = tmp_path / "report.json"
    if content is not None:
        file.write_text(content.replace('"classes"', '"name": "k", "classes"'))
    with pytest.raises(ToolError, match=message):
        read_report(file)
