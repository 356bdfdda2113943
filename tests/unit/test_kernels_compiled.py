"""CompiledKernel: what it accepts and refuses, what it measures, and the machine code of the main kernels."""

from __future__ import annotations

import re

import numpy as np
import pytest

from dscompile import compute
from dscompile.errors import ToolError, UsageError
from dscompile.ir.network import NetworkBuilder
from dscompile.ir.ops import RELU6, Conv2D, Pads
from dscompile.ir.tensor import Tensor
from dscompile.plan.kernels import ConvKernel, DenseKernel, DepthwiseKernel, FillKernel, Parameter, SoftmaxKernel
from dscompile.plan.knobs import DenseKnobs, DepthwiseKnobs, PixelKnobs, TileKnobs
from dscompile.plan.layout import Blocked
from dscompile.run.kernel import At, CompiledKernel, aligned_buffer, aligned_copy
from dscompile.schedule import scheduled
from dscompile.target import Target, find_target, resolve_target
from tests.native import TARGETS, planned, target_here


@pytest.fixture
def target():
    return resolve_target("host")


@pytest.fixture
def softmax(target):
    return CompiledKernel(SoftmaxKernel(1, 4, 1.0), None, target)


# Operands


def test_operands_of_the_wrong_number_are_named(softmax):
    with pytest.raises(UsageError, match=r"the kernel takes 2 operands \(x, y\), not 1"):
        softmax(aligned_buffer(4))


def test_every_wrong_operand_is_named_at_once(softmax):
    with pytest.raises(UsageError) as raised:
        softmax(np.zeros(4), At(aligned_buffer(4), 1))
    assert [d.message for d in raised.value.diagnostics] == [
        "operand 'x' must be a flat float32 array in one piece, not float64 [4]",
        "operand 'y' needs 4 elements from element 1 on; the array has 4",
    ]


@pytest.mark.parametrize("array", [np.zeros((2, 2), np.float32), np.zeros(8, np.float32)[::2]], ids=["2-d", "strided"])
def test_operands_must_be_flat_and_in_one_piece(array, softmax):
    with pytest.raises(UsageError, match="operand 'x' must be a flat float32 array in one piece"):
        softmax(array, aligned_buffer(4))


def test_offsets_must_not_be_negative(softmax):
    with pytest.raises(UsageError, match="needs 4 elements from element -1 on"):
        softmax(At(aligned_buffer(8), -1), aligned_buffer(4))


def test_results_need_an_array_that_can_be_written(softmax):
    frozen = aligned_buffer(4)
    frozen.flags.writeable = False
    with pytest.raises(UsageError, match="operand 'y' is written to, and the array is read-only"):
        softmax(aligned_buffer(4, 0.0), frozen)
    softmax(frozen, aligned_buffer(4))


def test_pointers_must_be_aligned_as_the_kernel_relies_on(target):
    kernel = CompiledKernel(DenseKernel(1, target.lanes, target.lanes, target.lanes), DenseKnobs(), target)
    one, vector = aligned_buffer(1, 1.0), aligned_buffer(2 * target.lanes, 1.0)
    with pytest.raises(
        UsageError, match=rf"operand 'weights' must begin at a multiple of {target.vector_bytes} bytes; .*aligned_copy"
    ):
        kernel(one, At(vector, 1), vector, vector)


def test_a_kernel_for_another_machine_is_refused():
    arm = Target("some-arm", "arm64", "another machine")
    with pytest.raises(ToolError, match="kernels for some-arm do not run on this machine"):
        CompiledKernel(SoftmaxKernel(1, 4, 1.0), None, arm)


def test_aligned_copies_are_flat_float32_at_a_multiple_of_64_bytes():
    copy = aligned_copy(np.arange(6.0).reshape(2, 3))
    assert copy.dtype == np.float32
    assert copy.tolist() == [0, 1, 2, 3, 4, 5]
    assert copy.ctypes.data % 64 == 0
    assert np.isnan(aligned_buffer(3)).all()


# Schedules of one's own


def test_a_schedule_made_by_hand_is_compiled(target):
    from tvm.s_tir import Schedule

    kernel = SoftmaxKernel(2, 3, 1.0)
    compiled = CompiledKernel.from_schedule(Schedule(compute.define(kernel)), kernel.parameters, target)
    y = aligned_buffer(6)
    compiled(aligned_copy(np.log([1.0, 1.0, 2.0, 3.0, 4.0, 1.0])), y)
    np.testing.assert_allclose(y, [0.25, 0.25, 0.5, 0.375, 0.5, 0.125], rtol=1e-6)


def test_a_schedule_with_other_parameters_is_refused(target):
    kernel = SoftmaxKernel(2, 3, 1.0)
    with pytest.raises(UsageError, match="the PrimFunc takes x, y; the parameters are x, z"):
        CompiledKernel.from_schedule(compute.define(kernel), (Parameter("x"), Parameter("z", written=True)), target)


# Knobs


def conv(width: int, channels: int, lanes: int) -> ConvKernel:
    x, y = Blocked(1, width, channels, lanes), Blocked(1, width, lanes, lanes)
    return ConvKernel(1, width, channels, lanes, lanes, lanes, (1, 1), (1, 1), (1, 1), x.strides, y.strides)


def depthwise(height: int, width: int, lanes: int) -> DepthwiseKernel:
    x, y = Blocked(height + 2, width + 2, lanes, lanes), Blocked(height, width, lanes, lanes)
    return DepthwiseKernel(height, width, 1, lanes, (3, 3), (1, 1), (1, 1), x.strides, y.strides)


