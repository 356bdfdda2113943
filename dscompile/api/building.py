"""The main job: from a network to artifacts."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, overload

from dscompile.api.models import Model
from dscompile.api.networks import Source, check_memory, read_network, source_name
from dscompile.api.reference import Golden
from dscompile.api.tunings import TuningFiles, Tunings, read_tunings
from dscompile.errors import ToolError, UsageError
from dscompile.report.progress import Event, Progress, silent
from dscompile.target import Target, build_target, useful_variants, variants_of

if TYPE_CHECKING:
    from dscompile.artifact import Artifact, MadeFrom, Manifest
    from dscompile.frontend.input_shapes import InputShapes
    from dscompile.frontend.loaded import NetFile
    from dscompile.ir.memory import MemoryMode
    from dscompile.ir.network import Array, Network
    from dscompile.ir.tensor import Rounding
    from dscompile.plan.program import Program
    from dscompile.schedule.cuda_source import KernelSource


@overload
def build(
    source: Source,
    target: str = "host",
    output: str | Path | None = None,
    *,
    weights: str | Path | None = None,
    rounding: Rounding | None = None,
    input_shapes: InputShapes | None = None,
    memory: MemoryMode | None = None,
    tuning: TuningFiles = (),
    packages: Sequence[str] = (),
    require_binary: bool = False,
    seed: int = 0,
    progress: Progress = silent,
) -> Model: ...


@overload
def build(
    source: Source,
    target: list[str] | tuple[str, ...],
    output: str | Path | None = None,
    *,
    weights: str | Path | None = None,
    rounding: Rounding | None = None,
    input_shapes: InputShapes | None = None,
    memory: MemoryMode | None = None,
    tuning: TuningFiles = (),
    packages: Sequence[str] = (),
    require_binary: bool = False,
    seed: int = 0,
    progress: Progress = silent,
) -> tuple[Model, ...]: ...


def build(
    source: Source,
    target: str | list[str] | tuple[str, ...] = "host",
    output: str | Path | None = None,
    *,
    weights: str | Path | None = None,
    rounding: Rounding | None = None,
    input_shapes: InputShapes | None = None,
    memory: MemoryMode | None = None,
    tuning: TuningFiles = (),
    packages: Sequence[str] = (),
    require_binary: bool = False,
    seed: int = 0,
    progress: Progress = silent,
) -> Model | tuple[Model, ...]:
    """Compiles a network for a target, or for each of several, and returns its artifact, or theirs.

    `output` is the artifact's directory (default: build/<net>-<target>); with several targets it is the directory
    that theirs are written into. `weights` replaces the weights that a net.yaml names, `rounding` the usual one of an
    int8 model. `input_shapes` are those of inputs whose sizes an .onnx file leaves open, in the file's order of axes:
    {"x": (1, 3, 480, 640)}. `memory` is what standalone C may give for a smaller arena (docs/memory.md), instead of
    what a net.yaml says. `tuning` are files of tuning records, which come before those that ship; None is no
    records at all (docs/tuning.md). `packages` are packagings of standalone C ("cmake", "arduino", ...;
    docs/packaging.md). Without nvcc, artifacts for GPUs are sources alone, and without a compiler for 64-bit Arm
    there is no shared library, unless `require_binary` refuses that. `seed` chooses the inputs of the self-test and
    of the golden vectors. An artifact is written completely or not at all.

    Raises UsageError, BadInputError, UnsupportedError, BudgetError or ToolError.
    """
    names = [target] if isinstance(target, str) else list(dict.fromkeys(target))
    if not names:
        raise UsageError("no target is given", help="'host' is this machine")
    targets = [(name, build_target(name)) for name in names]
    _check_packages(packages, targets)
    check_memory(memory, targets)
    if require_binary:
        _require_binaries(targets)
    progress(Event(f"reading {source_name(source)}"))
    net = read_network(source, weights, rounding=rounding, input_shapes=input_shapes)
    net.require_as_asked()
    several = not isinstance(target, str) and len(names) > 1
    jobs = [
        _Job(
            name,
            concrete,
            _destination(net.network, name, concrete, output, several),
            tuple(packages),
            useful_variants(variants_of(concrete), int8=net.network.is_quantized),
            memory,
        )
        for name, concrete in targets
    ]
    for job in jobs:
        _require_writable(job.destination)
    tunings = read_tunings(tuning, [group[0] for job in jobs for group in job.groups])
    golden = Golden(net.network, seed)
    models = tuple(_build_one(net, job, tunings, golden, progress) for job in jobs)
    return models[0] if isinstance(target, str) else models


@dataclass(frozen=True)
class _Job:
    """One artifact to make: the target as the user named it, what that stands for, where it goes, its packagings.

    `groups` are the variants that it holds, each in front of those that it also stands for. `memory` is the mode
    that the user asks for.
    """

    name: str
    target: Target
    destination: Path
    packages: tuple[str, ...]
    groups: tuple[tuple[Target, ...], ...]
    memory: MemoryMode | None


def _build_one(net: NetFile, job: _Job, tunings: Tunings, golden: Golden, progress: Progress) -> Model:
    from dscompile.passes import canonicalize
    from dscompile.plan.planning import plan
    from dscompile.report import budgets, text
    from dscompile.report.packing import packing_notes
    from dscompile.report.vectors import FILE_NAME, encode_vectors

    settings = budgets.settings_for(net.budgets, (job.name, job.target.name))
    canonical = canonicalize(net.network)
    progress(Event(f"planning {text.plural(len(canonical.layers), 'layer')}"))
    programs = [
        plan(
            canonical,
            budgets.placed(group[0], settings),
            settings.precision,
            tunings.of(group[0]),
            settings.threads,
            job.memory or settings.memory or "fast",
            settings.arena_bytes,
        )
        for group in job.groups
    ]
    for program in programs:
        budgets.check_program(program, job.name, settings)
    if job.target.kernels:
        emitter = _standalone(programs[0], net, job)
    elif job.target.gpu is not None:
        emitter = _gpu(programs[0], progress)
    elif job.target.variants:
        names = [tuple(target.name for target in group) for group in job.groups]
        emitter = _several(programs, names, job, progress)
    else:
        emitter = _native(programs[0], job, progress)
    inputs = emitter.selftest_input(net.network)
    outputs = golden.selftest_outputs(inputs, progress)
    vectors = golden.vectors(progress)
    progress(Event(f"writing {job.destination}"))
    artifact = emitter.write(
        inputs,
        outputs,
        job.destination,
        origin=net.path.name,
        extra_files={FILE_NAME: encode_vectors(vectors)},
        accept=lambda manifest: budgets.check_flash(programs[0], manifest.sizes.flash_bytes, job.name, settings),
        latency_budget_us=settings.latency_us,
        made_from=_made_from(net, job, tunings),
    )
    notes = (
        *net.notes,
        *budgets.setting_notes(job.name, settings, has_threads=job.target.has_threads),
        *packing_notes(job.name, net.network, programs[0]),
    )
    return Model(artifact, (*notes, *emitter.notes))


def _made_from(net: NetFile, job: _Job, tunings: Tunings) -> MadeFrom:
    """The files and the tools of a build, in the order of their use."""
    from dscompile.api import provenance
    from dscompile.artifact import MadeFrom

    records = [path for group in job.groups for path in tunings.files_of(group[0])]
    files = (
        *provenance.network_files(net),
        *provenance.target_files(job.name, job.target),
        *provenance.tuning_files(records),
    )
    return MadeFrom(files, provenance.tools(job.target))


class _Write(Protocol):
    """Writes the artifact of a program, whose other parameters are bound already (see emit.native.write_artifact)."""

    def __call__(
        self,
        selftest_input: Mapping[str, Array],
        selftest_output: Mapping[str, Array],
        destination: Path,
        *,
        origin: str,
        extra_files: Mapping[str, bytes],
        accept: Callable[[Manifest], None],
        latency_budget_us: float | None,
        made_from: MadeFrom,
    ) -> Artifact: ...


@dataclass(frozen=True)
class _Emitter:
    """What differs between the kinds of artifacts: the self-test's input, how the directory is written, remarks."""

    selftest_input: Callable[[Network], dict[str, Array]]
    write: _Write
    notes: tuple[str, ...] = ()


