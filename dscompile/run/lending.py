"""The memory that a caller lends standalone C: one arena, or the blocks of several memories."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from dscompile.artifact import Manifest, MemoryInfo
from dscompile.board import Board
from dscompile.errors import CheckFailedError
from dscompile.run.arrays import aligned_bytes

STEM = "firmware_"  # of the variables in a program for an emulator


class LentMemory:
    """Memory in this process for one artifact, filled with 0xff; with copies, the library has loaded its constants."""

    def __init__(self, manifest: Manifest, library: ctypes.CDLL) -> None:
        alignment = manifest.arena.alignment
        sizes = [memory.size_bytes for memory in manifest.lent] or [manifest.arena.size_bytes]
        self._blocks = [aligned_bytes(size, alignment) for size in sizes]
        self.argument: NDArray[np.generic] = self._blocks[0]
        if manifest.lent:
            self.argument = np.array([block.ctypes.data for block in self._blocks], np.uintp)
        if has_copies(manifest):
            load = getattr(library, f"{manifest.c_name}_load_weights")
            status = load(self.argument.ctypes.data_as(ctypes.c_void_p))
            if status != 0:
                raise CheckFailedError(f"{manifest.c_name}_load_weights returned {status}")


def has_copies(manifest: Manifest) -> bool:
    """Whether constants are copied before the first inference."""
    return any(memory.kind == "copy" for memory in manifest.lent)


def variable(memory: MemoryInfo) -> str:
    """The variable of a block in a program for an emulator."""
    return f"{STEM}{memory.name}"


def declarations(manifest: Manifest) -> list[str]:
    """C that declares the memory a program lends, and the argument of `<net>_run` for it, `firmware_lent`."""
    name = manifest.c_name
    if not manifest.lent:
        return [f"{name}_arena {STEM}arena;", f"#define {STEM}lent &{STEM}arena"]
    macro = name.upper()
    blocks = [f"{macro}_{m.name.upper()}_ATTR {name}_{m.name} {variable(m)};" for m in manifest.lent]
    pointers = ", ".join(f"&{variable(memory)}" for memory in manifest.lent)
    return [
        *blocks,
        f"static const {name}_arenas {STEM}blocks = {{{pointers}}};",
        f"#define {STEM}lent &{STEM}blocks",
    ]


def placing(manifest: Manifest, board: Board | None) -> tuple[str, ...]:
    """Compiler flags that put every block, and the constants of every region, into the memory of that name.

    Regions that the target has no memory for stay where variables and constants lie anyway.
    """
    known = {memory.name for memory in board.memories} if board is not None else set()
    macro = manifest.c_name.upper()
    flags: Mapping[str, str] = {
        f"{macro}_WEIGHTS_{m.region.upper()}_ATTR" if m.kind == "constants" else f"{macro}_{m.name.upper()}_ATTR": (
            f"{'.rodata' if m.kind == 'constants' else '.bss'}.memory_{m.region}"
        )
        for m in manifest.memories
        if m.region in known
    }
    return tuple(f'-D{name}=__attribute__((section("{section}")))' for name, section in flags.items())
