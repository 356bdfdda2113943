"""Instructions per multiply-accumulate on 64-bit Arm, and what the inner loops are made of."""

from __future__ import annotations

import numpy as np
import pytest

from dscompile.api.networks import read_network, zoo_write
from dscompile.ir.network import Network, NetworkBuilder
from dscompile.ir.ops import RELU6, Conv2D
from dscompile.ir.shapes import same_pads
from dscompile.ir.tensor import Tensor
from dscompile.plan.kernels import ConvKernel, DepthwiseKernel
from dscompile.plan.program import Program
from dscompile.run.emulated_kernel import EmulatedKernel
from dscompile.run.operands import aligned_buffer
from dscompile.target import Target
from tests.arm import innermost_loops, run_network, vectors_on_stack
from tests.native import ARM, planned, target_here


@pytest.fixture
def target() -> Target:
    return target_here(ARM)


def block(height: int, width: int, channels: int, filters: int, kernel: int = 3, stride: int = 1) -> Network:
    """A depthwise convolution and a pointwise one behind it, as they stand in a network."""
    rng = np.random.default_rng(0)
    builder = NetworkBuilder("block")
    builder.input(Tensor("x", (1, height, width, channels)))
    pads = same_pads(height, width, (kernel, kernel), (stride, stride))
    depthwise = Conv2D(channels, (kernel, kernel), (stride, stride), pads=pads, groups=channels, activation=RELU6)
    builder.add("d", depthwise, ["x"], kernel=rng.normal(size=(kernel, kernel, 1, channels)).astype(np.float32))
    weights = rng.normal(size=(1, 1, channels, filters)).astype(np.float32)
    builder.add("y", Conv2D(filters, (1, 1), activation=RELU6), ["d"], kernel=weights)
    return builder.build(["y"])


def instructions_per_mac(program: Program, kind: str, target: Target) -> float:
    """Of all kernels of one kind in a program, each run by itself."""
    functions = {function.symbol: function for function in program.functions if function.kernel.kind == kind}
    instructions = macs = 0
    for call in (call for step in program.steps for call in step.calls if call.symbol in functions):
        function = functions[call.symbol]
        kernel = EmulatedKernel(function.kernel, function.knobs, target)
        operands = [aligned_buffer(kernel.reach(p.name), 0.5) for p in function.parameters]
        instructions += kernel(*operands).total
        macs += kernel_macs(function.kernel)
    return instructions / macs


def kernel_macs(kernel: ConvKernel | DepthwiseKernel) -> int:
    taps = kernel.height * kernel.width * kernel.kernel[0] * kernel.kernel[1]
    if isinstance(kernel, DepthwiseKernel):
        return taps * kernel.blocks * kernel.lanes
    return taps * kernel.in_channels * kernel.out_channels


@pytest.mark.parametrize(
    ("network", "kind", "limit"),
    [
        (block(12, 16, 256, 192), "pointwise", 0.30),
        (block(14, 14, 256, 16), "depthwise", 0.42),
        (block(28, 28, 64, 16, stride=2), "depthwise", 0.53),
        (block(14, 14, 64, 16, kernel=5), "depthwise", 0.37),
        (block(14, 14, 32, 64), "pointwise", 0.34),
    ],
    ids=["pointwise-192x256x192", "depthwise-14x14x256", "stride-2", "5x5", "few-channels"],
)
def test_instructions_per_multiply_accumulate(network, kind, limit, target):
    assert instructions_per_mac(planned(network, target), kind, target) <= limit


# MobileNetV1, V2 and V3 have these blocks, visual wake words the narrow ones.
BLOCKS = [
    block(56, 56, 64, 128),
    block(56, 56, 24, 24),
    block(28, 28, 96, 40, stride=2),
    block(28, 28, 120, 40, kernel=5),
    block(24, 24, 16, 32),
    block(12, 12, 8, 16),
    block(14, 14, 512, 512),
    block(7, 7, 1024, 1024),
    block(7, 7, 160, 960, kernel=5),
    block(3, 3, 256, 256),
]


@pytest.mark.every_case
@pytest.mark.slow
@pytest.mark.parametrize("network", BLOCKS, ids=lambda n: "x".join(map(str, n.shape("x")[1:])))
def test_inner_loops_neither_spill_nor_call(network, target):
    for function in planned(network, target).functions:
        if function.kernel.kind in ("pointwise", "conv", "depthwise"):
            loops = innermost_loops(EmulatedKernel(function.kernel, function.knobs, target).disassembly())
            assert loops, function
            for loop in loops:
                assert vectors_on_stack(loop) == [], function
                assert [text for text in loop if text.startswith("bl")] == []


@pytest.mark.slow
@pytest.mark.parametrize("resolution", ["112", pytest.param("224", marks=pytest.mark.seldom)])
def test_a_whole_mobilenet_v1(resolution, target, tmp_path):
    path = zoo_write("mobilenet_v1", tmp_path, resolution=resolution)
    run = run_network(read_network(path, None).network, target)
    assert run.passed, run.message
    assert run.instructions_per_mac <= 0.305
    assert run.spills_per_mac <= 0.001