def _native(program: Program, job: _Job, progress: Progress) -> _Emitter:
    """Kernels through TVM into libraries, for targets that have schedules."""
    from dscompile.emit.native import write_artifact
    from dscompile.emit.selftest import selftest_input

    ranged, compiled = _compiled(program, "", progress)
    write = partial(write_artifact, ranged, compiled, assemble=_assembler(program, chooses=False))
    return _Emitter(selftest_input, write, _notes_of_libraries([program], job))


def _several(
    programs: Sequence[Program], stands_for: Sequence[tuple[str, ...]], job: _Job, progress: Progress
) -> _Emitter:
    """As `_native`, for a target whose libraries hold several variants; `stands_for` has the names of each."""
    from dscompile.emit.selftest import selftest_input
    from dscompile.emit.variants import Variant, write_variants

    variants = [
        Variant(*_compiled(program, f" for {program.target.name}", progress), names)
        for program, names in zip(programs, stands_for, strict=True)
    ]
    write = partial(write_variants, job.target, variants, assemble=_assembler(programs[-1], chooses=True))
    return _Emitter(selftest_input, write, _notes_of_libraries(programs, job))


def _assembler(least: Program, *, chooses: bool) -> Callable[[str], bytes] | None:
    """What makes objects of the driver and the weights where no C compiler is; None if it takes one.

    `least` is the program for the least machines that the library is for.
    """
    from dscompile.emit.driver_ir import has_driver_ir
    from dscompile.schedule.machine_code import object_of

    return partial(object_of, target=least.target) if has_driver_ir(least.target, chooses=chooses) else None


