"""From the texts of an artifact and its compiled kernels to its two libraries, the same bytes each time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dscompile.emit.elf import mutable_sections
from dscompile.emit.interface import Interface
from dscompile.toolchain import Toolchain, run_tool

DRIVER_FLAGS = ("-std=c99", "-O2", "-fPIC")
SHARED_FLAGS = (
    "-shared",
    "-Wl,--as-needed",
    "-Wl,--no-undefined",
    "-Wl,--build-id=none",
    "-Wl,-z,relro,-z,now,-z,noexecstack,-z,text",
)


@dataclass(frozen=True)
class Libraries:
    """The finished libraries, and the objects in them that hold code."""

    static: Path
    shared: Path
    driver_object: bytes
    kernels_object: bytes


def build_libraries(
    toolchain: Toolchain,
    interface: Interface,
    symbols: Mapping[str, str],
    kernels_object: bytes,
    work: Path,
    destination: Path,
) -> Libraries:
    """Compiles and links in `work`, which holds `<net>.c`, `<net>.h` and, if there are weights, `<net>_weights.S`.

    All names are relative to `work`, so that no path gets into an object. `symbols` renames the kernels; whatever else
    their object defines becomes local. Raises ToolError if a tool fails, ValueError if an object has mutable data.
    """
    prefix = interface.prefix
    driver, kernels, weights = f"{prefix}.o", f"{prefix}_kernels.o", f"{prefix}_weights.o"
    toolchain.compile(
        [*DRIVER_FLAGS, f"-ffile-prefix-map={work}=.", "-c", f"{prefix}.c", "-o", driver], work, "compiling the driver"
    )
    _rename(toolchain, symbols, kernels_object, kernels, work)
    members = [driver, kernels]
    if (work / f"{prefix}_weights.S").exists():
        toolchain.compile(["-c", f"{prefix}_weights.S", "-o", weights], work, "assembling the weights")
        members.append(weights)
    for member in members:
        if found := mutable_sections((work / member).read_bytes()):
            raise ValueError(f"{member} has mutable data in {', '.join(found)}; generated code must have none")

    static, shared = destination / f"lib{prefix}.a", destination / f"lib{prefix}.so"
    run_tool([toolchain.binutil("ar"), "rcsD", static.name, *members], work, f"making {static.name}")
    _write_exports(interface.exported, work / "exports.map")
    options = (f"-Wl,-soname,{shared.name}", "-Wl,--version-script=exports.map", "-o", shared.name)
    toolchain.compile([*SHARED_FLAGS, *options, *members, "-lm"], work, f"linking {shared.name}")
    for library in (static, shared):
        (work / library.name).rename(library)
    return Libraries(static, shared, (work / driver).read_bytes(), (work / kernels).read_bytes())


def _rename(toolchain: Toolchain, symbols: Mapping[str, str], kernels_object: bytes, renamed: str, work: Path) -> None:
    """Writes the kernels object with its symbols renamed, and all others local."""
    (work / "original.o").write_bytes(kernels_object)
    (work / "renamed.txt").write_text("".join(f"{old} {new}\n" for old, new in symbols.items() if old != new))
    (work / "global.txt").write_text("".join(f"{new}\n" for new in symbols.values()))
    objcopy, task = toolchain.binutil("objcopy"), "renaming the kernels"
    run_tool([objcopy, "--redefine-syms=renamed.txt", "original.o", "prefixed.o"], work, task)
    run_tool([objcopy, "--keep-global-symbols=global.txt", "prefixed.o", renamed], work, task)


def _write_exports(names: Iterable[str], path: Path) -> None:
    exported = "".join(f"        {name};\n" for name in names)
    path.write_text(f"{{\n    global:\n{exported}    local:\n        *;\n}};\n")
