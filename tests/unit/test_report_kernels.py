"""Resources of GPU kernels as a table and as JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from dscompile.cuda_toolkit import KernelResources
from dscompile.gpu import Gpu
from dscompile.report.kernels import KernelReport, kernel_report, kernels_record, kernels_table
from dscompile.target import find_target

LEAN = KernelResources("net_depthwise", 32, 0, 0, 0, shared_bytes=0, constant_bytes=368)
WIDE = KernelResources("net_pointwise", 64, 0, 0, 0, shared_bytes=8192, constant_bytes=376)
FULL = KernelResources("net_fused", 255, 48, 40, 44, shared_bytes=40 * 1024, constant_bytes=368)


@pytest.fixture
def a100() -> Gpu:
    gpu = find_target("cuda-sm80").gpu
    assert gpu is not None
    return gpu


@pytest.fixture
def reports(a100: Gpu) -> list[KernelReport]:
    return [
        kernel_report(a100, ("conv1",), 256, (14, 14, 4), LEAN),
        kernel_report(a100, ("block2.pointwise",), 256, (196, 1, 1), WIDE),
        kernel_report(a100, ("block3.depthwise", "block3.relu", "block3.pointwise"), 128, (7, 7, 8), FULL),
        kernel_report(a100, ("head",), 256, (16, 1, 1), WIDE),
        kernel_report(a100, (), 512, (200, 1, 1), FULL),
    ]


def test_the_table_says_what_limits_each_kernel(reports: list[KernelReport]) -> None:
    assert kernels_table(reports) == "\n".join(
        (
            "kernel         layers                                 blocks  threads  registers  spills    shared"
            "  occupancy  limited by",
            "net_depthwise  conv1                                 14x14x4      256         32    none       0 B"
            "    100.0 %  nothing",
            "net_pointwise  block2.pointwise                      196x1x1      256         64    none   8.0 KiB"
            "     50.0 %  registers",
            "net_fused      block3.depthwise to block3.pointwise    7x7x8      128        255    84 B  40.0 KiB"
            "     12.5 %  registers",
            "net_pointwise  head                                   16x1x1      256         64    none   8.0 KiB"
            "     50.0 %  grid: 16 of 108 multiprocessors busy",
            "net_fused                                            200x1x1      512        255    84 B  40.0 KiB"
            "      0.0 %  cannot be launched: registers",
        )
    )


def test_json_has_every_figure_in_the_same_order(reports: list[KernelReport]) -> None:
    records = kernels_record(reports)
    assert json.loads(json.dumps(records)) == records
    assert [record["symbol"] for record in records] == [report.symbol for report in reports]
    assert records[2] == {
        "symbol": "net_fused",
        "layers": ["block3.depthwise", "block3.relu", "block3.pointwise"],
        "threads": 128,
        "grid": [7, 7, 8],
        "registers": 255,
        "spill_store_bytes": 40,
        "spill_load_bytes": 44,
        "shared_bytes": 40 * 1024,
        "resident_blocks": 2,
        "resident_warps": 8,
        "occupancy": 0.125,
        "limiter": "registers",
        "reason": "registers",
    }


def test_a_report_follows_from_its_inputs_alone(a100: Gpu, reports: list[KernelReport]) -> None:
    assert kernel_report(a100, ("conv1",), 256, (14, 14, 4), LEAN) == reports[0]
    assert kernel_report(replace(a100, multiprocessors=16), ("head",), 256, (16, 1, 1), WIDE).reason == "registers"
    assert reports[0].blocks == 784


def test_a_grid_without_blocks_is_refused(a100: Gpu) -> None:
    with pytest.raises(ValueError, match="no kernel has a grid of 4x0x1 blocks"):
        kernel_report(a100, (), 32, (4, 0, 1), LEAN)