def _notes_of_libraries(programs: Sequence[Program], job: _Job) -> tuple[str, ...]:
    """What the user must know of an artifact whose shared library cannot be linked here."""
    from dscompile.emit.names import network_prefix
    from dscompile.toolchain import compiler_advice, installed_toolchain, missing_compiler, shared_from_static

    target = job.target
    if installed_toolchain(target) is not None:
        return ()
    name = network_prefix(programs[0].network.name)
    finish = shlex.join([*shlex.split(target.compiler), *target.compiler_flags, *shared_from_static(name)])
    return (
        f"{missing_compiler(target)}: lib{name}.a is made without {name}_run_parallel, lib{name}.so is not; "
        f"{compiler_advice(target)}; this makes it then: cd {shlex.quote(str(job.destination))} && {finish}",
    )


def _gpu(program: Program, progress: Progress) -> _Emitter:
    """CUDA C++ of kernels that TVM wrote, and a library if nvcc is there."""
    from dscompile.cuda_toolkit import CUDA_ADVICE, installed_nvcc
    from dscompile.emit.cuda import write_artifact
    from dscompile.emit.cuda_driver import renamed
    from dscompile.emit.selftest import selftest_input
    from dscompile.report.text import plural

    task = f"writing {plural(len(program.functions), 'kernel')}"
    progress(Event(task, 0, len(program.functions)))

    def compile_kernels(symbols: Mapping[str, str]) -> Sequence[KernelSource]:
        from dscompile.schedule.cuda_source import compile_functions  # imports tvm, which takes a second

        return compile_functions(
            renamed(program.functions, symbols),
            program.target,
            lambda done, total, _symbol: progress(Event(task, done, total)),
        )

    nvcc = installed_nvcc()
    notes = (
        ()
        if nvcc is not None
        else (f"nvcc is not installed: {program.target.name} gets sources and no library; {CUDA_ADVICE}",)
    )
    return _Emitter(selftest_input, partial(write_artifact, program, compile_kernels, nvcc), notes)


