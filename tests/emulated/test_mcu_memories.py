"""Standalone C over several memories: results as before, at the addresses named, with the traffic that was planned."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dscompile import api
from dscompile.api.reference import oracle_outputs
from dscompile.cli.main import main
from dscompile.emit.check import check_program
from dscompile.errors import BadInputError, BudgetError
from dscompile.firmware.image import read_image
from dscompile.frontend.load import load_network
from dscompile.frontend.settings import TargetSettings
from dscompile.plan.mcu.memories import place_constants
from dscompile.plan.mcu.traffic import operand_traffic
from dscompile.regions import Region, WeightRegion
from dscompile.report.budgets import check_program as check_budgets
from dscompile.report.text import number, size
from dscompile.report.vectors import seeded_inputs
from dscompile.run.emulators import open_machine
from dscompile.run.firmware import FirmwareModel
from dscompile.run.selftest import SANITIZERS, run_selftest
from dscompile.run.sources import SourceModel
from dscompile.target import find_target
from tests.emulated.conftest import require
from tests.mcu import planned, random_inputs, write
from tests.packed_networks import stored

ROOT = Path(__file__).parents[2]
BOARD = ROOT / "examples" / "boards" / "stm32h743.yaml"
KWS = ROOT / "tests" / "data" / "kws_ref_model_int8.tflite"
KIB = 1024
ARENA = (Region("dtcm", 5 * KIB, 1.0), Region("sram", 16 * KIB, 3.0))
WEIGHTS = (WeightRegion("dtcm", 8 * KIB, 1.0, copy=True), WeightRegion("flash", 64 * KIB, 6.0))


@pytest.fixture(scope="module")
def kws():
    return load_network(KWS).network


def test_the_board_of_the_example_names_memories_for_the_arena():
    target = find_target(str(BOARD))
    assert [(r.name, r.size_bytes, r.cost) for r in target.regions] == [("dtcm", 96 * KIB, 1), ("sram", 384 * KIB, 3)]


def test_a_program_over_two_memories_holds_together_and_is_the_cheapest(kws):
    program = planned(kws, replace(find_target("cortex-m7"), regions=ARENA, weight_regions=WEIGHTS))
    check_program(program)
    assert program.split is not None
    assert program.split.proven
    assert {buffer.region for buffer in program.buffers} == {"dtcm", "sram"}
    assert all(use.size_bytes <= use.region.size_bytes for use in (*program.split.uses, *program.weights))


def test_a_buffer_outside_of_its_memory_is_found(kws):
    program = planned(kws, replace(find_target("cortex-m7"), regions=ARENA))
    lost = replace(program.buffers[0], region="psram")
    with pytest.raises(ValueError, match="lies in 'psram', which is no memory of the arena"):
        check_program(replace(program, buffers=(lost, *program.buffers[1:])))


def test_the_constants_that_are_read_most_per_byte_are_copied(kws):
    program = planned(kws, replace(find_target("cortex-m7"), regions=ARENA, weight_regions=WEIGHTS))
    copied, flash = program.weights
    assert copied.traffic_bytes / copied.size_bytes > flash.traffic_bytes / flash.size_bytes
    assert flash.size_bytes >= copied.size_bytes  # flash keeps what is copied, too


def test_layers_that_a_region_names_come_first_and_unknown_ones_are_errors():
    constants = {"hot.weights": np.zeros(64, np.int8), "cold.weights": np.zeros(64, np.int8)}
    target = find_target("cortex-m7")
    traffic = {"hot.weights": 6400, "cold.weights": 64}
    pinned = (WeightRegion("dtcm", 64, 1.0, copy=True, layers=("cold",)), WeightRegion("flash", 1024, 2.0))
    uses = place_constants(constants, traffic, replace(target, weight_regions=pinned))
    assert list(uses[0].offsets) == ["cold.weights"]
    wrong = (replace(pinned[0], layers=("clod",)), pinned[1])
    with pytest.raises(BadInputError, match="region 'dtcm' of the weights names the layer 'clod', which has none"):
        place_constants(constants, traffic, replace(target, weight_regions=wrong))


def test_regions_that_are_too_small_name_themselves_and_what_they_lack(kws):
    small = (replace(ARENA[0], size_bytes=KIB), replace(ARENA[1], size_bytes=8 * KIB))
    weights = (WeightRegion("flash", KIB),)
    program = planned(kws, replace(find_target("cortex-m7"), regions=small, weight_regions=weights))
    with pytest.raises(BudgetError) as failure:
        check_budgets(program, "m7", TargetSettings())
    arena, constants = (diagnostic.message for diagnostic in failure.value.diagnostics)
    assert "region 'sram' of the arena needs" in arena
    assert "B more than m7 gives it (8 192 B); the regions before it are full" in arena
    assert "region 'flash' of the weights needs" in constants


def test_the_same_results_in_this_process_and_a_selftest_that_passes(kws, tmp_path):
    target = replace(find_target("c99"), regions=ARENA, weight_regions=WEIGHTS)
    artifact = write(kws, tmp_path / "a", target)
    assert [memory.name for memory in artifact.manifest.lent] == ["arena_dtcm", "arena_sram", "weights_dtcm"]
    inputs = random_inputs(kws, 3)
    expected = oracle_outputs(kws, inputs)
    results = SourceModel(artifact).run(inputs)
    assert all(np.array_equal(results[name], expected[name]) for name in kws.outputs)
    assert run_selftest(artifact, SANITIZERS).passed


def test_copies_alone_leave_one_arena_in_the_structure(kws, tmp_path):
    artifact = write(kws, tmp_path / "a", replace(find_target("c99"), weight_regions=WEIGHTS))
    assert [memory.name for memory in artifact.manifest.lent] == ["arena", "weights_dtcm"]
    inputs = random_inputs(kws, 3)
    expected = oracle_outputs(kws, inputs)
    results = SourceModel(artifact).run(inputs)
    assert all(np.array_equal(results[name], expected[name]) for name in kws.outputs)


def test_a_single_arena_is_called_as_ever(kws, tmp_path):
    header = (write(kws, tmp_path / "a", find_target("c99")).directory / "kws_ref_model_int8.h").read_text()
    assert "_arenas" not in header
    assert "load_weights" not in header


@pytest.mark.slow
@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m3", "cortex-m0plus", "stm32h743"])
def test_each_memory_has_its_addresses_and_the_traffic_that_was_planned(core, kws, tmp_path):
    assert_traffic_is_as_planned(kws, core, tmp_path)


@pytest.mark.slow
@pytest.mark.every_case
@pytest.mark.parametrize(("core", "storage"), [("cortex-m4", "int4"), ("cortex-m4", "2:4"), ("cortex-m0plus", "int4")])
def test_packed_weights_that_are_copied_move_the_bytes_that_were_planned(core, storage, kws, tmp_path):
    assert_traffic_is_as_planned(stored(kws, storage), core, tmp_path)


def assert_traffic_is_as_planned(kws, core, tmp_path):
    """The oracle's bytes, buffers and copied weights at their addresses, and as many bytes moved as was planned."""
    require("unicorn", _has_unicorn())
    target = find_target(str(BOARD) if core == "stm32h743" else core)
    artifact = write(kws, tmp_path / "a", replace(target, regions=ARENA, weight_regions=WEIGHTS))
    device = FirmwareModel(artifact)
    inputs = random_inputs(kws, 4)
    expected = oracle_outputs(kws, inputs)
    results = device.run(inputs)
    assert all(np.array_equal(results[name], expected[name]) for name in kws.outputs)
    spans = [_span(device, f"firmware_{memory.name}") for memory in artifact.manifest.lent]
    if core == "stm32h743":
        assert target.board is not None
        for memory, (start, end) in zip(artifact.manifest.lent, spans, strict=True):
            place = target.board.memory(memory.region)
            assert place.origin <= start < end <= place.end
    moved = _measured(device, artifact, spans)
    home = {buffer.name: buffer.region for buffer in artifact.manifest.arena.buffers}
    moved_by_borders = _border_traffic(planned(kws, target))
    for memory, found in zip(artifact.manifest.lent, moved, strict=True):
        # The borders of this run lie with the caller, where the plan counts them in the arena.
        outside = 0
        if memory.kind == "arena":
            outside = sum(size for name, size in moved_by_borders.items() if home[name] == memory.region)
        assert memory.traffic_bytes - outside == found


