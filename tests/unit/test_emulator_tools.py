"""What is said when cross compilers and emulators are missing, and target files of microcontrollers."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import socket
import stat
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dscompile.board import Board, Memory, Sections, UnicornCpu
from dscompile.errors import BadInputError, ExitCode, ToolError, UsageError
from dscompile.firmware.build import build_firmware
from dscompile.firmware.image import Image, Symbol, read_image
from dscompile.firmware.toolchains import find_cross_toolchain, host_compiler, host_compilers
from dscompile.run.emulators import available_emulators, counting, open_machine
from dscompile.run.emulators.gdb import ConnectionLost, GdbConnection
from dscompile.target import Target, find_target


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine with nothing on its PATH and neither zig nor unicorn in its Python; the directory of the PATH."""
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in ("ziglang", "unicorn") else find_spec(name)
    )
    return programs


def put(directory: Path, name: str) -> None:
    """A program that answers --version."""
    path = directory / name
    path.write_text("#!/bin/sh\necho imaginary 1.0\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize(
    ("name", "package"), [("cortex-m4", "gcc-arm-none-eabi"), ("rv32imc", "gcc-riscv64-unknown-elf")]
)
def test_without_a_compiler_the_ways_to_get_one_are_said(name: str, package: str):
    with pytest.raises(ToolError) as caught:
        find_cross_toolchain(find_target(name))
    assert caught.value.code == ExitCode.TOOL_MISSING
    assert str(caught.value) == (
        f"error: no C compiler for {name} is installed\n"
        f"  = help: pip install 'dscompile[cross]' (zig, on any machine), or apt install {package} (Debian and Ubuntu)"
    )


@pytest.mark.usefixtures("bare")
def test_a_compiler_that_was_asked_for_is_named():
    with pytest.raises(ToolError, match=r"no C compiler for cortex-m0plus is installed \(zig was asked for\)\n.*pip"):
        find_cross_toolchain(find_target("cortex-m0plus"), "zig")


def test_gcc_is_preferred_and_zig_is_next(bare: Path):
    put(bare, "zig")
    target = find_target("cortex-m4")
    zig = find_cross_toolchain(target)
    assert (zig.kind, zig.command) == ("zig", (str(bare / "zig"), "cc"))
    assert zig.flags[:3] == ("-target", "thumb-freestanding-eabihf", "-mcpu=cortex_m4+vfp4d16sp")
    put(bare, "arm-none-eabi-gcc")
    gcc = find_cross_toolchain(target)
    assert (gcc.kind, gcc.command, gcc.version) == ("gcc", ("arm-none-eabi-gcc",), "imaginary 1.0")
    assert gcc.flags == ("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16")
    assert find_cross_toolchain(target, "zig").kind == "zig"


@pytest.mark.usefixtures("bare")
def test_without_an_emulator_the_ways_to_get_one_are_said(tmp_path: Path):
    assert available_emulators(find_target("rv32imc")) == ()
    with pytest.raises(ToolError) as caught:
        open_machine(tmp_path / "firmware.elf", find_target("rv32imc"))
    assert caught.value.code == ExitCode.TOOL_MISSING
    assert str(caught.value) == (
        "error: no emulator for rv32imc is installed\n"
        "  = help: pip install 'dscompile[emulate]' (unicorn, on any machine), "
        "or on Debian and Ubuntu: apt install qemu-system-misc"
    )


@pytest.mark.usefixtures("bare")
def test_without_a_compiler_for_this_machine():
    assert host_compilers() == ()
    with pytest.raises(ToolError, match=r"needs a C compiler for this machine, and none is installed\n.*apt install"):
        host_compiler()


def test_compilers_for_this_machine(bare: Path):
    put(bare, "cc")
    assert host_compilers() == (("cc",),)
    put(bare, "clang")
    put(bare, "gcc")
    put(bare, "zig")
    assert host_compilers() == (("gcc",), ("clang",), (str(bare / "zig"), "cc"))


def test_a_target_that_is_no_microcontroller(tmp_path: Path):
    with pytest.raises(UsageError, match="target x86-avx2 is no microcontroller: its target file has no 'memories'"):
        build_firmware(find_target("x86-avx2"), [tmp_path / "a.c"], tmp_path, symbols=[])


