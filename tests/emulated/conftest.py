"""Programs for emulated cores, compiled once per session."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Protocol

import pytest

from dscompile.firmware.build import Firmware, build_firmware
from dscompile.firmware.toolchains import Kind, require_board, zig_command
from dscompile.run.emulators import Emulator, available_emulators
from dscompile.target import find_target

HERE = Path(__file__).parent
CORES = ("cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "rv32imc")
BUFFERS = ("values", "left", "right", "bytes", "copy", "loaded", "ticks")
FUNCTIONS = (
    *("sum", "initial_values", "four_arguments", "dot", "straight", "fill_stack", "overflow", "tick", "three_ticks"),
    *("move_up", "move_down", "copy_from", "set_bytes", "compare", "load"),
    *("bad_load", "bad_store", "undefined", "jump_nowhere", "hang", "greet"),
)
FLOATING_POINT = ("samples", "scaled", "scale")


class Build(Protocol):
    """programs.c for a core, by the compiler asked for, or by the one that users get."""

    def __call__(self, core: str, kind: Kind | None = None) -> Firmware: ...


def require(tool: str, is_there: bool) -> None:
    """Skips a test whose tool is missing; where $DSCOMPILE_REQUIRE_TOOLS is set, as in CI, the test fails."""
    if is_there:
        return
    if os.environ.get("DSCOMPILE_REQUIRE_TOOLS"):
        pytest.fail(f"{tool} is missing, and DSCOMPILE_REQUIRE_TOOLS is set; run tools/install_emulators.sh")
    pytest.skip(f"{tool} is not installed; run tools/install_emulators.sh")


def require_compiler(core: str, kind: Kind | None = None) -> Kind:
    """The compiler asked for, or the one that users get; skips or fails if it is not there."""
    if kind is None:
        kind = "gcc" if _gcc(core) is not None else "zig"
    if kind == "gcc":
        require(f"gcc for {core}", _gcc(core) is not None)
    else:
        require("ziglang", zig_command() is not None)
    return kind


def _gcc(core: str) -> str | None:
    gcc = require_board(find_target(core)).gcc
    return None if gcc is None else shutil.which(f"{gcc.prefix}gcc")


def require_emulator(core: str, emulator: Emulator) -> None:
    """Skips or fails unless the emulator is there."""
    require(f"{emulator} for {core}", emulator in available_emulators(find_target(core)))


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """programs.c for a core, by a compiler."""
    built: dict[tuple[str, Kind], Firmware] = {}

    def build(core: str, kind: Kind | None = None) -> Firmware:
        kind = require_compiler(core, kind)
        if (core, kind) not in built:
            target = find_target(core)
            symbols = [*BUFFERS, *FUNCTIONS, *(FLOATING_POINT if target.has("fpu") else ())]
            directory = tmp_path_factory.mktemp(f"{core}-{kind}")
            built[core, kind] = build_firmware(
                target, [HERE / "programs.c"], directory, symbols=symbols, compiler=kind, flags=["-Wall", "-Werror"]
            )
        return built[core, kind]

    return build