def _border_traffic(program):
    """Bytes that a program moves in its borders, by the names of their buffers."""
    kernels = {function.symbol: function.kernel for function in program.functions}
    calls = ((kernels[call.symbol], call.operands) for step in program.steps for call in step.calls)
    return {
        f"{space}:{name}": size
        for (space, name), size in operand_traffic(calls, program.constants).items()
        if space in ("input", "output")
    }


def _span(device, name):
    symbol = read_image(device._elf).symbol(name)
    return symbol.address, symbol.address + symbol.size_bytes


def _measured(device, artifact, spans):
    with open_machine(device._elf, artifact.manifest.target, "unicorn") as machine:
        ranges = machine.watch(spans)
        assert machine.run("firmware_load_weights").result == 0
        before = [found.loaded + found.stored for found in ranges]
        assert machine.run("firmware_network").result == 0
        return [found.loaded + found.stored - b for found, b in zip(ranges, before, strict=True)]


def _has_unicorn():
    try:
        import unicorn  # noqa: F401
    except ImportError:
        return False
    return True


NET = """dscompile: 1
network:
  name: tiny
  input: {name: x, shape: [1, 12, 12, 4]}
  layers:
    - conv: {name: first, out: 8, kernel: 3}
    - conv: {name: second, out: 8, kernel: 3}
weights: {seed: 1}
targets:
  cortex-m7:
    SETTINGS
"""


