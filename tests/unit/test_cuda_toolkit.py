"""nvcc: found or asked for, and what it says of kernels."""

from __future__ import annotations

import importlib.util
import subprocess
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from dscompile.cuda_toolkit import KernelResources, Nvcc, find_nvcc, installed_nvcc, parse_resources
from dscompile.errors import ExitCode, ToolError
from dscompile.target import list_targets
from tests.tools import require_nvcc

ARCHS = tuple(target.gpu.arch for target in list_targets() if target.gpu)

SCALE = """
#include <cuda_fp16.h>

extern "C" __global__ void __launch_bounds__(256) scale(float *y, const half *x) {
  __shared__ float tile[256];
  tile[threadIdx.x] = __half2float(x[blockIdx.x * 256 + threadIdx.x]);
  __syncthreads();
  y[blockIdx.x * 256 + threadIdx.x] = 2.0f * tile[255 - threadIdx.x];
}

extern "C" int launch(float *y, const void *x, void *stream) {
  scale<<<4, 256, 0, (cudaStream_t)stream>>>(y, (const half *)x);
  return (int)cudaGetLastError();
}
"""

# 1024 threads have 64 registers each, and 128 values are alive at the barrier.
SPILL = """
extern "C" __global__ void __launch_bounds__(1024) spill(float *y, const float *x) {
  float v[128];
#pragma unroll
  for (int i = 0; i < 128; i++) v[i] = x[i * 1024 + threadIdx.x];
  __syncthreads();
#pragma unroll
  for (int i = 0; i < 128; i++) y[i * 1024 + threadIdx.x] = v[i] * v[(i + 64) % 128];
}
"""


@pytest.fixture(scope="module")
def nvcc() -> Nvcc:
    return require_nvcc()


def script(path: Path, text: str) -> Path:
    """A program that stands for nvcc."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without CUDA; the folder of its PATH."""
    monkeypatch.delenv("CUDA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "programs"))
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "nvidia" else find_spec(name))
    return tmp_path / "programs"


@pytest.mark.usefixtures("bare")
def test_without_nvcc_the_package_to_install_is_said() -> None:
    with pytest.raises(ToolError) as caught:
        find_nvcc()
    assert caught.value.code == ExitCode.TOOL_MISSING
    assert str(caught.value) == (
        "error: compiling for a GPU needs nvcc, which is not installed\n"
        "  = help: pip install 'dscompile[cuda]' (nvcc for Linux), or set CUDA_HOME to a CUDA toolkit"
    )


def test_nvcc_is_that_of_cuda_home_then_of_the_path_then_of_pip(
    bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = ModuleSpec("nvidia", None, is_package=True)
    package.submodule_search_locations = [str(tmp_path / "site-packages" / "nvidia")]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: package if name == "nvidia" else None)
    assert installed_nvcc() is None
    pip = script(tmp_path / "site-packages" / "nvidia" / "cu13" / "bin" / "nvcc", "exit 0")
    assert find_nvcc() == Nvcc(pip)
    on_path = script(bare / "nvcc", "exit 0")
    assert find_nvcc() == Nvcc(on_path)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "cuda"))
    assert find_nvcc() == Nvcc(on_path)
    of_home = script(tmp_path / "cuda" / "bin" / "nvcc", "exit 0")
    assert find_nvcc() == Nvcc(of_home)


def test_a_version_is_read_or_unknown(nvcc: Nvcc, tmp_path: Path) -> None:
    assert int(nvcc.version.split(".")[0]) >= 13
    assert Nvcc(script(tmp_path / "nvcc", "echo imaginary")).version == "unknown"


@pytest.mark.every_case
@pytest.mark.slow
@pytest.mark.parametrize("arch", ARCHS)
def test_every_architecture_compiles_and_its_registers_are_read(nvcc: Nvcc, arch: str, tmp_path: Path) -> None:
    (tmp_path / "scale.cu").write_text(SCALE)
    cubin = nvcc.compile_cubin(Path("scale.cu"), arch, tmp_path)
    assert cubin.path == tmp_path / f"scale.{arch}.cubin"
    assert cubin.path.read_bytes()[:4] == b"\x7fELF"
    (scale,) = cubin.kernels
    assert 0 < scale.registers <= 32
    assert (scale.symbol, scale.shared_bytes, scale.stack_bytes, scale.spills) == ("scale", 1024, 0, False)


def test_a_kernel_that_spills_is_seen(nvcc: Nvcc, tmp_path: Path) -> None:
    source = tmp_path / "spill.cu"
    source.write_text(SPILL)
    spill = nvcc.compile_cubin(source, "sm_80", tmp_path).kernel("spill")
    assert spill.spills
    assert spill.registers == 64
    assert min(spill.spill_store_bytes, spill.spill_load_bytes, spill.stack_bytes) > 0
    source.write_text(SPILL.replace("__launch_bounds__(1024)", "__launch_bounds__(128)"))
    roomy = nvcc.compile_cubin(source, "sm_80", tmp_path).kernel("spill")
    assert not roomy.spills
    assert roomy.registers > 64


