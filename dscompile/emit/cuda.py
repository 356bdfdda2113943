"""Artifacts for NVIDIA GPUs: CUDA C++, weights, header, self-test and CMakeLists.txt; a library where nvcc is there."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from dscompile.artifact import Artifact, KernelInfo, KernelUse, MadeFrom, Manifest, Sizes, Versions, write_manifest
from dscompile.cuda_toolkit import Cubin, KernelResources, Nvcc
from dscompile.emit.check import check_program
from dscompile.emit.cuda_driver import check_launches, layers_of, network_source, planned_traffic
from dscompile.emit.describe import NO_COMPILER, UNKNOWN, describe, finished
from dscompile.emit.directory import replaced_directory
from dscompile.emit.driver import kernel_symbols
from dscompile.emit.elf import loaded_bytes
from dscompile.emit.interface import Interface, network_interface
from dscompile.emit.link import write_exports
from dscompile.emit.native import Accept, fingerprint_of, tvm_version
from dscompile.emit.render import render
from dscompile.emit.selftest import check_selftest, selftest_source
from dscompile.emit.weights import Weights, lay_out, weights_assembly
from dscompile.gpu import Gpu, occupancy
from dscompile.ir.network import Array
from dscompile.plan.program import Program
from dscompile.version import __version__

if TYPE_CHECKING:
    from dscompile.schedule.cuda_source import KernelSource  # imports tvm, which takes a second

Compile = Callable[[Mapping[str, str]], Sequence["KernelSource"]]
"""Makes the kernels of a program, given the names that its functions have in the file: in their order."""


@dataclass(frozen=True)
class Compiled:
    """What nvcc made of the sources: the library's bytes and those of its machine code, and what kernels take."""

    library_bytes: int
    code_bytes: int
    resources: Mapping[str, KernelResources]
    compiler: str


SOURCE_ONLY = Compiled(0, 0, {}, NO_COMPILER)


def write_artifact(
    program: Program,
    compile_kernels: Compile,
    nvcc: Nvcc | None,
    selftest_input: Mapping[str, Array],
    selftest_output: Mapping[str, Array],
    destination: Path,
    *,
    origin: str,
    extra_files: Mapping[str, bytes] | None = None,
    accept: Accept | None = None,
    latency_budget_us: float | None = None,
    made_from: MadeFrom = UNKNOWN,
) -> Artifact:
    """Writes the artifact directory of a program of GPU kernels, completely or not at all, and returns it.

    Without `nvcc` it holds sources alone. The other parameters and the errors are those of
    `emit.native.write_artifact`.
    """
    check_program(program)
    check_selftest(program.network, selftest_input, selftest_output)
    code = _Code(program, compile_kernels, PurePath(origin).name)
    with replaced_directory(destination) as directory:
        texts = code.texts(selftest_output)
        for name, text in texts.items():
            (directory / name).write_text(text, encoding="utf-8")
        binaries = {**({code.blob_name: code.weights.blob} if code.weights.blob else {}), **(extra_files or {})}
        for name, content in binaries.items():
            (directory / name).write_bytes(content)
        files = [*texts, *binaries]
        compiled = SOURCE_ONLY
        if nvcc is not None:
            compiled = _compile(code, nvcc, directory)
            files.append(code.library_name)
        manifest = code.manifest(compiled, directory, files)
        manifest = finished(manifest, latency_budget_us, made_from)
        if accept is not None:
            accept(manifest)
        write_manifest(manifest, directory)
    return Artifact(destination, manifest)


