"""Cross-compiled C in QEMU and unicorn: results, exact instruction counts, stack use and faults."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import struct
from collections.abc import Iterator

import numpy as np
import pytest

from dscompile.board import QemuMachine
from dscompile.errors import ToolError, UsageError
from dscompile.firmware.toolchains import Kind
from dscompile.run.emulators import Emulator, FirmwareFault, Machine, open_machine, run_firmware
from dscompile.target import find_target
from tests.emulated.conftest import CORES, Build, require_emulator

EMULATORS: tuple[Emulator, ...] = ("qemu", "unicorn")
KINDS: tuple[Kind, ...] = ("gcc", "zig")
WITH_FPU = ("cortex-m4", "cortex-m7", "cortex-m33")


@pytest.fixture(params=list(itertools.product(CORES, KINDS, EMULATORS)), ids="-".join, scope="module")
def machine(request: pytest.FixtureRequest, programs: Build) -> Iterator[Machine]:
    """programs.c booted on every core, by both compilers, in both emulators."""
    core, kind, emulator = request.param
    require_emulator(core, emulator)
    with open_machine(programs(core, kind).elf, find_target(core), emulator) as machine:
        yield machine


def words(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}i", *numbers)


def test_a_sum_is_right_and_its_count_repeats(machine: Machine):
    runs = [machine.run("sum", writes={"values": words(*range(start, start + 64))}) for start in (0, 1, -70)]
    assert [run.result for run in runs] == [2016, 2080, 2**32 - 2464]
    assert len({run.instructions for run in runs}) == 1
    assert 64 <= runs[0].instructions <= 64 * 6


def test_variables_are_initialized_and_others_are_zero(machine: Machine):
    assert machine.run("initial_values", writes={"values": words(0)}).result == 1000007 - 385


def test_arguments_are_numbers_and_addresses(machine: Machine):
    run = machine.run("four_arguments", arguments=["values", 2, -3, 4], writes={"values": words(5)})
    assert run.result == 5 + 20 - 300 + 4000


def test_an_int8_dot_product(machine: Machine):
    rng = np.random.default_rng(3)
    left, right = rng.integers(-128, 128, (2, 64)).astype(np.int8)
    run = machine.run("dot", writes={"left": left.tobytes(), "right": right.tobytes()})
    assert np.uint32(run.result).astype(np.int32) == int(left.astype(int) @ right.astype(int))


def test_thousands_of_instructions_without_a_branch_are_all_counted(machine: Machine):
    run = machine.run("straight", arguments=[2463534242], reads={"ticks": 4})
    state = 2463534242
    for _ in range(256):
        state ^= state << 13 & 0xFFFFFFFF
        state ^= state >> 17
        state ^= state << 5 & 0xFFFFFFFF
    assert run.result == state
    assert struct.unpack("<I", run.outputs["ticks"]) == (state,)
    code = machine.image.symbol("straight").size_bytes
    assert code / 4 <= run.instructions <= code / 2
    assert run.instructions >= 4 * 256


def test_the_stack_is_measured_by_what_is_written(machine: Machine):
    shallow, deep = machine.run("sum"), machine.run("fill_stack", arguments=[7])
    assert shallow.stack_bytes <= 48
    assert 1000 <= deep.stack_bytes <= 1064
    assert machine.run("sum").stack_bytes == shallow.stack_bytes


def test_a_mark_records_the_count_at_each_call(machine: Machine):
    run = machine.run("three_ticks", mark="tick", reads={"ticks": 4}, writes={"ticks": words(0)})
    assert run.outputs["ticks"] == words(3)
    first, second, third = run.marks
    assert 0 < first < second < third < run.instructions
    assert min(first, second - first, third - second) > machine.run("sum").instructions
    assert machine.run("three_ticks").marks == ()


def test_what_a_program_prints_comes_with_its_result(machine: Machine):
    run = machine.run("greet")
    assert (run.printed, run.result) == ("first line\nsecond line\n", 7)
    assert machine.run("greet").printed == run.printed
    assert machine.run("sum").printed == ""


@pytest.mark.parametrize(("function", "distance"), [("move_up", 1), ("move_up", 4), ("move_down", 3), ("move_down", 8)])
def test_memmove_of_what_overlaps(machine: Machine, function: str, distance: int):
    before = bytes(np.random.default_rng(distance).integers(0, 256, 300).astype(np.uint8))
    run = machine.run(function, arguments=[distance], writes={"bytes": before}, reads={"bytes": 300})
    expected = bytearray(before)
    if function == "move_up":
        expected[distance : distance + 100] = before[:100]
    else:
        expected[:100] = before[distance : distance + 100]
    assert run.outputs["bytes"] == bytes(expected)


@pytest.mark.parametrize(("offset", "to", "count"), [(0, 0, 0), (1, 1, 7), (3, 1, 64), (2, 2, 1), (5, 1, 90)])
def test_memcpy_memset_and_memcmp(machine: Machine, offset: int, to: int, count: int):
    source = bytes(np.random.default_rng(count).integers(0, 256, 300).astype(np.uint8))
    writes = {"bytes": source, "copy": bytes(300)}
    run = machine.run("copy_from", arguments=[offset, to, count], writes=writes, reads={"copy": 300})
    expected = bytearray(300)
    expected[to : to + count] = source[offset : offset + count]
    assert run.outputs["copy"] == bytes(expected)
    run = machine.run("set_bytes", arguments=[offset, 0x1A5, count], reads={"bytes": 300})
    assert run.outputs["bytes"] == source[:offset] + b"\xa5" * count + source[offset + count :]
    assert machine.run("compare", arguments=[4], writes={"bytes": b"abcd", "copy": b"abcd"}).result == 0
    assert machine.run("compare", arguments=[4], writes={"bytes": b"ab\xffd", "copy": b"abcd"}).result == 1
    assert machine.run("compare", arguments=[4], writes={"bytes": b"abcd", "copy": b"abce"}).result == 2**32 - 1


def test_a_symbol_that_is_not_there_gets_the_nearest(machine: Machine):
    with pytest.raises(UsageError, match=r"has no symbol 'valeus'\n  = help: did you mean 'values'"):
        machine.run("sum", writes={"valeus": b""})


def test_too_many_bytes_and_arguments_are_refused_in_one_message(machine: Machine):
    with pytest.raises(UsageError) as caught:
        machine.run("sum", arguments=[1] * 5, writes={"left": bytes(65)}, reads={"right": 100}, limit=0)
    assert [d.message for d in caught.value.diagnostics] == [
        "at most four arguments can be passed, not 5",
        "the limit must be at least one instruction, not 0",
        "65 bytes are to be written at 'left', which has 64",
        "100 bytes are to be read at 'right', which has 64",
    ]


CALLS = (
    ("sum", ()),
    ("dot", ()),
    ("straight", (1,)),
    ("fill_stack", (3,)),
    ("three_ticks", ()),
    ("copy_from", (3, 5, 200)),
    ("move_up", (8,)),
    ("greet", ()),
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("core", CORES)
def test_both_emulators_count_the_same(core: str, kind: Kind, programs: Build):
    for emulator in EMULATORS:
        require_emulator(core, emulator)
    elf, target = programs(core, kind).elf, find_target(core)
    with open_machine(elf, target, "qemu") as qemu, open_machine(elf, target, "unicorn") as unicorn:
        for function, arguments in CALLS:
            one, other = (m.run(function, arguments=arguments, mark="tick") for m in (qemu, unicorn))
            assert one == other, function


@pytest.mark.parametrize("emulator", EMULATORS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("core", WITH_FPU)
def test_floats_on_a_floating_point_unit(core: str, kind: Kind, emulator: Emulator, programs: Build):
    require_emulator(core, emulator)
    samples = np.linspace(-3, 5, 16, dtype=np.float32)
    run = run_firmware(
        programs(core, kind).elf,
        find_target(core),
        "scale",
        writes={"samples": samples.tobytes()},
        reads={"scaled": 64},
        emulator=emulator,
    )
    np.testing.assert_array_equal(np.frombuffer(run.outputs["scaled"], np.float32), samples * np.float32(1.5) + 0.25)
    assert run.instructions <= 16 * 8  # a call to a software multiplication would take more than that alone


FAULTS = (
    ("bad_load", "bad access to memory", 0x90000000),
    ("bad_store", "bad access to memory", 0x90000004),
    ("undefined", "undefined instruction", None),
)


@pytest.mark.parametrize("emulator", EMULATORS)
@pytest.mark.parametrize("core", CORES)
def test_a_fault_names_its_function_and_address(core: str, emulator: Emulator, programs: Build):
    require_emulator(core, emulator)
    elf = programs(core).elf
    for function, kind, address in FAULTS:
        with pytest.raises(FirmwareFault) as caught:
            run_firmware(elf, find_target(core), function, emulator=emulator)
        fault = caught.value.fault
        assert fault.symbol.split("+")[0] == function
        assert (fault.kind, fault.address) == (kind, address)
        assert f"in {fault.symbol} (pc 0x{fault.pc:08x})" in str(caught.value)


@pytest.mark.parametrize("emulator", EMULATORS)
@pytest.mark.parametrize("core", CORES)
def test_a_jump_to_nowhere_is_a_fault(core: str, emulator: Emulator, programs: Build):
    require_emulator(core, emulator)
    with pytest.raises(FirmwareFault, match="instruction fetch from where there is no memory"):
        run_firmware(programs(core).elf, find_target(core), "jump_nowhere", emulator=emulator)


@pytest.mark.parametrize("emulator", EMULATORS)
@pytest.mark.parametrize("core", CORES)
def test_an_unaligned_access_faults_where_cores_may_not_have_it(core: str, emulator: Emulator, programs: Build):
    require_emulator(core, emulator)
    if (core, emulator) == ("rv32imc", "qemu"):
        pytest.skip("QEMU's RISC-V cores take unaligned accesses")
    with open_machine(programs(core).elf, find_target(core), emulator) as machine:
        address = machine.image.symbol("bytes").address + 1
        call = functools.partial(machine.run, "load", arguments=[address], writes={"bytes": b"\0\1\2\3\4"})
        if find_target(core).has("unaligned"):
            assert call(reads={"loaded": 4}).outputs["loaded"] == b"\1\2\3\4"
        else:
            with pytest.raises(FirmwareFault, match="unaligned access") as caught:
                call()
            assert caught.value.fault.symbol.split("+")[0] == "load"
            load = machine.image.symbol("load")
            assert (
                load.address <= caught.value.fault.pc < load.address + load.size_bytes // 2
            )  # the load, not the store


@pytest.mark.parametrize("emulator", EMULATORS)
@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m33", "rv32imc"])
def test_an_endless_loop_is_stopped(core: str, emulator: Emulator, programs: Build):
    require_emulator(core, emulator)
    with pytest.raises(FirmwareFault, match="it did not end within 100000 instructions, in hang") as caught:
        run_firmware(programs(core).elf, find_target(core), "hang", limit=100_000, emulator=emulator)
    assert 100_000 < caught.value.fault.instructions < 100_100
    assert "= help: an endless loop, or the limit is too low" in str(caught.value)


@pytest.mark.parametrize("emulator", EMULATORS)
@pytest.mark.parametrize("core", ["cortex-m4", "rv32imc"])
def test_a_stack_overflow_is_reported(core: str, emulator: Emulator, programs: Build):
    require_emulator(core, emulator)
    elf, target = programs(core).elf, find_target(core)
    fits = run_firmware(elf, target, "overflow", arguments=[100], emulator=emulator)
    assert 51_200 < fits.stack_bytes < 65_536
    with pytest.raises(FirmwareFault, match="the stack of 65536 bytes overflowed"):
        run_firmware(elf, target, "overflow", arguments=[130], emulator=emulator)


def test_a_board_that_qemu_does_not_have(programs: Build):
    require_emulator("cortex-m4", "qemu")
    target = find_target("cortex-m4")
    assert target.board is not None

    board = dataclasses.replace(target.board, qemu=QemuMachine("qemu-system-arm", "toaster"))
    with pytest.raises(ToolError, match=r"QEMU's board toaster did not start: .*\n.*unsupported machine type"):
        run_firmware(programs("cortex-m4").elf, dataclasses.replace(target, board=board), "sum", emulator="qemu")
