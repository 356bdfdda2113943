"""Kernels for tensor cores on operands of NumPy's, and what they should give."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dscompile.gpu import Gpu
from dscompile.ir.network import Array
from dscompile.ir.ops import NONE, Activation
from dscompile.plan.gpu.kernels import QUAD, Stage
from dscompile.plan.gpu.packing import pack_halves
from dscompile.plan.gpu.tensor_costs import TensorTiling
from dscompile.plan.gpu.tensor_kernels import TensorKernel
from dscompile.plan.knobs import TensorKnobs
from dscompile.plan.packing import pack_vector
from dscompile.run.cuda_kernel import ShimKernel
from dscompile.run.cuda_report import KernelTraffic
from dscompile.run.operands import ALIGNMENT, aligned_buffer, aligned_copy
from dscompile.target import Target, find_target

RELU6 = Activation("clip", low=0.0, high=6.0)
BESIDE = 7.0  # what stands in the lanes of a last quad that are no channels


def target_of(arch: str = "sm80") -> Target:
    return find_target(f"cuda-{arch}")


def gpu_of(arch: str = "sm80") -> Gpu:
    gpu = target_of(arch).gpu
    assert gpu is not None
    return gpu


def pointwise(
    pixels: int, channels: int, units: int, knobs: TensorKnobs, finish: Activation = NONE, *, residual: bool = False
) -> TensorKernel:
    """A kernel over `pixels` in one row, dense in memory."""
    size = (1, pixels)
    stage = Stage("project", channels, units, size, size, (1, 1), (1, 1), (1, 1), (0, 0), finish)
    return TensorTiling(stage, residual).kernel(knobs)


@dataclass(frozen=True)
class Ran:
    """What a kernel gave and should have given, [pixels, units], and what it moved."""

    got: Array
    want: NDArray[np.float64]
    traffic: KernelTraffic


def run(kernel: TensorKernel, knobs: TensorKnobs, target: Target) -> Ran:
    """Runs a kernel under the shim on random operands."""
    rng = np.random.default_rng(5)
    stage, pixels = kernel.stage, kernel.pixels
    x = rng.normal(size=(pixels, stage.in_channels)).astype(np.float32)
    w = (rng.normal(size=(stage.in_channels, stage.channels)) / np.sqrt(stage.in_channels)).astype(np.float32)
    bias = rng.normal(size=stage.channels).astype(np.float32)
    other = rng.normal(size=(pixels, stage.channels)).astype(np.float32)
    y = aligned_buffer(stage.quads * QUAD * pixels)
    traffic = ShimKernel(kernel, knobs, target)(
        aligned_copy(_quads(x)),
        _aligned_halves(pack_halves(w, kernel.depth, kernel.panel)),
        aligned_copy(pack_vector(bias, 0, stage.quads * QUAD)),
        *([aligned_copy(_quads(other))] if kernel.residual is not None else []),
        y,
    )
    want = x.astype(np.float16).astype(np.float64) @ w.astype(np.float16).astype(np.float64) + bias
    if stage.finish == RELU6:
        want = np.clip(want, 0.0, 6.0)
    if kernel.residual is not None:
        want += other
    got = y.reshape(stage.quads, pixels, QUAD).transpose(1, 0, 2).reshape(pixels, -1)[:, : stage.channels]
    return Ran(got, want, traffic)


def _quads(image: Array) -> Array:
    """[pixels, C] -> [quads][pixels][4]."""
    pixels, channels = image.shape
    quads = -(-channels // QUAD)
    padded = np.full((pixels, quads * QUAD), BESIDE, np.float32)
    padded[:, :channels] = image
    return padded.reshape(pixels, quads, QUAD).transpose(1, 0, 2)


def _aligned_halves(array: Array) -> Array:
    room = np.empty(array.size + ALIGNMENT // 2, np.float16)
    start = -room.ctypes.data % ALIGNMENT // 2
    room[start : start + array.size] = array.ravel()
    return room[start : start + array.size]
