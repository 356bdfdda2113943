"""Artifacts for hosted CPUs: header, C driver, static and shared library, self-test, manifest.

Without a C compiler for the target, the static library is made all the same, and there is no shared one.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Protocol

from dscompile.artifact import (
    Artifact,
    MadeFrom,
    Manifest,
    Sizes,
    Versions,
    write_manifest,
)
from dscompile.emit.check import check_program
from dscompile.emit.describe import NO_COMPILER, UNKNOWN, describe, finished
from dscompile.emit.directory import replaced_directory
from dscompile.emit.driver import kernel_symbols, plan_driver
from dscompile.emit.driver_ir import driver_ir, program_calls, weights_ir
from dscompile.emit.elf import loaded_bytes
from dscompile.emit.interface import Interface, network_interface
from dscompile.emit.link import Kernels, Libraries, Objects, build_libraries, compiled_objects
from dscompile.emit.parallel import ParallelProgram, parallel_source
from dscompile.emit.render import render
from dscompile.emit.selftest import check_selftest, selftest_source
from dscompile.emit.weights import lay_out, weights_assembly
from dscompile.ir.network import Array
from dscompile.ir.tensor import Precision
from dscompile.plan.program import Program
from dscompile.target import Target
from dscompile.toolchain import Toolchain, find_toolchain, installed_toolchain
from dscompile.version import __version__

Accept = Callable[[Manifest], None]
Assemble = Callable[[str], bytes]
"""Makes an object for the target of a module in LLVM's intermediate language."""


@dataclass(frozen=True)
class Finished:
    """What is known once the code is compiled: for the manifest."""

    libraries: Libraries
    sizes: Sizes
    fingerprint: int
    versions: Versions
    directory: Path
    files: list[str]


class LibraryCode(Protocol):
    """The code of one artifact: texts and compiled kernels, of one program or of several to choose from.

    `memory` are the sections, with their sizes, that the driver writes to, `variants` the names of those it chooses
    from. `precision` is what the programs multiply.
    """

    target: Target
    interface: Interface
    origin: str
    driver: str
    parallel: str
    kernels: tuple[Kernels, ...]
    weights: bytes
    macs: int
    arena_bytes: int
    layer_count: int
    memory: tuple[tuple[str, int], ...]
    variants: tuple[str, ...]
    precision: Precision

    def driver_ir(self, fingerprint: int) -> str:
        """The driver for LLVM (emit/driver_ir.py)."""

    def manifest(self, finished: Finished) -> Manifest:
        """The manifest of the finished files."""


def write_artifact(
    program: Program,
    kernels_object: bytes,
    selftest_input: Mapping[str, Array],
    selftest_output: Mapping[str, Array],
    destination: Path,
    *,
    origin: str,
    extra_files: Mapping[str, bytes] | None = None,
    accept: Accept | None = None,
    latency_budget_us: float | None = None,
    made_from: MadeFrom = UNKNOWN,
    assemble: Assemble | None = None,
) -> Artifact:
    """Writes the artifact directory of a program, completely or not at all, and returns it.

    `kernels_object` is a relocatable ELF object with a function for every one of `program.functions`.
    `selftest_input` is what `emit.selftest.selftest_input` gives for the network, `selftest_output` the right answer;
    both have border shapes. `origin` is what the user built (net.yaml); only its last component is written down.
    `extra_files` (name -> content) are written and checksummed with the others. `accept` sees the manifest before the
    old artifact is replaced, and may raise to keep it. `latency_budget_us` is what an inference may take,
    `made_from` what the build read and used. With
    `assemble`, which may be given where `emit.driver_ir.has_driver_ir` holds, a missing C compiler is no error: the
    static library is made without it.

    Raises UsageError if `destination` holds something else, ToolError if a tool is missing or fails or the disk
    refuses, BadInputError for labels or outputs that cannot be, and ValueError for a program that is not consistent.
    """
    check_program(program)
    check_selftest(program.network, selftest_input, selftest_output)
    code = _Single(program, kernels_object, PurePath(origin).name)
    return write_library(
        code, selftest_output, destination, extra_files or {}, accept, latency_budget_us, made_from, assemble
    )


def write_library(
    code: LibraryCode,
    selftest_output: Mapping[str, Array],
    destination: Path,
    extra_files: Mapping[str, bytes],
    accept: Accept | None,
    latency_budget_us: float | None,
    made_from: MadeFrom,
    assemble: Assemble | None,
) -> Artifact:
    """Compiles and writes an artifact; parameters and errors are those of `write_artifact`."""
    interface = code.interface
    toolchain = find_toolchain(code.target) if assemble is None else installed_toolchain(code.target)
    with replaced_directory(destination) as directory:
        objects = [kernels.content for kernels in code.kernels]
        fingerprint = fingerprint_of(
            *objects, code.weights, code.driver.encode(), code.parallel.encode(), _header(code, 0, None).encode()
        )
        libraries = _compile(code, toolchain, assemble, fingerprint, directory)
        shared = [] if libraries.shared is None else [libraries.shared]
        sizes = Sizes(
            weights=len(code.weights),
            text=sum(map(loaded_bytes, (libraries.driver_object, *libraries.kernels_objects))),
            shared_library=sum(library.stat().st_size for library in shared),
            static_library=libraries.static.stat().st_size,
        )
        texts = {
            interface.header: _header(code, fingerprint, sizes),
            f"{interface.prefix}.c": code.driver,
            f"{interface.prefix}_parallel.c": code.parallel,
            "selftest.c": selftest_source(interface, selftest_output, precision=code.precision),
        }
        for name, text in texts.items():
            (directory / name).write_text(text, encoding="utf-8")
        for name, content in extra_files.items():
            (directory / name).write_bytes(content)
        files = [*texts, *extra_files, *(library.name for library in shared), libraries.static.name]
        versions = Versions(__version__, NO_COMPILER if toolchain is None else toolchain.version, tvm_version())
        manifest = code.manifest(Finished(libraries, sizes, fingerprint, versions, directory, files))
        manifest = finished(manifest, latency_budget_us, made_from)
        if accept is not None:
            accept(manifest)
        write_manifest(manifest, directory)
    return Artifact(destination, manifest)


