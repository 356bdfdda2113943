"""Artifacts for hosted CPUs: header, C driver, static and shared library, self-test, manifest."""

from __future__ import annotations

import hashlib
import importlib.metadata
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path, PurePath

from dscompile.artifact import (
    Artifact,
    Manifest,
    Sizes,
    Versions,
    write_manifest,
)
from dscompile.emit.check import check_program
from dscompile.emit.describe import describe
from dscompile.emit.directory import replaced_directory
from dscompile.emit.driver import kernel_symbols, plan_driver
from dscompile.emit.elf import loaded_bytes
from dscompile.emit.interface import Interface, network_interface
from dscompile.emit.link import Libraries, build_libraries
from dscompile.emit.render import render
from dscompile.emit.selftest import check_selftest, selftest_source
from dscompile.emit.weights import Weights, lay_out
from dscompile.ir.network import Array
from dscompile.plan.program import Program
from dscompile.toolchain import Toolchain, find_toolchain
from dscompile.version import __version__


def write_artifact(
    program: Program,
    kernels_object: bytes,
    selftest_input: Mapping[str, Array],
    selftest_output: Mapping[str, Array],
    destination: Path,
    *,
    origin: str,
    extra_files: Mapping[str, bytes] | None = None,
    accept: Callable[[Manifest], None] | None = None,
    latency_budget_us: float | None = None,
) -> Artifact:
    """Writes the artifact directory of a program, completely or not at all, and returns it.

    `kernels_object` is a relocatable ELF object with a function for every one of `program.functions`.
    `selftest_input` is what `emit.selftest.selftest_input` gives for the network, `selftest_output` the right answer;
    both have border shapes. `origin` is what the user built (net.yaml); only its last component is written down.
    `extra_files` (name -> content) are written and checksummed with the others. `accept` sees the manifest before the
    old artifact is replaced, and may raise to keep it. `latency_budget_us` is what an inference may take.

    Raises UsageError if `destination` holds something else, ToolError if a tool is missing or fails or the disk
    refuses, BadInputError for labels or outputs that cannot be, and ValueError for a program that is not consistent.
    """
    check_program(program)
    check_selftest(program.network, selftest_input, selftest_output)
    interface = network_interface(program.network)
    toolchain = find_toolchain(program.target)
    weights = lay_out(program.constants, program.target.arena_alignment)
    with replaced_directory(destination) as directory:
        emitter = _Emitter(program, interface, weights, PurePath(origin).name)
        driver = emitter.driver()
        fingerprint = fingerprint_of(kernels_object, weights.blob, driver.encode(), emitter.header(0, None).encode())
        libraries = _compile(emitter, toolchain, kernels_object, driver, fingerprint, directory)
        sizes = Sizes(
            weights=len(weights.blob),
            text=loaded_bytes(libraries.driver_object) + loaded_bytes(libraries.kernels_object),
            shared_library=libraries.shared.stat().st_size,
            static_library=libraries.static.stat().st_size,
        )
        texts = {
            interface.header: emitter.header(fingerprint, sizes),
            f"{interface.prefix}.c": driver,
            "selftest.c": selftest_source(interface, selftest_output),
        }
        for name, text in texts.items():
            (directory / name).write_text(text, encoding="utf-8")
        extra = extra_files or {}
        for name, content in extra.items():
            (directory / name).write_bytes(content)
        files = [*texts, *extra, libraries.shared.name, libraries.static.name]
        manifest = emitter.manifest(fingerprint, sizes, toolchain, directory, files)
        manifest = replace(manifest, latency_budget_us=latency_budget_us)
        if accept is not None:
            accept(manifest)
        write_manifest(manifest, directory)
    return Artifact(destination, manifest)


def _compile(
    emitter: _Emitter, toolchain: Toolchain, kernels_object: bytes, driver: str, fingerprint: int, directory: Path
) -> Libraries:
    """Both libraries, in `directory`; everything in between is removed again."""
    work = directory / "work"
    work.mkdir()
    prefix = emitter.interface.prefix
    (work / emitter.interface.header).write_text(emitter.header(fingerprint, None), encoding="utf-8")
    (work / f"{prefix}.c").write_text(driver, encoding="utf-8")
    if emitter.weights.blob:
        (work / f"{prefix}_weights.bin").write_bytes(emitter.weights.blob)
        (work / f"{prefix}_weights.S").write_text(emitter.weights_assembly(), encoding="utf-8")
    symbols = kernel_symbols(emitter.program, emitter.interface)
    libraries = build_libraries(toolchain, emitter.interface, symbols, kernels_object, work, directory)
    shutil.rmtree(work)
    return libraries


class _Emitter:
    """The texts of one artifact."""

    def __init__(self, program: Program, interface: Interface, weights: Weights, origin: str) -> None:
        self.program = program
        self.interface = interface
        self.weights = weights
        self.origin = origin

    def header(self, fingerprint: int, sizes: Sizes | None) -> str:
        """`<net>.h`; without sizes before anything is compiled (they only stand in its comment)."""
        return render(
            "native/header.h.j2",
            net=self.interface,
            target=self.program.target,
            version=__version__,
            origin=self.origin,
            macs=self.program.macs,
            arena_bytes=self.program.arena_bytes,
            layers=len(self.program.steps),
            fingerprint=fingerprint,
            sizes=sizes,
            stack_bytes=0,
            rounding=None,
            has_sections=False,
        )

    def driver(self) -> str:
        """`<net>.c`."""
        return render(
            "native/driver.c.j2",
            net=self.interface,
            target=self.program.target,
            version=__version__,
            driver=plan_driver(self.program, self.interface, self.weights),
        )

    def weights_assembly(self) -> str:
        """The assembler file that brings the weights into an object."""
        return render(
            "native/weights.S.j2",
            net=self.interface,
            target=self.program.target,
            blob=f"{self.interface.prefix}_weights.bin",
        )

    def manifest(
        self, fingerprint: int, sizes: Sizes, toolchain: Toolchain, directory: Path, files: list[str]
    ) -> Manifest:
        """The manifest of the finished `files` in `directory`."""
        return describe(
            self.program,
            self.interface.prefix,
            self.origin,
            sizes,
            fingerprint,
            Versions(__version__, toolchain.version, _tvm_version()),
            directory,
            files,
        )


def fingerprint_of(*contents: bytes) -> int:
    """32 bits of everything that decides what the library does and how it is called."""
    digest = hashlib.sha256()
    for content in contents:
        digest.update(len(content).to_bytes(8, "little"))
        digest.update(content)
    return int.from_bytes(digest.digest()[:4], "big")


def _tvm_version() -> str:
    try:
        return importlib.metadata.version("apache-tvm")
    except importlib.metadata.PackageNotFoundError:
        return "none"
