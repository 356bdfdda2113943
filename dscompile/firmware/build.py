"""From C sources to a bare-metal program with a start-up code and a test harness of its own."""

from __future__ import annotations

import functools
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from dscompile.data import data_directory
from dscompile.errors import UsageError
from dscompile.firmware.image import undefined_symbols
from dscompile.firmware.toolchains import CrossToolchain, Kind, find_cross_toolchain, require_board
from dscompile.target import Target

STACK_BYTES = 64 * 1024  # at most; less where .data and .bss leave less of the stack's memory
PAINT = 0xC5A35A3C  # fills the stack before a run: a value that no address or small number has

_LINKER_SYMBOLS = frozenset(  # defined by firmware.ld.j2
    f"firmware_{name}"
    for name in (
        "data_start",
        "data_end",
        "data_load",
        "bss_start",
        "bss_end",
        "stack_top",
        "stack_bottom",
        "paint",
    )
)
_FLAGS = (
    "-std=c99",
    "-O2",
    "-g0",
    "-ffunction-sections",
    "-fdata-sections",
    "-fno-common",
    "-fno-asynchronous-unwind-tables",
    "-fno-unwind-tables",
)


@dataclass(frozen=True)
class Firmware:
    """A program that an emulator runs.

    `objects` are the compiled sources in their order, without start-up code and libraries; `compiler` is its version
    line. `call_graphs` are files with frames and calls for `stack_bound`; only gcc writes them.
    """

    elf: Path
    target: Target
    compiler: str
    objects: tuple[Path, ...]
    call_graphs: tuple[Path, ...]


def build_firmware(
    target: Target,
    sources: Sequence[Path],
    directory: Path,
    *,
    symbols: Sequence[str],
    include: Sequence[Path] = (),
    flags: Sequence[str] = (),
    compiler: Kind | None = None,
) -> Firmware:
    """Compiles `sources` (C or assembly) and links them into `directory`/firmware.elf.

    `symbols` are the functions to be called and the buffers to be written and read from outside; what they do not need
    is left out of the program. `flags` come after the project's own and can override them. The program needs no C
    library: memcpy, memmove, memset and memcmp, <stdint.h> and <string.h> are supplied. Raises UsageError for no
    source, two of the same name or a target that is no microcontroller, ToolError if the compiler is missing or fails.
    """
    require_board(target)
    if not sources:
        raise UsageError("a program needs at least one source file")
    names = [source.stem for source in sources]
    if len(set(names)) != len(names):
        raise UsageError(f"two source files have the same name: {', '.join(sorted(names))}")
    toolchain = find_cross_toolchain(target, compiler)
    templates = data_directory("templates") / "firmware"
    directory = directory.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    folders = [f"-I{folder.resolve()}" for folder in include]
    options = [*folders, *_call_graph(toolchain), *flags]
    objects = tuple(
        _compile(toolchain, target.name, source, directory / f"{source.stem}.o", options) for source in sources
    )
    for name, content in _own_files(toolchain, target.family, shutil.which(toolchain.command[0])):
        (directory / name).write_bytes(content)
    own = [directory / "firmware_start.o", directory / "firmware_memory.o"]
    (directory / "firmware.ld").write_text(_linker_script(target, templates), encoding="utf-8")
    arguments = ["-nostartfiles", "-static", "-Wl,--gc-sections", "-Wl,-T,firmware.ld"]
    arguments += [f"-Wl,-u,{symbol}" for symbol in ("firmware_reset", *symbols)]
    # Divisions and floats may need the compiler's own library; zig compiles its one for half a minute at first use.
    needs_runtime = bool(undefined_symbols([*objects, *own]) - _LINKER_SYMBOLS)
    arguments += [path.name for path in (*objects, *own)]
    arguments += toolchain.runtime if needs_runtime else toolchain.no_runtime
    arguments += ["-o", "firmware.elf"]
    toolchain.run(arguments, directory, f"linking a program for {target.name}")
    return Firmware(
        elf=directory / "firmware.elf",
        target=target,
        compiler=toolchain.version,
        objects=objects,
        call_graphs=tuple(path for path in (o.with_suffix(".ci") for o in (*objects, *own)) if path.is_file()),
    )


def _compile(toolchain: CrossToolchain, machine: str, source: Path, result: Path, options: Sequence[str] = ()) -> Path:
    include = ["-isystem", str(data_directory("templates") / "firmware" / "include")]
    arguments = [*_FLAGS, *include, *options, "-c", str(source.resolve()), "-o", result.name]
    toolchain.run(arguments, result.parent, f"compiling {source.name} for {machine}")
    return result


def _call_graph(toolchain: CrossToolchain) -> tuple[str, ...]:
    return ("-fcallgraph-info=su",) if toolchain.kind == "gcc" else ()


@functools.cache
def _own_files(toolchain: CrossToolchain, family: str, _program: str | None) -> tuple[tuple[str, bytes], ...]:
    """Start-up code and memcpy: names and contents of what a process compiles once for all its programs.

    `_program` is where the compiler lies.
    """
    templates = data_directory("templates") / "firmware"
    with tempfile.TemporaryDirectory(prefix="dscompile-") as scratch:
        folder = Path(scratch)
        _compile(toolchain, family, templates / f"{family}.S", folder / "firmware_start.o")
        # -fno-builtin: a loop that copies words must not be recognized as memcpy inside memcpy.
        options = [*_call_graph(toolchain), "-fno-builtin"]
        _compile(toolchain, family, templates / "memory.c", folder / "firmware_memory.o", options)
        return tuple((path.name, path.read_bytes()) for path in sorted(folder.iterdir()))


def _linker_script(target: Target, templates: Path) -> str:
    board = require_board(target)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    stack = board.memory(board.sections.stack)
    template = environment.get_template("firmware.ld.j2")
    return template.render(board=board, stack=stack, stack_bytes=STACK_BYTES, paint=PAINT)
