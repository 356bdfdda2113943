"""Artifacts of standalone C99: header, sources with all kernels in them, self-test, manifest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePath

import numpy as np

from dscompile.artifact import (
    Artifact,
    MadeFrom,
    Manifest,
    Sizes,
    Versions,
    write_manifest,
)
from dscompile.emit.check import check_program
from dscompile.emit.describe import UNKNOWN, describe, finished
from dscompile.emit.directory import replaced_directory
from dscompile.emit.driver import kernel_symbols, plan_steps
from dscompile.emit.interface import Interface, program_interface
from dscompile.emit.mcu_code import bodies_code, helper_code, is_thin, kernel_code, placeable, shared_bodies
from dscompile.emit.mcu_measure import Compiler, Measured, measure, target_compiler
from dscompile.emit.mcu_text import ConstantArray, constant_arrays, mcu_selftest_source
from dscompile.emit.native import fingerprint_of
from dscompile.emit.packages import About, Package, check_packages, package_files
from dscompile.emit.render import render
from dscompile.emit.selftest import selftest_input as generated_input
from dscompile.errors import UnsupportedError
from dscompile.ir.network import Array
from dscompile.plan.mcu.packing import packed_weights
from dscompile.plan.program import Program
from dscompile.version import __version__

_UNKNOWN = About()
_MOST_BYTES = 2**31 - 1


@dataclass(frozen=True)
class Sources:
    """The C files of a network without its header: `<net>.c` and `<net>_weights.c`."""

    code: str
    weights: str


def write_artifact(
    program: Program,
    selftest_input: Mapping[str, Array],
    selftest_output: Mapping[str, Array],
    destination: Path,
    *,
    origin: str,
    extra_files: Mapping[str, bytes] | None = None,
    accept: Callable[[Manifest], None] | None = None,
    latency_budget_us: float | None = None,
    made_from: MadeFrom = UNKNOWN,
    packages: Sequence[str] = (),
    about: About = _UNKNOWN,
) -> Artifact:
    """Writes the artifact directory of a program from plan_mcu_program, completely or not at all, and returns it.

    `selftest_input` is what `emit.selftest.selftest_input` gives for the network, `selftest_output` the right
    answer; both have border shapes. `packages` are packagings of emit.packages, `about` is what these say of the
    network. The other parameters and the errors are those of emit.native.write_artifact, and UnsupportedError for an
    arena of 2 GiB or more. The target's compiler
    measures code size and stack; it leaves nothing behind.
    """
    check_program(program)
    _check_arena(program)
    _check_selftest(program, selftest_input, selftest_output)
    interface = program_interface(program)
    compiler = target_compiler(program.target)
    emitter = _Emitter(program, interface, PurePath(origin).name)
    unnamed = emitter.sources(0)
    fingerprint = fingerprint_of(unnamed.code.encode(), unnamed.weights.encode(), emitter.header(0, None).encode())
    sources = emitter.sources(fingerprint)
    with replaced_directory(destination) as directory:
        texts = {
            interface.header: emitter.header(fingerprint, None),
            f"{interface.prefix}.c": sources.code,
            f"{interface.prefix}_weights.c": sources.weights,
            "selftest.c": mcu_selftest_source(interface, selftest_input, selftest_output),
        }
        _write(directory, texts)
        measured = measure(compiler, directory, interface.prefix)
        texts[interface.header] = emitter.header(fingerprint, measured)
        _write(directory, texts)
        extra = {**(extra_files or {}), **emitter.packages(check_packages(packages), about, texts)}
        for name, content in extra.items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_bytes(content)
        manifest = emitter.manifest(fingerprint, measured, compiler, directory, [*texts, *extra])
        manifest = replace(finished(manifest, latency_budget_us, made_from), packed=packed_weights(program))
        if accept is not None:
            accept(manifest)
        write_manifest(manifest, directory)
    return Artifact(destination, manifest)


def _write(directory: Path, texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        (directory / name).write_text(text, encoding="utf-8")


def _check_arena(program: Program) -> None:
    """Raises UnsupportedError for an arena in which an int32_t index, or its product with a size, could overflow."""
    if program.arena_bytes > _MOST_BYTES:
        raise UnsupportedError(
            f"the arena needs {program.arena_bytes} B; standalone C counts with 31 bits, up to {_MOST_BYTES} B"
        )


def _check_selftest(program: Program, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
    """Raises ValueError unless `inputs` are the generated ones and `outputs` have border shapes."""
    network = program.network
    wanted = generated_input(network)
    for name in network.user_inputs:
        if name not in inputs or not np.array_equal(inputs[name], wanted[name]):
            raise ValueError(f"self-test input '{name}' is not what selftest_input() generates")
    for name in network.user_outputs:
        tensor = network.tensor(name)
        if name not in outputs or outputs[name].shape != tensor.border_shape or outputs[name].dtype != tensor.dtype:
            raise ValueError(f"self-test output '{name}' must be {tensor.dtype} {list(tensor.border_shape)}")


@dataclass(frozen=True)
class _Kernels:
    """The names of all kernels and their texts, in front of them assembly that several share, and helpers they call."""

    symbols: Mapping[str, str]
    code: tuple[str, ...]
    helpers: str
    has_assembly: bool


class _Emitter:
    """The texts of one artifact."""

    def __init__(self, program: Program, interface: Interface, origin: str) -> None:
        self.program = program
        self.interface = interface
        self.origin = origin

    @cached_property
    def _arrays(self) -> Sequence[ConstantArray]:
        return constant_arrays(self.program, self.interface)

    @cached_property
    def _kernels(self) -> _Kernels:
        symbols = kernel_symbols(self.program, self.interface)
        bodies = shared_bodies(self.program.functions, self.interface.prefix)
        code = [kernel_code(function, symbols[function.symbol], bodies) for function in self.program.functions]
        if bodies:
            code.insert(0, bodies_code(bodies))
        return _Kernels(symbols, tuple(code), helper_code("".join(code)), bool(bodies))

    def sources(self, fingerprint: int) -> Sources:
        """`<net>.c` and `<net>_weights.c`, which compile with a header of the same `fingerprint` only."""
        program, interface, arrays, kernels = self.program, self.interface, self._arrays, self._kernels
        code = render(
            "mcu/driver.c.j2",
            net=interface,
            target=program.target,
            version=__version__,
            driver=plan_steps(
                program, interface, {key: a.name for key, a in zip(program.constants, arrays, strict=True)}
            ),
            arrays=arrays,
            fingerprint=fingerprint,
            copies=[array for array in arrays if array.copied_to],
            helpers=kernels.helpers,
            kernels=kernels.code,
            has_assembly=kernels.has_assembly,
            thin=[kernels.symbols[function.symbol] for function in program.functions if is_thin(function)],
        )
        return Sources(
            placeable(code, interface.macro),
            render("mcu/weights.c.j2", net=interface, version=__version__, arrays=arrays, fingerprint=fingerprint),
        )

    def header(self, fingerprint: int, measured: Measured | None) -> str:
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
            sizes=None if measured is None else self.sizes(measured),
            stack_bytes=0 if measured is None else measured.stack_bytes,
            has_sections=True,
            variants=(),
            remembered=False,
        )

    def packages(self, names: Sequence[str], about: About, texts: Mapping[str, str]) -> dict[str, bytes]:
        """The files of packagings, from the artifact's finished `texts`."""
        prefix = self.interface.prefix
        files = {name: texts[name] for name in (self.interface.header, f"{prefix}.c", f"{prefix}_weights.c")}
        return package_files(names, Package(self.interface, about, self.program.target.name, files))

    def sizes(self, measured: Measured) -> Sizes:
        """Sizes for the manifest; there are no libraries."""
        return Sizes(weights=measured.weights_bytes, text=measured.code_bytes, shared_library=0, static_library=0)

    def manifest(
        self, fingerprint: int, measured: Measured, compiler: Compiler, directory: Path, files: list[str]
    ) -> Manifest:
        """The manifest of the finished `files` in `directory`."""
        return describe(
            self.program,
            self.interface.prefix,
            self.origin,
            self.sizes(measured),
            fingerprint,
            Versions(__version__, compiler.version, "none"),
            directory,
            files,
            blocks=self.interface.blocks,
        )
