"""CUDA artifacts without nvcc: their files, what the header promises, and what the sources do on the CPU."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from dscompile.artifact import Artifact, load_artifact
from dscompile.emit.check import check_program
from dscompile.emit.cuda_driver import check_launches
from dscompile.emit.selftest import selftest_input
from dscompile.passes import canonicalize
from dscompile.plan.gpu.lowering import plan_gpu_program
from dscompile.plan.knobs import ModuleKnobs
from dscompile.plan.program import Program
from dscompile.report.kernels import artifact_kernels, kernels_summary
from dscompile.report.vectors import FILE_NAME, read_vectors, seeded_inputs
from dscompile.run.cuda_models import CHOICE, CpuModel, device_name, run_selftest_on
from dscompile.run.opening import is_emulated
from dscompile.target import find_target
from tests.cuda_networks import build_sources, write_network
from tests.tools import require_tools

STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return build_sources(tmp_path_factory.mktemp("cuda"))


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    from dscompile.frontend.load import load_network

    network = load_network(write_network(tmp_path_factory.mktemp("program"))).network
    return plan_gpu_program(canonicalize(network), find_target("cuda-sm80"))


def source_of(artifact: Artifact) -> str:
    return artifact.driver.read_text()


def test_an_artifact_holds_sources_weights_selftest_and_manifest(artifact: Artifact) -> None:
    assert sorted(path.name for path in artifact.directory.iterdir()) == [
        "CMakeLists.txt",
        "gpu_net.cu",
        "gpu_net.h",
        "gpu_net_weights.S",
        "gpu_net_weights.bin",
        "manifest.json",
        "selftest.cu",
        "vectors.npz",
    ]
    assert [file.name for file in artifact.sources] == ["gpu_net.cu", "gpu_net_weights.S"]
    assert not artifact.has_shared_library
    assert artifact.manifest.versions.c_compiler == "none"
    artifact.verify_files()


def test_the_same_network_gives_the_same_bytes(artifact: Artifact, tmp_path: Path) -> None:
    again = build_sources(tmp_path)
    for file in artifact.directory.iterdir():
        assert file.read_bytes() == (again.directory / file.name).read_bytes(), file.name


@pytest.mark.parametrize(("compiler", "standard"), [("gcc", "c99"), ("gcc", "c17"), ("g++", "c++11"), ("g++", "c++20")])
def test_the_header_needs_no_cuda_and_is_c_and_cpp(
    artifact: Artifact, compiler: str, standard: str, tmp_path: Path
) -> None:
    require_tools(compiler)
    suffix = ".c" if compiler == "gcc" else ".cpp"
    (tmp_path / f"use{suffix}").write_text(
        '#include "gpu_net.h"\n#include "gpu_net.h"\n'
        "int use(const float *input, float *output, struct CUstream_st *stream);\n"
        "int use(const float *input, float *output, struct CUstream_st *stream)\n"
        "{\n    gpu_net_context *context = 0;\n"
        "    int status = gpu_net_create(&context);\n"
        "    if (status == GPU_NET_OK) { status = gpu_net_run(context, input, output, stream); }\n"
        "    gpu_net_destroy(context);\n    return status == GPU_NET_ERROR_DEVICE;\n}\n"
    )
    command = [compiler, f"-std={standard}", *STRICT, f"-I{artifact.directory}", "-c", f"use{suffix}", "-o", "use.o"]
    subprocess.run(command, cwd=tmp_path, check=True)


def test_every_kernel_says_what_it_computes_and_how_it_is_launched(artifact: Artifact) -> None:
    source, kernels = source_of(artifact), artifact.manifest.kernels
    assert {layer for kernel in kernels for layer in kernel.layers} == {
        layer for step in artifact.manifest.layers for layer in step.layers
    }
    for kernel in kernels:
        comment = re.search(rf"/\* {kernel.symbol}: [^/]*\*/\nextern \"C\" __global__", source)
        assert comment is not None, kernel.symbol
        assert all(f"{layer}: " in comment[0] for layer in kernel.layers)
        assert f"of {kernel.threads} threads" in comment[0]
        grid, block = (re.escape(", ".join(map(str, sizes))) for sizes in (kernel.grid, kernel.block))
        assert re.search(rf"launch\({kernel.symbol},\s+dim3\({grid}\),\s+dim3\({block}\)", source)
    assert source.count("__global__ void") == len(kernels)


def test_run_allocates_nothing_and_create_loads_every_kernel(artifact: Artifact) -> None:
    source = source_of(artifact)
    run = source[source.index("gpu_net_status gpu_net_run(") :]
    assert not re.search(r"cudaMalloc|cudaMemcpy|malloc\(|Synchronize", run)
    for kernel in artifact.manifest.kernels:
        assert f"load({kernel.symbol})" in source


def test_lines_of_the_driver_are_no_longer_than_in_other_code(artifact: Artifact) -> None:
    driver = source_of(artifact).partition("/* The driver */")[2]
    assert [line for line in driver.splitlines() if len(line) > 120] == []


def test_the_manifest_remembers_the_kernels(artifact: Artifact) -> None:
    again = load_artifact(artifact.directory).manifest
    assert again.kernels == artifact.manifest.kernels
    module = again.kernels[0]
    assert module.planned is not None
    assert module.planned.activation_bytes > 0
    assert module.use is None
    assert artifact_kernels(again) == ()
    assert kernels_summary(again) == f"{len(again.kernels)} kernels"


@pytest.mark.slow
def test_the_sources_compute_on_the_cpu_what_the_oracle_does(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_tools("g++", "gcc")
    monkeypatch.setenv(CHOICE, "cpu")
    assert device_name() is None
    assert is_emulated(artifact)
    manifest = artifact.manifest
    vectors = read_vectors(artifact.directory / FILE_NAME, manifest.outputs)
    model = CpuModel(artifact, checked=True)
    (result,) = model.run(seeded_inputs(manifest.inputs, vectors.seeds[0])).values()
    assert abs(result - vectors.outputs[0][0]).max() < 1e-5
    for kernel in manifest.kernels:
        if kernel.planned is not None:
            classes = [model.report().kernel(kernel.symbol).traffic(name) for name in ("input", "output", "arena")]
            assert kernel.planned.activation_bytes == sum(one.load_bytes + one.store_bytes for one in classes)
    outcome = run_selftest_on(model)
    assert outcome.passed, outcome.message


def test_launches_that_no_device_can_do_are_a_bug(program: Program) -> None:
    from dscompile.schedule.cuda_source import KernelSource

    gpu = program.target.gpu
    assert gpu is not None
    for source in (KernelSource("k", "", (1, 65536), (32, 1)), KernelSource("k", "", (1, 1), (1024, 2))):
        with pytest.raises(ValueError, match="k cannot be launched on"):
            check_launches(gpu, [source])


def test_a_module_that_overwrites_its_input_never_becomes_cuda(program: Program) -> None:
    step = next(step for step in program.steps if step.calls[0].operands[0].space == "arena")
    first, *rest = step.calls
    wrong = replace(step, calls=(replace(first, operands=(first.operands[-1], *first.operands[1:])), *rest))
    steps = tuple(wrong if one is step else one for one in program.steps)
    with pytest.raises(ValueError, match=r"\(x\) reads the buffer '.*' that it writes"):
        check_program(replace(program, steps=steps))


def test_a_module_that_fits_no_multiprocessor_never_becomes_cuda(program: Program) -> None:
    check_program(program)
    gpu = program.target.gpu
    assert gpu is not None
    small = replace(program.target, gpu=replace(gpu, threads_per_block=32))
    with pytest.raises(ValueError, match="does not fit a multiprocessor of cuda-sm80"):
        check_program(replace(program, target=small))


def test_modules_have_knobs(program: Program) -> None:
    assert any(isinstance(function.knobs, ModuleKnobs) for function in program.functions)
    functions = tuple(replace(function, knobs=None) for function in program.functions)
    with pytest.raises(ValueError, match="has no knobs of a module"):
        check_program(replace(program, functions=functions))


def test_inputs_of_the_selftest_are_those_of_other_targets(program: Program) -> None:
    assert list(selftest_input(program.network)) == ["image"]