@pytest.mark.parametrize(
    ("kernel", "knobs", "text"),
    [
        (conv(7, 16, 16), TileKnobs(3), "knob pixels = 3 does not divide 7"),
        (conv(7, 17, 16), TileKnobs(7, unroll_channels=2), "knob unroll_channels = 2 does not divide 17"),
        (depthwise(5, 6, 16), DepthwiseKnobs(4), "knob columns = 4 does not divide 6"),
        (depthwise(5, 6, 16), DepthwiseKnobs(6, 2), "knob rows = 2 does not divide 5"),
        (DenseKernel(7, 16, 16, 16), DenseKnobs(2), "knob partial_sums = 2 does not divide 7"),
        (DenseKernel(7, 80, 16, 16), DenseKnobs(streams=2), "knob streams = 2 does not divide 5"),
        (FillKernel(1, 1, 4, 4, 4), TileKnobs(1), "a fill kernel does not take TileKnobs"),
        (conv(7, 16, 16), None, "a pointwise kernel does not take NoneType"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_knobs_that_do_not_fit_are_refused(kernel, knobs, text, target):
    with pytest.raises(ValueError, match=re.escape(text)):
        CompiledKernel(kernel, knobs, target)


def test_panels_in_streams_have_one_sum_each_and_are_for_x86():
    with pytest.raises(ValueError, match="panels in streams have one sum each"):
        DenseKnobs(2, 2)
    kernel = DenseKernel(8, 64, 16, 4)
    with pytest.raises(ValueError, match="panels in streams are a schedule of x86 only"):
        scheduled(kernel, DenseKnobs(streams=2), find_target("arm64-neon"))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: TileKnobs(0), "tile sizes must be positive"),
        (lambda: TileKnobs(1, unroll_channels=0), "tile sizes must be positive"),
        (lambda: DepthwiseKnobs(1, 0), "tile sizes must be positive"),
        (lambda: PixelKnobs(0), "tile sizes must be positive"),
        (lambda: DenseKnobs(0), "partial_sums and streams must be positive"),
    ],
)
def test_knobs_are_positive(make, text):
    with pytest.raises(ValueError, match=text):
        make()


# Time


def test_latency_is_the_median_of_samples_and_grows_with_the_work(target):
    small, large = (
        CompiledKernel(FillKernel(1, 1, length, length, length), None, target) for length in (16, 65_536)
    )  # fmt: skip
    y = aligned_buffer(65_536)
    samples = small.latencies_us(y, repeats=5)
    assert samples.shape == (5,)
    assert (samples > 0).all()
    assert small.latency_us(y, repeats=5) < large.latency_us(y, repeats=5) / 10
    assert (y == 0).all()


def test_latency_needs_at_least_one_repeat(softmax):
    with pytest.raises(UsageError, match="the number of repeats must be at least 1, not 0"):
        softmax.latency_us(aligned_buffer(4), aligned_buffer(4), repeats=0)


# Machine code


def inner_loop(disassembly: str) -> list[str]:
    """The instructions of the shortest loop that multiplies and adds vectors."""
    lines = [(int(m[1], 16), m[2]) for m in re.finditer(r"^\s*([0-9a-f]+):\t(.*)$", disassembly, re.MULTILINE)]
    loops = []
    for address, text in lines:
        jump = re.match(r"j\w+\s+(?:0x)?([0-9a-f]+)", text)
        if jump and int(jump[1], 16) < address:
            loops.append([t for a, t in lines if int(jump[1], 16) <= a <= address])
    return min((loop for loop in loops if any(is_fma(t) for t in loop)), key=len)


def is_fma(instruction: str) -> bool:
    return instruction.startswith("vfmadd") and "ps" in instruction


POINTWISE = [(14, 512, 512), (7, 1024, 1024), (28, 256, 256), (56, 64, 128), (14, 96, 576), (7, 960, 160)]


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("layer", POINTWISE, ids=str)
def test_the_inner_loop_of_a_pointwise_kernel_neither_spills_nor_calls(layer, name):
    size, channels, filters = layer
    target = target_here(name)
    builder = NetworkBuilder("pointwise")
    builder.input(Tensor("x", (1, size, size, channels)))
    depthwise_weights = np.ones((3, 3, 1, channels), np.float32)
    builder.add(
        "d", Conv2D(channels, (3, 3), pads=Pads(1, 1, 1, 1), groups=channels), ["x"], kernel=depthwise_weights
    )  # fmt: skip
    weights, bias = np.ones((1, 1, channels, filters), np.float32), np.ones(filters, np.float32)
    builder.add("y", Conv2D(filters, (1, 1), activation=RELU6), ["d"], kernel=weights, bias=bias)
    program = planned(builder.build(["y"]), target)
    functions = [function for function in program.functions if function.kernel.kind == "pointwise"]
    assert functions
    for function in functions:
        code = CompiledKernel(function.kernel, function.knobs, target).disassembly()
        loop = inner_loop(code)
        multiplies = sum(is_fma(text) for text in loop)
        tile = function.knobs.pixels * function.kernel.panel // target.lanes
        assert multiplies % tile == 0, "the loop is not a whole number of register tiles"
        # RBP is a register like any other in functions that do not keep the stack's pointer in it.
        stack = ("[rsp", "[rbp") if re.search(r"mov\s+rbp,rsp", code) else ("[rsp",)
        assert [text for text in loop if "call" in text or any(place in text for place in stack)] == []
        per_tile = len(loop) / (multiplies / tile)
        assert per_tile <= tile + function.knobs.pixels + 2 * function.kernel.panel / target.lanes + 6