def _compiled(program: Program, purpose: str, progress: Progress) -> tuple[Program, bytes]:
    """The program whose kernels threads can share, and the object file with them."""
    from dscompile.report.text import plural

    task = f"compiling {plural(len(program.functions), 'kernel')}{purpose}"
    progress(Event(task, 0, len(program.functions)))
    from dscompile.schedule.native import compile_ranged  # imports tvm, which takes a second

    compiled = compile_ranged(
        program.functions,
        program.target,
        lambda done, total, _symbol: progress(Event(task, done, total)),
    )
    return replace(program, functions=compiled.functions), compiled.content


def _standalone(program: Program, net: NetFile, job: _Job) -> _Emitter:
    """C99 sources from templates, for targets that have kernel sets."""
    from dscompile.emit.mcu import write_artifact
    from dscompile.emit.packages import About
    from dscompile.emit.selftest import selftest_input

    about = About(net.title, net.version, net.license)
    return _Emitter(selftest_input, partial(write_artifact, program, packages=job.packages, about=about))


def _check_packages(packages: Sequence[str], targets: Sequence[tuple[str, Target]]) -> None:
    """Raises UsageError for unknown packagings, and for targets that have none."""
    if not packages:
        return
    from dscompile.emit.packages import check_packages

    known = check_packages(packages)
    hosted = [name for name, target in targets if not target.kernels]
    if hosted:
        raise UsageError(
            f"package {known[0]}: packagings hold C sources, and a build for {', '.join(hosted)} makes libraries",
            help="name a target of standalone C, such as c99 or cortex-m4; link the others' lib<net>.a or .so",
        )


def _require_binaries(targets: Sequence[tuple[str, Target]]) -> None:
    """Raises UsageError for targets that get sources by nature, ToolError where nothing links a library.

    That takes nvcc for GPUs, a C compiler for the others.
    """
    standalone = [name for name, target in targets if target.kernels]
    if standalone:
        raise UsageError(
            f"--require-binary: a build for {standalone[0]} makes C sources, which the firmware's build compiles",
            help="leave it out, or name targets of libraries, such as x86, arm64 or cuda-sm80",
        )
    from dscompile.cuda_toolkit import find_nvcc
    from dscompile.toolchain import find_toolchain

    for _, target in targets:
        if target.gpu is not None:
            find_nvcc()
        else:
            find_toolchain(target)


def packages_list() -> tuple[str, ...]:
    """Names of the packagings that `build` knows."""
    from dscompile.emit.packages import PACKAGES

    return tuple(PACKAGES)


def _destination(network: Network, name: str, target: Target, output: str | Path | None, several: bool) -> Path:
    """Where the artifact goes: as the user named the target, but a target file by the name inside it."""
    label = target.name if "/" in name or name.endswith((".yaml", ".yml")) else name
    own = f"{network.name}-{label}"
    if output is None:
        return Path("build") / own
    return Path(output) / own if several else Path(output)


def _require_writable(destination: Path) -> None:
    """Raises UsageError or ToolError before any work is done if the artifact could not be written in the end."""
    from contextlib import suppress

    from dscompile.aside import aside_of, remove_abandoned
    from dscompile.emit.directory import check_replaceable

    check_replaceable(destination)
    parent = next(path for path in destination.absolute().parents if path.exists())
    remove_abandoned(parent / destination.name)
    trial = aside_of(parent / destination.name)
    try:
        trial.mkdir()
        with suppress(FileNotFoundError):  # another build took it for abandoned
            trial.rmdir()
    except OSError as error:
        raise ToolError(
            f"cannot write into '{parent}': {error.strerror}", help="choose another with --output"
        ) from error
