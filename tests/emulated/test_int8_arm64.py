"""Int8 kernels for 64-bit Arm under qemu: byte for byte what NumPy says, on every set of instructions, and how many."""

from __future__ import annotations

import re

import pytest

from dscompile.plan.int8_kernels import Int8ConvKernel, Int8DepthwiseKernel, Requantization
from dscompile.plan.int8_tiles import int8_depthwise_word
from dscompile.plan.knobs import DepthwiseKnobs, PixelKnobs
from dscompile.plan.program import Function
from dscompile.target import find_target
from dscompile.toolchain import disassemble
from tests.int8_kernels import (
    DOTPROD,
    I8MM,
    NEON,
    PLAIN,
    ROUNDINGS,
    SCALINGS,
    Conv,
    Machine,
    assert_conv,
    assert_dense,
    assert_depthwise,
    views,
)
from tests.tilings import int8_conv_tiling, int8_depthwise_tiling

pytestmark = pytest.mark.sampled

MACHINES = (NEON, DOTPROD, I8MM)
WORDS = {NEON: 8, DOTPROD: 4, I8MM: 8}
LANES = 8
CONVOLUTIONS = [  # the case, pixels of a tile, blocks of a panel
    (Conv(3, 5, 17, 24), 5, 1),
    (Conv(2, 4, 1, 8), 2, 1),
    (Conv(2, 4, 20, 16), 1, 2),
    (Conv(2, 6, 3, 17, kernel=(3, 3), stride=(2, 2)), 3, 1),
    (Conv(2, 3, 100, 16, kernel=(3, 3)), 3, 1),
    (Conv(1, 2, 5, 20, kernel=(5, 5), stride=(1, 2)), 2, 1),
    (Conv(2, 5, 17, 8, kernel=(7, 7)), 5, 1),
    (Conv(2, 4, 20, 16, kernel=(3, 3), dilation=(2, 3)), 2, 1),
    (Conv(2, 3, 40, 16, stride=(2, 2)), 3, 2),
    (Conv(1, 3, 40, 24, stride=(3, 3)), 3, 1),
]
DEPTHWISE = [
    (Conv(5, 7, 1, 0, kernel=(3, 3)), (2, 2)),
    (Conv(4, 5, 17, 0, kernel=(3, 3), stride=(2, 2)), (1, 4)),
    (Conv(3, 5, 100, 0, kernel=(5, 5)), (2, 2)),
    (Conv(3, 3, 20, 0, kernel=(5, 5), stride=(2, 2)), (2, 1)),
    (Conv(7, 4, 20, 0, kernel=(5, 5)), (3, 1)),
    (Conv(3, 5, 3, 0, kernel=(7, 7)), (2, 4)),
    (Conv(4, 4, 40, 0, kernel=(3, 3), dilation=(2, 3)), (1, 4)),
    (Conv(4, 4, 9, 0, kernel=(3, 3), dilation=(2, 1)), (2, 2)),
    (Conv(2, 3, 8, 0, kernel=(1, 21)), (1, 3)),
    (Conv(3, 3, 16, 0, kernel=(2, 2), stride=(1, 3)), (3, 1)),
    (Conv(1, 1, 8, 0, kernel=(1, 1)), (1, 1)),
]
FEW_SCALINGS = [s if s in ("affine", "tflite") else pytest.param(s, marks=pytest.mark.slow) for s in SCALINGS]
EXTREMES = ("random", "low", "high", "apart", "across")


def slow_but(machine: Machine) -> list:
    """The machines, of which all but one run only in the slow set."""
    return [m if m is machine else pytest.param(m, marks=pytest.mark.slow) for m in MACHINES]


@pytest.mark.parametrize("machine", slow_but(DOTPROD), ids=str)
@pytest.mark.parametrize(("case", "pixels", "panel_blocks"), CONVOLUTIONS, ids=str)
def test_a_convolution_equals_numpy(case: Conv, pixels: int, panel_blocks: int, machine: Machine):
    # SMULL needs so many registers for an odd pixel that only small tiles make sense; they are right all the same.
    assert_conv(case, machine, LANES, panel_blocks * LANES, WORDS[machine], PixelKnobs(pixels))


@pytest.mark.parametrize("machine", slow_but(DOTPROD)[:2], ids=str)
@pytest.mark.parametrize(("case", "tile"), DEPTHWISE, ids=str)
def test_a_depthwise_kernel_equals_numpy(case: Conv, tile: tuple[int, int], machine: Machine):
    assert_depthwise(case, machine, LANES, DepthwiseKnobs(tile[1], tile[0]))


