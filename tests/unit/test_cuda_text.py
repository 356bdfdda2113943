"""TVM's CUDA C++ becomes readable, and stays the same program: same results, no more registers."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from dscompile.ir.ops import Activation
from dscompile.plan.gpu.kernels import GpuDenseKernel, ModuleKernel, Stage
from dscompile.plan.int8_kernels import Requantization
from dscompile.plan.kernels import ImageStrides
from dscompile.plan.knobs import ModuleKnobs
from dscompile.plan.layout import Blocked
from dscompile.run.cuda_kernel import ShimKernel
from dscompile.run.operands import At, aligned_buffer
from dscompile.schedule import cuda_source, scheduled
from dscompile.schedule.cuda_cpp.writer import decimal
from dscompile.schedule.cuda_text import PREAMBLE, tidied
from dscompile.target import find_target
from tests.tools import require_nvcc, require_tools

ROOT = Path(__file__).resolve().parents[2]
TARGET = find_target("cuda-sm80")
RELU6 = Activation("clip", 0.0, 6.0)
SWISH, TANH, HARD_SWISH = Activation("swish"), Activation("tanh"), Activation("hard_swish")
LEAKY = Activation("leaky_relu", alpha=0.1)
AFFINE, INTEGER = Requantization("affine", -128, 127), Requantization("integer", -128, 127, 3, 4, 5)
FIXED = Requantization("half-up", -128, 127, 3)


def _pointwise(role, inputs, outputs, size, finish, panel=1):
    return Stage(role, inputs, outputs, (size, size), (size, size), (1, 1), (1, 1), (1, 1), (0, 0), finish, panel=panel)


def _depthwise(channels, size, finish, stride=1):
    return Stage(
        "depthwise",
        channels,
        channels,
        (size * stride,) * 2,
        (size,) * 2,
        (3, 3),
        (stride,) * 2,
        (1, 1),
        (1, 1),
        finish,
    )


def _first(outputs, size):
    return Stage("expand", 3, outputs, (2 * size,) * 2, (size,) * 2, (3, 3), (2, 2), (1, 1), (0, 0), RELU6)


def _image(size, channels):
    return Blocked(size, size, channels, 4).strides


def _inverted_residual(finish, last, dtype="float32", residual=None):
    stages = (
        _pointwise("expand", 8, 24, 14, finish),
        _depthwise(24, 14, finish),
        _pointwise("project", 24, 8, 14, last, panel=2),
    )
    return ModuleKernel(stages, 7, 7, _image(14, 8), _image(14, 8), dtype, residual)


KNOBS = ModuleKnobs(quads=2, thread_rows=1, block_quads=2, step=2, expand_quads=2)
KERNELS = {
    "pointwise": (
        ModuleKernel((_pointwise("project", 16, 32, 14, RELU6, panel=4),), 7, 14, _image(14, 16), _image(14, 32)),
        ModuleKnobs(quads=2, thread_rows=1, block_quads=4, step=2),
    ),
    "depthwise": (
        ModuleKernel((_depthwise(16, 14, RELU6),), 7, 14, _image(14, 16), _image(14, 16)),
        ModuleKnobs(quads=1, thread_rows=1, block_quads=2),
    ),
    "strided_swish": (
        ModuleKernel((_depthwise(8, 14, SWISH, stride=2),), 7, 14, _image(28, 8), _image(14, 8)),
        ModuleKnobs(quads=1, thread_rows=7, block_quads=2),
    ),
    "ragged": (
        ModuleKernel(
            (_depthwise(16, 13, TANH), _pointwise("project", 16, 16, 13, HARD_SWISH, panel=4)),
            4, 8, _image(13, 16), _image(13, 16),
        ),
        ModuleKnobs(quads=2, thread_rows=2, block_quads=4, step=2),
    ),
    "passes": (
        ModuleKernel(
            (_depthwise(16, 13, LEAKY), _pointwise("project", 16, 16, 13, LEAKY, panel=2)),
            4, 8, _image(13, 16), _image(13, 16),
        ),
        ModuleKnobs(quads=1, thread_rows=2, block_quads=2, passes=2, step=2),
    ),
    "inverted_residual": (_inverted_residual(RELU6, Activation(), residual=_image(14, 8)), KNOBS),
    "first_layers": (
        ModuleKernel(
            (_first(16, 16), _depthwise(16, 16, RELU6), _pointwise("project", 16, 8, 16, Activation(), panel=2)),
            8, 8, ImageStrides(1, 96, 3), _image(16, 8),
        ),
        replace(KNOBS, thread_rows=2),
    ),
    "dense": (GpuDenseKernel(64, 100, RELU6), None),
    "int8_affine": (_inverted_residual(AFFINE, AFFINE, "int8"), KNOBS),
    "int8_integer": (_inverted_residual(INTEGER, INTEGER, "int8"), KNOBS),
    "int8_fixed_point": (_inverted_residual(FIXED, FIXED, "int8"), KNOBS),
    "int8_dense": (GpuDenseKernel(64, 100, AFFINE, "int8"), None),
}  # fmt: skip


@cache
def texts(name):
    """What TVM writes of a kernel, and the same made readable."""
    kernel, knobs = KERNELS[name]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cuda_source, "tidied", lambda text, symbol: text)
        source = cuda_source.kernel_source(scheduled(kernel, knobs, TARGET), kernel.parameters, name, TARGET)
    return source.text, tidied(source.text, name)


def test_constants_become_the_shortest_decimal_that_is_the_same_float():
    assert decimal("0x1.8p+2f") == "6.0f"
    assert decimal("0x0p+0f") == "0.0f"
    assert decimal("0x1.5555555555555p-3f") == "0.16666667f"
    assert decimal("0x1.999999999999ap-4") == "0.1"
    assert decimal("0x1.4f8b58p-17f") == "1e-5f"
    assert decimal("17") == "17"
    assert decimal("6.0e+00f") == "6.0e+00f"


def test_every_float_survives_the_round_trip():
    bits = np.random.default_rng(0).integers(0, 2**32, 20000, dtype=np.uint32)
    edges = np.array([0x00000001, 0x007FFFFF, 0x00800000, 0x7F7FFFFF, 0x3F800001, 0x4B800000, 0x38D1B717], np.uint32)
    for value in np.concatenate([edges, bits]).view(np.float32):
        if np.isfinite(value):
            written = decimal(abs(float(value)).hex() + "f")
            assert np.float32(written.removesuffix("f")).tobytes() == np.abs(value).tobytes()
            assert "." in written or "e" in written


def test_doubles_survive_the_round_trip():
    for value in np.random.default_rng(1).standard_normal(2000) ** 9:
        assert float(decimal(abs(value).hex())) == abs(value)


SMALL = """
#include <cuda.h>
#define uint unsigned int
extern "C" __global__ void __launch_bounds__(96) small(float* __restrict__ x, float* __restrict__ y);
extern "C" __global__ void __launch_bounds__(96) small(float* __restrict__ x, float* __restrict__ y) {
  __shared__ alignas(64) float4 patch_shared_ptr[200];
  alignas(64) float patch_local_ptr[4];
  for (int ax2_ax3_fused_0 = 0; ax2_ax3_fused_0 < 3; ++ax2_ax3_fused_0) {
    if (((ax2_ax3_fused_0 * 12) + (((int)threadIdx.x) >> 3)) < 25) {
      float4 condval;
      if ((1 <= ((((int)blockIdx.x) * 8) + (((ax2_ax3_fused_0 * 96) + ((int)threadIdx.x)) % 10)))) {
        condval = *(float4*)(x + (((ax2_ax3_fused_0 * 96) + ((int)threadIdx.x)) * 4));
      } else {
        condval = make_float4(0x0p+0f/*0.0*/, 0x0p+0f/*0.0*/, 0x0p+0f/*0.0*/, 0x0p+0f/*0.0*/);
      }
      patch_shared_ptr[((ax2_ax3_fused_0 * 96) + ((int)threadIdx.x))] = condval;
    }
  }
  __syncthreads();
  goto_somewhere<7>(ax, [&] { return 1; });
  *(float4*)(patch_local_ptr + 0) = patch_shared_ptr[((int)threadIdx.x)];
  #pragma unroll
  for (int ax3 = 0; ax3 < 2; ++ax3) {
    float4 __1;
      float4 v_ = *(float4*)(y + (ax3 * 4));
      float4 __2;
        float4 v__1 = make_float4(patch_local_ptr[0], patch_local_ptr[0], patch_local_ptr[0], patch_local_ptr[0]);
        float4 v__2 = patch_shared_ptr[ax3];
        __2.x = (v__1.x*v__2.x);
        __2.y = (v__1.y*v__2.y);
        __2.z = (v__1.z*v__2.z);
        __2.w = (v__1.w*v__2.w);
      __1.x = (v_.x-(__2.x+v_.x));
      __1.y = (v_.y-(__2.y+v_.y));
      __1.z = (v_.z-(__2.z+v_.z));
      __1.w = (v_.w-(__2.w+v_.w));
    *(float4*)(y + (ax3 * 4)) = __1;
  }
}
"""

SMALL_TIDIED = """\
extern "C" __global__ void __launch_bounds__(96) small(
    const float *__restrict__ x, float *__restrict__ y)
{
    const int thread = (int)threadIdx.x;
    const int tile = (int)blockIdx.x;
    __shared__ float4 patch[200];
    __align__(16) float patch_local[4];

    for (int round = 0; round < 3; ++round) {
        const int item = round * 96 + thread;
        if (item < 200) {
            float4 value = splat(0.0f);
            if (1 <= tile * 8 + item % 10) {
                value = load4(&x[item * 4]);
            }
            patch[item] = value;
        }
    }
    __syncthreads();
    goto_somewhere<7>(ax, [&] { return 1; });
    store4(patch_local, patch[thread]);
#pragma unroll
    for (int row = 0; row < 2; ++row) {
        const float4 value = load4(&y[row * 4]);
        store4(&y[row * 4], value - (splat(patch_local[0]) * patch[row] + value));
    }
}
"""


def test_a_kernel_reads_as_if_written_by_hand():
    assert tidied(SMALL, "small") == SMALL_TIDIED


def test_what_is_no_kernel_stays_as_it_is():
    for text in ("", "int x;", 'extern "C" __global__ void f(', 'extern "C" void g() { }'):
        assert tidied(text, "f") == text


@pytest.mark.parametrize("name", KERNELS)
def test_nothing_of_tvms_spelling_is_left(name):
    text = texts(name)[1]
    for spelling in ("_ptr", "0x", "alignas", "__1", "v__", "condval", "ax2", "(float4*)", "#include"):
        assert spelling not in text
    assert text.count("threadIdx.x") == 1
    assert max(map(len, text.splitlines())) <= 120
    assert tidied(texts(name)[0], name) == text


BROKEN_OTHERWISE = {"inverted_residual", "strided_swish", "ragged", "int8_integer", "int8_fixed_point"}


@pytest.mark.parametrize("name", sorted(KERNELS.keys() - BROKEN_OTHERWISE))
def test_text_is_formatted_as_clang_format_would(name):
    require_tools("clang-format")
    text = texts(name)[1]
    command = ["clang-format", f"--style=file:{ROOT / '.clang-format'}", "--assume-filename=kernel.cu"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
    assert done.stdout == text


@pytest.mark.slow
@pytest.mark.parametrize("name", KERNELS)
def test_about_as_many_registers_as_tvms_text_and_no_spills(name, tmp_path):
    """With as many registers as a thread can have; tests/unit/test_models_cuda.py has those of artifacts."""
    nvcc = require_nvcc()
    used = []
    for kind, text in zip(("before", "after"), texts(name), strict=True):
        source = tmp_path / f"{kind}.cu"
        unhurried = re.sub(r"__launch_bounds__\((\d+)\)", r"__launch_bounds__(\1, 1)", text)
        source.write_text(unhurried if kind == "before" else PREAMBLE + unhurried)
        used.append(nvcc.compile_cubin(source, "sm_80", tmp_path).kernel(name))
    before, after = used
    # ptxas takes what it may: how many registers it wants for the same operations varies a little with their spelling.
    assert after.registers <= 1.25 * before.registers
    assert after.shared_bytes <= before.shared_bytes
    assert not after.spills


@pytest.mark.slow
@pytest.mark.parametrize("name", KERNELS)
def test_results_are_those_of_tvms_text(name, monkeypatch):
    require_tools("g++")
    kernel, knobs = KERNELS[name]
    after = ShimKernel(kernel, knobs, TARGET)
    monkeypatch.setattr(cuda_source, "tidied", lambda text, symbol: text)
    before = ShimKernel(kernel, knobs, TARGET)
    assert "alignas" in before.source.text
    assert "alignas" not in after.source.text
    operands = _operands(before)
    results = []
    for built in (before, after):
        results.append(_filled(operands, 77))
        built(*results[-1])
    for parameter, one, other in zip(kernel.parameters, *results, strict=True):
        if parameter.written:
            assert one.array.tobytes() == other.array.tobytes()
            assert len(np.unique(one.array)) > 4


def _operands(built):
    """Random operands that reach as far as the kernel's views do."""
    random = np.random.default_rng(5)
    operands = []
    for parameter, reach in zip(built.parameters, built._signature.reach, strict=True):
        room = aligned_buffer(reach + 64).view(parameter.dtype)[: reach + 16]
        if parameter.dtype == "float32":
            room[:] = random.standard_normal(room.size)
        elif parameter.dtype == "int8":
            room[:] = random.integers(-128, 128, room.size)
        elif parameter.name.endswith("_multiplier"):
            room[:] = random.integers(1 << 21, 1 << 22, room.size)
        elif parameter.name.endswith("_shift"):
            room[:] = random.integers(-6, 0, room.size)
        elif parameter.name.endswith("depthwise_weights"):
            room[:] = random.integers(-128, 128, room.size) & 255
        else:
            room[:] = random.integers(-100, 100, room.size)
        if parameter.name.endswith("_scale"):
            room *= 0.05
        operands.append(room)
    return operands


def _filled(operands, fill):
    """Copies, each at a multiple of 64 bytes."""
    copies = []
    for operand in operands:
        room = aligned_buffer(operand.size + 16).view(operand.dtype)[: operand.size]
        room[:] = operand
        copies.append(At(room))
    return copies
