"""The roofline of a layer."""

from __future__ import annotations

import numpy as np
import pytest

from dscompile.ir.network import Network, NetworkBuilder
from dscompile.ir.ops import Conv2D, Dense, Pool
from dscompile.ir.tensor import Tensor
from dscompile.report.inspection import inspect_network
from dscompile.report.roofline import Bound, layer_bound, target_roofs
from dscompile.target import Caches, Target, find_target

TARGET = Target(
    "t", "x86", "test", vector_bytes=32, registers=16, fma_per_cycle=2, caches=Caches(32 << 10, 256 << 10, 8 << 20)
)


def pointwise(height: int, inputs: int, outputs: int) -> Network:
    builder = NetworkBuilder("net")
    x = builder.input(Tensor("x", (1, height, height, inputs)))
    kernel = np.zeros((1, 1, inputs, outputs), np.float32)
    return builder.build([builder.add("y", Conv2D(outputs, (1, 1)), [x], kernel=kernel)])


def test_a_layer_with_much_arithmetic_is_bound_by_fma():
    network = pointwise(14, 512, 512)
    # 14 * 14 * 512 * 512 MAC at 2 * 8 * 2 operations per cycle.
    assert layer_bound(network, network.layers[0], TARGET) == Bound(2 * 14 * 14 * 512 * 512 / 32, "fma")


def test_a_dense_layer_is_bound_by_fetching_its_weights():
    builder = NetworkBuilder("net")
    x = builder.input(Tensor("x", (1, 1024)))
    kernel = np.zeros((1024, 1000), np.float32)
    network = builder.build([builder.add("y", Dense(1000), [x], kernel=kernel)])
    # 4.1 MB lie in the L3: 8 bytes per cycle.
    assert layer_bound(network, network.layers[0], TARGET) == Bound((1024 + 1000 + 1_024_000) * 4 / 8, "L3")


@pytest.mark.parametrize(
    ("height", "limit", "bytes_per_cycle"), [(16, "L1", 64), (64, "L2", 32), (256, "L3", 8), (2048, "DRAM", 4)]
)
def test_pooling_is_bound_by_the_level_that_holds_its_image(height: int, limit: str, bytes_per_cycle: int):
    builder = NetworkBuilder("net")
    x = builder.input(Tensor("x", (1, height, height, 4)))
    network = builder.build([builder.add("y", Pool("average"), [x])])
    moved = (height * height * 4 + 4) * 4
    assert layer_bound(network, network.layers[0], TARGET) == Bound(moved / bytes_per_cycle, limit)


@pytest.mark.parametrize(
    ("name", "int8", "flops", "levels"),
    [
        ("x86-avx2", False, 32, ["L1", "L2", "L3", "DRAM"]),  # 2 FMAs of 8 lanes
        ("x86-avx2", True, 64, ["L1", "L2", "L3", "DRAM"]),  # VPMADDWD: 16 products of 16 bits
        ("x86-avx512vnni", True, 256, ["L1", "L2", "L3", "DRAM"]),  # VPDPBUSD: 64 products
        ("arm64-neon", True, 32, ["L1", "L2", "DRAM"]),  # SMLAL
        ("arm64-dotprod", True, 64, ["L1", "L2", "DRAM"]),  # SDOT
        ("arm64-i8mm", True, 256, ["L1", "L2", "DRAM"]),  # 4 SMMLA of 32 products
        ("cortex-m4", True, 4, ["memory"]),  # SMLAD
        ("cortex-m0plus", True, 2, ["memory"]),
        ("c99", False, 2, ["memory"]),
        ("cuda-sm80", False, 2 * 108 * 64, ["DRAM"]),
    ],
)
def test_roofs_are_those_of_the_targets_instructions_and_memories(
    name: str, int8: bool, flops: float, levels: list[str]
):
    roofs = target_roofs(find_target(name), int8=int8)
    assert roofs.flops_per_cycle == flops
    assert [level.name for level in roofs.levels] == levels
    assert roofs.levels[-1].capacity_bytes is None


def test_a_gpu_reads_its_memory_at_the_rate_of_its_clock():
    (dram,) = target_roofs(find_target("cuda-sm80"), int8=False).levels
    assert dram.bytes_per_cycle == pytest.approx(1555e9 / 1410e6)


def test_shares_of_a_network_sum_to_one():
    rows = inspect_network(pointwise(7, 32, 64), TARGET).layers
    assert [row.share for row in rows] == [1.0]