@pytest.mark.parametrize("machine", slow_but(I8MM), ids=str)
@pytest.mark.parametrize("scaling", FEW_SCALINGS)
def test_every_scaling_is_exact_at_the_extremes(scaling: str, machine: Machine):
    for values in EXTREMES:
        case = Conv(3, 4, 20, 24, values=values).scaled(scaling)
        assert_conv(case, machine, LANES, LANES, WORDS[machine], PixelKnobs(2))


@pytest.mark.parametrize("machine", slow_but(DOTPROD)[:2], ids=str)
@pytest.mark.parametrize("scaling", FEW_SCALINGS)
def test_every_scaling_of_a_depthwise_kernel_is_exact_at_the_extremes(scaling: str, machine: Machine):
    for values in EXTREMES:
        case = Conv(6, 8, 20, 0, kernel=(3, 3), values=values).scaled(scaling)
        assert_depthwise(case, machine, LANES, DepthwiseKnobs(2, 2))


@pytest.mark.parametrize("scaling", ROUNDINGS)
def test_sums_of_thirty_bits_are_rounded_as_the_network_says(scaling: str):
    case = Conv(4, 12, 4, 48).scaled(scaling)
    assert_conv(case, DOTPROD, LANES, LANES, 4, PixelKnobs(6), reach=1 << 30)


def test_sums_that_float32_cannot_hold_are_rounded_to_it():
    case = Conv(2, 4, 1100, 16, values="low")
    assert_conv(case, DOTPROD, LANES, LANES, 4, PixelKnobs(4))


@pytest.mark.parametrize("scaling", ["affine", "tflite"])
@pytest.mark.parametrize("machine", slow_but(DOTPROD), ids=str)
def test_a_narrow_clamp_is_kept(scaling: str, machine: Machine):
    case = Conv(2, 6, 20, 16, requantization=Requantization("affine", -20, 37)).scaled(scaling)
    assert_conv(case, machine, LANES, LANES, WORDS[machine], PixelKnobs(2))


@pytest.mark.parametrize("values", ["low", "across", "random"])
def test_weights_of_minus_128_do_not_overflow_sixteen_bits(values: str):
    assert_conv(Conv(1, 4, 40, 8, values=values), NEON, LANES, LANES, 8, PixelKnobs(2), smallest_weight=-128)
    depthwise = Conv(2, 4, 20, 0, kernel=(3, 3), values=values)
    assert_depthwise(depthwise, NEON, LANES, DepthwiseKnobs(2, 2), smallest_weight=-128)


@pytest.mark.parametrize("machine", slow_but(DOTPROD)[:2], ids=str)
@pytest.mark.parametrize(("channels", "units", "panel"), [(100, 32, 16), (72, 64, 32), (17, 24, 8), (64, 5, 5)])
def test_a_fully_connected_layer_equals_numpy(channels: int, units: int, panel: int, machine: Machine):
    for scaling in ("affine", "single"):
        assert_dense(channels, units, machine, panel, WORDS[machine], Requantization(scaling, -128, 127))


def test_blocks_of_other_sizes_take_the_general_schedule_and_still_sdot():
    kernel, knobs = conv_kernel(Conv(1, 4, 20, 32), 16, 4, 16), PixelKnobs(2)
    assert "sdot" in machine_code(kernel, knobs, DOTPROD)
    assert_conv(Conv(1, 4, 20, 32), DOTPROD, 16, 16, 4, knobs)


# Instructions: what the best hand-written kernels take, or less (docs/decisions/arm64-int8.md)


@pytest.mark.parametrize(
    ("machine", "most"), [(DOTPROD, 0.081), (I8MM, 0.050), pytest.param(NEON, 0.265, marks=pytest.mark.slow)], ids=str
)
def test_instructions_of_a_pointwise_kernel(machine: Machine, most: float):
    case = Conv(1, 192, 256, 192)
    tiling = int8_conv_tiling(find_target(machine.target), 1, 192, 24, 256)
    ((columns,), (panels,)) = tiling.columns, tiling.blocks
    counts = assert_conv(case, machine, LANES, panels.tile * LANES, tiling.word, tiling.knobs(columns))
    assert counts.total / (192 * 256 * 192) <= most


