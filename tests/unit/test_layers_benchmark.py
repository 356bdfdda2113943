"""The benchmark of steps against their bounds: what is counted for a step, its tables, and a run of it all."""

from __future__ import annotations

import json
import os

import numpy as np
import onnx
import pytest

from benchmarks.layers import Machine, Report, StepRow, kinds_table, main, step_bytes, step_kind, steps_table
from benchmarks.phases import PhasesReport, inference_us, phase_kinds_table, phase_rows, phase_steps, phases_table
from dscompile.frontend.onnx.export import export_onnx
from dscompile.ir.network import NetworkBuilder
from dscompile.ir.ops import Activate, Activation, Binary, Conv2D, Pads, Pool
from dscompile.ir.tensor import Tensor

MACHINE = Machine(gflops=100.0, near_gbps=80.0, far_gbps=40.0, l2_bytes=256 << 10)


@pytest.fixture
def network():
    """A squeeze-excite block: depthwise, pool, gate, product, pointwise, residual; all tensors of 8 x 8 x 16."""
    rng = np.random.default_rng(0)
    builder = NetworkBuilder("block")
    x = builder.input(Tensor("x", (1, 8, 8, 16)))

    def conv(name, source, kernel=1, groups=1, stride=1):
        weights = rng.normal(size=(kernel, kernel, 16 // groups, 16)).astype(np.float32)
        op = Conv2D(16, (kernel, kernel), (stride, stride), Pads(*[kernel // 2] * 4), groups=groups)
        return builder.add(name, op, [source], kernel=weights)

    deep = conv("deep", x, 3, 16)
    gate = conv("gate", builder.add("mean", Pool("average"), [deep]))
    narrow = conv("narrow", builder.add("product", Binary("mul"), [deep, gate]))
    total = builder.add("sum", Binary("add"), [narrow, x])
    active = builder.add("active", Activate(Activation("hard_swish")), [total])
    return builder.build([conv("down", active, 3, 16, 2)])


def layers_of(network, *names):
    return [layer for layer in network.layers if layer.name in names]


IMAGE, VECTOR = 8 * 8 * 16 * 4, 16 * 4


@pytest.mark.parametrize(
    ("names", "size"),
    [
        (["deep"], 2 * IMAGE + 9 * VECTOR),
        (["mean"], IMAGE + VECTOR),
        (["gate"], 2 * VECTOR + 16 * VECTOR),
        (["product", "narrow", "sum"], 3 * IMAGE + VECTOR + 16 * VECTOR),  # product and narrow stay inside
    ],
)
def test_a_step_moves_its_weights_and_what_other_steps_have_to_do_with(names, size, network):
    assert step_bytes(network, layers_of(network, *names)) == size


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["deep"], "depthwise 3x3"),
        (["down"], "depthwise 3x3 stride 2"),
        (["mean"], "average pool"),
        (["gate"], "pointwise, one pixel"),
        (["product", "narrow", "sum"], "pointwise"),
        (["active"], "hard_swish"),
        (["deep", "narrow"], "in bands of rows"),
    ],
)
def test_kinds_of_steps(names, kind, network):
    assert step_kind(network, layers_of(network, *names)) == kind


def test_the_bound_is_the_larger_of_arithmetic_and_traffic(network):
    macs = 8 * 8 * 16 * 16
    assert MACHINE.bound_us(network, layers_of(network, "narrow")) == pytest.approx(
        max(2e-3 * macs / 100.0, 1e-3 * (2 * IMAGE + 16 * VECTOR) / 80.0)
    )
    assert MACHINE.bound_us(network, layers_of(network, "mean")) == pytest.approx(1e-3 * (IMAGE + VECTOR) / 80.0)


def test_tables_put_first_what_loses_most():
    steps = (
        StepRow("a", "pointwise", "1x1x8 -> 1x1x8", 10, 50.0, 45.0),
        StepRow("b", "depthwise 3x3", "1x1x8 -> 1x1x8", 10, 40.0, 10.0),
        StepRow("c", "pointwise", "1x1x8 -> 1x1x8", 10, 10.0, 5.0),
    )
    report = Report("net", MACHINE, 110.0, steps)
    title, _, first, second, last, _ = kinds_table(report).split("\n")
    assert title == "net: 0.11 ms; peak 100.0 GFLOP/s, reads 80 GB/s near, 40 GB/s far"
    assert first.split() == ["depthwise", "3x3", "1", "40", "10", "30", "25", "%", "27", "%"]
    assert second.split() == ["pointwise", "2", "60", "50", "10", "83", "%", "9", "%"]
    assert last.split() == ["all", "3", "110", "60", "50", "55", "%", "45", "%"]
    assert [line.split()[0] for line in steps_table(report).splitlines()[1:]] == ["b", "a", "c"]


def test_a_whole_run(network, tmp_path, capsys):
    model = tmp_path / "block.onnx"
    onnx.save(export_onnx(network), model)
    file, cores = tmp_path / "result.json", os.sched_getaffinity(0)
    options = ["--rounds", "1", "--steps", "--output", str(tmp_path), "--json", str(file)]
    assert main([str(model), *options]) == 0
    assert "bound us" in capsys.readouterr().out
    (result,) = json.loads(file.read_text())["results"]
    assert result["time_us"] > 0
    assert all(step["bound_us"] > 0 for step in result["steps"])
    assert os.sched_getaffinity(0) == cores


def samples(*threads: list[tuple[int, int]]) -> np.ndarray:
    """One inference: of every thread, when it began and ended its part of each phase."""
    return np.array([threads], np.int64).transpose(0, 2, 1, 3)


def test_phases_end_where_the_first_thread_begins_the_next_one():
    alone = samples([(0, 90_000), (91_000, 101_000)])
    shared = samples([(0, 40_000), (52_000, 57_000)], [(1_000, 51_000), (52_000, 58_000)])
    rows = phase_rows(alone, shared, [("a", "b"), ("c",)], ["pointwise", "dense"])
    assert [(row.alone_us, row.shared_us, row.parts_us) for row in rows] == [(91, 52, (40, 50)), (10, 6, (5, 6))]
    assert [row.lost_us for row in rows] == [6.5, 1.0]
    report = PhasesReport("net", inference_us(alone), inference_us(shared), rows)
    title, _, first, _, last, _ = phase_kinds_table(report).split("\n")
    assert title == "net: 0.10 ms on one thread, 0.06 on 2: 1.74 times as fast"
    assert first.split() == ["pointwise", "1", "91.0", "52.0", "50.0", "6.5", "1.75"]
    assert last.split() == ["all", "2", "101.0", "58.0", "56.0", "7.5", "1.74"]
    assert [line.split("  ")[0] for line in phases_table(report).splitlines()[1:]] == ["a, b", "c"]


def test_the_steps_of_phases_are_read_from_the_source():
    source = """
static void phase_0(const struct job *job, struct seat seat)
{
    /* Step 0: a. */
    /* Step 2: c. */
    /* Step 0: a. */
}

static void x86_avx2_phase_1(const struct job *job, struct seat seat)
{
    for (;;) {
        /* Step 3: d. */
    }
}
"""
    assert phase_steps(source) == [(0, 2), (3,)]


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two threads need two cores")
def test_a_run_of_two_threads(network, tmp_path, capsys):
    model = tmp_path / "block.onnx"
    onnx.save(export_onnx(network), model)
    file, cores = tmp_path / "result.json", os.sched_getaffinity(0)
    options = ["--threads", "2", "--rounds", "1", "--steps", "--output", str(tmp_path), "--json", str(file)]
    assert main([str(model), *options]) == 0
    assert "times as fast" in capsys.readouterr().out
    (result,) = json.loads(file.read_text())["results"]
    assert all(len(phase["parts_us"]) == 2 for phase in result["phases"])
    assert os.sched_getaffinity(0) == cores


def test_more_threads_than_cores_are_refused(capsys, tmp_path):
    assert main([str(tmp_path / "none.onnx"), "--threads", "4096"]) == 2
    assert "error: 4096 threads on" in capsys.readouterr().err


def test_a_missing_model_is_an_error_without_traceback(capsys, tmp_path):
    assert main([str(tmp_path / "none.onnx")]) == 3
    assert "none.onnx' does not exist" in capsys.readouterr().err
