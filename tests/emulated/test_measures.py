"""Sizes per symbol, and the static bound of the stack beside what was measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from dscompile.errors import BadInputError, UsageError
from dscompile.firmware import build
from dscompile.firmware.build import Firmware, build_firmware
from dscompile.firmware.image import read_image
from dscompile.firmware.sizes import measure_sizes
from dscompile.firmware.stack import stack_bound
from dscompile.firmware.toolchains import Kind
from dscompile.run.emulators import run_firmware
from dscompile.target import find_target
from tests.emulated.conftest import HERE, require_compiler, require_emulator

FUNCTIONS = ("nested", "through_a_pointer", "recursive", "elsewhere")


def frames(core: str, kind: Kind, directory: Path) -> Firmware:
    require_compiler(core, kind)
    target = find_target(core)
    return build_firmware(target, [HERE / "frames.c"], directory, symbols=FUNCTIONS, compiler=kind)


def test_start_up_code_is_compiled_once_and_the_programs_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    build._own_files.cache_clear()
    compiled, compile_one = [], build._compile

    def count(*given) -> Path:
        compiled.append(given[2].name)
        return compile_one(*given)

    monkeypatch.setattr(build, "_compile", count)
    first, second = (frames("cortex-m4", "gcc", tmp_path / name) for name in ("first", "second"))
    assert compiled == ["frames.c", "cortex-m.S", "memory.c", "frames.c"]
    assert first.elf.read_bytes() == second.elf.read_bytes()
    assert [path.name for path in first.call_graphs] == [path.name for path in second.call_graphs]


@pytest.mark.parametrize("kind", ["gcc", "zig"])
def test_sizes_name_what_takes_flash_and_ram(kind: Kind, tmp_path: Path):
    sizes = measure_sizes(frames("cortex-m4", kind, tmp_path))
    symbols = {symbol.name: symbol for symbol in sizes.symbols}
    assert (symbols["weights"].place, symbols["weights"].size_bytes, symbols["weights"].source) == (
        "constants",
        321,
        "frames",
    )
    assert (symbols["table"].place, symbols["table"].size_bytes) == ("data", 400)
    assert (symbols["zeros"].place, symbols["zeros"].size_bytes) == ("zeros", 200)
    assert symbols["nested"].place == "code"
    assert 321 <= sizes.constants < 360
    assert 400 <= sizes.data < 416
    assert 200 <= sizes.zeros < 216 + 48
    assert sizes.of("code", source="frames") <= sizes.code < 600
    assert sizes.flash_bytes == sizes.code + sizes.constants + sizes.data
    assert sizes.ram_bytes == sizes.data + sizes.zeros
    assert not [name for name in symbols if name.startswith("firmware_")]
    assert [s.size_bytes for s in sizes.symbols] == sorted((s.size_bytes for s in sizes.symbols), reverse=True)


@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4", "rv32imc"])
def test_the_bound_of_the_stack_is_what_painting_finds(core: str, tmp_path: Path):
    require_emulator(core, "unicorn")
    firmware = frames(core, "gcc", tmp_path)
    bound = stack_bound(firmware.call_graphs, "nested")
    assert bound.path == ("nested", "leaf")
    assert bound.gaps == ()
    run = run_firmware(firmware.elf, firmware.target, "nested", arguments=[5], emulator="unicorn")
    assert 300 < run.stack_bytes <= bound.bytes < 400
    assert run.stack_bytes >= bound.bytes - 16


def test_what_a_bound_leaves_out_is_named(tmp_path: Path):
    graphs = frames("cortex-m4", "gcc", tmp_path).call_graphs
    assert stack_bound(graphs, "through_a_pointer").gaps == ("through_a_pointer calls through a pointer",)
    assert stack_bound(graphs, "recursive").gaps == ("recursive calls itself",)
    assert stack_bound(graphs, "elsewhere").gaps == ()
    only_others = [path for path in graphs if path.name != "frames.ci"]
    with pytest.raises(UsageError, match="the call graphs have no function 'nested'"):
        stack_bound(only_others, "nested")


def test_a_variable_frame_and_an_unknown_function_are_gaps(tmp_path: Path):
    graph = tmp_path / "by_hand.ci"
    graph.write_text(
        'graph: { title: "by_hand.c"\n'
        'node: { title: "top" label: "top\\nby_hand.c:4:5\\n32 bytes (dynamic)" }\n'
        'node: { title: "by_hand.c:leaf.isra.0" label: "leaf.isra\\nby_hand.c:1:5\\n40 bytes (static)" }\n'
        'edge: { sourcename: "top" targetname: "expf" label: "by_hand.c:5:9" }\n'
        'edge: { sourcename: "top" targetname: "by_hand.c:leaf.isra.0" label: "by_hand.c:6:9" }\n'
        "}\n"
    )
    bound = stack_bound([graph], "top")
    assert (bound.bytes, bound.path) == (72, ("top", "leaf"))
    assert bound.gaps == ("top calls expf, which has no figure", "top has a frame of variable size")


def test_a_function_that_was_merged_counts_as_the_one_that_stayed(tmp_path: Path):
    graph, merged = tmp_path / "by_hand.ci", tmp_path / "merged.txt"
    graph.write_text(
        'graph: { title: "by_hand.c"\n'
        'node: { title: "top" label: "top\\nby_hand.c:4:5\\n32 bytes (static)" }\n'
        'node: { title: "by_hand.c:first.constprop" label: "first\\nby_hand.c:1:5\\n40 bytes (static)" }\n'
        'edge: { sourcename: "top" targetname: "by_hand.c:second" label: "by_hand.c:5:9" }\n'
        "}\n"
    )
    merged.write_text("by_hand.c:1:5: optimized: Semantic equality hit:first/3->second/4\n")
    assert stack_bound([graph], "top").bytes == 32
    bound = stack_bound([graph], "top", [merged])
    assert (bound.bytes, bound.path) == (72, ("top", "first"))
    assert bound.gaps == ("top calls by_hand.c:second, which has no figure",)


def test_a_file_that_is_no_program(tmp_path: Path):
    path = tmp_path / "firmware.elf"
    path.write_bytes(b"MZ" + bytes(100))
    with pytest.raises(BadInputError, match="cannot read the ELF file"):
        read_image(path)
    with pytest.raises(BadInputError, match="not a program for Arm or RISC-V"):
        read_image(Path("/proc/self/exe"))