def test_sources_of_the_same_name_or_none(tmp_path: Path):
    target = find_target("cortex-m3")
    with pytest.raises(UsageError, match="a program needs at least one source file"):
        build_firmware(target, [], tmp_path, symbols=[])
    with pytest.raises(UsageError, match=r"two source files have the same name: net, net"):
        build_firmware(target, [tmp_path / "net.c", tmp_path / "lib" / "net.c"], tmp_path, symbols=[])


def test_a_core_that_unicorn_does_not_have(tmp_path: Path):
    pytest.importorskip("unicorn")
    from dscompile.run.emulators import unicorn

    target = find_target("cortex-m4")
    assert target.board is not None
    with pytest.raises(ToolError, match="this unicorn has no core 'CORTEX_M99'"):
        unicorn._open(UnicornCpu("arm", "CORTEX_M99"))


def test_the_helper_is_kept_in_the_cache_or_in_a_directory_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    counting.cache_directory.cache_clear()
    counting.helper_library.cache_clear()
    try:
        first = counting.helper_library("unicorn_counting")
        assert first.parent == tmp_path / "dscompile"
        assert os.listdir(first.parent) == [first.name]
        written = first.stat().st_mtime_ns
        counting.helper_library.cache_clear()
        assert counting.helper_library("unicorn_counting").stat().st_mtime_ns == written

        (tmp_path / "file").write_text("")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
        counting.cache_directory.cache_clear()
        counting.helper_library.cache_clear()
        other = counting.helper_library("unicorn_counting")
        assert other.is_file()
        assert tmp_path not in other.parents
    finally:
        counting.cache_directory.cache_clear()
        counting.helper_library.cache_clear()


