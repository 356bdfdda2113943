"""Charts of the inspection page: where things lie."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dscompile.frontend.netfile import netfile_from_text
from dscompile.frontend.zoo import zoo_yaml
from dscompile.report.cycles import LoopCycles
from dscompile.report.inspection import ArenaBuffer, ArenaMap, ArenaStep, LayerRow, inspect_network
from dscompile.report.page import page_text
from dscompile.report.page_charts import arena_chart, category, roofline_chart
from dscompile.report.roofline import Level, Roofs
from dscompile.target import find_target

ARENA = ArenaMap(
    1024,
    1024,
    (
        ArenaBuffer("input:x", 0, 256, -1, 0),
        ArenaBuffer("first", 256, 768, 0, 1),
        ArenaBuffer("columns", 0, 64, 1, 1),
    ),
    (ArenaStep("first", 1024), ArenaStep("second", 832)),
)
ROOFS = Roofs(64.0, (Level("L1", 1 << 15, 32), Level("L2", 1 << 20, 32), Level("DRAM", None, 4)))


def row(name: str, flops: int, size_bytes: int, cycles: float, share: float = 0.5, limit: str = "fma") -> LayerRow:
    shape = (1, 4, 4, 8)
    intensity = flops / size_bytes if size_bytes else 0.0
    return LayerRow(name, "conv", shape, shape, flops // 2, 0, 0, 0, size_bytes, intensity, flops, cycles, share, limit)


def test_a_buffer_is_as_wide_as_it_lives_and_as_high_as_it_is_large():
    chart = arena_chart(ARENA)
    given, first, columns = chart.blocks
    step = chart.frame.width / 3  # from before the first step to the end of the second
    assert (given.x, given.width) == pytest.approx((chart.frame.left, 2 * step))
    assert (first.x, first.width) == pytest.approx((chart.frame.left + step, 2 * step))
    assert (columns.x, columns.width) == pytest.approx((chart.frame.left + 2 * step, step))
    assert given.height == pytest.approx(chart.frame.height / 4)
    assert given.y + given.height == pytest.approx(chart.frame.bottom)  # address 0 is below
    assert first.y == pytest.approx(chart.frame.top)
    assert [block.role for block in chart.blocks] == ["border", "image", "scratch"]
    assert first.title == "first: 768 B at 256, steps 0 to 1"
    assert columns.title == "columns: 64 B at 0, step 1"


def test_names_are_written_only_where_they_fit():
    given, first, columns = arena_chart(ARENA).blocks
    assert (given.label, first.label, columns.label) == ("input:x", "first", "columns")
    many = tuple(ArenaStep(f"s{index}", 1024) for index in range(200))
    assert arena_chart(ArenaMap(1024, 1024, ARENA.buffers, many)).blocks[1].label != ""
    crowded = ArenaMap(1024, 1024, (ArenaBuffer("x", 0, 1024, -1, 200), ArenaBuffer("first", 0, 1024, 0, 1)), many)
    assert arena_chart(crowded).blocks[1].label == ""


def test_ticks_of_addresses_are_exact():
    large = ArenaMap(1_473_152, 0, (ArenaBuffer("x", 0, 1_473_152, 0, 0),), (ArenaStep("x", 1_473_152),))
    labels = [tick.label for tick in arena_chart(large).offsets]
    assert labels == ["0", "256 KiB", "512 KiB", "768 KiB", "1 MiB", "1.25 MiB"]
    assert [tick.label for tick in arena_chart(ARENA).offsets][:2] == ["0", "128 B"]


def test_the_outline_of_what_is_alive_has_a_level_for_each_step():
    chart = arena_chart(ARENA)
    heights = [float(point.split(",")[1]) for point in chart.outline.split()]
    assert heights[0] == heights[-1] == pytest.approx(chart.alive.bottom, abs=0.1)
    assert heights[1] == heights[2] == pytest.approx(chart.alive.top, abs=0.1)
    assert chart.peak.label == "most in step 0: 1 024 B (1.0 KiB)"


def test_a_dot_lies_on_the_roof_that_bounds_its_layer():
    compute, memory = row("compute", 6400, 100, 100.0), row("memory", 400, 400, 100.0, limit="DRAM")
    chart = roofline_chart([compute, memory], ROOFS)
    assert chart is not None
    points = [tuple(map(float, point.split(","))) for point in chart.roofs[-1].points.split()]
    flat = points[-1][1]
    by_name = {dot.title.split(" ")[0]: dot for dot in chart.dots}
    assert by_name["compute"].y == pytest.approx(flat, abs=0.1)
    (x0, y0), (x1, y1) = points[0], points[1]
    dot = by_name["memory"]
    assert dot.y == pytest.approx(y0 + (dot.x - x0) / (x1 - x0) * (y1 - y0), abs=0.2)
    assert "bound by DRAM, 50.0 % of the least time" in dot.title


def test_memories_of_one_rate_share_a_roof():
    chart = roofline_chart([row("a", 6400, 100, 100.0)], ROOFS)
    assert chart is not None
    assert [roof.label for roof in chart.roofs] == ["L1, L2: 32 B per cycle", "DRAM: 4 B per cycle"]


def test_a_dots_area_is_its_share_of_the_time():
    chart = roofline_chart([row("a", 6400, 100, 100.0, 0.8), row("b", 6400, 100, 100.0, 0.2)], ROOFS)
    assert chart is not None
    assert [dot.title[0] for dot in chart.dots] == ["a", "b"]  # the small one on top
    assert chart.dots[0].radius / chart.dots[1].radius == pytest.approx(2.0)


def test_layers_that_compute_nothing_have_no_dot():
    assert roofline_chart([row("reshape", 0, 128, 10.0)], ROOFS) is None


def test_the_page_shows_inner_loops_that_were_estimated():
    network = netfile_from_text(zoo_yaml("ds_cnn"), Path("net.yaml"), load_weights=False).network
    inspection = inspect_network(network, find_target("x86-avx2"))
    assert "Inner loops" not in page_text(inspection)
    page = page_text(replace(inspection, loops=(LoopCycles("stem<1>", "kernel", 12, 96, 8.0),)))
    assert '<th scope="row">stem&lt;1&gt;</th><td class="n">12</td><td class="n">96</td><td class="n">8.00</td>' in page


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("depthwise", "depthwise"),
        ("max pool", "pool"),
        ("mean", "pool"),
        ("softmax", "other"),
        ("convtranspose", "conv"),
    ],
)
def test_kinds_have_colors(kind: str, expected: str):
    assert category(kind) == expected