def _net(tmp_path, settings, target="cortex-m7"):
    path = tmp_path / "net.yaml"
    path.write_text(NET.replace("SETTINGS", settings).replace("cortex-m7", target), encoding="utf-8")
    return path


def test_a_net_yaml_names_memories_and_the_manifest_has_them(tmp_path):
    net = _net(tmp_path, "arena: {dtcm: 2 KiB, sram: {size: 64 KiB, cost: 4}}")
    artifact = api.build(net, "cortex-m7", tmp_path / "out").artifact
    memories = json.loads((artifact.directory / "manifest.json").read_text())["memories"]
    assert [(m["region"], m["capacity"], m["cost"]) for m in memories] == [("dtcm", 2048, 1.0), ("sram", 65536, 4.0)]
    assert api.load(artifact.directory).artifact.manifest == artifact.manifest
    arena = api.inspect(net, "cortex-m7").arena
    assert arena is not None
    assert arena.split is not None
    assert {buffer.region for buffer in arena.buffers} <= {"dtcm", "sram"}


def test_inspect_plans_what_build_makes_and_shows_its_memories(kws, tmp_path, capsys):
    net = api.import_model(KWS, tmp_path / "kws.yaml").path
    net.write_text(
        net.read_text() + "targets:\n  cortex-m4:\n    arena: {dtcm: 5 KiB, sram: 16 KiB}\n", encoding="utf-8"
    )
    assert main(["inspect", str(net), "-t", "cortex-m4"]) == 0
    printed = capsys.readouterr().out
    program = planned(kws, replace(find_target("cortex-m4"), regions=(ARENA[0], replace(ARENA[1], cost=2.0))))
    assert program.split is not None
    assert f"arena on cortex-m4: {size(program.arena_bytes)}; most is alive at" in printed
    assert "(bytes by cost); no plan costs less" in printed
    for use in program.split.uses:
        assert re.search(rf"arena +{use.region.name} +{number(use.size_bytes)} .*{number(use.traffic_bytes)}", printed)


def test_a_region_of_copies_that_nothing_was_placed_in_still_has_its_function(tmp_path):
    net = _net(
        tmp_path, "arena: {dtcm: 2 KiB, sram: 64 KiB}\n    weights: {flash: 1 MiB, sram: {size: 1 KiB, copy: true}}"
    )
    artifact = api.build(net, "cortex-m7", tmp_path / "out").artifact
    device = FirmwareModel(artifact)
    assert len(device.count_steps(seeded_inputs(artifact.manifest.inputs, 1))) == len(artifact.manifest.layers)


def test_a_memory_alone_is_a_budget(tmp_path):
    net = _net(tmp_path, "arena: {dtcm: 1 KiB}")
    with pytest.raises(BudgetError, match="the budget of cortex-m7 is 1 024 B"):
        api.build(net, "cortex-m7", tmp_path / "out")


@pytest.mark.parametrize(
    ("settings", "target", "message"),
    [
        ("arena: {dtcm: 1 KiB, DTCM: 2 KiB}", "cortex-m7", "two regions are called 'dtcm' and 'DTCM'"),
        ("arena: {dtcm: 1 KiB, sram: {cost: 2}}", "cortex-m7", "region 'sram' needs 'size'"),
        ("arena: {dtcm: 1 KiB, s-ram: 2 KiB}", "cortex-m7", "region 's-ram' must be called by letters"),
        ("arena: {dtcm: 1 KiB, ram: 8 MiB}", "cortex-m7", "region 'ram' has 8388608 B, but that memory"),
        ("arena: {dtcm: 1 KiB, sram: 8 MiB}", "x86", "target 'x86' has one memory for everything"),
        ("weights: {dtcm: {size: 1 KiB, copy: true}}", "cortex-m7", "every region of 'weights' is a copy"),
        ("weights: {flash: {size: 1 KiB, layers: first}}", "cortex-m7", "'layers' must be a list of layers' names"),
    ],
)
def test_memories_that_make_no_sense_are_errors_with_their_place(settings, target, message, tmp_path):
    with pytest.raises(BadInputError) as failure:
        api.check(_net(tmp_path, settings, target))
    assert any(message in diagnostic.message for diagnostic in failure.value.diagnostics)


def test_a_target_file_with_regions_but_no_c_kernels_is_refused(tmp_path):
    path = tmp_path / "t.yaml"
    path.write_text(
        "dscompile_target: 1\nname: t\nfamily: x86\ndescription: d\n"
        "arena: {alignment: 64, regions: {a: 1 KiB, b: 2 KiB}}\n",
        encoding="utf-8",
    )
    with pytest.raises(BadInputError, match="regions are for targets of standalone C"):
        find_target(str(path))
    path.write_text(path.read_text().replace("{a: 1 KiB, b: 2 KiB}", "[a]"), encoding="utf-8")
    with pytest.raises(BadInputError, match="'regions' must map names to sizes, the fastest first"):
        find_target(str(path))
