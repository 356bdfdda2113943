"""From the texts of an artifact and its compiled kernels to its two libraries, the same bytes each time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dscompile.emit.elf import mutable_sections, rename_symbols
from dscompile.emit.interface import Interface
from dscompile.toolchain import Toolchain, run_tool

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
class Libraries:
    """The finished libraries, and the objects in them that hold code: the driver, and kernels in the order given."""

    static: Path
    shared: Path
    driver_object: bytes
    kernels_objects: tuple[bytes, ...]


def build_libraries(
    toolchain: Toolchain,
    interface: Interface,
    kernels: Sequence[Kernels],
    work: Path,
    destination: Path,
    *,
    memory: Iterable[tuple[str, int]] = (),
) -> Libraries:
    """Compiles and links in `work`, which holds `<net>.c`, `<net>.h` and, if there are weights, `<net>_weights.S`.

    All names are relative to `work`, so that no path gets into an object. `memory` are sections with their sizes that
    may be written to when the library runs. Raises ToolError if a tool fails, ValueError if an object has other
    mutable data.
    """
    prefix = interface.prefix
    driver, weights = f"{prefix}.o", f"{prefix}_weights.o"
    toolchain.compile(
        [*DRIVER_FLAGS, f"-ffile-prefix-map={work}=.", "-c", f"{prefix}.c", "-o", driver], work, "compiling the driver"
    )
    members = [driver]
    for one in kernels:
        members.append(f"{prefix}_{one.name}.o")
        (work / members[-1]).write_bytes(rename_symbols(one.content, one.symbols, f"{prefix}_{one.name}_"))
    if (work / f"{prefix}_weights.S").exists():
        toolchain.compile(["-c", f"{prefix}_weights.S", "-o", weights], work, "assembling the weights")
        members.append(weights)
    objects = [(work / member).read_bytes() for member in members]
    for member, content in zip(members, objects, strict=True):
        if found := mutable_sections(content, memory if member == driver else ()):
            raise ValueError(f"{member} has mutable data in {', '.join(found)}; generated code must have none")

    static, shared = destination / f"lib{prefix}.a", destination / f"lib{prefix}.so"
    run_tool([*toolchain.binutil("ar"), "rcsD", static.name, *members], work, f"making {static.name}")
    write_exports(interface.exported, work / "exports.map")
    options = [f"-Wl,-soname,{shared.name}", "-Wl,--version-script=exports.map", "-o", shared.name]
    flags = [*SHARED_FLAGS, *(() if toolchain.is_zig else _GNU_FLAGS)]
    toolchain.compile([*flags, *options, *members, "-lm"], work, f"linking {shared.name}")
    for library in (static, shared):
        (work / library.name).rename(library)
    return Libraries(static, shared, objects[0], tuple(objects[1 : 1 + len(kernels)]))


def write_exports(names: Iterable[str], path: Path) -> None:
    """A linker's version script that leaves nothing visible but `names`."""
    exported = "".join(f"        {name};\n" for name in names)
    path.write_text(f"{{\n    global:\n{exported}    local:\n        *;\n}};\n")