class _Code:
    """The texts of one artifact."""

    def __init__(self, program: Program, compile_kernels: Compile, origin: str) -> None:
        assert program.target.gpu is not None
        self.program = program
        self.gpu: Gpu = program.target.gpu
        self.origin = origin
        self.interface: Interface = network_interface(program.network, on_device=True)
        self.symbols = kernel_symbols(program, self.interface)
        made = compile_kernels(self.symbols)
        check_launches(self.gpu, made)
        self.sources = {function.symbol: source for function, source in zip(program.functions, made, strict=True)}
        self.weights: Weights = lay_out(program.constants, program.target.arena_alignment)
        self.source = network_source(program, self.interface, self.weights, self.sources)
        head = self._header(0)
        self.fingerprint = fingerprint_of(self.source.encode(), self.weights.blob, head.encode())

    @property
    def source_name(self) -> str:
        """`<net>.cu`."""
        return f"{self.interface.prefix}.cu"

    @property
    def blob_name(self) -> str:
        """The file that the weights' assembly includes."""
        return f"{self.interface.prefix}_weights.bin"

    @property
    def library_name(self) -> str:
        """`lib<net>.so`."""
        return f"lib{self.interface.prefix}.so"

    def texts(self, selftest_output: Mapping[str, Array]) -> dict[str, str]:
        """All text files by name."""
        prefix, arch = self.interface.prefix, self.gpu.arch
        texts = {
            self.interface.header: self._header(self.fingerprint),
            self.source_name: self.source,
            "selftest.cu": selftest_source(
                self.interface, selftest_output, "cuda/selftest.cu.j2", self.program.precision, arch=arch
            ),
            "CMakeLists.txt": render(
                "cuda/CMakeLists.txt.j2",
                net=self.interface,
                archs=[one.removeprefix("sm_") for one in self.gpu.archs],
                has_weights=bool(self.weights.blob),
                version=__version__,
            ),
        }
        if self.weights.blob:
            symbol = f"{prefix}_weights_on_host"
            texts[f"{prefix}_weights.S"] = weights_assembly(self.interface, symbol, self.program.target, self.blob_name)
        return texts

    def _header(self, fingerprint: int) -> str:
        return render(
            "cuda/header.h.j2",
            net=self.interface,
            target=self.program.target,
            version=__version__,
            origin=self.origin,
            macs=self.program.macs,
            arena_bytes=self.program.arena_bytes,
            weights_bytes=len(self.weights.blob),
            layers=len(self.program.steps),
            fingerprint=fingerprint,
        )

    def manifest(self, compiled: Compiled, directory: Path, files: list[str]) -> Manifest:
        """The manifest of the finished files."""
        return describe(
            self.program,
            self.interface.prefix,
            self.origin,
            Sizes(len(self.weights.blob), compiled.code_bytes, compiled.library_bytes, 0),
            self.fingerprint,
            Versions(__version__, compiled.compiler, tvm_version()),
            directory,
            files,
            symbols=self.symbols,
            kernels=self._kernels(compiled),
        )

    def _kernels(self, compiled: Compiled) -> tuple[KernelInfo, ...]:
        return tuple(
            KernelInfo(
                source.symbol,
                function.kernel.kind,
                layers_of(self.program, function.symbol),
                source.grid,
                source.block,
                planned_traffic(self.program, function),
                self._use(source, compiled.resources.get(source.symbol)),
            )
            for function in self.program.functions
            for source in (self.sources[function.symbol],)
        )

    def _use(self, source: KernelSource, resources: KernelResources | None) -> KernelUse | None:
        if resources is None:
            return None
        resident = occupancy(self.gpu, source.threads, resources.registers, resources.shared_bytes)
        return KernelUse(
            resources.registers,
            resources.stack_bytes,
            resources.spill_store_bytes,
            resources.spill_load_bytes,
            resources.shared_bytes,
            resident.fraction,
            resident.limiter,
        )


def _compile(code: _Code, nvcc: Nvcc, directory: Path) -> Compiled:
    """The library, in `directory`, which holds the sources; everything in between is removed again."""
    work = directory / "work"
    work.mkdir()
    prefix = code.interface.prefix
    for file in directory.iterdir():
        if file.is_file():
            (work / file.name).symlink_to(file)
    cubin: Cubin = nvcc.compile_cubin(Path(code.source_name), code.gpu.arch, work)
    objects = []
    if code.weights.blob:
        objects.append(Path(nvcc.assemble(Path(f"{prefix}_weights.S"), work).name))
    exports = work / "exports.map"
    write_exports(code.interface.exported, exports)
    library = work / code.library_name
    nvcc.link_shared([Path(code.source_name)], objects, code.gpu.archs, library, exports=Path(exports.name))
    compiled = Compiled(
        library.stat().st_size,
        loaded_bytes(cubin.path.read_bytes()),
        {kernel.symbol: kernel for kernel in cubin.kernels},
        f"nvcc {nvcc.version}",
    )
    library.rename(directory / library.name)
    shutil.rmtree(work)
    return compiled