def test_qemu_that_is_asked_for_and_not_installed(bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from dscompile.run.emulators import qemu

    with pytest.raises(ToolError, match=r"qemu-system-riscv32 is not installed\n.*apt install qemu-system-misc; or"):
        qemu._require("qemu-system-riscv32")
    for text, version in (("QEMU emulator version 7.2.1", 1), ("QEMU emulator version 10.0.0", 2), ("Weird", 1)):
        (bare / "qemu-system-arm").write_text(f"#!/bin/sh\necho {text}\n")
        (bare / "qemu-system-arm").chmod(0o755)
        counting._version.cache_clear()
        assert counting.plugin_api("qemu-system-arm") == version
    counting._version.cache_clear()


def test_without_python_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    from dscompile.run.emulators import unicorn

    monkeypatch.setitem(sys.modules, "unicorn", None)
    with pytest.raises(ToolError, match=r"unicorn is not installed\n.*pip install 'dscompile\[emulate\]'"):
        unicorn._open(UnicornCpu("arm", "CORTEX_M4"))
    monkeypatch.setitem(sys.modules, "elftools.elf.elffile", None)
    with pytest.raises(ToolError, match=r"reading ELF files needs pyelftools\n.*pip install 'dscompile\[emulate\]'"):
        read_image(tmp_path / "firmware.elf")


def symbol(name: str, address: int, size: int, is_global: bool = True) -> Symbol:
    return Symbol(name, address, size, "code", is_function=True, is_global=is_global)


def test_symbols_are_found_by_name_and_by_address():
    symbols = (symbol("run", 0x100, 20), symbol("step", 0x114, 8, False), symbol("step", 0x11C, 4, False))
    image = Image(Path("firmware.elf"), True, 0, (), symbols, ())
    assert image.function_address("run") == 0x101
    assert [image.nearest(a) for a in (0x100, 0x106, 0x11F, 0xFF, 0x200)] == [
        "run",
        "run+0x6",
        "step+0x3",
        "0x000000ff",
        "0x00000200",
    ]
    with pytest.raises(UsageError, match=r"the program firmware.elf has 2 static symbols 'step'"):
        image.symbol("step")
    with pytest.raises(UsageError, match=r"has no symbol 'xyz'\n.*name it among the symbols of build_firmware"):
        image.symbol("xyz")


@pytest.fixture
def answers() -> Iterator[tuple[list[bytes], list[bytes], socket.socket]]:
    """A machine that gives the answers in a list to whatever it is asked: (answers, questions, its other end)."""
    ours, theirs = socket.socketpair()
    replies: list[bytes] = [b"OK"]
    questions: list[bytes] = []

    def serve() -> None:
        received = b""
        while part := theirs.recv(4096):
            received += part
            while b"#" in received[:-2]:
                end = received.index(b"#") + 3
                questions.append(received[:end].lstrip(b"+"))
                received = received[end:]
                if not replies:
                    theirs.close()
                    return
                body = replies.pop(0)
                theirs.sendall(b"$" + body + b"#" + f"{sum(body) % 256:02x}".encode())

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield replies, questions, ours
    ours.close()
    thread.join(5)


def test_the_protocol_of_gdb(answers: tuple[list[bytes], list[bytes], socket.socket]):
    replies, questions, ours = answers
    gdb = GdbConnection(ours, 5.0)
    replies += [b"OK", b"OK", b"S05", b"00ff", b"E14", b"E14"]
    gdb.write(0x20000000, bytes(range(200)) * 6)
    gdb.proceed()
    assert gdb.read(0x10, 2) == b"\x00\xff"
    with pytest.raises(ValueError, match="cannot read memory at 0x90000000"):
        gdb.read(0x90000000, 4)
    with pytest.raises(ValueError, match=r"the machine answered 'E14' to 'M90000000,1:00'"):
        gdb.write(0x90000000, b"\0")
    assert questions[0] == b"$QStartNoAckMode#b0"
    assert [question[:16] for question in questions[1:5]] == [
        b"$M20000000,400:0",
        b"$M20000400,b0:18",
        b"$c#63",
        b"$m10,2#2c",
    ]
    with pytest.raises(ConnectionLost):
        gdb.step()


RAM, FLASH = Memory("ram", 0x20000000, 4096), Memory("flash", 0, 8192)
PLACES = Sections("flash", "flash", "ram", "ram")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Memory("ram", 0xFFFFF000, 8192), "memory 'ram' must lie inside the 32-bit address space"),
        (lambda: Memory("ram", 0, 0), "memory 'ram' must lie inside the 32-bit address space and not be empty"),
        (lambda: Board((FLASH,), PLACES), r"sections: 'data' lies in 'ram', which is not a memory \(flash\)"),
        (lambda: Board((FLASH, RAM, Memory("tcm", 4096, 8192)), PLACES), "memories 'flash' and 'tcm' overlap"),
        (lambda: Board((FLASH, RAM), PLACES, float_unit="half"), "float_unit must be one of none, single, double"),
        (lambda: Memory("flash", 0, 64, wait_states=-1), "memory 'flash': wait_states must be 0 or more, not -1"),
        (
            lambda: Memory("flash", 0, 64, wait_states=1, line_bytes=12),
            "memory 'flash': line must be a power of two and hold a word of 4 bytes, not 12",
        ),
        (
            lambda: Memory("flash", 0, 64, prefetch=True),
            "memory 'flash': line, cache and prefetch make wait_states shorter; it has none",
        ),
        (
            lambda: Board((FLASH, dataclasses.replace(RAM, wait_states=1)), PLACES),
            "memory 'ram' has wait_states, which count for code and constants; neither lies there",
        ),
        (lambda: Board((FLASH, RAM), PLACES, clock_hz=0.0), "clock must be more than 0 Hz, not 0"),
        (lambda: Board((FLASH, RAM), PLACES).memory("tcm"), "there is no memory 'tcm'"),
        (lambda: UnicornCpu("avr", "ATMEGA"), "unicorn has the architectures arm and riscv, not 'avr'"),
    ],
)
def test_boards_that_make_no_sense(make: object, message: str):
    assert callable(make)
    with pytest.raises(ValueError, match=message):
        make()