def _compile(
    code: LibraryCode, toolchain: Toolchain | None, assemble: Assemble | None, fingerprint: int, directory: Path
) -> Libraries:
    """The libraries, in `directory`; everything in between is removed again."""
    work = directory / "work"
    work.mkdir()
    prefix = code.interface.prefix
    blob = work / f"{prefix}_weights.bin"
    blob.write_bytes(code.weights)
    if toolchain is None:
        assert assemble is not None
        place = str(blob).replace("\\", "\\\\").replace('"', '\\"')
        weights = assemble(weights_ir(_weights_assembly(code, place))) if code.weights else None
        objects = Objects(assemble(code.driver_ir(fingerprint)), weights, None)
    else:
        (work / code.interface.header).write_text(_header(code, fingerprint, None), encoding="utf-8")
        (work / f"{prefix}.c").write_text(code.driver, encoding="utf-8")
        (work / f"{prefix}_parallel.c").write_text(code.parallel, encoding="utf-8")
        if code.weights:
            (work / f"{prefix}_weights.S").write_text(_weights_assembly(code, blob.name), encoding="utf-8")
        objects = compiled_objects(toolchain, code.interface, work)
    libraries = build_libraries(objects, toolchain, code.interface, code.kernels, work, directory, memory=code.memory)
    shutil.rmtree(work)
    return libraries


def _weights_assembly(code: LibraryCode, blob: str) -> str:
    return weights_assembly(code.interface, f"{code.interface.prefix}_weights", code.target, blob)


def _header(code: LibraryCode, fingerprint: int, sizes: Sizes | None) -> str:
    """`<net>.h`; without sizes before anything is compiled (they only stand in its comment)."""
    return render(
        "native/header.h.j2",
        net=code.interface,
        target=code.target,
        version=__version__,
        origin=code.origin,
        macs=code.macs,
        arena_bytes=code.arena_bytes,
        layers=code.layer_count,
        fingerprint=fingerprint,
        sizes=sizes,
        stack_bytes=0,
        has_sections=False,
        variants=code.variants,
        remembered=bool(code.memory),
    )


class _Single:
    """The code of one program."""

    def __init__(self, program: Program, kernels_object: bytes, origin: str) -> None:
        self._program = program
        self.target = program.target
        self.interface = network_interface(program.network, has_threads=True)
        self.origin = origin
        weights = lay_out(program.constants, program.target.arena_alignment)
        self.weights = weights.blob
        driver = plan_driver(program, self.interface, weights)
        self.driver = render(
            "native/driver.c.j2", net=self.interface, target=program.target, version=__version__, driver=driver
        )
        self.parallel = parallel_source(self.interface, [ParallelProgram(driver)], program.target)
        self._layers = driver.layers
        self._symbols = kernel_symbols(program, self.interface)
        self.kernels: tuple[Kernels, ...] = (Kernels("kernels", kernels_object, self._symbols),)
        self._calls = program_calls(program, self.interface, weights, self._symbols)
        self.macs = program.macs
        self.arena_bytes = program.arena_bytes
        self.layer_count = len(program.steps)
        self.memory: tuple[tuple[str, int], ...] = ()
        self.variants: tuple[str, ...] = ()
        self.precision = program.precision

    def driver_ir(self, fingerprint: int) -> str:
        """The driver for LLVM."""
        return driver_ir(
            self.interface, [self._calls], self._layers, self.target, fingerprint, has_weights=bool(self.weights)
        )

    def manifest(self, finished: Finished) -> Manifest:
        """The manifest of the finished files."""
        return describe(
            self._program,
            self.interface.prefix,
            self.origin,
            finished.sizes,
            finished.fingerprint,
            finished.versions,
            finished.directory,
            finished.files,
            symbols=self._symbols,
        )


def fingerprint_of(*contents: bytes) -> int:
    """32 bits of everything that decides what the library does and how it is called."""
    digest = hashlib.sha256()
    for content in contents:
        digest.update(len(content).to_bytes(8, "little"))
        digest.update(content)
    return int.from_bytes(digest.digest()[:4], "big")


def tvm_version() -> str:
    """The version of TVM; "none" without it."""
    try:
        return importlib.metadata.version("apache-tvm")
    except importlib.metadata.PackageNotFoundError:
        return "none"
