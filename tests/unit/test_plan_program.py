"""Programs: halos cleared, memory never shared by what lives at once, the same plan every time, clear refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dscompile.emit.check import check_program
from dscompile.emit.weights import lay_out
from dscompile.errors import UnsupportedError
from dscompile.ir.network import NetworkBuilder
from dscompile.ir.ops import BatchNorm, Binary, Concat, Conv2D, Dense, Pads, Reshape, Transpose
from dscompile.ir.tensor import Quantization, Tensor
from dscompile.passes import canonicalize
from dscompile.plan.kernels import FillKernel
from dscompile.plan.layout import Blocked, Flat, Strides
from dscompile.plan.lowering import plan_program
from dscompile.plan.program import Program
from dscompile.plan.storage import Halos
from dscompile.target import find_target
from tests.native import assert_equals_oracle, planned, target_here
from tests.networks import random_network
from tests.towers import banding_target, random_tower

AVX512, AVX2 = find_target("x86-avx512"), find_target("x86-avx2")


def weights(*shape):
    return np.random.default_rng(5).normal(size=shape).astype(np.float32)


# Layout


def test_a_blocked_image_has_rows_of_halo_and_pixels():
    layout = Blocked(4, 5, 17, 16, Pads(1, 2, 3, 1))
    assert layout.blocks == 2
    assert layout.strides == Strides(block=(1 + 4 + 2) * 9 * 16, row=9 * 16, pixel=16)
    assert layout.elements == 2 * 7 * 9 * 16
    assert layout.offset() == 1 * 9 * 16 + 3 * 16
    assert layout.offset(-1, -3) == 0
    assert layout.offset(3 + 2, 4 + 1, 1) == layout.elements - 16


def test_a_flat_tensor_has_no_gaps():
    assert Flat((1, 3, 4, 5)).elements == 60


# Halos


def image_network(shape, *layers, outputs):
    builder = NetworkBuilder("halos")
    builder.input(Tensor("x", shape))
    for name, op, sources in layers:
        arrays = {}
        if isinstance(op, Conv2D):
            channels = builder.tensors[sources[0]].shape[3]
            arrays["kernel"] = weights(*op.kernel, channels // op.groups, op.out_channels)
        builder.add(name, op, sources, **arrays)
    return builder.build(outputs)


def padded(filters, kernel, pads, groups=1):
    return Conv2D(filters, kernel, pads=pads, groups=groups)


def test_a_halo_is_the_widest_padding_of_all_readers():
    network = image_network(
        (1, 9, 9, 16),
        ("a", padded(16, (1, 1), Pads()), ["x"]),
        ("b", padded(16, (3, 3), Pads(1, 0, 1, 1)), ["a"]),
        ("c", padded(16, (5, 5), Pads(0, 2, 2, 0)), ["a"]),
        outputs=["b", "c"],
    )
    halos = Halos.of(network)
    assert halos.get("a") == Pads(1, 2, 2, 1)
    assert halos.get("b") == Pads()


def test_parts_of_a_concatenation_share_its_halo():
    network = image_network(
        (1, 9, 9, 16),
        ("a", padded(16, (1, 1), Pads()), ["x"]),
        ("b", padded(16, (1, 1), Pads()), ["x"]),
        ("inner", Concat(3), ["a", "b"]),
        ("c", padded(16, (3, 3), Pads(1, 1, 1, 1)), ["a"]),
        ("outer", Concat(3), ["inner", "c"]),
        ("d", padded(16, (5, 5), Pads(2, 2, 2, 2)), ["outer"]),
        outputs=["d"],
    )
    halos = Halos.of(network)
    assert [halos.get(name) for name in ("a", "b", "inner", "c", "outer")] == [Pads(2, 2, 2, 2)] * 5


@pytest.mark.parametrize(
    ("size", "pads"),
    [
        ((4, 3), Pads(1, 1, 1, 1)),
        ((4, 3), Pads(0, 1, 0, 1)),
        ((4, 3), Pads(2, 0, 0, 0)),
        ((4, 3), Pads(0, 0, 2, 1)),
        ((4, 3), Pads(0, 2, 0, 0)),
        ((1, 3), Pads(1, 1, 1, 1)),
        ((1, 3), Pads(2, 0, 0, 2)),
        ((4, 1), Pads(0, 0, 2, 1)),
        ((1, 1), Pads(1, 2, 0, 2)),
    ],
    ids=str,
)
def test_exactly_the_halo_is_cleared(size, pads):
    network = image_network(
        (1, *size, 20),
        ("a", padded(20, (1, 1), Pads()), ["x"]),
        ("b", padded(20, (3, 3), pads, groups=20), ["a"]),
        outputs=["b"],
    )
    program = plan_program(network, AVX512)
    layout = Blocked(*size, 20, 16, pads)
    buffer = program.buffer("a")
    assert buffer.size_bytes == 4 * layout.elements
    kernels = {function.symbol: function.kernel for function in program.functions}
    cleared = np.zeros(layout.elements, int)
    for call in program.steps[0].calls:
        kernel = kernels[call.symbol]
        if isinstance(kernel, FillKernel) and call.operands[0].name == "a":
            assert kernel.value == 0.0
            view = np.lib.stride_tricks.as_strided(
                cleared[call.operands[0].offset_bytes // 4 :],
                (kernel.outer, kernel.rows, kernel.length),
                (8 * kernel.outer_stride, 8 * kernel.row_stride, 8),
            )
            view += 1
    height, width = size
    expected = np.ones((2, pads.top + height + pads.bottom, pads.left + width + pads.right, 16), int)
    expected[:, pads.top : pads.top + height, pads.left : pads.left + width] = 0
    np.testing.assert_array_equal(cleared.reshape(expected.shape), expected)


# Memory


def assert_memory_is_consistent(program: Program) -> None:
    """All that a step touches is alive in it, what lives at once does not overlap, and the arena is no smaller."""
    check_program(program)
    assert program.overlaps == ()
    assert program.arena_bytes >= program.arena_lower_bound_bytes


@pytest.mark.parametrize("seed", range(40))
def test_no_two_live_buffers_overlap(seed):
    target = (AVX512, AVX2)[seed % 2]
    assert_memory_is_consistent(planned(random_network(seed), target))
    tower = random_tower(seed)
    assert_memory_is_consistent(planned(tower, banding_target(tower, target)))


def several_copies():
    """Two readers of one tensor that each need it padded, repeated or copied in a way of their own."""
    builder = NetworkBuilder("copies")
    builder.input(Tensor("x", (1, 6, 7, 3)))
    for name, size in (("a", 3), ("b", 5)):
        pads = Pads(*(size // 2,) * 4)
        op = Conv2D(6, (size, size), pads=pads, groups=3)
        builder.add(name, op, ["x"], kernel=weights(size, size, 1, 6))
        builder.add(f"{name}2", Conv2D(6, (3, 3), pads=Pads(1, 1, 1, 1)), [name], kernel=weights(3, 3, 6, 6))
    builder.add("t", Transpose((0, 2, 1, 3)), ["x"])
    for name in ("r", "s"):
        builder.add(name, Reshape((1, 126)), ["t"])
        builder.add(f"{name}2", Dense(50), [name], kernel=weights(126, 50))
    builder.add("product", Binary("mul"), ["a2", "b2"])
    return builder.build(["product", "r2", "s2"])


def test_every_copy_of_a_tensor_has_memory_of_its_own():
    network = several_copies()
    assert_memory_is_consistent(planned(network, AVX512))
    assert_equals_oracle(network, target_here("x86-avx512"))


def test_constants_lie_at_multiples_of_the_alignment():
    program = planned(several_copies(), AVX512)
    weights_section = lay_out(program.constants, AVX512.arena_alignment)
    assert set(weights_section.offsets) == set(program.constants)
    assert all(offset % AVX512.arena_alignment == 0 for offset in weights_section.offsets.values())


def test_a_constant_packed_in_two_ways_is_kept_twice():
    tower = random_tower(100)
    program = planned(tower, banding_target(tower, AVX512))
    assert program.constants["layer1.kernel"].shape != program.constants["layer1.kernel~2"].shape


# Programs


@pytest.mark.parametrize("seed", range(5))
def test_planning_twice_gives_the_same_program(seed):
    for network in (random_network(seed), random_tower(seed)):
        first, second = (plan_program(canonicalize(network), AVX512) for _ in range(2))
        for field in ("steps", "functions", "buffers", "arena_bytes", "inputs", "outputs", "fallback_layers"):
            assert getattr(first, field) == getattr(second, field)
        assert list(first.constants) == list(second.constants)
        for name, array in first.constants.items():
            np.testing.assert_array_equal(array, second.constants[name])
        symbols = [function.symbol for function in first.functions]
        assert len(set(symbols)) == len(symbols)


def test_equal_kernels_share_one_function():
    network = image_network(
        (1, 8, 8, 16),
        *((f"c{n}", padded(16, (3, 3), Pads(1, 1, 1, 1)), [f"c{n - 1}" if n else "x"]) for n in range(6)),
        outputs=["c5"],
    )
    program = planned(network, AVX512)
    convolutions = [call.symbol for step in program.steps for call in step.calls if call.symbol.endswith("conv")]
    assert len(convolutions) > len(set(convolutions))


# Refusals


def one_layer(op, shape, **arrays):
    builder = NetworkBuilder("refused")
    builder.input(Tensor("x", shape))
    builder.add("y", op, ["x"], **arrays)
    return builder.build(["y"])


def test_int8_sums_that_could_leave_32_bits_are_refused():
    builder = NetworkBuilder("refused", "tflite")
    builder.input(Tensor("x", (1, 3), "int8", Quantization((0.5,))))
    builder.add(
        "y",
        Dense(2),
        ["x"],
        quantization=Quantization((0.5,)),
        kernel=np.full((3, 2), 100, np.int8),
        kernel_scale=np.full(2, 0.01, np.float32),
        bias=np.array([0, 2**31 - 10], np.int32),
    )
    with pytest.raises(UnsupportedError, match=r"layer y: channel 1 can sum up to .* does not fit into 32 bits"):
        plan_program(builder.build(["y"]), AVX2)


def test_batches_are_refused():
    with pytest.raises(UnsupportedError, match="tensor 'x' has a batch of 2; only 1 is supported") as raised:
        plan_program(one_layer(Conv2D(1, (1, 1)), (2, 3, 3, 1), kernel=weights(1, 1, 1, 1)), AVX2)
    assert raised.value.diagnostics[0].help == "run the artifact once per image"


def test_an_unfolded_batch_norm_is_refused():
    arrays = {role: np.ones(3, np.float32) for role in ("gamma", "beta", "mean", "variance")}
    network = one_layer(BatchNorm(), (1, 2, 2, 3), **arrays)
    with pytest.raises(UnsupportedError, match="a batch norm is left in the network; fold it first"):
        plan_program(network, AVX2)


def test_an_output_that_is_an_input_is_refused():
    network = one_layer(Conv2D(1, (1, 1)), (1, 3, 3, 1), kernel=weights(1, 1, 1, 1))
    with pytest.raises(UnsupportedError, match="output 'x' is an input of the network; there is nothing to compute"):
        plan_program(replace(network, outputs=("x", "y")), AVX2)


def test_images_have_four_axes():
    builder = NetworkBuilder("refused")
    builder.input(Tensor("x", (1, 2, 2, 3, 4)))
    builder.input(Tensor("z", (1, 2, 2, 3, 4)))
    builder.add("y", Reshape((1, 4, 3, 4)), ["x"])
    builder.add("c", Conv2D(1, (1, 1)), ["y"], kernel=weights(1, 1, 4, 1))
    assert_equals_oracle(builder.build(["c"]), target_here("x86-avx2"))
