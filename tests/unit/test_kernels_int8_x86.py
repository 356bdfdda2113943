"""The x86 int8 kernels against NumPy, bit for bit: odd sizes, every scaling, and the extremes of their arithmetic."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dscompile.ir.tensor import DType
from dscompile.plan.int8_elementwise import LookupKernel
from dscompile.plan.int8_kernels import Int8ConvKernel, Int8DepthwiseKernel, Requantization
from dscompile.plan.knobs import DepthwiseKnobs, Knobs, PixelKnobs
from dscompile.plan.layout import Blocked
from dscompile.plan.program import Function
from dscompile.schedule.native import compile_functions
from dscompile.target import Target, find_target
from dscompile.toolchain import disassemble
from tests.int8_kernels import SCALINGS, Conv, Machine, assert_conv, assert_dense, assert_depthwise, run_int8, views
from tests.x86_code import Loop, innermost_loops


class Twin(Machine):
    """A machine with AVX2 that runs the kernels of a better one: wide vectors, and what its instructions mean."""

    def found(self) -> Target:
        """The target with the instructions of x86-avx2."""
        plain = AVX2.found()
        return replace(find_target(self.target), mcpu=plain.mcpu, features=plain.features)


AVX2 = Machine("x86-avx2")
TWINS = (Twin("x86-avx512"), Twin("x86-avx512vnni"))
pytestmark = pytest.mark.sampled

CONVOLUTIONS = [
    (Conv(5, 7, 1, 1), 16, 5),
    (Conv(3, 4, 3, 17), 16, 6),
    (Conv(2, 13, 17, 100), 16, 6),
    (Conv(1, 131, 100, 48), 32, 3),
    (Conv(5, 14, 33, 16), 16, 6),
    (Conv(3, 7, 16, 40), 16, 4),
    (Conv(7, 7, 20, 24, stride=(2, 2)), 16, 4),
    (Conv(3, 5, 3, 16, kernel=(3, 3), stride=(2, 2)), 16, 2),
    (Conv(3, 5, 1, 33, kernel=(5, 5), stride=(2, 1)), 16, 4),
    (Conv(2, 3, 17, 16, kernel=(7, 7)), 16, 3),
    (Conv(4, 4, 20, 16, kernel=(3, 3), dilation=(2, 3)), 16, 3),
    (Conv(2, 9, 40, 8, kernel=(10, 4)), 16, 4),
]
SOME_CONVOLUTIONS = [
    CONVOLUTIONS[1],
    CONVOLUTIONS[2],
    *(pytest.param(*c, marks=pytest.mark.slow) for c in CONVOLUTIONS[3:]),
]
DEPTHWISE = [
    (Conv(5, 7, 1, 0, kernel=(3, 3)), 6, 2),
    (Conv(4, 6, 3, 0, kernel=(3, 3), stride=(2, 2)), 3, 2),
    (Conv(3, 5, 17, 0, kernel=(3, 3), stride=(2, 2)), 5, 1),
    (Conv(3, 5, 17, 0, kernel=(3, 3), stride=(1, 2)), 2, 3),
    (Conv(7, 5, 100, 0, kernel=(5, 5)), 5, 4),
    (Conv(4, 5, 20, 0, kernel=(5, 5), stride=(2, 2)), 4, 2),
    (Conv(3, 4, 33, 0, kernel=(7, 7)), 2, 2),
    (Conv(3, 4, 16, 0, kernel=(7, 7), stride=(2, 2)), 3, 3),
    (Conv(4, 4, 40, 0, kernel=(3, 3), dilation=(2, 3)), 4, 2),
    (Conv(4, 5, 40, 0, kernel=(4, 2), stride=(3, 1)), 4, 2),
]


@pytest.mark.parametrize(("case", "panel", "pixels"), CONVOLUTIONS, ids=str)
def test_a_convolution_equals_numpy(case: Conv, panel: int, pixels: int):
    assert_conv(case, AVX2, 16, panel, 2, PixelKnobs(pixels), smallest_weight=-128)


def test_a_convolution_that_sees_more_than_a_stack_holds_is_left_to_the_common_schedule():
    case = Conv(1, 2, 1100, 16, kernel=(5, 5))
    assert_conv(case, AVX2, 16, 16, 2, PixelKnobs(2), smallest_weight=-128)


@pytest.mark.parametrize(("case", "panel", "pixels"), SOME_CONVOLUTIONS, ids=str)
def test_a_convolution_of_bytes_without_a_sign_equals_numpy(case: Conv, panel: int, pixels: int):
    assert_conv(case, AVX2, 16, panel, 4, PixelKnobs(pixels), smallest_weight=-128, unsigned=True)


@pytest.mark.parametrize(("case", "columns", "rows"), DEPTHWISE, ids=str)
def test_a_depthwise_kernel_equals_numpy(case: Conv, columns: int, rows: int):
    assert_depthwise(case, AVX2, 16, DepthwiseKnobs(columns, rows), smallest_weight=-128)


WIDE = [Conv(2, 5, 20, 41), Conv(2, 3, 5, 16, kernel=(3, 2), stride=(2, 1), dilation=(1, 2))]


@pytest.mark.parametrize("machine", TWINS, ids=str)
@pytest.mark.parametrize("case", WIDE, ids=str)
def test_kernels_of_wide_vectors_mean_the_same(case: Conv, machine: Machine):
    vnni = machine is TWINS[1]
    for scaling in ("affine", "float32"):
        assert_conv(case.scaled(scaling), machine, 16, 16, 4 if vnni else 2, PixelKnobs(3), -128, unsigned=vnni)


@pytest.mark.parametrize(
    "case", [Conv(3, 5, 20, 0, kernel=(3, 3)), Conv(2, 4, 3, 0, kernel=(5, 5), stride=(2, 2))], ids=str
)
def test_a_depthwise_kernel_of_wide_vectors_means_the_same(case: Conv):
    assert_depthwise(case, TWINS[0], 16, DepthwiseKnobs(4, 2), smallest_weight=-128)


def test_a_fully_connected_layer_of_wide_vectors_means_the_same():
    assert_dense(37, 64, TWINS[0], 32, 2, Requantization("affine", -128, 127), smallest_weight=-128)


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize(
    "values",
    ["random", "across", *(pytest.param(values, marks=pytest.mark.slow) for values in ("low", "high", "apart"))],
)
def test_every_scaling_is_exact_at_the_extremes(scaling: str, values: str):
    case = Conv(2, 6, 20, 32, requantization=Requantization("affine", -128, 127), values=values).scaled(scaling)
    assert_conv(case, AVX2, 16, 16, 2, PixelKnobs(3), smallest_weight=-128)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_a_narrow_clamp_is_kept(scaling: str):
    case = Conv(2, 6, 20, 32, requantization=Requantization("affine", -20, 37)).scaled(scaling)
    assert_conv(case, AVX2, 16, 16, 2, PixelKnobs(3))


@pytest.mark.parametrize(("channels", "units", "panel"), [(1, 8, 8), (100, 64, 32), (17, 16, 16), (64, 128, 64)])
def test_a_fully_connected_layer_equals_numpy(channels: int, units: int, panel: int):
    for scaling in ("affine", "single"):
        assert_dense(channels, units, AVX2, panel, 2, Requantization(scaling, -128, 127), smallest_weight=-128)


@pytest.mark.parametrize("given", ["int8", "uint8"])
@pytest.mark.parametrize("made", ["int8", "uint8", "float32"])
@pytest.mark.parametrize("shape", [(1, 1024), (3, 97), (2, 32), (2, 5, 4, 16), (40,), (31,)])
def test_a_table_of_all_bytes_is_looked_up(given: DType, made: DType, shape: tuple[int, ...]):
    """Between rows, or between images, there are gaps."""
    rng = np.random.default_rng(3)
    steps = [
        int(np.prod(shape[axis + 1 :])) + (16 if axis == 0 and len(shape) > 1 else 0) for axis in range(len(shape))
    ]
    x = np.resize(np.arange(256, dtype=np.uint8), shape).view(given)
    table = rng.integers(0, 256, 256).astype(np.uint8).view(made) if made != "float32" else rng.random(256, np.float32)
    kernel = LookupKernel(shape, tuple(steps), tuple(steps), given, made)
    got, _ = run_int8(kernel, None, AVX2, {"x": x, "table": table}, shape)
    np.testing.assert_array_equal(got, table[x.astype(int) - np.iinfo(given).min])


# What the machine code is made of, also for CPUs that are not here


def _loops(kernel: Int8ConvKernel | Int8DepthwiseKernel, knobs: Knobs, name: str) -> list[Loop]:
    target = find_target(name)
    code = compile_functions([Function("kernel", kernel, kernel.parameters, knobs)], target)
    return innermost_loops(disassemble(code, "kernel", target))


def _pointwise(pixels: int, panel: int, word: int) -> tuple[Int8ConvKernel, PixelKnobs]:
    image, output = (Blocked(1, 84, channels, 16).strides for channels in (192, 96))
    form = Requantization("affine", -128, 127)
    kernel = Int8ConvKernel(
        1, 84, 192, 96, panel, 16, word, (1, 1), (1, 1), (1, 1), image, output, form, unsigned=word == 4
    )
    return kernel, PixelKnobs(pixels)


@pytest.mark.parametrize(
    ("target", "instruction", "pixels", "panel", "word"),
    [
        ("x86-avx2", "vpmaddwd", 6, 16, 2),
        ("x86-avx512", "vpmaddwd", 14, 32, 2),
        ("x86-avx512vnni", "vpdpbusd", 14, 32, 4),
    ],
)
def test_sums_of_a_tile_stay_in_registers(target: str, instruction: str, pixels: int, panel: int, word: int):
    kernel, knobs = _pointwise(pixels, panel, word)
    loop = max(_loops(kernel, knobs, target), key=lambda loop: loop.count(instruction))
    vectors, words = panel // find_target(target).lanes, 16 // word
    assert loop.count(instruction) == pixels * vectors * words
    assert loop.count("vpbroadcastd") == pixels * words
    assert loop.stack_accesses == 0


@pytest.mark.parametrize("name", ["x86-avx2", "x86-avx512"])
def test_a_depthwise_kernel_multiplies_two_taps_at_once(name: str):
    case = Conv(4, 14, 32, 0, kernel=(3, 3))
    image, output = views(case, 32, 32, 16)
    form = Requantization("affine", -128, 127)
    kernel = Int8DepthwiseKernel(4, 14, 2, 16, (3, 3), (1, 1), (1, 1), image, output, form)
    loop = max(_loops(kernel, DepthwiseKnobs(7, 2), name), key=lambda loop: loop.count("vpmaddwd"))
    assert loop.count("vpmaddwd") == 14 * 6  # of 9 taps in 6 pairs
    assert loop.count("vpmovsxbw") == 2 * 9
