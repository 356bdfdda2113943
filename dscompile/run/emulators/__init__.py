"""Microcontrollers without a board: programs run in QEMU or unicorn, with exact counts of executed instructions."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from dscompile.errors import ToolError
from dscompile.firmware.image import read_image
from dscompile.firmware.toolchains import require_board
from dscompile.run.emulators.machine import (
    DEFAULT_LIMIT,
    Argument,
    EmulatedRun,
    Fault,
    FirmwareFault,
    Machine,
)
from dscompile.target import Target

Emulator = Literal["qemu", "unicorn"]

__all__ = [
    "DEFAULT_LIMIT",
    "EmulatedRun",
    "Emulator",
    "Fault",
    "FirmwareFault",
    "Machine",
    "available_emulators",
    "open_machine",
    "run_firmware",
]


def available_emulators(target: Target) -> tuple[Emulator, ...]:
    """The emulators on this machine that run a target, the preferred one first."""
    board = require_board(target)
    found: list[Emulator] = []
    if board.unicorn is not None and importlib.util.find_spec("unicorn") is not None:
        found.append("unicorn")
    if board.qemu is not None and shutil.which(board.qemu.program) is not None:
        found.append("qemu")
    return tuple(found)


def open_machine(elf: Path, target: Target, emulator: Emulator | None = None) -> Machine:
    """Boots a program of `build_firmware` and waits for calls; use it as a context manager.

    Without `emulator`, unicorn is taken if it is installed, otherwise QEMU. Raises ToolError (exit 5), saying what to
    install, if there is none, UsageError if the target is no microcontroller.
    """
    chosen = emulator or next(iter(available_emulators(target)), None)
    if chosen is None:
        raise ToolError(
            f"no emulator for {target.name} is installed",
            help=f"pip install 'dscompile[emulate]' (unicorn, on any machine){_qemu_advice(target)}",
        )
    image = read_image(elf)
    if chosen == "unicorn":
        from dscompile.run.emulators.unicorn import UnicornMachine

        return UnicornMachine(image, target)
    from dscompile.run.emulators.qemu import QemuMachine

    return QemuMachine(image, target)


def run_firmware(
    elf: Path,
    target: Target,
    entry: str,
    *,
    arguments: Sequence[Argument] = (),
    writes: Mapping[str, bytes] | None = None,
    reads: Mapping[str, int] | None = None,
    limit: int = DEFAULT_LIMIT,
    mark: str | None = None,
    emulator: Emulator | None = None,
) -> EmulatedRun:
    """Boots a program and calls one function of it; see `Machine.run` and `open_machine`."""
    with open_machine(elf, target, emulator) as machine:
        return machine.run(entry, arguments=arguments, writes=writes, reads=reads, limit=limit, mark=mark)


def _qemu_advice(target: Target) -> str:
    board = require_board(target)
    return "" if board.qemu is None else f", or on Debian and Ubuntu: apt install {_debian_package(board.qemu.program)}"


def _debian_package(program: str) -> str:
    return dict.fromkeys(("qemu-system-riscv32", "qemu-system-riscv64"), "qemu-system-misc").get(program, program)
