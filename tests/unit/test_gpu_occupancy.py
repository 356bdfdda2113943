"""How many blocks of a kernel a multiprocessor holds, beside NVIDIA's figures and NVIDIA's calculator."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from dscompile.gpu import Gpu, Limiter, occupancy
from dscompile.target import list_targets
from dscompile.toolchain import run_tool
from tests.tools import require_nvcc

GPUS = {target.gpu.arch: target.gpu for target in list_targets() if target.gpu}

# Calls cudaOccMaxActiveBlocksPerMultiprocessor, the header that NVIDIA ships as its occupancy calculator, for each line
# of limits and a kernel that it reads.
CALCULATOR = r"""
#include <cstdio>
#include <cuda_occupancy.h>

int main() {
  cudaOccDeviceProp gpu;
  cudaOccFuncAttributes kernel;
  cudaOccDeviceState state;
  cudaOccResult result;
  int threads;
  gpu.warpSize = 32;
  gpu.numSms = 1;
  kernel.maxThreadsPerBlock = 1024;
  kernel.numBlockBarriers = 1;
  state.carveoutConfig = SHAREDMEM_CARVEOUT_MAX_SHARED;
  while (scanf("%d%d%d%d%d%zu%zu%zu%d%d%zu", &gpu.computeMajor, &gpu.computeMinor, &gpu.maxThreadsPerBlock,
               &gpu.maxThreadsPerMultiprocessor, &gpu.regsPerMultiprocessor, &gpu.sharedMemPerBlock,
               &gpu.sharedMemPerMultiprocessor, &gpu.reservedSharedMemPerBlock, &threads, &kernel.numRegs,
               &kernel.sharedSizeBytes) == 11) {
    gpu.regsPerBlock = gpu.regsPerMultiprocessor;
    gpu.sharedMemPerBlockOptin = gpu.sharedMemPerMultiprocessor - gpu.reservedSharedMemPerBlock;
    int error = cudaOccMaxActiveBlocksPerMultiprocessor(&result, &gpu, &kernel, &state, threads, 0);
    printf("%d %d\n", error, result.activeBlocksPerMultiprocessor);
  }
}
"""


@pytest.mark.parametrize(
    ("arch", "threads", "registers", "shared", "blocks", "fraction", "limiter"),
    [
        # A warp takes 64 x 32 = 2048 of the 16384 registers of its partition: 8 warps there, 32 in all, 4 blocks of 8.
        ("sm_80", 256, 64, 0, 4, 0.5, "registers"),
        # The same 32 warps are all that Turing holds.
        ("sm_75", 256, 64, 0, 4, 1.0, "threads"),
        # CUDA C++ Best Practices Guide, Calculating Occupancy, on multiprocessors of 2048 threads and 65536 registers:
        # 37 x 32 = 1184 registers, rounded up to 1280: 12 warps per partition, 48 in all. 12 blocks of 4, 75 %; or
        # 4 blocks of 10, 63 % there, rounded.
        ("sm_80", 128, 37, 0, 12, 0.75, "registers"),
        ("sm_80", 320, 37, 0, 4, 0.625, "registers"),
        # 32 blocks of one warp are half of 64 warps; of two warps they are all.
        ("sm_80", 32, 32, 0, 32, 0.5, "blocks"),
        ("sm_80", 64, 32, 0, 32, 1.0, "threads"),
        ("sm_86", 32, 32, 0, 16, 1 / 3, "blocks"),
        ("sm_89", 32, 32, 0, 24, 0.5, "blocks"),
        # 1536 threads of Ada and of the smaller Ampere hold one block of 1024: two thirds.
        ("sm_86", 1024, 32, 0, 1, 2 / 3, "threads"),
        # 48 KiB and the reserved one: 3 times 49 KiB in 164 KiB, 4 times in 228, twice in 100; 48 once in Turing's 64.
        ("sm_80", 128, 32, 48 * 1024, 3, 3 * 4 / 64, "shared memory"),
        ("sm_90", 128, 32, 48 * 1024, 4, 4 * 4 / 64, "shared memory"),
        ("sm_89", 128, 32, 48 * 1024, 2, 2 * 4 / 48, "shared memory"),
        ("sm_75", 128, 32, 48 * 1024, 1, 4 / 32, "shared memory"),
        # 12 KiB and the reserved one: 17 times 13 KiB in 228 KiB.
        ("sm_90", 32, 8, 12 * 1024, 17, 17 / 64, "shared memory"),
        # 33 threads are two warps.
        ("sm_80", 33, 32, 0, 32, 1.0, "threads"),
        # 255 x 32 = 8160 registers, rounded up to 8192: 2 warps per partition, one block of 8.
        ("sm_80", 256, 255, 0, 1, 8 / 64, "registers"),
        # What cannot be launched: 9 warps of 255 registers, 2000 threads, 64 KiB of declared shared memory.
        ("sm_80", 288, 255, 0, 0, 0.0, "registers"),
        ("sm_80", 32, 256, 0, 0, 0.0, "registers"),
        ("sm_80", 2000, 32, 0, 0, 0.0, "threads"),
        ("sm_80", 128, 32, 64 * 1024, 0, 0.0, "shared memory"),
    ],
)
def test_known_occupancies(
    arch: str, threads: int, registers: int, shared: int, blocks: int, fraction: float, limiter: Limiter
) -> None:
    found = occupancy(GPUS[arch], threads, registers, shared)
    assert (found.blocks, found.limiter) == (blocks, limiter)
    assert found.fraction == pytest.approx(fraction)
    assert found.warps == found.fraction * GPUS[arch].warps_per_multiprocessor


@pytest.mark.parametrize(("threads", "registers", "shared"), [(0, 32, 0), (32, -1, 0), (32, 32, -1)])
def test_a_kernel_that_cannot_be_is_refused(threads: int, registers: int, shared: int) -> None:
    with pytest.raises(ValueError, match=f"no kernel has {threads} threads, {registers} registers and {shared} B"):
        occupancy(GPUS["sm_80"], threads, registers, shared)


@pytest.mark.slow
def test_nvidias_calculator_agrees_on_every_architecture(tmp_path: Path) -> None:
    nvcc = require_nvcc()
    tmp_path.joinpath("calculator.cu").write_text(CALCULATOR)
    run_tool([str(nvcc.path), "-o", "calculator", "calculator.cu"], tmp_path, "compiling NVIDIA's calculator")
    random = np.random.default_rng(0)
    kernels = [
        (gpu, int(random.integers(1, 1025)), int(random.integers(1, 256)), int(random.integers(0, 48 * 1024 + 1)))
        for gpu in GPUS.values()
        for _ in range(4000)
    ]
    # Few registers and little shared memory, so that threads and blocks limit as well.
    kernels += [(gpu, threads, one % 40 + 1, shared // 16) for gpu, threads, one, shared in kernels]
    lines = "\n".join(" ".join(map(str, _limits(gpu) + kernel)) for gpu, *kernel in kernels)
    said = subprocess.run([tmp_path / "calculator"], input=lines, capture_output=True, text=True, check=True).stdout
    expected = [tuple(map(int, line.split())) for line in said.splitlines()]
    assert len(expected) == len(kernels)
    found = [(0, occupancy(gpu, threads, registers, shared).blocks) for gpu, threads, registers, shared in kernels]
    assert found == expected


def _limits(gpu: Gpu) -> list[int]:
    """What the calculator reads of a GPU; blocks, registers' units and shared memory's units it knows itself."""
    return [
        *divmod(int(gpu.arch[3:]), 10),
        gpu.threads_per_block,
        gpu.threads_per_multiprocessor,
        gpu.registers_per_multiprocessor,
        gpu.shared_per_block_bytes,
        gpu.shared_per_multiprocessor_bytes,
        gpu.shared_reserved_bytes,
    ]
