"""The counters that the C helpers fill, and building these helpers: once, into the user's cache."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from dscompile.data import data_directory
from dscompile.firmware.toolchains import host_compiler
from dscompile.toolchain import run_tool

MARKS = 65536
NO_ADDRESS = 2**64 - 1


class Counters(ctypes.Structure):
    """`counters` of templates/run/counting.h."""

    _fields_ = (
        ("start", ctypes.c_uint64),
        ("stop", ctypes.c_uint64),
        ("fault", ctypes.c_uint64),
        ("limit", ctypes.c_uint64),
        ("mark", ctypes.c_uint64),
        ("instructions", ctypes.c_uint64),
        ("running", ctypes.c_uint64),
        ("expired", ctypes.c_uint64),
        ("last", ctypes.c_uint64),
        ("marks", ctypes.c_uint64),
        ("mark_counts", ctypes.c_uint64 * MARKS),
    )
    start: int
    stop: int
    fault: int
    limit: int
    mark: int
    instructions: int
    running: int
    expired: int
    last: int
    marks: int
    mark_counts: ctypes.Array[ctypes.c_uint64]

    def prepare(self, start: int, stop: int, fault: int, limit: int, mark: int) -> None:
        """Everything to zero, ready to count from `start` to `stop` or to the handler of faults."""
        self.start, self.stop, self.fault, self.limit, self.mark = start, stop, fault, limit, mark
        self.instructions = self.running = self.expired = self.last = self.marks = 0


@functools.cache
def helper_library(name: str, definitions: Sequence[str] = ()) -> Path:
    """templates/run/`name`.c as a shared library for this machine.

    It is compiled at first use and kept in $XDG_CACHE_HOME (~/.cache) by the checksum of its sources, or only for this
    process where that cannot be written. Raises ToolError if there is no C compiler.
    """
    folder = data_directory("templates") / "run"
    source = folder / f"{name}.c"
    content = b"".join(
        (
            source.read_bytes(),
            (folder / "counting.h").read_bytes(),
            repr((definitions, sys.platform, platform.machine())).encode(),
        )
    )
    file = f"{name}-{hashlib.sha256(content).hexdigest()[:16]}.so"
    cache = cache_directory()
    if not (cache / file).is_file():
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            options = ["-std=c99", "-D_GNU_SOURCE", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", *definitions]
            command = [*host_compiler(), *options, str(source), "-o", file]
            run_tool(command, Path(scratch), f"compiling the instruction counter {source.name}")
            os.replace(Path(scratch, file), cache / file)  # whole or not at all, also with several processes
    return cache / file


def plugin_api(program: str) -> int:
    """The version of the plugin interface that a helper must declare to the QEMU called `program`."""
    text = _version(program, os.environ.get("PATH", ""))
    version = re.search(r"version (\d+)\.", text)
    return 1 if version is None or int(version[1]) < 9 else 2  # QEMU 9 refuses version 1


@functools.cache
def _version(program: str, _path: str) -> str:
    """What the program says, asked once for each value of PATH."""
    return run_tool([program, "--version"], Path.cwd(), "asking QEMU for its version")


@functools.cache
def cache_directory() -> Path:
    """Where compiled helpers are kept: dscompile's directory in the user's cache, or one of this process."""
    root = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    directory = Path(root) / "dscompile"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            return directory
    except OSError:
        scratch = tempfile.TemporaryDirectory(prefix="dscompile-")
        _SCRATCH.append(scratch)
        return Path(scratch.name)


_SCRATCH: list[tempfile.TemporaryDirectory[str]] = []  # removed when the process ends
