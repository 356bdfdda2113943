"""CUDA artifacts with nvcc: the library, CMake, and what the kernels of every architecture take."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import dscompile
from dscompile.artifact import Artifact, load_artifact
from dscompile.data import data_directory
from dscompile.report.kernels import artifact_kernels
from dscompile.run.cuda import cuda_glue
from dscompile.run.cuda_models import build_device_program
from dscompile.target import list_targets
from tests.cuda_networks import build_sources, write_network
from tests.tools import require_nvcc, require_tools

pytestmark = pytest.mark.slow

TARGETS = sorted(target.name for target in list_targets() if target.gpu)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    require_nvcc()
    folder = tmp_path_factory.mktemp("nvcc")
    return dscompile.build(write_network(folder), "cuda-sm80", folder / "artifact").artifact


def shell(command: str, directory: Path) -> str:
    done = subprocess.run(command, shell=True, cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_the_library_shows_its_interface_and_needs_libc_alone(artifact: Artifact) -> None:
    assert artifact.has_shared_library
    library = artifact.shared_library
    names = {line.split()[-1] for line in shell(f"nm -D --defined-only {library}", artifact.directory).splitlines()}
    ends = ("arena", "create", "destroy", "fingerprint", "layers", "run", "run_profiled", "weights")
    assert names == {f"gpu_net_{end}" for end in ends}
    assert "cudart" not in shell(f"ldd {library}", artifact.directory)


def test_the_same_network_gives_the_same_library(artifact: Artifact, tmp_path: Path) -> None:
    again = dscompile.build(write_network(tmp_path), "cuda-sm80", tmp_path / "again").artifact
    assert again.shared_library.read_bytes() == artifact.shared_library.read_bytes()


def test_a_library_of_several_architectures_has_machine_code_for_all(tmp_path: Path) -> None:
    require_nvcc()
    text = (data_directory("targets") / "cuda-sm80.yaml").read_text()
    own = tmp_path / "own.yaml"
    text = text.replace("name: cuda-sm80", "name: own")
    own.write_text(text.replace("  arch: sm_80", "  arch: sm_80\n  also: [sm_89]"))
    built = dscompile.build(write_network(tmp_path), str(own), tmp_path / "artifact").artifact
    code = built.shared_library.read_bytes()
    assert b"sm_80" in code
    assert b"sm_89" in code
    assert "set(CMAKE_CUDA_ARCHITECTURES 80 89)" in (built.directory / "CMakeLists.txt").read_text()
    assert load_artifact(built.directory).manifest.target.gpu == built.manifest.target.gpu


def test_the_manifest_tells_what_kernels_take(artifact: Artifact) -> None:
    manifest = load_artifact(artifact.directory).manifest
    assert manifest.versions.c_compiler.startswith("nvcc ")
    assert manifest.sizes.text > 0
    reports = artifact_kernels(manifest)
    assert [report.symbol for report in reports] == [kernel.symbol for kernel in manifest.kernels]
    for kernel, report in zip(manifest.kernels, reports, strict=True):
        assert kernel.use is not None
        assert (kernel.use.occupancy, kernel.use.limiter) == (report.occupancy.fraction, report.occupancy.limiter)
        assert not report.spills


def test_programs_for_a_device_compile(artifact: Artifact, tmp_path: Path) -> None:
    nvcc = require_nvcc()
    (tmp_path / "network.h").write_text(cuda_glue(artifact.manifest))
    main = data_directory("templates") / "run" / "cuda_main.cu"
    assert build_device_program(nvcc, artifact, main, tmp_path, "network").is_file()
    assert build_device_program(nvcc, artifact, artifact.selftest.resolve(), tmp_path, "selftest").is_file()


def test_cmake_builds_library_and_selftest(artifact: Artifact, tmp_path: Path) -> None:
    require_tools("cmake", "make")
    nvcc = require_nvcc().path
    shell(f"cmake -S {artifact.directory} -B {tmp_path} -DCMAKE_CUDA_COMPILER={nvcc}", tmp_path)
    shell(f"cmake --build {tmp_path}", tmp_path)
    assert (tmp_path / "libgpu_net.a").is_file()
    assert (tmp_path / "gpu_net_selftest").is_file()


@pytest.mark.parametrize("target", TARGETS)
def test_kernels_of_every_architecture_spill_nothing(target: str, tmp_path: Path) -> None:
    nvcc = require_nvcc()
    built = build_sources(tmp_path, target)
    gpu = built.manifest.target.gpu
    assert gpu is not None
    cubin = nvcc.compile_cubin(built.driver.resolve(), gpu.arch, tmp_path)
    assert sorted(kernel.symbol for kernel in built.manifest.kernels) == [one.symbol for one in cubin.kernels]
    assert all(not one.spills and one.stack_bytes == 0 for one in cubin.kernels)
