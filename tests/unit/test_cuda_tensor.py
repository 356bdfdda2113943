"""Pointwise kernels for tensor cores: against NumPy on the CPU, and as nvcc compiles them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from dscompile.errors import UnsupportedError
from dscompile.plan.gpu.packing import HALF_MAX, pack_halves
from dscompile.plan.gpu.tensor_costs import tensor_cost
from dscompile.plan.gpu.tensor_kernels import TensorKernel
from dscompile.plan.knobs import TensorKnobs
from tests.cuda_tensor import RELU6, gpu_of, pointwise, run, target_of
from tests.tools import require_nvcc, require_tools

KNOBS = [
    TensorKnobs((2, 2), (2, 2), 32),
    TensorKnobs((4, 1), (1, 2), 16),
    TensorKnobs((1, 4), (2, 1), 64),
    TensorKnobs((4, 2), (2, 4), 16),
]
# 17 x 13 pixels are no multiple of 16, nor are most of these channels; 24 input channels are one step and a half.
SHAPES = [(221, 24, 17), (221, 40, 58), (221, 100, 116), (49, 64, 100), (256, 128, 128)]


@pytest.mark.parametrize(
    ("pixels", "channels", "units", "knobs"),
    [*((*shape, KNOBS[0]) for shape in SHAPES), (221, 24, 17, KNOBS[1]), (49, 100, 116, KNOBS[2])],
)
def test_sums_are_those_of_rounded_factors(pixels: int, channels: int, units: int, knobs: TensorKnobs) -> None:
    """Accesses outside of operands, races and missing barriers are errors of the shim."""
    require_tools("g++")
    kernel = pointwise(pixels, channels, units, knobs, RELU6)
    ran = run(kernel, knobs, target_of())
    np.testing.assert_allclose(ran.got, ran.want, rtol=0.0, atol=1e-5)
    cost = tensor_cost(kernel, knobs, gpu_of())
    assert cost is not None
    moved = ran.traffic.traffic("other")
    bias_bytes = cost.output_bytes  # a quad of it for every quad of the result
    assert moved.store_bytes == cost.output_bytes
    assert moved.load_bytes == cost.input_bytes + cost.weight_bytes + bias_bytes
    assert ran.traffic.shared_bytes == cost.shared_bytes
    assert ran.traffic.bank_conflicts <= 0.1 * ran.traffic.shared_wavefronts


def test_a_residual_is_added_after_the_activation() -> None:
    require_tools("g++")
    knobs = KNOBS[0]
    ran = run(pointwise(50, 24, 20, knobs, RELU6, residual=True), knobs, target_of())
    np.testing.assert_allclose(ran.got, ran.want, rtol=0.0, atol=1e-5)


def test_whole_tiles_have_no_bank_conflicts_and_whole_sectors() -> None:
    require_tools("g++")
    knobs = KNOBS[0]
    ran = run(pointwise(256, 128, 128, knobs), knobs, target_of())
    assert ran.traffic.bank_conflicts == 0
    assert ran.traffic.efficiency == 1.0


def kernels_file(folder: Path) -> Path:
    """Four kernels with residuals and all guards, in one .cu file."""
    from dscompile.schedule import scheduled
    from dscompile.schedule.cuda_source import kernel_source
    from dscompile.schedule.cuda_text import PREAMBLE
    from dscompile.schedule.wmma import HEAD

    texts = [PREAMBLE, HEAD]
    for index, knobs in enumerate(KNOBS):
        kernel = pointwise(221, 100, 58, knobs, RELU6, residual=True)
        made = kernel_source(scheduled(kernel, knobs, target_of()), kernel.parameters, f"k{index}", target_of())
        texts.append(made.text.removeprefix(HEAD))
    path = folder / "kernels.cu"
    path.write_text("\n".join(texts))
    return path


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kernels_file(tmp_path_factory.mktemp("tensor"))


@pytest.mark.parametrize("arch", ["sm_75", "sm_80", "sm_86", "sm_89", "sm_90"])
def test_nvcc_spills_nothing_and_needs_what_the_planner_says(source: Path, arch: str) -> None:
    cubin = require_nvcc().compile_cubin(source, arch, source.parent)
    for index, knobs in enumerate(KNOBS):
        made = cubin.kernel(f"k{index}")
        cost = tensor_cost(pointwise(221, 100, 58, knobs, RELU6, residual=True), knobs, gpu_of())
        assert cost is not None
        assert not made.spills
        assert made.stack_bytes == 0
        assert made.shared_bytes - cost.shared_bytes in (0, 1024)  # from sm_80 on with what is reserved
        assert abs(made.registers - cost.registers) <= 40  # sm_86 and sm_89 load more tiles ahead
    nvdisasm = shutil.which("nvdisasm", path=f"{require_nvcc().path.parent}") or shutil.which("nvdisasm")
    if nvdisasm is not None:
        said = subprocess.run([nvdisasm, cubin.path], capture_output=True, text=True, check=True).stdout
        assert "HMMA.16" in said
        assert "LDSM" in said


def test_ptx_multiplies_tiles_with_float32_sums(source: Path) -> None:
    nvcc = require_nvcc()
    subprocess.run([nvcc.path, "-ptx", "-arch=sm_80", source.name], cwd=source.parent, check=True, capture_output=True)
    ptx = source.with_suffix(".ptx").read_text()
    assert "wmma.mma.sync.aligned.row.row.m16n16k16.f32.f32" in ptx


def test_weights_are_rounded_to_even_and_padded_with_zeros() -> None:
    kernel = np.array([[1.0 + 2.0**-11, 1.0 + 3 * 2.0**-11, -3.0]], np.float32)
    packed = pack_halves(kernel.reshape(1, 1, 1, 3), 16, 16)
    assert packed.dtype == np.float16
    assert packed.shape == (1, 16, 16)
    assert packed[0, 0, :4].tolist() == [1.0, 1.0 + 2.0**-9, -3.0, 0.0]
    assert not packed[0, 1:].any()


def test_a_weight_beyond_the_largest_half_is_refused() -> None:
    kernel = np.full((1, 1, 1, 1), 2 * HALF_MAX, np.float32)
    with pytest.raises(UnsupportedError, match="a weight of 131008 is beyond the largest half, 65504"):
        pack_halves(kernel, 16, 16)


def test_nonsense_is_refused() -> None:
    from dscompile.schedule.cuda_tensor import pointwise as scheduled_pointwise

    knobs = KNOBS[0]
    kernel = pointwise(16, 40, 17, knobs)
    with pytest.raises(ValueError, match="tiles are of 16 x 16 x 16"):
        TensorKnobs((1, 1), (1, 1), 24)
    with pytest.raises(ValueError, match="weights of 32 x 64 are no tiles of 16 x 16 for this stage"):
        TensorKernel(kernel.stage, kernel.panel, 32, kernel.x, kernel.y)
    with pytest.raises(ValueError, match="pixels in one row"):
        TensorKernel(kernel.stage.in_rows_of(4), kernel.panel, kernel.depth, kernel.x, kernel.y)
    with pytest.raises(ValueError, match="are not packed for"):
        scheduled_pointwise(kernel, KNOBS[1])
