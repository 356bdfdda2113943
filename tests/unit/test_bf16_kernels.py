"""Bfloat16: how numbers are rounded and packed, and the kernels in plain operations, on this machine."""

from __future__ import annotations

import re

import numpy as np
import pytest

from dscompile import compute
from dscompile.errors import UnsupportedError
from dscompile.ir.ops import NONE, RELU6, SWISH
from dscompile.plan.bf16_kernels import Bf16ConvKernel
from dscompile.plan.bf16_packing import as_bf16, pack_bf16
from dscompile.plan.bf16_tiles import bf16_tiling
from dscompile.plan.knobs import PixelKnobs, TileKnobs
from dscompile.plan.program import Function
from dscompile.run.kernel import CompiledKernel, aligned_buffer
from dscompile.schedule import scheduled
from dscompile.schedule.native import compile_functions
from dscompile.target import find_target
from dscompile.toolchain import disassemble
from tests.bf16_kernels import conv_kernel, run_bf16, to_bf16
from tests.int8_kernels import HERE, Machine
from tests.kernels import assert_close, to_blocks
from tests.native import target_here
from tests.tools import require_tools

HOST = HERE[0]
X86 = find_target("x86-avx512bf16")
LANES, WORD = 16, 2
EDGES = np.float32([0.0, -0.0, 1.0, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, -3.14159, 1e-38, 3.38e38, np.inf])


def floats(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def test_weights_are_rounded_to_the_nearest_and_at_ties_to_the_even_one() -> None:
    values = np.concatenate([EDGES[:-1], np.random.default_rng(0).normal(size=10_000).astype(np.float32)])
    np.testing.assert_array_equal(floats(as_bf16(values)), to_bf16(values).astype(np.float32))
    assert floats(as_bf16(np.float32([1 + 2**-8, 1 + 3 * 2**-8]))).tolist() == [1.0, 1 + 2**-6]


def test_a_weight_that_rounds_to_infinity_is_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"a weight of 3\.4e\+38 does not fit bfloat16, whose largest number is"):
        as_bf16(np.float32([1.0, -3.4e38]))


def test_weights_that_are_not_loaded_are_packed_all_the_same() -> None:
    assert as_bf16(np.full((2, 3), np.nan, np.float32)).shape == (2, 3)


