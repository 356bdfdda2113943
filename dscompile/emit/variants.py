"""Artifacts of several programs of one network, for processors that have more or less: one library, which chooses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from dscompile.artifact import Artifact, MadeFrom, Manifest, VariantInfo
from dscompile.emit.check import check_program
from dscompile.emit.describe import UNKNOWN, arena_info, describe, layer_infos
from dscompile.emit.driver import Driver, kernel_symbols, plan_driver
from dscompile.emit.driver_ir import driver_ir, program_calls
from dscompile.emit.elf import loaded_bytes
from dscompile.emit.interface import network_interface
from dscompile.emit.link import Kernels
from dscompile.emit.names import c_identifier
from dscompile.emit.native import Accept, Assemble, Finished, write_library
from dscompile.emit.parallel import ParallelProgram, parallel_source
from dscompile.emit.processor import needed_words, processor
from dscompile.emit.render import render
from dscompile.emit.selftest import check_selftest
from dscompile.emit.weights import lay_out_shared
from dscompile.ir.network import Array
from dscompile.plan.program import Program
from dscompile.plan.tuning_use import tuning_info
from dscompile.target import Target
from dscompile.version import __version__

_CHOICE_BYTES = 4


@dataclass(frozen=True)
class Variant:
    """A program for some of a target's processors, compiled.

    `kernels_object` is as for `emit.native.write_artifact`; `stands_for` names the variants that the program serves.
    """

    program: Program
    kernels_object: bytes
    stands_for: tuple[str, ...]


@dataclass(frozen=True)
class VariantCode:
    """A variant as C; `scope` stands in front of its names, `needs` is what the processor must have."""

    name: str
    also: tuple[str, ...]
    scope: str
    needs: tuple[str, ...]
    driver: Driver
    first_layer: int


def write_variants(
    target: Target,
    variants: Sequence[Variant],
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
    """Writes the artifact directory of `variants`, the best one first, and returns it.

    All are programs of one network. Equal neighbors become one. The other parameters and the errors are those of
    `emit.native.write_artifact`; UnsupportedError for a feature that a library cannot ask its processor for.
    """
    for variant in variants:
        check_program(variant.program)
    check_selftest(variants[0].program.network, selftest_input, selftest_output)
    code = _Several(target, merged(variants), PurePath(origin).name)
    return write_library(
        code, selftest_output, destination, extra_files or {}, accept, latency_budget_us, made_from, assemble
    )


def merged(variants: Sequence[Variant]) -> tuple[Variant, ...]:
    """The variants without those that are the same as the next, less demanding one: same plan, same machine code."""
    result: list[Variant] = []
    for variant in reversed(variants):
        if result and _same(variant, result[0]):
            result[0] = replace(result[0], stands_for=(*result[0].stands_for, *variant.stands_for))
        else:
            result.insert(0, variant)
    return tuple(result)


def _same(one: Variant, other: Variant) -> bool:
    def plan(program: Program) -> tuple[object, ...]:
        constants = {name: (a.dtype, a.shape, a.tobytes()) for name, a in program.constants.items()}
        return (program.steps, program.functions, program.buffers, program.arena_bytes, constants)

    return one.kernels_object == other.kernels_object and plan(one.program) == plan(other.program)


class _Several:
    """The code of several programs that have one interface."""

    def __init__(self, target: Target, variants: Sequence[Variant], origin: str) -> None:
        self.target = target
        self.origin = origin
        self._variants = variants
        programs = [variant.program for variant in variants]
        self.interface = network_interface(programs[0].network, has_variants=True, has_threads=True)
        scopes = [c_identifier(program.target.name, "variant") for program in programs]
        weights = lay_out_shared([program.constants for program in programs], target.arena_alignment)
        self.weights = weights[0].blob
        drivers = [
            plan_driver(program, self.interface, own, scope)
            for program, own, scope in zip(programs, weights, scopes, strict=True)
        ]
        counts = [len(program.steps) for program in programs]
        self._first_layers = [sum(counts[:index]) for index in range(len(counts))]
        asked = processor(target)
        self._layers = [row for driver in drivers for row in driver.layers]
        self.driver = render(
            "native/variants.c.j2",
            net=self.interface,
            target=target,
            version=__version__,
            layers=self._layers,
            features=f"native/features_{target.family}.c",
            remembered=asked.remembered,
            variants=[
                VariantCode(
                    name=variant.program.target.name,
                    also=variant.stands_for[1:],
                    scope=scope,
                    needs=tuple(f"0x{word:x}u" for word in needed_words(variant.program.target)),
                    driver=driver,
                    first_layer=first,
                )
                for variant, scope, driver, first in zip(variants, scopes, drivers, self._first_layers, strict=True)
            ],
        )
        self.parallel = parallel_source(
            self.interface,
            [
                ParallelProgram(driver, program.target.name, scope)
                for program, driver, scope in zip(programs, drivers, scopes, strict=True)
            ],
            target,
        )
        self._symbols = [
            kernel_symbols(program, self.interface, scope) for program, scope in zip(programs, scopes, strict=True)
        ]
        self._calls = [
            program_calls(program, self.interface, own, symbols, first)
            for program, own, symbols, first in zip(programs, weights, self._symbols, self._first_layers, strict=True)
        ]
        self.kernels = tuple(
            Kernels(f"kernels_{scope}", variant.kernels_object, symbols)
            for variant, scope, symbols in zip(variants, scopes, self._symbols, strict=True)
        )
        self.macs = programs[0].macs
        self.arena_bytes = max(program.arena_bytes for program in programs)
        self.layer_count = sum(counts)
        choice = (f".bss.{self.interface.prefix}_variant", _CHOICE_BYTES)
        self.memory: tuple[tuple[str, int], ...] = (choice,) if asked.remembered else ()
        self.variants = tuple(program.target.name for program in programs)
        self.precision = programs[0].precision

    def driver_ir(self, fingerprint: int) -> str:
        """The driver for LLVM."""
        return driver_ir(
            self.interface, self._calls, self._layers, self.target, fingerprint, has_weights=bool(self.weights)
        )

    def manifest(self, finished: Finished) -> Manifest:
        """The manifest of the finished files."""
        programs = [variant.program for variant in self._variants]
        largest = max(programs, key=lambda program: program.arena_bytes)
        first = describe(
            programs[0],
            self.interface.prefix,
            self.origin,
            finished.sizes,
            finished.fingerprint,
            finished.versions,
            finished.directory,
            finished.files,
        )
        infos = tuple(
            VariantInfo(
                target=variant.program.target,
                stands_for=variant.stands_for,
                text_bytes=loaded_bytes(kernels),
                constants_bytes=variant.program.constant_bytes,
                arena_bytes=variant.program.arena_bytes,
                first_layer=first_layer,
                layer_count=len(variant.program.steps),
            )
            for variant, kernels, first_layer in zip(
                self._variants, finished.libraries.kernels_objects, self._first_layers, strict=True
            )
        )
        return replace(
            first,
            target=self.target,
            layers=tuple(
                row for p, symbols in zip(programs, self._symbols, strict=True) for row in layer_infos(p, symbols)
            ),
            arena=replace(arena_info(largest), alignment=self.target.arena_alignment),
            fallback_layers=tuple(dict.fromkeys(name for p in programs for name in p.fallback_layers)),
            variants=infos,
            tuning=tuple(info for p in programs if (info := tuning_info(p)) is not None),
        )
