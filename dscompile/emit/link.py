"""From the texts of an artifact and its compiled kernels to its two libraries, the same bytes each time.

The objects of the driver and of the weights come from a C compiler, or from LLVM where there is none; then nothing
links the shared library.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dscompile.emit.archive import archive
from dscompile.emit.elf import mutable_sections, rename_symbols
from dscompile.emit.interface import Interface
from dscompile.toolchain import Toolchain

DRIVER_FLAGS = ("-std=c99", "-O2", "-fPIC")
SHARED_FLAGS = (
    "-shared",
    "-Wl,--as-needed",
    "-Wl,--no-undefined",
    "-Wl,--build-id=none",
    "-Wl,-z,relro,-z,now,-z,noexecstack",
)
_GNU_FLAGS = ("-Wl,-z,text",)  # lld, which zig runs, does so anyway and zig does not know the option


@dataclass(frozen=True)
class Kernels:
    """Compiled kernels: a relocatable ELF object, and how its functions are to be called in the library.

    `name` is the stem of the object in the static library, behind that of the network.
    """

    name: str
    content: bytes
    symbols: Mapping[str, str]


@dataclass(frozen=True)
class Objects:
    """The compiled driver, the weights if there are any, and what threads share if a C compiler made that."""

    driver: bytes
    weights: bytes | None
    parallel: bytes | None


@dataclass(frozen=True)
class Libraries:
    """The finished libraries, and the objects in them that hold code: the driver, and kernels in the order given.

    There is no shared one where nothing could link it.
    """

    static: Path
    shared: Path | None
    driver_object: bytes
    kernels_objects: tuple[bytes, ...]


def compiled_objects(toolchain: Toolchain, interface: Interface, work: Path) -> Objects:
    """Compiles in `work`, which holds `<net>.c`, `<net>_parallel.c`, `<net>.h` and perhaps `<net>_weights.S`.

    All names are relative to `work`, so that no path gets into an object. Raises ToolError if a tool fails.
    """
    prefix = interface.prefix
    driver, parallel, weights = f"{prefix}.o", f"{prefix}_parallel.o", f"{prefix}_weights.o"
    flags = [*DRIVER_FLAGS, f"-ffile-prefix-map={work}=."]
    for name in (driver, parallel):
        toolchain.compile([*flags, "-c", Path(name).with_suffix(".c").name, "-o", name], work, "compiling the driver")
    has_weights = (work / f"{prefix}_weights.S").exists()
    if has_weights:
        toolchain.compile(["-c", f"{prefix}_weights.S", "-o", weights], work, "assembling the weights")
    blob = (work / weights).read_bytes() if has_weights else None
    return Objects((work / driver).read_bytes(), blob, (work / parallel).read_bytes())


def build_libraries(
    objects: Objects,
    toolchain: Toolchain | None,
    interface: Interface,
    kernels: Sequence[Kernels],
    work: Path,
    destination: Path,
    *,
    memory: Iterable[tuple[str, int]] = (),
) -> Libraries:
    """Puts objects and kernels together in `destination`; `work` is for what is needed in between.

    `memory` are sections with their sizes that may be written to when the library runs. Raises ToolError if the linker
    fails, ValueError if an object has other mutable data.
    """
    prefix = interface.prefix
    members = [(f"{prefix}.o", objects.driver)]
    members += [
        (f"{prefix}_{one.name}.o", rename_symbols(one.content, one.symbols, f"{prefix}_{one.name}_")) for one in kernels
    ]
    if objects.parallel is not None:
        members.append((f"{prefix}_parallel.o", objects.parallel))
    if objects.weights is not None:
        members.append((f"{prefix}_weights.o", objects.weights))
    for index, (member, content) in enumerate(members):
        if found := mutable_sections(content, memory if index == 0 else ()):
            raise ValueError(f"{member} has mutable data in {', '.join(found)}; generated code must have none")

    static, shared = destination / f"lib{prefix}.a", destination / f"lib{prefix}.so"
    static.write_bytes(archive(members))
    if toolchain is not None:
        _link_shared(toolchain, interface, members, work, shared)
    codes = [content for _, content in members[: 1 + len(kernels)]]
    return Libraries(static, None if toolchain is None else shared, codes[0], tuple(codes[1:]))


def _link_shared(
    toolchain: Toolchain, interface: Interface, members: Sequence[tuple[str, bytes]], work: Path, library: Path
) -> None:
    for member, content in members:
        (work / member).write_bytes(content)
    write_exports(interface.exported, work / "exports.map")
    options = [f"-Wl,-soname,{library.name}", "-Wl,--version-script=exports.map", "-o", library.name]
    flags = [*SHARED_FLAGS, *(() if toolchain.is_zig else _GNU_FLAGS)]
    inputs = [member for member, _ in members]
    toolchain.compile([*flags, *options, *inputs, "-lm", "-lpthread"], work, f"linking {library.name}")
    (work / library.name).rename(library)


def write_exports(names: Iterable[str], path: Path) -> None:
    """A linker's version script that leaves nothing visible but `names`."""
    exported = "".join(f"        {name};\n" for name in names)
    path.write_text(f"{{\n    global:\n{exported}    local:\n        *;\n}};\n")