@pytest.mark.parametrize(
    ("kernel", "stride", "machine", "most"),
    [
        (3, 1, DOTPROD, 0.34),
        (3, 1, NEON, 0.45),
        pytest.param(3, 2, DOTPROD, 0.49, marks=pytest.mark.slow),
        pytest.param(5, 1, DOTPROD, 0.31, marks=pytest.mark.slow),
        pytest.param(7, 1, DOTPROD, 0.17, marks=pytest.mark.slow),
        pytest.param(5, 1, NEON, 0.38, marks=pytest.mark.slow),
        pytest.param(7, 1, NEON, 0.38, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_instructions_of_a_depthwise_kernel(kernel: int, stride: int, machine: Machine, most: float):
    case = Conv(14, 14, 256, 0, kernel=(kernel, kernel), stride=(stride, stride))
    (tile,) = int8_depthwise_tiling(find_target(machine.target), 14, 14, case.kernel, case.stride)
    counts = assert_depthwise(case, machine, LANES, tile.knobs)
    assert counts.total / (14 * 14 * 256 * kernel * kernel) <= most


@pytest.mark.parametrize("machine", MACHINES, ids=str)
@pytest.mark.parametrize("shape", [(14, 14, 512, 512), (7, 7, 1024, 1024), (1, 192, 256, 192)])
def test_the_inner_loop_of_a_pointwise_kernel_does_not_spill(machine: Machine, shape: tuple[int, int, int, int]):
    height, width, channels, filters = shape
    tiling = int8_conv_tiling(find_target(machine.target), height, width, filters // LANES, channels)
    for columns in tiling.columns:
        for panels in tiling.blocks:
            case = Conv(height, columns.size, channels, panels.size * LANES)
            kernel = conv_kernel(case, panels.tile * LANES, tiling.word, LANES)
            (loop,) = inner_loops(machine_code(kernel, tiling.knobs(columns), machine))
            assert any(re.match(r"sdot|smmla|smull", text) for text in loop)
            assert [text for text in loop if "[sp" in text] == []


@pytest.mark.every_case
@pytest.mark.slow
@pytest.mark.parametrize("size", [28, 14, 13, 7, 5], ids=str)
@pytest.mark.parametrize("stride", [1, 2], ids=str)
@pytest.mark.parametrize("kernel", [3, 5], ids=str)
@pytest.mark.parametrize("machine", MACHINES, ids=str)
def test_no_loop_of_a_depthwise_kernel_spills(machine: Machine, kernel: int, stride: int, size: int):
    for loop in depthwise_loops(machine, Conv(size, size, 64, 0, kernel=(kernel, kernel), stride=(stride, stride))):
        assert [text for text in loop if "[sp" in text] == []


@pytest.mark.slow
@pytest.mark.parametrize("stride", [1, 2], ids=str)
def test_no_loop_of_a_depthwise_kernel_of_7x7_spills(stride: int):
    for loop in depthwise_loops(DOTPROD, Conv(14, 14, 64, 0, kernel=(7, 7), stride=(stride, stride))):
        assert [text for text in loop if "[sp" in text] == []


def test_no_loop_of_the_most_frequent_depthwise_kernel_spills():
    (loop,) = depthwise_loops(DOTPROD, Conv(14, 14, 256, 0, kernel=(3, 3)))
    assert [text for text in loop if "[sp" in text] == []


def depthwise_loops(machine: Machine, case: Conv) -> list[list[str]]:
    image, output = views(case, case.channels, case.channels, LANES)
    target = machine.found()
    word = int8_depthwise_word(target, case.kernel, case.stride)
    kernel = Int8DepthwiseKernel(
        case.height, case.width, case.channels // LANES, LANES,
        case.kernel, case.stride, (1, 1), image, output, PLAIN, -127, word,
    )  # fmt: skip
    (tile,) = int8_depthwise_tiling(target, case.height, case.width, case.kernel, case.stride)
    loops = inner_loops(machine_code(kernel, tile.knobs, machine))
    assert loops
    return loops


def conv_kernel(case: Conv, panel: int, word: int, lanes: int) -> Int8ConvKernel:
    image, output = views(case, case.channels, case.filters, lanes)
    return Int8ConvKernel(
        case.height, case.width, case.channels, case.filters, panel, lanes, word,
        case.kernel, case.stride, case.dilation, image, output, case.requantization, -127,
    )  # fmt: skip


def machine_code(
    kernel: Int8ConvKernel | Int8DepthwiseKernel, knobs: PixelKnobs | DepthwiseKnobs, machine: Machine
) -> str:
    from dscompile.schedule.native import compile_functions

    target = machine.found()
    return disassemble(compile_functions([Function("f", kernel, kernel.parameters, knobs)], target), "f", target)


def inner_loops(disassembly: str) -> list[list[str]]:
    """The instructions of every loop that has no other in it."""
    lines = [(int(m[1], 16), m[2]) for m in re.finditer(r"^\s*([0-9a-f]+):\t(.*)$", disassembly, re.MULTILINE)]
    jumps = [(int(m[1], 16), address) for address, text in lines if (m := re.match(r"b\.\w+\s+([0-9a-f]+)", text))]
    loops = [(begin, end) for begin, end in jumps if begin <= end]

    def holds_another(begin: int, end: int) -> bool:
        return any(begin <= first and last < end for first, last in loops)

    innermost = [loop for loop in loops if not holds_another(*loop)]
    return [[text for address, text in lines if begin <= address <= end] for begin, end in innermost]