MINE = """\
dscompile_target: 1
name: mine
family: cortex-m
description: my board
kernels: [dsp, c99]
float_unit: single
arena: {alignment: 16}
memories:
  flash: {origin: 0x08000000, size: 512 KiB}
  ram: {origin: 0x20000000, size: 96 KiB}
  tcm: {origin: 0x10000000, size: 32 KiB}
sections: {code: flash, constants: flash, data: ram, stack: tcm}
toolchain:
  gcc: {prefix: arm-none-eabi-, flags: [-mcpu=cortex-m4, -mthumb]}
emulators:
  unicorn: {architecture: arm, model: CORTEX_M4}
"""


def read(text: str, directory: Path) -> Target:
    path = directory / "mine.yaml"
    path.write_text(text)
    return find_target(str(path))


def test_a_board_of_the_users(tmp_path: Path):
    board = read(MINE, tmp_path).board
    assert board is not None
    assert board.memory("ram") == Memory("ram", 0x20000000, 96 * 1024)
    assert board.sections == Sections("flash", "flash", "ram", "tcm")
    assert (board.zig, board.qemu) == (None, None)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  ram: {origin", "  rom: {orign", "unknown key 'orign' in 'memories' of the target file\n.*\n.*'origin'"),
        ("sections:", "section:", "unknown key 'section' of the target file"),
        ("code: flash, ", "", "the target file lacks the key 'code'"),
        ("96 KiB", "96 bytes", "'96 bytes' is not a size"),
        ("stack: tcm", "stack: ccm", "sections: 'stack' lies in 'ccm', which is not a memory"),
        ("{prefix:", "{prfix:", "unknown key 'prfix' in 'toolchain.gcc'"),
        ("model: CORTEX_M4", "modell: X", "unknown key 'modell' in 'emulators.unicorn'"),
        ("size: 512 KiB", "size: 512 KiB, wait_states: 2, prefetch: 1", "'prefetch' must be true or false, not '1'"),
        ("float_unit: single", "float_unit: single\nclock: fast", "'fast' is not a clock"),
        ("float_unit: single", "float_unit: half", "float_unit must be one of none, single, double"),
    ],
)
def test_mistakes_in_a_board_are_named(old: str, new: str, message: str, tmp_path: Path):
    assert old in MINE
    with pytest.raises(BadInputError, match=message):
        read(MINE.replace(old, new), tmp_path)


def test_memories_must_be_a_mapping(tmp_path: Path):
    start, end = MINE.index("memories:"), MINE.index("sections:")
    with pytest.raises(BadInputError, match="section 'memories' must be a mapping of names to regions"):
        read(MINE[:start] + "memories: [ram]\n" + MINE[end:], tmp_path)


def test_the_stack_may_have_a_memory_of_its_own(tmp_path: Path):
    from tests.emulated.conftest import HERE, require_compiler, require_emulator

    require_compiler("cortex-m4", "gcc")
    require_emulator("cortex-m4", "unicorn")
    target = read(MINE, tmp_path)
    firmware = build_firmware(target, [HERE / "programs.c"], tmp_path, symbols=["fill_stack"])
    with open_machine(firmware.elf, target) as machine:
        assert machine.image.symbol("firmware_stack_top").address == 0x10008000
        assert machine.image.symbol("firmware_stack_bottom").address == 0x10000000
        assert 1000 <= machine.run("fill_stack", arguments=[4]).stack_bytes <= 1064


def test_a_board_survives_the_manifest():
    from dscompile.artifact.board_json import board_from_json, board_to_json
    from dscompile.artifact.fields import Fields

    for name in ("cortex-m4", "rv32imc"):
        board = find_target(name).board
        assert board is not None
        problems: list[str] = []
        assert board_from_json(Fields(board_to_json(board), "board.", problems)) == board
        slow = [dataclasses.replace(memory, wait_states=3, prefetch=True) for memory in board.memories[:1]]
        timed = dataclasses.replace(board, memories=(*slow, *board.memories[1:]), clock_hz=120e6)
        assert board_from_json(Fields(board_to_json(timed), "board.", problems)) == timed
        record = board_to_json(dataclasses.replace(board, qemu=None, zig=None))
        record["float_unit"] = "half"
        assert board_from_json(Fields(record, "board.", problems)) is None
        assert problems == ["'board': float_unit must be one of none, single, double, not 'half'"]