def test_the_complaint_of_nvcc_is_passed_on(nvcc: Nvcc, tmp_path: Path) -> None:
    (tmp_path / "wrong.cu").write_text("__global__ void wrong(float *y) { y[0] = x; }\n")
    with pytest.raises(ToolError, match=r"compiling wrong\.cu for sm_80 failed: nvcc ended with code \d+\n.*wrong\.cu"):
        nvcc.compile_cubin(Path("wrong.cu"), "sm_80", tmp_path)


@pytest.mark.slow
def test_a_library_of_several_architectures_needs_only_the_c_library(nvcc: Nvcc, tmp_path: Path) -> None:
    written = []
    for folder in (tmp_path / "one", tmp_path / "other"):
        folder.mkdir()
        (folder / "scale.cu").write_text(SCALE)
        (folder / "driver.c").write_text("int launch(float *, const void *, void *);\nint entry(void) { return 7; }\n")
        subprocess.run(["gcc", "-fPIC", "-c", "driver.c"], cwd=folder, check=True)
        library = folder / "libscale.so"
        nvcc.link_shared([folder / "scale.cu"], [folder / "driver.o"], ["sm_75", "sm_90"], library)
        written.append(library.read_bytes())
    assert written[0] == written[1]
    assert b"tmpxft" not in written[0]
    headers = subprocess.run(["objdump", "-p", library], capture_output=True, text=True, check=True).stdout
    needed = {line.split()[1].split(".")[0] for line in headers.splitlines() if line.strip().startswith("NEEDED")}
    assert needed <= {"libc", "ld-linux-x86-64", "ld-linux-aarch64", "libpthread", "libdl", "librt"}
    symbols = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True).stdout
    assert {"launch", "entry"} <= {line.split()[-1] for line in symbols.splitlines()}


@pytest.mark.parametrize(
    "complaint",
    ["/usr/bin/ld: cannot find -lcudart_static: No such file", "fatal error: cuda_runtime.h: No such file"],
)
def test_a_toolkit_without_the_runtime_is_told_apart(tmp_path: Path, complaint: str) -> None:
    poor = Nvcc(script(tmp_path / "nvcc", f"echo '{complaint}' >&2; exit 1"))
    with pytest.raises(
        ToolError, match=r"libcudart_static\.a\), which the toolkit of .*nvcc lacks\n.*dscompile\[cuda\]"
    ):
        poor.link_shared([Path("a.cu")], [], ["sm_80"], tmp_path / "liba.so")
    other = Nvcc(script(tmp_path / "nvcc", "echo 'undefined reference to f' >&2; exit 1"))
    with pytest.raises(
        ToolError, match=r"linking liba\.so failed: nvcc ended with code 1\n    undefined reference to f"
    ):
        other.link_shared([Path("a.cu")], [], ["sm_80"], tmp_path / "liba.so")


SAID = """ptxas info    : 0 bytes gmem, 72 bytes cmem[4]
ptxas info    : Compiling entry function 'two' for 'sm_80'
ptxas info    : Function properties for two
    16 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 24 registers, used 1 barriers, 272 bytes cumulative stack size, 2048 bytes smem, 364 bytes cmem[0], 8 bytes cmem[2]
ptxas info    : Compile time = 19.961 ms
ptxas info    : Function properties for _Z6helperfi
    256 bytes stack frame, 4 bytes spill stores, 4 bytes spill loads
ptxas info    : Compiling entry function 'one' for 'sm_80'
ptxas info    : Function properties for one
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 8 registers
"""  # noqa: E501


def test_what_ptxas_says_is_read_kernel_by_kernel() -> None:
    assert parse_resources(SAID) == (
        KernelResources("one", 8, 0, 0, 0, 0, 0),
        KernelResources("two", 24, 272, 12, 16, 2048, 372),
    )
    assert parse_resources("") == ()


def test_words_of_ptxas_that_are_not_known_are_an_error() -> None:
    with pytest.raises(
        ToolError, match=r"cannot read what ptxas says of the kernel one:(\n    .*){3}Needs 8 registers"
    ):
        parse_resources(SAID.replace("Used 8", "Needs 8"))


def test_a_kernel_that_is_not_there_is_asked_for(nvcc: Nvcc, tmp_path: Path) -> None:
    (tmp_path / "none.cu").write_text("__device__ int nothing;\n")
    cubin = nvcc.compile_cubin(Path("none.cu"), "sm_75", tmp_path)
    assert cubin.kernels == ()
    with pytest.raises(ValueError, match=r"there is no kernel 'scale' in none\.sm_75\.cubin"):
        cubin.kernel("scale")
