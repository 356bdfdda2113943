"""Programs that need the compiler's own library: divisions and floats on cores without the instructions."""

from __future__ import annotations

from pathlib import Path

import pytest

from dscompile.firmware.build import build_firmware
from dscompile.firmware.toolchains import Kind
from dscompile.run.emulators import open_machine
from dscompile.target import find_target
from tests.emulated.conftest import CORES, HERE, require_compiler, require_emulator


def check(core: str, kind: Kind, directory: Path) -> None:
    require_compiler(core, kind)
    require_emulator(core, "unicorn")
    target = find_target(core)
    symbols = ("quotient", "scaled_by_pi", "high_word")
    firmware = build_firmware(target, [HERE / "division.c"], directory, symbols=symbols, compiler=kind)
    with open_machine(firmware.elf, target, "unicorn") as machine:
        assert machine.run("quotient", arguments=[1000, -7]).result == 2**32 - 142
        assert machine.run("scaled_by_pi", arguments=[1000]).result == 3141
        assert machine.run("high_word", arguments=[0xFEDCBA98, 0x12345678]).result == 0xFEDCBA98 * 0x12345678 >> 32


@pytest.mark.parametrize("core", CORES)
def test_with_the_library_of_gcc(core: str, tmp_path: Path):
    check(core, "gcc", tmp_path)


@pytest.mark.slow  # zig compiles its library for every core at first use: half a minute each
@pytest.mark.parametrize("core", ["cortex-m0plus", "rv32imc"])
def test_with_the_library_of_zig(core: str, tmp_path: Path):
    check(core, "zig", tmp_path)