def test_neighboring_input_channels_of_an_output_lie_together() -> None:
    kernel = np.arange(1.0, 16.0, dtype=np.float32).reshape(5, 3)  # 5 input channels, 3 filters
    packed = floats(pack_bf16(kernel, 2, 4, 2))
    assert packed.shape == (2, 3, 2, 2)  # panels, pairs of channels, filters of a panel, channels of a pair
    assert packed[0, 0].tolist() == [[1.0, 4.0], [2.0, 5.0]]
    assert packed[1, 2].tolist() == [[15.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize("channels", [1, 3, 17, 100])
def test_any_number_of_channels_is_summed_and_what_lies_behind_them_is_not(channels: int) -> None:
    kernel = conv_kernel(1, 15, channels, 2, 32, LANES, WORD, activation=RELU6)
    got, expected, _ = run_bf16(kernel, PixelKnobs(5), HOST)
    assert_close(got, expected)


def test_strided_rows_with_a_residual() -> None:
    kernel = conv_kernel(3, 7, 18, 1, 16, LANES, WORD, stride=(2, 2), residual=True, residual_activation=SWISH)
    got, expected, _ = run_bf16(kernel, PixelKnobs(7), HOST)
    assert_close(got, expected)


def aligned_weights(weights: np.ndarray) -> np.ndarray:
    packed = pack_bf16(weights, LANES, LANES, WORD).ravel()
    buffer = aligned_buffer(packed.size).view(np.uint16)[: packed.size]
    buffer[:] = packed
    return buffer


def images_of(values: np.ndarray) -> Bf16ConvKernel:
    """A kernel that takes one channel times 1, a pixel for each value."""
    return conv_kernel(1, values.size, 1, 1, LANES, LANES, WORD, activation=NONE)


def test_pixels_are_rounded_as_weights_are() -> None:
    values = np.concatenate([EDGES, np.float32([np.nan, 1e-45, 3.4e38])])
    kernel = images_of(values)
    target = target_here(HOST.target)
    results = []
    for made in (scheduled(kernel, PixelKnobs(1), target), compute.define(kernel)):
        run = CompiledKernel.from_schedule(made, kernel.parameters, target)
        x, y = aligned_buffer(4096, np.nan), aligned_buffer(4096)
        x[: values.size * LANES : LANES] = values
        run(x, aligned_weights(np.ones((1, LANES), np.float32)), np.zeros(LANES, np.float32), y)
        results.append(y[: values.size * LANES : LANES].copy())
    for result in results:
        np.testing.assert_array_equal(result[:9], to_bf16(values[:9]).astype(np.float32))
        assert np.isinf(result[[9, 12]]).all()
        assert np.isnan(result[10])
        assert result[11] == 0.0  # less than half of the smallest subnormal bfloat16


def test_the_definition_is_the_sum_of_exact_products() -> None:
    kernel = conv_kernel(1, 3, 20, 1, LANES, LANES, WORD, activation=RELU6)
    rng = np.random.default_rng(1)
    x, weights = rng.normal(size=(1, 3, 20)).astype(np.float32), rng.normal(size=(20, LANES)).astype(np.float32)
    image = aligned_buffer(4096, 0.0)
    blocks = np.nan_to_num(to_blocks(x, LANES))
    for block in range(2):
        image[block * kernel.x.block :][: 3 * LANES] = blocks[block].ravel()
    y = aligned_buffer(4096)
    target = target_here(HOST.target)
    run = CompiledKernel.from_schedule(compute.define(kernel), kernel.parameters, target)
    run(image, aligned_weights(weights), np.zeros(LANES, np.float32), y)
    expected = np.clip(to_bf16(x)[0] @ to_bf16(weights), 0.0, 6.0)
    assert_close(y[: 3 * LANES].reshape(3, LANES), expected)


def test_tiles_must_divide_rows_and_other_knobs_are_refused() -> None:
    kernel = conv_kernel(1, 15, 16, 1, 16, LANES, WORD)
    with pytest.raises(ValueError, match="knob pixels = 4 does not divide 15"):
        scheduled(kernel, PixelKnobs(4), X86)
    with pytest.raises(ValueError, match="bf16_pointwise kernels do not take TileKnobs"):
        scheduled(kernel, TileKnobs(5), X86)


@pytest.mark.parametrize(
    ("width", "filters", "channels"), [(196, 512, 512), (49, 160, 960), (1, 1000 // 16 * 16, 1024)]
)
def test_avx512_multiplies_pairs_and_keeps_sums_in_registers(width: int, filters: int, channels: int) -> None:
    """The tiles that the rule takes: none of their loops moves a zmm register to or from the stack."""
    require_tools("gcc", "objdump")
    tiling = bf16_tiling(width, filters // LANES, channels, X86)
    panels, columns = tiling.blocks[0], tiling.columns[0]
    kernel = conv_kernel(1, columns.size, channels, panels.count, panels.tile * LANES, LANES, WORD, activation=RELU6)
    code = compile_functions([Function("f", kernel, kernel.parameters, PixelKnobs(columns.tile))], X86)
    text = disassemble(code, "f", X86)
    assert len(re.findall(r"vdpbf16ps\s+zmm", text)) >= columns.tile * panels.tile
    first = text.index("vcvtneps2bf16")
    loop = text[first : text.rindex("vdpbf16ps")]
    assert re.findall(r"vmov.*zmm.*rsp.*|vmov.*rsp.*zmm.*", loop) == []


def test_what_this_cpu_has_not_is_skipped_by_name() -> None:
    got, expected, _ = run_bf16(
        conv_kernel(1, 14, 100, 1, 32, LANES, WORD, activation=RELU6), PixelKnobs(7), Machine("x86-avx512bf16")
    )
    assert_close(got, expected, 1e-5)  # VDPBF16PS rounds sums its own way
